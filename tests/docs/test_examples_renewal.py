"""The examples of renewal and of the pool run as their first lines say, and leave nothing behind."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.places import ROOT
from support.processes import clean_environment
from support.scripts import BUCKET, reports, run_python

if TYPE_CHECKING:
    from pathlib import Path

    from support.accounts import Account

EXAMPLES = ROOT / "examples"
USER = r"Dynsecrets-Dynamic-[A-Za-z0-9]{13}"
#: So short that there are renewals within seconds, and that a slow machine has seconds for them.
TTL = "8s"


def run(arguments: list[str], account: Account, folder: Path) -> list[str]:
    """Run an example to its end; return what it printed."""
    done = run_python([str(EXAMPLES / arguments[0]), *arguments[1:]], folder, account.environment())
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_worker_goes_on_across_renewals(aws: Account, tmp_path: Path) -> None:
    """Every round of the worker succeeds, on several users one after the other, and none is left."""
    with reports(aws):
        lines = run(["worker.py", "--ttl", TTL, "--every", "0.25", "--rounds", "40"], aws, tmp_path)

    rounds = [line for line in lines if line.startswith("round")]
    users = [line.split()[1] for line in lines if line.startswith(("leased", "renewed"))]
    assert rounds == [f"round {number}: 1 objects" for number in range(1, 41)]
    assert len(users) >= 2
    assert len(set(users)) == len(users)
    assert all(re.fullmatch(USER, user) for user in users)
    assert lines[-1] == "revoked"
    assert aws.users() == []


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM is POSIX's")
def test_the_worker_revokes_when_it_is_stopped(aws: Account, tmp_path: Path) -> None:
    """SIGTERM, by which services are stopped, ends the worker in order."""
    environment = clean_environment(PYTHONPATH=os.pathsep.join((str(tmp_path), str(ROOT))), **aws.environment())
    with reports(aws):
        worker = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "worker.py"), "--bucket", BUCKET],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        with worker:
            assert worker.stdout is not None
            first = [worker.stdout.readline() for _ in range(2)]
            during = aws.users()
            worker.send_signal(signal.SIGTERM)
            rest = worker.stdout.read()

    assert first[1] == "round 1: 1 objects\n"
    assert during == [first[0].split()[1]]
    assert (worker.returncode, rest) == (0, "revoked\n")
    assert aws.users() == []


def test_the_application_serves_across_renewals(aws: Account, tmp_path: Path) -> None:
    """All requests are answered, by the user of the moment, and the application stops in order."""
    *lines, last = run(["application.py", TTL, "40"], aws, tmp_path)

    answers = [ast.literal_eval(line.replace("} {", "}, {")) for line in lines]
    assert len(answers) == 40
    assert len({who["user"] for who, _ in answers}) >= 2
    assert {health["healthy"] for _, health in answers} == {True}
    assert last == "stopped"
    assert aws.users() == []


def test_the_pool_serves_each_request_with_a_user_of_its_own(aws: Account, tmp_path: Path) -> None:
    """Five requests are five users; what was made and not used is revoked too."""
    lines = run(["pooled.py"], aws, tmp_path)

    users = [line.rpartition(" ")[2] for line in lines]
    assert [line.rpartition(" ")[0] for line in lines] == [f"request {number} was handled by" for number in range(5)]
    assert len(set(users)) == 5
    assert aws.users() == []
