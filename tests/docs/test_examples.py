"""The examples run as their first lines say, and leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from dynsecrets import DynamicSecretConfig, Integration, LeaseManager, open_store
from dynsecrets.testing import FakeClock
from support.places import ROOT
from support.processes import clean_environment, free_port, wait_until
from support.scripts import REPORT, reports, run_python

if TYPE_CHECKING:
    from pathlib import Path

    from support.accounts import Account
    from support.moto_server import MotoServer

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
    """The example's own integration needs no AWS: its login works in the block only, and its row is deleted later."""
    done = run("custom_integration.py", tmp_path, {})

    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if not line.startswith(("leased", "values"))] == [
        "login   True",
        "revoked True",
        "login   False",
        "rows    1",
        "rows    0 a day later",
    ]
    assert "'DB_HOST': 'db.internal'" in done.stdout
    assert "'DB_PASSWORD': '********'" in done.stdout


def test_embedding_keeps_to_itself(aws: Account, tmp_path: Path, home: Path) -> None:
    """The tool has users, a store and metrics of its own, and leaves the user's own default store alone."""
    done = run("embedding.py", tmp_path, {**aws.environment(), "DYNSECRETS_STORE": "sqlite:///not-mine.db"})

    assert done.returncode == 0, done.stderr
    *deployed, counted = done.stdout.splitlines()
    assert [line.rpartition(" as ")[0] for line in deployed] == ["deployed to staging", "deployed to production"]
    users = {line.rpartition(" ")[2] for line in deployed}
    assert len(users) == 2
    assert all(re.fullmatch(r"Deployer-[A-Za-z0-9]{13}", user) for user in users)
    assert counted == "issued 2, revoked 2"
    assert {path.name for path in tmp_path.iterdir()} == {"state"}
    assert not home.exists()
    assert aws.users("/deployer/") == []


@pytest.fixture
def two_accounts(moto_server: MotoServer, tmp_path: Path) -> dict[str, Account]:
    """Two accounts by name, and a file of the AWS config in which each is a profile."""
    accounts = {name: moto_server.new_account() for name in ("billing", "shop")}
    sections = [
        f"[profile {name}]\naws_access_key_id = {account.access_key_id}\n"
        f"aws_secret_access_key = {account.secret_access_key}\nregion = us-east-1\n"
        for name, account in accounts.items()
    ]
    tmp_path.joinpath("config").write_text("\n".join(sections), encoding="utf-8")
    return accounts


def leave_overdue(account: Account, name: str, url: str) -> None:
    """Lease a user for a second, as a process does that ends right after it."""
    # For its own manager the second never ends, or that might revoke the user itself.
    clock = FakeClock(datetime.now(UTC))
    with contextlib.closing(open_store(url)) as store, LeaseManager(store, clock=clock) as manager:
        aws = Integration.aws_iam(name, session=account.session(), endpoint_url=account.url)
        manager.issue(DynamicSecretConfig("AWS_USER", aws, wait=None), "1s")


def test_fleet_reaper_revokes_in_all_accounts(two_accounts: dict[str, Account], aws: Account, tmp_path: Path) -> None:
    """It revokes in each account with that account's credentials, and goes on where one of them fails."""
    url = f"sqlite:///{tmp_path / 'leases.db'}"
    leave_overdue(aws, "nobody", url)  # An account whose profile is not on this machine.
    for name, account in two_accounts.items():
        leave_overdue(account, name, url)
    settings = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_ENDPOINT_URL": two_accounts["shop"].url}
    accounts = [word for name in ("nobody", *two_accounts) for word in ("--account", name)]
    rounds: list[subprocess.CompletedProcess[str]] = []

    def all_are_gone() -> bool:
        arguments = [str(EXAMPLES / "fleet_reaper.py"), "--store", url, *accounts]
        rounds.append(run_python(arguments, tmp_path, settings))
        # By its own clock the lease of the unknown account may be over last.
        return rounds[-1].returncode == 1 and not any(account.users() for account in two_accounts.values())

    wait_until(all_are_gone, "both leases are over and revoked, and the third is over")

    printed = "".join(done.stdout for done in rounds)
    assert all(printed.count(f"{name}: 1 revoked, 0 failed") == 1 for name in two_accounts)
    assert rounds[-1].returncode == 1
    assert "nobody: 0 revoked, 1 failed" in rounds[-1].stdout or rounds[-1].stderr.startswith("nobody: ")
    assert len(aws.users()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM is POSIX's")
def test_fleet_reaper_goes_on_until_it_is_stopped(two_accounts: dict[str, Account], tmp_path: Path) -> None:
    """With a pause given it reaps again and again, and SIGTERM ends it in order."""
    url = f"sqlite:///{tmp_path / 'leases.db'}"
    settings = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_ENDPOINT_URL": two_accounts["shop"].url}
    command = [sys.executable, str(EXAMPLES / "fleet_reaper.py"), "--store", url, "--account", "shop", "--every", "0.1"]
    environment = clean_environment(PYTHONPATH=str(ROOT), **settings)

    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as reaper:
        assert reaper.stdout is not None
        lines = [reaper.stdout.readline() for _ in range(3)]
        reaper.send_signal(signal.SIGTERM)
        reaper.wait(60)

    assert lines == ["shop: 0 revoked, 0 failed\n"] * 3
    assert reaper.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="the example's lock is POSIX's")
def test_custom_store_passes_the_suite(tmp_path: Path) -> None:
    """The suite of the library runs on the example's store, all of it but what a store may leave out."""
    suite = EXAMPLES / "custom_store"
    arguments = ["-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "no:asyncio", "--rootdir", str(suite)]

    done = run_python([*arguments, "-c", os.devnull, str(suite)], tmp_path, {"TMPDIR": str(tmp_path)}, warnings=QUIET)

    assert done.returncode == 0, done.stdout
    assert re.search(r"\d{2} passed, 2 skipped", done.stdout)
    assert "no index of processes" in done.stdout
    assert "unreadable" not in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="the example's lock is POSIX's")
def test_custom_store_serves_a_manager(aws: Account, tmp_path: Path) -> None:
    """A lease through the example's store ends as through any, and another process of the machine finds its record."""
    script = (
        "import sys; from pathlib import Path; from json_store import JSONFolderStore\n"
        "from dynsecrets import DynamicSecretConfig, Integration, LeaseManager, lease\n"
        "with LeaseManager(JSONFolderStore(Path('leases'))) as manager:\n"
        "    with lease(DynamicSecretConfig('AWS_USER', Integration.aws_iam()), manager=manager): pass\n"
        "    print([record.state.value for record in manager.records()])\n"
    )
    environment = aws.environment()

    printed = []
    for _ in range(2):
        done = run_python(
            ["-c", f"import sys; sys.path.insert(0, {str(EXAMPLES / 'custom_store')!r})\n{script}"],
            tmp_path,
            environment,
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.strip())

    assert printed == ["['revoked']", "['revoked', 'revoked']"]
    assert aws.users() == []


def test_each_example_is_listed_and_tested() -> None:
    """The list of examples names each of them, and each is named by a test that runs it."""
    there = {path.relative_to(EXAMPLES).parts[0] for path in EXAMPLES.rglob("*") if path.is_file()}
    listed = set(
        re.findall(r"^\| \[`([\w./]+?)/?`\]", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))

    shown = {name for name in there if not name.startswith("__")} - {"README.md"}
    assert listed == shown
    assert [name for name in shown if name not in tests] == []


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
