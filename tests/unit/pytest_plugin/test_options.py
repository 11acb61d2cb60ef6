"""The plugin's options: in files, on the command line, in the environment; and where records are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.pytest_projects import summary

if TYPE_CHECKING:
    from pathlib import Path

    from support.pytest_projects import Project

#: A test that prints where its lease's record is, and for how long the lease lives.
SHOWS = """
def test_it(dynsecrets_user, dynsecrets_manager):
    print("STORE", dynsecrets_manager.store)
    print("TTL", (dynsecrets_user.expires_at - dynsecrets_user.issued_at).total_seconds())
    assert dynsecrets_manager.get(dynsecrets_user.id).state == "active"
"""


def shown(result: pytest.RunResult, what: str) -> str:
    """Return what such a test printed."""
    return next(line for line in result.outlines if f"{what} " in line).partition(f"{what} ")[2]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pytest.ini", "[pytest]\ndynsecrets_ttl = 5m\ndynsecrets_store = memory://\ndynsecrets_prefetch = 1\n"),
        ("tox.ini", "[pytest]\ndynsecrets_ttl = 5m\ndynsecrets_store = memory://\n"),
        ("pyproject.toml", '[tool.pytest.ini_options]\ndynsecrets_ttl = "5m"\ndynsecrets_store = "memory://"\n'),
    ],
)
def test_options_stand_in_files(project: Project, file: str, text: str) -> None:
    """All of pytest's own files can hold the options."""
    project.write(file, text)

    result = project.run(SHOWS, "-s")

    assert result.ret == 0
    assert shown(result, "TTL") == "300.0"
    assert shown(result, "STORE").startswith("MemoryLeaseStore")


def test_the_command_line_wins(project: Project) -> None:
    """An option of the command line wins over a file's, and a TTL that a test gives wins over both."""
    project.write("pytest.ini", "[pytest]\ndynsecrets_ttl = 5m\ndynsecrets_store = memory://\n")
    given = """
def test_given(dynsecrets_lease, dynsecrets_config):
    lease = dynsecrets_lease(dynsecrets_config, '1m')
    assert (lease.expires_at - lease.issued_at).total_seconds() == 60
"""

    result = project.run(SHOWS + given, "-s", "--dynsecrets-ttl=90s", "--dynsecrets-store=sqlite:///here.db")

    assert result.ret == 0
    assert shown(result, "TTL") == "90.0"
    assert project.folder.joinpath("here.db").exists()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ttl", "5", "'5' is not a TTL"),
        ("ttl", "0s", "0s"),
        ("store", "redis://x", "names no store"),
        ("store", "leases.db", "names no store"),
        ("prefetch", "many", "a whole number from 0 to 100"),
        ("prefetch", "-1", "a whole number from 0 to 100"),
        ("prefetch", "101", "a whole number from 0 to 100"),
        ("prefetch", "1.5", "a whole number from 0 to 100"),
    ],
)
@pytest.mark.parametrize("where", ["file", "command line"])
def test_wrong_values_are_usage_errors(project: Project, name: str, value: str, says: str, where: str) -> None:
    """What can't be is refused when pytest starts, with status 4 and what is accepted; no test runs."""
    arguments = [f"--dynsecrets-{name}={value}"] if where == "command line" else []
    if not arguments:
        project.write("pytest.ini", f"[pytest]\ndynsecrets_{name} = {value}\n")

    result = project.run("def test_it(): pass\n", *arguments)

    assert result.ret == 4
    message = result.stderr.str()
    assert says in message
    assert (f"--dynsecrets-{name}" if arguments else f"dynsecrets_{name}") in message
    assert "Traceback" not in message


def test_a_ttl_longer_than_the_configs_is_an_error(project: Project) -> None:
    """The option doesn't lift the limit that a config has."""
    result = project.run("def test_it(dynsecrets_user): pass\n", "--dynsecrets-ttl=25h")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*InvalidTTL*"])


# Where records are kept


def test_records_are_kept_in_pytests_cache(project: Project) -> None:
    """By default records are in a file of the cache folder, which clearing the cache leaves alone."""
    project.write("pytest.ini", "[pytest]\ncache_dir = elsewhere\n")

    for arguments in ([], ["--cache-clear"]):
        result = project.run(
            SHOWS + "    assert len(list(dynsecrets_manager.records())) == " + str(1 + len(arguments)), *arguments
        )
        assert result.ret == 0

    assert [path.name for path in project.folder.joinpath("elsewhere", "dynsecrets").glob("*.db")] == ["leases.db"]
    assert not project.folder.joinpath("elsewhere", "d").joinpath("dynsecrets").exists()


def test_without_a_cache_records_are_in_the_state_folder(project: Project, home: Path) -> None:
    """Where pytest has no cache, records are where the library keeps them by default, for later runs to find."""
    result = project.run(SHOWS, "-s", "-p", "no:cacheprovider")

    assert result.ret == 0
    assert str(home) in shown(result, "STORE")
    assert not project.folder.joinpath(".pytest_cache").exists()


