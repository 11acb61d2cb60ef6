"""The plugin under pytest-xdist: each worker leases for itself, and the session counts all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from support.processes import wait_until
from support.pytest_projects import AWS, LEFT, PLUGIN, summary

if TYPE_CHECKING:
    from support.accounts import Account
    from support.pytest_projects import Project

XDIST = ("-p", "xdist", "-n", "2")


def test_all_workers_are_counted(project: Project, aws_env: Account) -> None:
    """The line counts the leases of all workers, and nothing is left of any."""
    result = project.start(
        """
import pytest

@pytest.mark.parametrize("number", range(6))
def test_it(dynsecrets_user, number): pass
""",
        *XDIST,
        conftest=AWS,
    )

    result.assert_outcomes(passed=6)
    assert result.ret == 0
    assert summary(result) == "6 leases issued, 6 revoked, 0 leaked"
    assert aws_env.users() == []


def test_a_leak_of_a_worker_fails_the_run(project: Project, aws_env: Account) -> None:
    """What a worker's tests left is cleaned up by the worker, and fails the whole run."""
    result = project.start(
        """
import pytest

def test_it(dynsecrets_manager, dynsecrets_config):
    dynsecrets_manager.issue(dynsecrets_config)

@pytest.mark.parametrize("number", range(3))
def test_fine(dynsecrets_user, number): pass
""",
        *XDIST,
        conftest=AWS,
    )

    result.assert_outcomes(passed=4)
    assert result.ret == 1
    assert summary(result) == "4 leases issued, 3 revoked, 1 leaked"
    result.stdout.fnmatch_lines([f"LEAKED * {LEFT} *revoked now"])
    assert aws_env.users() == []


def test_what_a_crashed_worker_left_is_revoked(project: Project, aws_env: Account) -> None:
    """A worker that crashes leaves a user and is replaced; the user is revoked and counted as leaked."""
    result = project.start(
        """
import os
import pytest

@pytest.mark.parametrize("number", range(3))
def test_fine(dynsecrets_user, number): pass

def test_it(dynsecrets_user):
    os._exit(3)
""",
        *XDIST,
        conftest=AWS,
    )

    result.assert_outcomes(passed=3, failed=1)
    assert summary(result) == "4 leases issued, 3 revoked, 1 leaked"
    result.stdout.fnmatch_lines([f"LEAKED * {LEFT} left by a worker that crashed; revoked *"])
    assert aws_env.users() == []


def test_the_last_crash_is_cleaned_up_too(project: Project, aws_env: Account) -> None:
    """Where no worker is left to do it, the session's own process revokes what a crashed one had leased."""
    result = project.start(
        "import os\n\ndef test_it(dynsecrets_manager, dynsecrets_config):\n"
        "    dynsecrets_manager.issue(dynsecrets_config)\n    os._exit(3)\n",
        *XDIST[:2],
        "-n",
        "1",
        "--max-worker-restart=0",
        conftest=AWS,
    )

    assert result.ret == 1
    assert summary(result) == "1 lease issued, 0 revoked, 1 leaked"
    result.stdout.fnmatch_lines([f"LEAKED * {LEFT} left by a worker that crashed; revoked now"])
    assert aws_env.users() == []


def test_a_crash_while_the_first_lease_is_set_up_is_found(project: Project, aws_env: Account) -> None:
    """A worker that crashes before it has reported anything at all is found by the same run."""
    conftest = (
        AWS
        + """
import os

@pytest.fixture
def crashing(dynsecrets_user):
    os._exit(3)
"""
    )
    result = project.start(
        "def test_it(crashing): pass\n", *XDIST[:2], "-n", "1", "--max-worker-restart=0", conftest=conftest
    )

    assert summary(result) == "1 lease issued, 0 revoked, 1 leaked"
    result.stdout.fnmatch_lines([f"LEAKED * {LEFT} left by a worker *; revoked now"])
    assert aws_env.users() == []


def test_an_interrupted_session_leaves_nothing(project: Project, aws_env: Account) -> None:
    """Ctrl-C ends the session and all workers; what they leased is revoked and counted."""
    project.write("conftest.py", AWS)
    project.write(
        "test_project.py",
        """
import pathlib
import threading
import pytest

@pytest.mark.parametrize("number", range(2))
def test_it(dynsecrets_user, number):
    pathlib.Path(__file__).with_name(f"started{number}").touch()
    threading.Event().wait(200)
""",
    )

    with subprocess.Popen(
        [sys.executable, "-m", "pytest", *PLUGIN, *XDIST],
        cwd=project.folder,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as session:
        wait_until(lambda: len(list(project.folder.glob("started*"))) == 2, "both tests run", timeout_s=120)
        os.killpg(session.pid, signal.SIGINT)
        output, _ = session.communicate(timeout=120)

    assert session.returncode == 2
    assert "dynsecrets: 2 leases issued, 2 revoked, 0 leaked" in output
    assert aws_env.users() == []


def test_a_crash_of_others_is_not_looked_into(project: Project) -> None:
    """Where a worker crashes that leased nothing, nothing is said, and no store is opened."""
    result = project.start("import os\n\ndef test_it():\n    os._exit(3)\n", *XDIST, conftest="")

    assert "dynsecrets:" not in result.stdout.str()
    assert not project.folder.joinpath(".pytest_cache", "dynsecrets").exists()
