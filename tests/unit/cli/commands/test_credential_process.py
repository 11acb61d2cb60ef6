"""``credential-process``: what SDKs and the AWS CLI read from a profile, with one user for many calls."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from dynsecrets import DynamicSecretConfig, Integration, LeaseManager, SQLiteLeaseStore
from dynsecrets.__main__ import main
from support.cli import POLICY, TOML, Workplace, only_line, workplace
from support.clients import aws_cli
from support.places import ROOT
from support.processes import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

    from support.accounts import Account
    from support.proxy import Proxy

pytestmark = pytest.mark.reveals  # Printing a secret is what it is for.

STS = json.dumps({**POLICY, "Statement": [{"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}]})
TWENTY = """\
import boto3
session = boto3.Session(profile_name="app")
arns = {session.client("sts").get_caller_identity()["Arn"] for _ in range(20)}
print(*arns)
"""


def profile(work: Workplace, account: Account) -> dict[str, str]:
    """Write an AWS config file with a profile that runs the command; return the environment of its user.

    The profile's user has no credentials beside: those of the integration are in a profile of their own.
    """
    work.write(TOML.replace('type = "aws-iam"', 'type = "aws-iam"\nprofile = "admin"'))
    (work.folder / "app-policy.json").write_text(STS, encoding="utf-8")
    words = [sys.executable, "-m", "dynsecrets", "--config", str(work.file), "credential-process", "AWS_USER"]
    config = work.folder / "aws-config"
    config.write_text(
        f"[profile app]\nregion = {account.region}\ncredential_process = {shlex.join(words)}\n"
        f"[profile admin]\nregion = {account.region}\naws_access_key_id = {account.access_key_id}\n"
        f"aws_secret_access_key = {account.secret_access_key}\n",
        encoding="utf-8",
    )
    return clean_environment(
        PYTHONPATH=str(ROOT),
        AWS_CONFIG_FILE=str(config),
        AWS_SHARED_CREDENTIALS_FILE=str(work.folder / "none"),
        AWS_ENDPOINT_URL=account.url,
        HOME=str(work.folder / "home"),
    )


def test_it_prints_what_the_protocol_wants(work: Workplace, aws: Account) -> None:
    """One JSON object of Version 1 with an expiration, and nothing else; the lease outlives the process."""
    done = work.run("credential-process", "AWS_USER")

    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    (lease,) = work.leases()
    assert set(answer) == {"Version", "AccessKeyId", "SecretAccessKey", "Expiration"}
    assert (answer["Version"], answer["Expiration"]) == (1, lease["expires_at"])
    assert datetime.fromisoformat(answer["Expiration"]).tzinfo is not None
    assert aws.users() == [lease["user"]]
    keys = {"AWS_ACCESS_KEY_ID": answer["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": answer["SecretAccessKey"]}
    assert aws.client_of(keys, "sts").get_caller_identity()["Arn"].endswith(lease["user"])


def test_a_boto3_session_that_calls_twenty_times_is_one_user(tmp_path: Path, ministack: Account) -> None:
    """A profile authenticates boto3, which asks once."""
    work = workplace(tmp_path / "work", ministack)
    environment = profile(work, ministack)

    done = subprocess.run(
        [sys.executable, "-c", TWENTY],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert done.returncode == 0, done.stderr
    (user,) = ministack.users()
    assert done.stdout.strip() == f"arn:aws:iam::{ministack.id}:user/dynsecrets/{user}"


def test_the_aws_cli_authenticates(tmp_path: Path, ministack: Account) -> None:
    """The AWS CLI does too; each of its commands is a process, and hence a user of its own."""
    work = workplace(tmp_path / "work", ministack)
    environment = profile(work, ministack)
    command = [*aws_cli(), "--profile", "app", "sts", "get-caller-identity", "--output", "json"]

    arns = []
    for _ in range(2):
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, done.stderr
        arns.append(json.loads(done.stdout)["Arn"])

    assert sorted(arn.rpartition("/")[2] for arn in arns) == ministack.users()
    assert len(ministack.users()) == 2


@pytest.mark.parametrize(
    ("toml", "arguments"),
    [(TOML.replace("[secrets]", 'default_ttl = "29m59s"\n[secrets]'), []), (TOML, ["--dynamic-ttl", "10m"])],
)
def test_a_short_ttl_is_refused(toml: str, arguments: list[str], work: Workplace, aws: Account) -> None:
    """Under thirty minutes an SDK would ask for a user at each call: that is a usage error that quotes the TTL."""
    work.write(toml)

    done = work.run("credential-process", "AWS_USER", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert "'29m59s'" in only_line(done) or "'10m'" in only_line(done)
    assert "30m or more" in only_line(done)
    assert work.leases("--all") == []


def test_a_program_can_do_it_twice(work: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """``main()`` may be called again in the same process, and with text for a standard output."""
    monkeypatch.chdir(work.folder)
    monkeypatch.delenv("DYNSECRETS_STORE", raising=False)
    for name, value in work.environment.items():
        monkeypatch.setenv(name, value)
    keys = set()

    for _ in range(2):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            assert main(["credential-process", "AWS_USER"]) == 0
        keys.add(json.loads(output.getvalue())["AccessKeyId"])

    assert len(keys) == 2


def test_thirty_minutes_are_enough(work: Workplace) -> None:
    """The default TTL is accepted, and so is a longer one that is asked for."""
    done = work.run("credential-process", "AWS_USER", "--dynamic-ttl", "1h")

    assert done.returncode == 0, done.stderr
    assert work.leases()[0]["remaining_s"] > 3500


def test_it_does_not_start_itself_for_ever(tmp_path: Path, ministack: Account) -> None:
    """With ``AWS_PROFILE`` naming the profile that runs it, and no profile of its own, it ends with a line."""
    work = workplace(tmp_path / "work", ministack)
    environment = {**profile(work, ministack), "AWS_PROFILE": "app"}
    own = subprocess.run(
        [*aws_cli(), "sts", "get-caller-identity"], env=environment, cwd=tmp_path, capture_output=True, check=False
    )
    work.write(TOML)

    done = subprocess.run(
        [*aws_cli(), "sts", "get-caller-identity"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )

    assert own.returncode == 0, own.stderr
    assert done.returncode != 0
    assert "from the very profile that runs it" in done.stderr
    assert len(ministack.users()) == 1


def test_a_wrong_name_is_one_line(work: Workplace) -> None:
    """A dynamic secret that there isn't is told with the nearest one; static secrets' variables aren't needed."""
    del work.environment["PGPASSWORD"]

    done = work.run("credential-process", "AWS_USR")

    assert (done.returncode, done.stdout) == (1, "")
    assert only_line(done).endswith("no dynamic secret 'AWS_USR'; did you mean AWS_USER?")


