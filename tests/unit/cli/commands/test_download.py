"""``secrets download``: all values, once, in the format asked for; or nothing, and no lease."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dynsecrets.cli.commands import download
from dynsecrets.delivery.formats import FORMATS
from support.cli import PASSWORD, TOML, Workplace, only_line, workplace
from support.processes import wait_until

if TYPE_CHECKING:
    from support.accounts import Account
    from support.proxy import Proxy

pytestmark = pytest.mark.reveals  # Writing secrets is what it is for.


def test_a_download_is_the_json_of_everything(work: Workplace, aws: Account) -> None:
    """Static values, a leased user, and the names of project, environment and config, sorted; the lease stays."""
    done = work.run("secrets", "download", "--no-file")

    assert (done.returncode, done.stderr) == (0, "")
    values = json.loads(done.stdout)
    assert list(values) == [
        "AWS_USER_ACCESS_KEY_ID",
        "AWS_USER_ARN",
        "AWS_USER_LEASE_EXPIRATION",
        "AWS_USER_LEASE_ID",
        "AWS_USER_POLICY_NAME",
        "AWS_USER_SECRET_ACCESS_KEY",
        "AWS_USER_USERNAME",
        "AWS_USER_USER_ID",
        "DATABASE_HOST",
        "DATABASE_PASSWORD",
        "DYNSECRETS_CONFIG",
        "DYNSECRETS_ENVIRONMENT",
        "DYNSECRETS_PROJECT",
    ]
    assert (values["DATABASE_PASSWORD"], values["DYNSECRETS_PROJECT"]) == (PASSWORD, "dynamic-secret")
    assert aws.users() == [values["AWS_USER_USERNAME"]]
    assert [lease["id"] for lease in work.leases()] == [values["AWS_USER_LEASE_ID"]]


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_can_be_downloaded(name: str, work: Workplace) -> None:
    """Each format holds the static value, in a file of mode 0600."""
    work.environment["PGPASSWORD"] = "hunter2"

    done = work.run("secrets", "download", "out.txt", "--format", name)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    file = work.folder / "out.txt"
    assert "hunter2" in file.read_text(encoding="utf-8")
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_names_can_be_transformed(work: Workplace, aws: Account) -> None:
    """``--name-transformer`` spells the names as their readers do; one that the format can't have revokes."""
    done = work.run("secrets", "download", "--no-file", "--name-transformer", "tf-var")
    refused = work.run("secrets", "download", "x.env", "--format", "env", "--name-transformer", "lower-kebab")

    assert json.loads(done.stdout)["TF_VAR_database_password"] == PASSWORD
    assert refused.returncode == 1
    assert "can't be the name of an environment variable" in only_line(refused)
    assert len(aws.users()) == 1


def test_the_ttl_can_be_chosen(work: Workplace) -> None:
    """``--dynamic-ttl`` is the TTL of each lease."""
    work.run("secrets", "download", "--no-file", "--dynamic-ttl", "3h")

    (lease,) = work.leases()

    assert 10_700 < lease["remaining_s"] <= 10_800


def test_a_ttl_over_the_maximum_is_a_usage_error(work: Workplace, aws: Account) -> None:
    """Over ``max_ttl`` of one of them nothing is leased, and the status is 2."""
    done = work.run("secrets", "download", "--no-file", "--dynamic-ttl", "25h")

    assert (done.returncode, done.stdout) == (2, "")
    assert "'25h'" in only_line(done)
    assert work.leases("--all") == []


def test_a_file_is_never_overwritten(work: Workplace, aws: Account) -> None:
    """A file, a folder or a dangling link of that name is left as it is, and nothing is leased."""
    (work.folder / "there.env").write_text("mine", encoding="utf-8")
    (work.folder / "link.env").symlink_to(work.folder / "nowhere")

    for name in ("there.env", "link.env", "."):
        done = work.run("secrets", "download", name)
        assert done.returncode == 1
        assert "exists already" in only_line(done)
    gone = work.run("secrets", "download", "no-folder/x.env")

    assert gone.returncode == 1
    assert "the folder no-folder doesn't exist" in only_line(gone)
    assert (work.folder / "there.env").read_text(encoding="utf-8") == "mine"
    assert not (work.folder / "nowhere").exists()
    assert work.leases("--all") == []


