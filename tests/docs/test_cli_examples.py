"""The examples of the command run as their first lines say, and leave nothing behind."""

from __future__ import annotations

import re
import shlex
import shutil
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.clients import aws_cli
from support.places import ROOT
from support.processes import clean_environment
from support.scripts import REPORT, reports

if TYPE_CHECKING:
    from pathlib import Path

    from support.accounts import Account
    from support.proxy import Proxy

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the examples are POSIX shell scripts"),
    pytest.mark.reveals,  # The .env file is one of them.
]

EXAMPLES = ROOT / "examples"
USER = r"Dynsecrets-Dynamic-[A-Za-z0-9]{13}"


def programs(folder: Path, **others: str) -> Path:
    """Make a folder for ``PATH`` with ``dynsecrets``, ``aws``, ``python`` and others, each a line of shell."""
    folder.mkdir()
    lines = {
        "dynsecrets": f'exec {shlex.quote(sys.executable)} -m dynsecrets "$@"',
        "aws": f'exec {shlex.join(aws_cli())} "$@"',
        "python": f'exec {shlex.quote(sys.executable)} "$@"',
        **others,
    }
    for name, line in lines.items():
        program = folder / name
        program.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        program.chmod(0o755)
    return folder


def run(
    command: list[str], example: str, tmp_path: Path, environment: dict[str, str], **others: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a copy of an example's folder."""
    folder = tmp_path / example
    shutil.copytree(EXAMPLES / example, folder)
    path = f"{programs(tmp_path / 'bin', **others)}:/usr/local/bin:/usr/bin:/bin"
    settings = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path / "home"), **environment, "PATH": path}
    return subprocess.run(
        command,
        env=clean_environment(**settings),
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def test_instances_are_listed_by_a_leased_user(aws: Account, proxy: Proxy, tmp_path: Path) -> None:
    """The AWS CLI lists the instances twice, each time as a user that may do just that and is gone afterwards."""
    started = aws.client("ec2").run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)
    instance = started["Instances"][0]["InstanceId"]

    done = run(["./describe-instances.sh", aws.region], "shell", tmp_path, aws.environment(url=proxy.url))

    assert done.returncode == 0, done.stderr
    assert f"|  {instance} |" in re.sub(r" +\|", " |", done.stdout)
    assert re.search(rf"^{USER} until \d{{4}}-", done.stdout, re.MULTILINE)
    assert done.stdout.count(instance) == 2
    calls = [call for call in proxy.calls if call.service == "ec2"]
    assert len({call.access_key_id for call in calls} - {aws.access_key_id}) == 2
    assert aws.users() == []


@pytest.mark.parametrize("status", [0, 3])
def test_compose_gets_its_variables_from_a_file(status: int, aws: Account, tmp_path: Path) -> None:
    """Compose finds all that ``compose.yaml`` asks for in ``.env``, which is private; file and user are gone after it.

    A script stands for Docker: it keeps what Compose would read. python-dotenv stands for Compose's reader.
    """
    import dotenv

    docker = f'echo "$@" > ../asked; cp -p .env ../kept; exit {status}'
    environment = {**aws.environment(), "PGPASSWORD": "correct horse"}

    done = run(["./up.sh"], "compose", tmp_path, environment, docker=docker)

    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")
    assert (tmp_path / "asked").read_text(encoding="utf-8") == "compose up --abort-on-container-exit\n"
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o600
    values = dotenv.dotenv_values(tmp_path / "kept")
    compose = (EXAMPLES / "compose" / "compose.yaml").read_text(encoding="utf-8")
    wanted = re.findall(r"\$\{(\w+):", compose)
    assert len(wanted) == 3
    assert all(values[name] for name in wanted)
    assert values["DATABASE_PASSWORD"] == "correct horse"
    assert not (tmp_path / "compose" / ".env").exists()
    assert aws.users() == []


def test_a_child_outlives_its_leases(ministack: Account, tmp_path: Path) -> None:
    """A plain boto3 program goes on through renewals, as one user after the other, and none is left."""
    with reports(ministack):
        command = ["dynsecrets", "run", "--renew", "--dynamic-ttl", "8s", "--", "python", "child.py", "40", "0.3"]
        done = run(["/usr/bin/env", *command], "renewing_child", tmp_path, ministack.environment())

        assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 40
    assert all(re.fullmatch(rf"{USER} read {len(REPORT)} bytes", line) for line in lines)
    assert len({line.split()[0] for line in lines}) > 1
    assert ministack.users() == []
