"""The plugin and moto's mock, which replaces AWS in this process for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from support.pytest_projects import MEMORY, summary

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
#: A project on a third party that could be AWS by its address, though no mock knows anything of it.
AMAZON: Final = MEMORY.replace(
    "aws = MemoryIntegration()",
    """
class Amazon(MemoryIntegration):
    def endpoint(self):
        return "https://iam.amazonaws.com"

aws = Amazon()
""",
)
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
from dynsecrets.model.lease import values_by_suffix

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


def test_a_real_lease_is_not_revoked_in_a_mock(project: Project) -> None:
    """In a mock no real user is found: a real lease is not looked for there, and revoked once the mock is over."""
    tests = """
import pytest
from moto import mock_aws
from conftest import CONFIG, aws
from dynsecrets import RevocationError

def test_it(dynsecrets_lease, dynsecrets_manager):
    lease = dynsecrets_lease(CONFIG)
    with mock_aws():
        with pytest.raises(RevocationError, match="of the real AWS, for which mock_aws stands just now"):
            lease.revoke()
        assert not aws.count("revoke")
        assert dynsecrets_manager.get(lease.id).live
    assert lease.check()
"""

    result = project.run(tests, conftest=AMAZON)

    result.assert_outcomes(passed=1)
    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked"
    assert project.left() == []


def test_a_real_lease_that_ends_in_a_mock_is_revoked_after_it(project: Project) -> None:
    """A real lease whose TTL ends in the background of a mocked test is not taken for gone."""
    tests = """
import threading
from moto import mock_aws
from conftest import CONFIG, aws

def test_it(dynsecrets_manager):
    with_a_second = dynsecrets_manager.issue(CONFIG, "1s")
    with mock_aws():
        look = threading.Event()
        while not dynsecrets_manager.get(with_a_second.id).attempts:
            look.wait(0.01)
        assert not aws.count("revoke")
        assert dynsecrets_manager.get(with_a_second.id).live
    with_a_second.revoke()
    assert not aws.users
"""

    result = project.run(tests, conftest=AMAZON)

    result.assert_outcomes(passed=1)
    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked"


def test_what_a_mock_leaves_over_is_told(project: Project) -> None:
    """A real lease that is left when a mock never ends can't be revoked by this run: the next one will."""
    tests = """
from moto import mock_aws
from conftest import CONFIG

def test_it(dynsecrets_manager):
    dynsecrets_manager.issue(CONFIG)
    mock_aws().start()
"""

    result = project.start(tests, conftest=AMAZON)

    result.stdout.fnmatch_lines(["LEAKED * and could not be then; the next run tries again"])
    assert len(project.left()) == 1


def test_what_was_made_ahead_in_a_mock_is_not_handed_out_after_it(project: Project) -> None:
    """A pool is refilled in the background, be a mock active or not: what went with the mock is replaced."""
    conftest = AMAZON.replace(
        "    def endpoint(self)",
        """
    mocked = threading.Event()
    numbers = itertools.count(1)

    def plan(self, config):
        # The third is the one that is made ahead once the pool has handed out its first.
        if next(self.numbers) == 3:
            self.mocked.wait(10)
        return super().plan(config)

    def endpoint(self)""",
    )
    tests = """
import threading
from moto import mock_aws
from conftest import CONFIG, aws

def test_it(dynsecrets_lease, dynsecrets_manager):
    dynsecrets_lease(CONFIG)
    dynsecrets_lease(CONFIG)
    with mock_aws():
        aws.mocked.set()
        look = threading.Event()
        while len(aws.users) < 3:
            look.wait(0.01)
    assert dynsecrets_manager.get(dynsecrets_lease(CONFIG).id).live
"""

    result = project.run(tests, "--dynsecrets-prefetch=1", conftest=f"import itertools, threading\n{conftest}")

    result.assert_outcomes(passed=1)


def test_what_a_killed_run_issued_is_held(project: Project, aws_env: Account) -> None:
    """A lease of the session's manager ends with its process too: the next run doesn't wait for its TTL."""
    killed = """
import os, signal
from conftest import CONFIG

def test_it(dynsecrets_manager):
    dynsecrets_manager.issue(CONFIG, ttl="1h")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert project.start(killed, conftest=MOCKED).ret == -9

    tests = "from conftest import CONFIG\n\ndef test_it(dynsecrets_lease): dynsecrets_lease(CONFIG)\n"
    result = project.start(tests, conftest=MOCKED)

    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked; 1 of an earlier run revoked"
    assert aws_env.users() == []