def test_a_file_that_appears_meanwhile_is_left_alone(tmp_path: Path, aws: Account, proxy: Proxy) -> None:
    """Where somebody else makes the file while the user is being leased, the lease is revoked."""
    work = workplace(tmp_path / "work", aws, url=proxy.url)
    held = proxy.fail("CreateUser", "hold")
    process = work.start("secrets", "download", "late.env")
    assert held.arrived.wait(60)

    (work.folder / "late.env").write_text("mine", encoding="utf-8")
    held.release()
    output, errors = process.communicate(timeout=120)

    assert (process.returncode, output) == (1, "")
    assert errors == "dynsecrets: late.env: File exists\n"
    assert (work.folder / "late.env").read_text(encoding="utf-8") == "mine"
    assert aws.users() == []


def test_what_a_format_cannot_carry_leaves_nothing(work: Workplace, aws: Account) -> None:
    """A line break in Docker's format is an error that names the key; no file is made, and no lease stays."""
    work.environment["PGPASSWORD"] = "two\nlines"

    done = work.run("secrets", "download", "app.env", "--format", "docker")

    assert done.returncode == 1
    assert "DATABASE_PASSWORD" in only_line(done)
    assert "two" not in done.stderr
    assert not (work.folder / "app.env").exists()
    assert aws.users() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_full_disk_revokes(work: Workplace, aws: Account) -> None:
    """Where standard output can't take it, the leases are revoked, and one line says so."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = work.run("secrets", "download", "--no-file", stdout=full)

    assert done.returncode == 1
    assert "No space left" in only_line(done)
    assert aws.users() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_revoking_is_not_interrupted(tmp_path: Path, aws: Account, proxy: Proxy) -> None:
    """Ctrl-C, again and again, doesn't keep what nobody got from being revoked."""
    work = workplace(tmp_path / "work", aws, url=proxy.url)
    held = proxy.fail("DeleteAccessKey", "hold")
    with open("/dev/full", "w", encoding="utf-8") as full:
        process = work.start("secrets", "download", "--no-file", stdout=full)
    assert held.arrived.wait(60)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        process.send_signal(number)
    held.release()
    _, errors = process.communicate(timeout=120)

    assert process.returncode == 1
    assert "No space left" in errors
    assert aws.users() == []


def test_a_file_that_cannot_be_finished_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full midway leaves no half of a file."""

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError, match="No space"):
        download.write_new(tmp_path / "x.env", b"secret")

    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_is_gone_revokes(work: Workplace, aws: Account) -> None:
    """A broken pipe is one line and status 1, and the leases are revoked: nobody has read them."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as pipe:
        done = work.run("secrets", "download", "--no-file", stdout=pipe)

    assert done.returncode == 1
    assert only_line(done) == "nobody reads the output"
    assert aws.users() == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_a_closed_output_leases_nothing(work: Workplace, aws: Account) -> None:
    """Without a standard output there is nothing to lease for."""
    script = ["sh", "-c", 'exec "$@" >&-', "sh", *work.command("secrets", "download", "--no-file")]

    done = subprocess.run(
        script, env=work.full_environment(), cwd=work.folder, stderr=subprocess.PIPE, encoding="utf-8", check=False
    )

    assert done.returncode == 1
    assert "standard output is closed" in only_line(done)
    assert work.leases("--all") == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_an_interrupt_revokes(number: signal.Signals, status: int, tmp_path: Path, aws: Account, proxy: Proxy) -> None:
    """A signal while a user is being leased ends with the lease revoked, and a status that says so."""
    work = workplace(tmp_path / "work", aws, url=proxy.url)
    held = proxy.fail("CreateUser", "hold")
    process = work.start("secrets", "download", "x.env")
    assert held.arrived.wait(60)

    process.send_signal(number)
    held.release()
    output, errors = process.communicate(timeout=120)

    assert (process.returncode, output) == (status, "")
    assert "Traceback" not in errors
    assert not (work.folder / "x.env").exists()
    assert aws.users() == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(
    "command", [("secrets", "download", "x.env"), ("run", "--", "true"), ("run", "--renew", "true")], ids=" ".join
)
def test_a_key_that_does_not_work_is_not_waited_for(
    command: tuple[str, ...], tmp_path: Path, aws: Account, proxy: Proxy
) -> None:
    """A signal while a key is awaited ends the command within seconds, not after the minute that it may take."""
    work = workplace(tmp_path / "work", aws, url=proxy.url)
    proxy.fail("GetCallerIdentity", ("InvalidClientTokenId", 403), times=None)
    process = work.start(*command)
    wait_until(lambda: proxy.count("GetCallerIdentity") > 1, "the wait for the key")

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)

    assert process.returncode == 143
    assert aws.users() == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("command", [("secrets", "download", "x.env"), ("run", "--", "true")], ids=" ".join)
