"""The pytest plugin: leases that end with the test that asked for them, and a count of them when the session ends.

pytest loads this module at its start, in every project that has the library installed: nothing is loaded here, and
nothing is done, until a fixture is used.
"""

from __future__ import annotations

import sys
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from dynsecrets.engine.manager import LeaseManager
    from dynsecrets.model.config import DynamicSecretConfig
    from dynsecrets.model.lease import Lease
    from dynsecrets.pytest_plugin.crashed_workers import Announcement
    from dynsecrets.pytest_plugin.report import Totals
    from dynsecrets.pytest_plugin.session import Leasing
    from dynsecrets.stores.base import LeaseStore
    from dynsecrets.testing.types import LeaseFactory

#: The options, with what they take and what they are for.
_OPTIONS = {
    "dynsecrets_store": (
        "URL",
        "where lease records are kept, like sqlite:///path (default: a file in pytest's cache)",
    ),
    "dynsecrets_ttl": ("TTL", 'the TTL of leases for which a test gives none, like "10m" (default: the config\'s)'),
    "dynsecrets_prefetch": ("N", "how many leases of each config are kept ready for the next tests (default: 0)"),
}
_NOT_OVERRIDDEN = """\
dynsecrets_user is a lease of dynsecrets_config, which this project doesn't define yet. Put it into conftest.py:

    import pytest
    from dynsecrets import DynamicSecretConfig, Integration

    @pytest.fixture(scope="session")
    def dynsecrets_config():
        return DynamicSecretConfig("AWS_USER", Integration.aws_iam(), policy={...})
"""
#: The key of a worker's counts in its ``workeroutput``, and of the folder in its ``workerinput``.
_OURS = "dynsecrets"
_SECRETS = pytest.StashKey["list[str]"]()
_STATE = pytest.StashKey["_State"]()


class _State:
    """What the plugin knows of a session, in the process that runs tests and in the one that controls workers."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.leasing: Leasing | None = None
        self.totals: Totals | None = None
        #: What a worker of pytest-xdist was given.
        self.input: dict[str, Any] | None = getattr(config, "workerinput", None)
        #: Where workers tell that they lease, and those that have told what.
        self.folder: str | None = None
        self.finished: set[str] = set()

    def lease(self) -> Leasing:
        """Return what leases are made with, from the first one on."""
        if self.leasing is None:
            from dynsecrets.leasing.pool import LeasePool
            from dynsecrets.pytest_plugin.options import read_options
            from dynsecrets.pytest_plugin.session import Leasing

            self.leasing = Leasing(read_options(self.config), self.open_store, LeasePool, self._announcement())
        return self.leasing

    def _announcement(self) -> Announcement | None:
        """Return what a worker tells before it leases."""
        if self.input is None or _OURS not in self.input:
            return None
        from dynsecrets.pytest_plugin.crashed_workers import Announcement

        return Announcement(self.input[_OURS], self.input["workerid"])

    def open_store(self) -> LeaseStore:
        """Return the store of the records."""
        from dynsecrets.pytest_plugin.options import make_store, read_options

        return make_store(self.config, read_options(self.config))

    def count(self, totals: Totals) -> None:
        """Add counts."""
        if self.totals is None:
            self.totals = totals
        else:
            self.totals.add(totals)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, to pytest's files and to the command line."""
    group = parser.getgroup("dynsecrets", "leased AWS credentials (dynsecrets)")
    for name, (metavar, text) in _OPTIONS.items():
        group.addoption(f"--{name.replace('_', '-')}", dest=name, default=None, metavar=metavar, help=text)
        parser.addini(name, text, default="")


def pytest_configure(config: pytest.Config) -> None:
    """Check the options."""
    config.stash[_STATE] = _State(config)
    if any(config.getoption(name) is not None or config.getini(name) for name in _OPTIONS):
        from dynsecrets.pytest_plugin.options import read_options

        read_options(config)


@pytest.fixture
def dynsecrets_config() -> DynamicSecretConfig:
    """Return what ``dynsecrets_user`` leases. To be defined by each project, with any scope.

    In conftest.py: ``@pytest.fixture(scope="session")``, ``def dynsecrets_config(): return DynamicSecretConfig(...)``.

    Returns:
        A ``DynamicSecretConfig``.
    """
    _explain()


@pytest.fixture(scope="session")
def dynsecrets_manager(pytestconfig: pytest.Config) -> Iterator[LeaseManager]:
    """Make the manager that the tests' leases are made with, one for the session (for each worker of pytest-xdist).

    What is issued with it and not revoked by the end of the session is revoked then, and fails the run; all of it is
    held by the process, so that the next run revokes at once what a killed one left. Records are kept in pytest's cache
    folder, or where ``dynsecrets_store`` says. May be overridden, with any scope.

    Yields:
        A ``LeaseManager``.
    """
    leasing = pytestconfig.stash[_STATE].lease()
    yield leasing.open()
    leasing.close()


