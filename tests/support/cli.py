"""A project's folder, and the command run in it as somebody would: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from support.places import ROOT
from support.processes import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

    from support.accounts import Account

POLICY: Final = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}],
}
TOML: Final = """\
project = "dynamic-secret"
environment = "dev"
config = "dev"
store = "sqlite:///leases.db"

[integrations.aws]
type = "aws-iam"

[dynamic_secrets.AWS_USER]
integration = "aws"
policy = "app-policy.json"

[secrets]
DATABASE_HOST = "db.internal"
DATABASE_PASSWORD = { env = "PGPASSWORD" }
"""
PASSWORD: Final = "correct horse battery staple"


class Workplace:
    """A folder with a ``dynsecrets.toml``, and the environment of somebody who works there."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = {"PGPASSWORD": PASSWORD, **environment}
        self.write(TOML)
        folder.joinpath("app-policy.json").write_text(json.dumps(POLICY), encoding="utf-8")

    @property
    def file(self) -> Path:
        """The project's file."""
        return self.folder / "dynsecrets.toml"

    def write(self, toml: str) -> None:
        """Write the project's file."""
        self.file.write_text(toml, encoding="utf-8")

    def command(self, *arguments: str) -> list[str]:
        """Return how to start the command."""
        return [sys.executable, "-W", "error", "-m", "dynsecrets", *arguments]

    def full_environment(self) -> dict[str, str]:
        """Return the environment of a process here."""
        return clean_environment(PYTHONPATH=str(ROOT), PYTHONIOENCODING="utf-8", **self.environment)

    def start(self, *arguments: str, **settings: Any) -> subprocess.Popen[str]:
        """Start the command, with pipes for what it prints."""
        return subprocess.Popen(
            self.command(*arguments),
            **{
                "env": self.full_environment(),
                "cwd": self.folder,
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "encoding": "utf-8",
                **settings,
            },
        )

    def run(self, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        process = self.start(*arguments, **settings)
        output, errors = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def leases(self, *arguments: str) -> list[dict[str, Any]]:
        """Return what ``leases --json`` prints."""
        done = self.run("leases", "--json", *arguments)
        assert done.returncode == 0, done.stderr
        listed: list[dict[str, Any]] = json.loads(done.stdout)
        return listed


def workplace(folder: Path, account: Account, *, url: str | None = None) -> Workplace:
    """Make a workplace for an account, by way of a proxy where given."""
    folder.mkdir(exist_ok=True)
    return Workplace(folder, {**account.environment(url=url), "HOME": os.fspath(folder / "home")})


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line on stderr, of which there must be no more."""
    (line,) = done.stderr.splitlines()
    assert line.startswith("dynsecrets: ")
    return line.removeprefix("dynsecrets: ")