def test_a_second_signal_ends_it_at_once(command: tuple[str, ...], tmp_path: Path, aws: Account, proxy: Proxy) -> None:
    """Where AWS never answers, the first Ctrl-C says what is waited for; the second ends it and names what is left."""
    work = workplace(tmp_path / "work", aws, url=proxy.url)
    held = proxy.fail("CreateUser", "hold")
    process = work.start(*command)
    assert process.stderr is not None
    wait_until(lambda: proxy.count("CreateUser") > 0, "the user")

    process.send_signal(signal.SIGINT)
    explained = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    last = process.stderr.readline()
    process.wait(20)
    held.release()
    process.communicate()

    (lease,) = work.leases()
    assert process.returncode == 130
    assert f"AWS_USER ({lease['id']})" in explained
    assert lease["id"] in last


def test_a_store_in_memory_is_refused(work: Workplace, aws: Account) -> None:
    """What is leased with it would be gone when the command ends."""
    work.environment["DYNSECRETS_STORE"] = "memory://"

    for arguments in (["secrets", "download", "--no-file"], ["credential-process", "AWS_USER"]):
        done = work.run(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert "a store in memory" in only_line(done)


def test_a_store_in_memory_will_do_for_static_secrets(work: Workplace) -> None:
    """Where nothing is leased there is nothing to outlive the command."""
    work.environment["DYNSECRETS_STORE"] = "memory://"
    work.write('project = "p"\nenvironment = "e"\nconfig = "c"\n\n[secrets]\nHOST = "db.internal"\n')

    done = work.run("secrets", "download", "--no-file")

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["HOST"] == "db.internal"


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--", "touch", "started"),
        ("run", "--renew", "--", "touch", "started"),
        ("secrets", "download", "x.env"),
        ("credential-process", "AWS_USER"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_leased_is_one_line(arguments: tuple[str, ...], work: Workplace) -> None:
    """Where nobody can be asked for a user, one line says why, whichever command it was, and nothing is begun."""
    work.environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    work.write(TOML.replace('"aws-iam"', '"aws-iam"\nbotocore_config = { retries = { total_max_attempts = 1 } }'))

    done = work.run(*arguments)

    assert (done.returncode, done.stdout) == (1, "")
    assert only_line(done).startswith("CreateUser failed: ")
    assert not work.folder.joinpath("started").exists()
    assert not work.folder.joinpath("x.env").exists()


def test_an_unset_variable_is_one_line(work: Workplace, aws: Account) -> None:
    """A static secret whose variable isn't set is named with it, before anything is leased."""
    del work.environment["PGPASSWORD"]

    done = work.run("secrets", "download", "--no-file")

    assert done.returncode == 1
    assert "[secrets] DATABASE_PASSWORD: the environment variable PGPASSWORD is not set" in only_line(done)
    assert work.leases("--all") == []


def test_a_mistake_of_the_file_is_one_line(work: Workplace) -> None:
    """An unknown key is named with the nearest known one."""
    work.write(TOML + "\n[integrations.more]\ntype = 'aws-iam'\nendpont_url = 'x'\n")

    done = work.run("secrets", "download", "--no-file", "--config", "dynsecrets.toml")

    assert (done.returncode, done.stdout) == (1, "")
    assert only_line(done).endswith("[integrations.more]: unknown key 'endpont_url'; did you mean endpoint_url?")
