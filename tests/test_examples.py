"""The examples run as their first lines say, and leave nothing behind."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from support.docs import ROOT
from support.processes import free_port
from support.scripts import REPORT, reports, run_python

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from support.accounts import Account

EXAMPLES = ROOT / "examples"
USER = r"Dynsecrets-Dynamic-[A-Za-z0-9]{13}"
#: moto, which the demo loads into its own process, is not this project's to keep free of warnings.
QUIET = "default"


def run(example: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run an example in a folder of its own."""
    return run_python(
        [str(EXAMPLES / example)], folder, environment, warnings=QUIET if example == "demo.py" else "error"
    )


def test_quickstart_reads_an_object(aws: Account, tmp_path: Path) -> None:
    """The quickstart leases a user, reads with it, and revokes it."""
    with reports(aws):
        done = run("quickstart.py", tmp_path, aws.environment())

    assert done.returncode == 0, done.stderr
    leased, read, revoked = done.stdout.splitlines()
    assert re.fullmatch(rf"leased  {USER} until \d\d:\d\d:\d\d UTC", leased)
    assert read == f"read    s3://reports/2026.csv: {len(REPORT)} bytes"
    assert revoked.split()[1] == leased.split()[1]
    assert aws.users() == []


def test_decorator_leases_for_each_call(aws: Account, tmp_path: Path) -> None:
    """Each call, plain or async, gets a user of its own, and none is left."""
    done = run("decorator.py", tmp_path, aws.environment())

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.rpartition(" ")[0] for line in lines] == ["plain", "async 0", "async 1", "async 2"]
    users = {line.rpartition(" ")[2] for line in lines}
    assert len(users) == 4
    assert all(re.fullmatch(USER, user) for user in users)
    assert aws.users() == []


def test_custom_integration_leases_a_login(tmp_path: Path) -> None:
    """The example's own integration needs no AWS: the login works in the block only, and its password isn't shown."""
    done = run("custom_integration.py", tmp_path, {})

    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if not line.startswith(("leased", "values"))] == [
        "login   True",
        "revoked True",
        "login   False",
    ]
    assert "'DB_PASSWORD': '********'" in done.stdout


def test_demo_shows_before_during_and_after(tmp_path: Path) -> None:
    """The demo needs no AWS settings and no home folder, shows each step, and prints no escape codes to a pipe."""
    done = run("demo.py", tmp_path, {"HOME": ""})

    assert done.returncode == 0, done.stderr
    heads = [line.split()[0] for line in done.stdout.splitlines() if line and not line.startswith(" ")]
    assert heads == ["account", "before", "leased", "during", "used", "revoked", "after", "All"]
    assert "IAM calls: 3 (CreateUser, " in done.stdout
    assert "(DeleteAccessKey, DeleteUserPolicy, DeleteUser)" in done.stdout.replace(
        "DeleteUserPolicy, DeleteAccessKey", "DeleteAccessKey, DeleteUserPolicy"
    )
    assert re.search(r"AWS_USER_SECRET_ACCESS_KEY +\*{8}\n", done.stdout)
    assert re.search(rf"user +{USER}: NoSuchEntity", done.stdout)
    assert "\033" not in done.stdout
    assert done.stderr == ""
    assert not list(tmp_path.iterdir())


def test_demo_ignores_the_users_own_aws_settings(tmp_path: Path) -> None:
    """Embedded, the demo calls nothing but its own server, whatever account, profile and proxy are set."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    settings = {"AWS_PROFILE": "none", "AWS_ENDPOINT_URL": nowhere, "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere}

    done = run("demo.py", tmp_path, settings)

    assert done.returncode == 0, done.stderr
    assert "account  123456789012 (embedded" in done.stdout


def test_demo_runs_on_the_account_at_hand(ministack: Account, tmp_path: Path) -> None:
    """With ``DYNSECRETS_DEMO=aws`` it says first which account, calls IAM and STS only, and leaves no user."""
    done = run("demo.py", tmp_path, {**ministack.environment(), "DYNSECRETS_DEMO": "aws"})

    assert done.returncode == 0, done.stderr
    first = next(line for line in done.stdout.splitlines() if line)
    assert first.startswith(f"account  {ministack.id} (the one at hand)")
    assert "s3:GetObject reports" not in done.stdout
    assert re.search(r"iam:ListUsers +AccessDenied", done.stdout)
    assert ministack.users() == []


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"DYNSECRETS_DEMO": "azure"}, "error: DYNSECRETS_DEMO is 'azure'"),
        ({"DYNSECRETS_DEMO": "aws"}, "error: NoCredentialsError"),
    ],
)
def test_demo_fails_in_one_line(environment: dict[str, str], says: str, tmp_path: Path) -> None:
    """What can't work ends with status 1 and one line that says why."""
    done = run("demo.py", tmp_path, environment)

    assert done.returncode == 1
    assert done.stderr.startswith(says)
    assert len(done.stderr.splitlines()) == 1