def test_a_cache_that_cannot_be_written_is_no_harm(project: Project, home: Path) -> None:
    """Where the cache folder can't be made, records are in the state folder."""
    project.write("file", "")
    project.write("pytest.ini", "[pytest]\ncache_dir = file/cache\n")

    result = project.start(SHOWS, "-s")

    assert result.ret == 0
    assert str(home) in shown(result, "STORE")


def test_the_variable_wins_over_a_file(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """``DYNSECRETS_STORE`` wins over pytest's file and over the cache, and the command line wins over it."""
    project.write("pytest.ini", "[pytest]\ndynsecrets_store = sqlite:///of_file.db\n")
    monkeypatch.setenv("DYNSECRETS_STORE", "sqlite:///of_variable.db")

    assert project.run(SHOWS).ret == 0
    assert project.run(SHOWS, "--dynsecrets-store=sqlite:///of_command_line.db").ret == 0

    assert sorted(path.name for path in project.folder.glob("*.db")) == ["of_command_line.db", "of_variable.db"]


def test_a_relative_path_starts_at_the_file_that_names_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever pytest is started, a path in its file starts from that file's folder, even if a test changes folders."""
    project.write("pytest.ini", "[pytest]\ndynsecrets_store = sqlite:///leases.db\n")
    below = project.folder / "below"
    below.mkdir()
    below.joinpath("test_below.py").write_text(
        f"def test_it(monkeypatch, tmp_path):\n    monkeypatch.chdir(tmp_path)\n{SHOWS}", encoding="utf-8"
    )
    monkeypatch.chdir(below)

    assert project.run().ret == 0

    assert project.folder.joinpath("leases.db").exists()


# Leases made ahead


def test_leases_are_made_ahead(project: Project) -> None:
    """With ``prefetch`` tests get leases that stand ready, each another one; what nobody used is revoked at the end."""
    result = project.run(
        """
import pytest

seen = set()

@pytest.mark.parametrize("number", range(20))
def test_it(dynsecrets_user, number):
    assert dynsecrets_user.check()
    assert dynsecrets_user.id not in seen
    seen.add(dynsecrets_user.id)

def test_more_users_stand_ready():
    import threading
    from conftest import aws
    for _ in range(6000):
        if len(aws.users) == 3:
            return
        threading.Event().wait(0.01)
    assert len(aws.users) == 3
""",
        "--dynsecrets-prefetch=3",
    )

    result.assert_outcomes(passed=21)
    issued = int(summary(result).split()[0])
    assert 22 <= issued <= 30
    assert summary(result) == f"{issued} leases issued, {issued} revoked, 0 leaked"
    assert project.left() == []


def test_nothing_is_made_ahead_of_what_is_used_once(project: Project) -> None:
    """A config that is leased once, one with a cap, and a call with options of its own get a lease of their own."""
    result = project.run(
        """
from dynsecrets import DynamicSecretConfig
from conftest import CONFIG, aws

def test_once(dynsecrets_lease):
    dynsecrets_lease(CONFIG)
    dynsecrets_lease(CONFIG, "7m")
    assert len(aws.users) == 2

def test_capped(dynsecrets_lease):
    capped = DynamicSecretConfig("B", aws, max_active=3)
    assert len({dynsecrets_lease(capped).id for _ in range(3)}) == 3

def test_special(dynsecrets_lease):
    for number in range(3):
        dynsecrets_lease(CONFIG, "9m", metadata={"number": number})
        dynsecrets_lease(CONFIG, "9m", wait=None)
""",
        "--dynsecrets-prefetch=2",
    )

    result.assert_outcomes(passed=3)
    assert summary(result) == "11 leases issued, 11 revoked, 0 leaked"


def test_few_pools_live_at_a_time(project: Project) -> None:
    """However many configs are leased again and again, few of them have leases standing ready."""
    result = project.run(
        """
from dynsecrets import DynamicSecretConfig
from conftest import aws

def test_it(dynsecrets_lease):
    for number in range(10):
        config = DynamicSecretConfig(f"C{number}", aws)
        dynsecrets_lease(config).revoke()
        dynsecrets_lease(config).revoke()

def test_later():
    assert len(aws.users) <= 4 * 2
""",
        "--dynsecrets-prefetch=2",
    )

    result.assert_outcomes(passed=2)
    assert project.left() == []


@pytest.mark.parametrize("outage", [False, True], ids=["healthy", "outage"])
def test_the_end_of_an_outage_of_a_pool_is_told(project: Project, outage: bool) -> None:
    """Ready leases that can't be revoked at the end are leaks."""
    fault = "aws.fail('revoke', times=None)" if outage else "pass"

    result = project.run(
        f"""
import time
from conftest import CONFIG, aws

def test_it(dynsecrets_lease):
    for _ in range(3):
        dynsecrets_lease(CONFIG).revoke()

def test_last():
    deadline = time.monotonic() + 60
    while not aws.users:
        assert time.monotonic() < deadline, "the pool makes no lease ready"
        time.sleep(0.001)
    {fault}
""",
        "--dynsecrets-prefetch=1",
    )

    assert result.ret == int(outage)
    assert summary(result).endswith("0 leaked") is not outage
