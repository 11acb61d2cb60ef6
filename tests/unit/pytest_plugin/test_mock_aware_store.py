"""The plugin and moto's mock, which replaces AWS in this process for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from support.pytest_projects import summary

if TYPE_CHECKING:
    from support.accounts import Account
    from support.pytest_projects import Project

MOCKED: Final = """
import boto3
import pytest
from moto import mock_aws
from dynsecrets import DynamicSecretConfig, Integration

CONFIG = DynamicSecretConfig("AWS_USER", Integration.aws_iam(region="us-east-1"))

def users():
    return [user["UserName"] for user in boto3.client("iam").list_users()["Users"]]

@pytest.fixture
def cloud():
    with mock_aws():
        yield

@pytest.fixture
def dynsecrets_config(cloud):
    return CONFIG
"""
#: Nobody listens there: a call that leaves the mock fails.
NOWHERE: Final = "http://127.0.0.1:9"


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the real AWS be out of reach."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("HTTPS_PROXY", NOWHERE)


@pytest.mark.usefixtures("nowhere")
def test_every_way_to_mock_works(project: Project) -> None:
    """As a fixture before or after the factory, as a block or a decorator: nothing leaves the mock or leaks."""
    result = project.start(
        """
import boto3
from moto import mock_aws
from conftest import CONFIG, users

def test_config(dynsecrets_user):
    assert users() == [dynsecrets_user.username]
    assert dynsecrets_user.session().client("sts").get_caller_identity()["Arn"] == dynsecrets_user.arn

def test_mock_first(cloud, dynsecrets_lease):
    assert [dynsecrets_lease(CONFIG).username] == users()

def test_mock_last(dynsecrets_lease, cloud):
    assert [dynsecrets_lease(CONFIG).username] == users()

def test_block(dynsecrets_lease):
    with mock_aws():
        assert [dynsecrets_lease(CONFIG).username] == users()

@mock_aws
def test_decorated(dynsecrets_lease):
    assert [dynsecrets_lease(CONFIG).username] == users()

def test_leaves(cloud, dynsecrets_manager):
    dynsecrets_manager.issue(CONFIG).revoke()
""",
        "--dynsecrets-prefetch=2",
        conftest=MOCKED,
    )

    result.assert_outcomes(passed=6)
    assert result.ret == 0
    assert summary(result) == "6 leases issued, 6 revoked, 0 leaked"


@pytest.mark.usefixtures("nowhere")
def test_a_leak_in_a_mock_is_a_leak(project: Project) -> None:
    """What a test leaves in a mock it would leave on AWS: it is told, though the mock took it away."""
    result = project.start(
        """
from conftest import CONFIG

def test_it(cloud, dynsecrets_manager):
    dynsecrets_manager.issue(CONFIG)
""",
        conftest=MOCKED,
    )

    result.assert_outcomes(passed=1)
    assert result.ret == 1
    assert summary(result) == "1 lease issued, 0 revoked, 1 leaked"


def test_a_mock_leaves_real_leases_alone(project: Project, aws_env: Account) -> None:
    """What a killed run left on AWS is not looked for in a mock, and is still known to the next run without one."""
    killed = """
import os, signal
from conftest import CONFIG

def test_it(dynsecrets_lease):
    dynsecrets_lease(CONFIG)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert project.start(killed, conftest=MOCKED).ret == -9
    assert len(aws_env.users()) == 1

    mocked = project.start("def test_it(dynsecrets_user): pass\n", conftest=MOCKED)
    still = aws_env.users()
    tests = "from conftest import CONFIG\n\ndef test_it(dynsecrets_lease): dynsecrets_lease(CONFIG)\n"
    real = project.start(tests, conftest=MOCKED)

    assert summary(mocked) == "1 lease issued, 1 revoked, 0 leaked"
    assert len(still) == 1
    assert summary(real) == "1 lease issued, 1 revoked, 0 leaked; 1 of an earlier run revoked"
    assert aws_env.users() == []


def test_what_a_mock_does_not_answer_is_real(project: Project, aws_env: Account) -> None:
    """A lease on a server that the mock doesn't stand for is revoked there, though the mock has ended."""
    conftest = MOCKED.replace('region="us-east-1"', f'region="us-east-1", endpoint_url="{aws_env.url}"')

    result = project.start(
        """
from moto import mock_aws
from conftest import CONFIG

kept = {}

def test_it(dynsecrets_lease):
    with mock_aws():
        kept.update(values_by_suffix(dynsecrets_lease(CONFIG)))
    assert CONFIG.integration.is_usable(kept)

def test_later():
    assert not CONFIG.integration.is_usable(kept)
""",
        conftest=conftest,
    )

    result.assert_outcomes(passed=2)
    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked"


def test_other_integrations_are_no_matter_of_the_mock(project: Project) -> None:
    """A lease of an integration that isn't AWS's outlives a mock, and is revoked when the test ends."""
    result = project.run(
        """
from moto import mock_aws
from conftest import CONFIG, aws

def test_it(dynsecrets_lease, dynsecrets_manager):
    with mock_aws():
        lease = dynsecrets_lease(CONFIG)
    assert lease.check()
    assert dynsecrets_manager.get(lease.id).live

def test_later():
    assert not aws.users
"""
    )

    result.assert_outcomes(passed=2)