@pytest.fixture
def dynsecrets_lease(request: pytest.FixtureRequest) -> Iterator[LeaseFactory]:
    """Lease credentials for this test: ``dynsecrets_lease(config, ttl="5m")`` returns a ``Lease``, a new one each time.

    All are revoked when the test ends, whatever it did. Also takes ``wait`` and ``metadata``, as ``dynsecrets.lease``
    does.

    Yields:
        The factory; for annotations, a ``dynsecrets.testing.LeaseFactory``.
    """
    from dynsecrets.pytest_plugin.session import Factory

    leasing = request.config.stash[_STATE].lease()
    factory = Factory(leasing, request, request.node.stash.setdefault(_SECRETS, []))
    yield factory
    factory.close()


@pytest.fixture
def dynsecrets_user(dynsecrets_config: DynamicSecretConfig, dynsecrets_lease: LeaseFactory) -> Lease:
    """Lease a user of ``dynsecrets_config``, this test's own, revoked when the test ends.

    ``dynsecrets_user.session().client("s3")`` is a boto3 client on it.

    Returns:
        A ``Lease``.
    """
    return dynsecrets_lease(dynsecrets_config)


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Explain a failed comparison with a secret without showing it."""
    if "dynsecrets.model.masking" not in sys.modules:
        return None
    from dynsecrets.pytest_plugin.redaction import compared_secret

    return compared_secret(op, left, right)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Say in brief why a lease can't be had; mask the secrets that a test has leased in its report."""
    outcome = yield
    secrets = item.stash.get(_SECRETS, None)
    if secrets is None:
        return
    from dynsecrets.pytest_plugin.failures import in_brief
    from dynsecrets.pytest_plugin.redaction import mask
    from dynsecrets.pytest_plugin.session import Factory

    report = outcome.get_result()
    leasing = Factory.__call__.__code__
    brief = in_brief(item, call.excinfo, call.when, leasing) if report.failed and call.excinfo is not None else None
    if brief is not None:
        report.longrepr = brief
    mask(report, secrets)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where to say that it leases: it may crash before it can say more."""
    state = node.config.stash[_STATE]
    if state.folder is None:
        state.folder = str(Path(tempfile.gettempdir()) / f"dynsecrets-{uuid.uuid4().hex}")
    node.workerinput[_OURS] = state.folder


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the counts of a worker of pytest-xdist that has ended."""
    sent = getattr(node, "workeroutput", {}).get(_OURS)
    if sent is None:
        return
    from dynsecrets.pytest_plugin.report import Totals

    state = node.config.stash[_STATE]
    state.finished.add(node.workerinput["workerid"])
    state.count(Totals.load(sent))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Clean up, count, and fail the run where something leaked. All fixtures have ended by now, and all workers."""
    state = session.config.stash[_STATE]
    if state.leasing is not None:
        state.count(state.leasing.finish())
    if state.folder is not None and Path(state.folder).exists():
        _look_for_crashed(state, state.folder)
    if state.totals is None:
        return
    if state.input is not None:
        session.config.workeroutput[_OURS] = state.totals.dump()  # type: ignore[attr-defined]  # xdist's.
    elif state.totals.leaks and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> Generator[None, Any, None]:
    """Tell what was leased, where anything was, after all that pytest has to tell."""
    yield
    totals = config.stash[_STATE].totals
    if not totals:
        return
    if totals.leaks:
        terminalreporter.section("leaked leases", red=True, bold=True)
        for leak in totals.leaks:
            terminalreporter.line(f"LEAKED {leak}")
    terminalreporter.line(totals.line(), **({"red": True} if totals.leaks else {}))


def _explain() -> NoReturn:
    pytest.fail(_NOT_OVERRIDDEN, pytrace=False)


def _look_for_crashed(state: _State, folder: str) -> None:
    """Count what was left by workers that ended without telling, where they can have left anything."""
    from dynsecrets.pytest_plugin.crashed_workers import account, crashed_workers

    crashed = crashed_workers(folder, state.finished)
    if not crashed:
        return
    reaped = state.totals.reaped if state.totals is not None else []
    store = state.open_store()
    try:
        found = account(store, crashed, reaped)
    finally:
        store.close()
    leaked = {leak.lease_id for leak in found.leaks}
    reaped[:] = [lease_id for lease_id in reaped if lease_id not in leaked]
    if found:
        state.count(found)
