"""The fixtures that all tests share: a clean environment, servers that start when first asked for, and a canary."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from support import crash_points
from support.canary import Canary
from support.integrations import integration_of
from support.ministack_server import PYTHON_VARIABLE, MinistackServer
from support.ministack_server import ministack_server as run_ministack
from support.moto_server import MotoServer
from support.moto_server import moto_server as run_moto
from support.proxy import Proxy
from support.world import world_fixture

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from support.accounts import Account

#: The manager on a fake clock and a fake third party that most tests work with, as the fixture ``world``.
__all__ = ["world_fixture"]

# Examples that take long on a loaded machine are not wrong.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_configure(config: pytest.Config) -> None:
    """Watch for secrets in everything that the tests show, and count the points at which processes are killed."""
    config.pluginmanager.register(Canary(), "canary")
    config.pluginmanager.register(crash_points, "crash-points")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what has no UTF-8 (broken file names, broken bytes) in captured output: xdist can't send it."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hide the developer's AWS settings and state from every test; return the test's own home folder (not made yet)."""
    home = tmp_path_factory.getbasetemp() / "homes" / os.urandom(8).hex()
    for name in list(os.environ):
        if name.startswith(("AWS_", "DYNSECRETS_")) and name != PYTHON_VARIABLE:
            monkeypatch.delenv(name)
    # What an earlier test's boto3.client() was made with.
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "no-aws-credentials"))
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(home))
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(home / name.lower()))
    return home


@pytest.fixture(scope="session")
def moto_server() -> Iterator[MotoServer]:
    """A moto server, one for each process of the test run."""
    with run_moto() as server:
        yield server


@pytest.fixture
def aws(moto_server: MotoServer) -> Account:
    """An account on moto of the test's own: calls are real, permissions are checked in ``moto_server.enforcing()``."""
    return moto_server.new_account()


@pytest.fixture
def aws_env(aws: Account, monkeypatch: pytest.MonkeyPatch) -> Account:
    """The test's account on moto, and an environment in which boto3 finds it, the endpoint too."""
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)
    return aws


@pytest.fixture
def proxy(moto_server: MotoServer) -> Iterator[Proxy]:
    """A proxy of the test's own in front of moto: give its ``url`` to whatever shall be watched, or meet trouble."""
    with Proxy(moto_server.url) as proxy:
        yield proxy


@pytest.fixture
def watched(aws: Account, proxy: Proxy) -> AwsIamIntegration:
    """An integration on the test's own account whose calls go through ``proxy``."""
    return integration_of(aws, proxy.url)


@pytest.fixture(scope="session")
def ministack_server() -> Iterator[MinistackServer]:
    """A ministack that checks permissions, one for each process of the test run."""
    with run_ministack() as server:
        yield server


@pytest.fixture
def ministack(ministack_server: MinistackServer) -> Account:
    """An account on ministack of the test's own; its key is the root's, and policies and conditions are enforced."""
    return ministack_server.new_account()