def test_what_is_overdue_is_reaped_each_time(work: Workplace, aws: Account) -> None:
    """A lease whose revocation failed earlier is gone after the next run."""
    store = SQLiteLeaseStore(work.folder / "leases.db")
    integration = Integration.aws_iam(
        access_key_id=aws.access_key_id, secret_access_key=aws.secret_access_key, endpoint_url=aws.url
    )
    with LeaseManager(store) as manager:
        lease = manager.issue(DynamicSecretConfig("AWS_USER", integration), wait=None)
        record = manager.get(lease.id)
        store.update(record.failed(now=record.created_at, error="x", jitter=0, handle=record.handle))

        done = work.run("credential-process", "AWS_USER")

        assert done.returncode == 0, done.stderr
        assert str(manager.get(lease.id).state) == "revoked"
    store.close()
    assert len(aws.users()) == 1


def test_reaping_that_hangs_delays_nobody_for_long(tmp_path: Path, aws: Account, proxy: Proxy) -> None:
    """A third party that doesn't answer the reaper keeps the SDK waiting for seconds only; nothing is said."""
    work = workplace(tmp_path / "work", aws, url=proxy.url)
    program = (
        "import sys, threading\n"
        "from dynsecrets import LeaseManager\n"
        "from dynsecrets.cli.commands import credential_process\n"
        "credential_process._REAPING_S = 0.1\n"
        "LeaseManager.reap = lambda *args, **kwargs: threading.Event().wait()\n"
        "from dynsecrets.__main__ import main\n"
        "sys.exit(main(['credential-process', 'AWS_USER']))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env=work.full_environment(),
        cwd=work.folder,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["Version"] == 1


def test_reaping_that_fails_is_no_harm(work: Workplace, aws: Account) -> None:
    """What can't be reaped is a warning on stderr; the credential is printed all the same."""
    program = (
        "import sys\n"
        "from dynsecrets import LeaseManager, StoreError\n"
        "def fail(*args, **kwargs):\n    raise StoreError('the disk is tired')\n"
        "LeaseManager.reap = fail\n"
        "from dynsecrets.__main__ import main\n"
        "sys.exit(main(['credential-process', 'AWS_USER']))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env=work.full_environment(),
        cwd=work.folder,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )

    assert done.returncode == 0
    assert only_line(done) == "Overdue leases could not be reaped: the disk is tired"
    assert json.loads(done.stdout)["Version"] == 1


def test_an_sdk_that_is_gone_gets_nothing(tmp_path: Path, aws: Account, proxy: Proxy) -> None:
    """Where nobody reads the answer, the lease is revoked."""
    work = workplace(tmp_path / "work", aws, url=proxy.url)
    reading, writing = os.pipe()
    with open(writing, "w", encoding="utf-8") as pipe:
        held = proxy.fail("CreateUser", "hold")
        process = work.start("credential-process", "AWS_USER", stdout=pipe)
        assert held.arrived.wait(60)
        os.close(reading)
        held.release()
    _, errors = process.communicate(timeout=120)

    assert process.returncode == 1
    assert errors == "dynsecrets: nobody reads the output\n"
    assert aws.users() == []
