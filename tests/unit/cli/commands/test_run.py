"""``run``: a thin shell over ``SecretsConfig.run``, seen from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest

from dynsecrets.project_file import MINIMAL
from support.children import Folder, OnTerminal
from support.cli import PASSWORD, TOML, Workplace, only_line, workplace
from support.processes import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.accounts import Account
    from support.proxy import Proxy

PYTHON = sys.executable
SHOW = "import json, os, sys; json.dump({'env': dict(os.environ), 'argv': sys.argv[1:]}, open('seen.json', 'w'))"


def seen(work: Workplace) -> tuple[dict[str, str], list[str]]:
    """Return the environment and the arguments that the child saw, and forget them."""
    file = work.folder / "seen.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    return found["env"], found["argv"]


def test_the_child_gets_the_values_and_nothing_of_the_integration(work: Workplace, aws: Account) -> None:
    """Values in the environment, arguments as typed, the administrator's key nowhere; afterwards no user is left."""
    done = work.run("run", "--", PYTHON, "-c", SHOW, "--config", "x", "--", "--debug")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    environment, arguments = seen(work)
    assert arguments == ["--config", "x", "--", "--debug"]
    assert environment["DATABASE_PASSWORD"] == PASSWORD
    assert environment["AWS_USER_USERNAME"].startswith("Dynsecrets-Dynamic-")
    assert environment["DYNSECRETS_PROJECT"] == "dynamic-secret"
    assert aws.secret_access_key not in environment.values()
    assert "AWS_ACCESS_KEY_ID" not in environment
    assert aws.users() == []


@pytest.mark.parametrize("name", [[], ["AWS_USER"]])
def test_with_aws_the_child_is_the_leased_user(name: list[str], work: Workplace) -> None:
    """``--aws`` alone takes the only one, and a name that one."""
    done = work.run("run", "--aws", *name, "--", PYTHON, "-c", SHOW)

    assert done.returncode == 0, done.stderr
    environment, _ = seen(work)
    assert environment["AWS_ACCESS_KEY_ID"] == environment["AWS_USER_ACCESS_KEY_ID"]


def test_with_renew_the_child_gets_an_endpoint(work: Workplace) -> None:
    """``--renew`` hands over the loopback endpoint instead of keys."""
    done = work.run("run", "--renew", "--", PYTHON, "-c", SHOW)

    assert done.returncode == 0, done.stderr
    environment, _ = seen(work)
    assert environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"].startswith("http://127.0.0.1:")
    assert not {"AWS_ACCESS_KEY_ID", "AWS_USER_ACCESS_KEY_ID"} & environment.keys()


def test_names_can_be_transformed(work: Workplace, aws: Account) -> None:
    """``--name-transformer`` spells the names as the command wants them; what it can't have leases nothing."""
    done = work.run("run", "--name-transformer", "tf-var", "--", "sh", "-c", "echo $TF_VAR_database_password")
    refused = work.run("run", "--name-transformer", "lower-kebab", "--", "touch", "started")

    assert (done.returncode, done.stdout) == (0, f"{PASSWORD}\n"), done.stderr
    assert refused.returncode == 1
    assert "can't be the name of an environment variable, which a child needs" in only_line(refused)
    assert not work.folder.joinpath("started").exists()
    assert len(work.leases("--all")) == 1


def test_what_is_preserved_wins(work: Workplace) -> None:
    """``--preserve-env`` alone preserves all, and with names these."""
    work.environment |= {"DATABASE_HOST": "mine", "DYNSECRETS_PROJECT": "mine"}
    hosts = []
    for option in ([], ["--preserve-env"], ["--preserve-env=DATABASE_HOST,OTHER"]):
        work.run("run", *option, "--", PYTHON, "-c", SHOW)
        environment, _ = seen(work)
        hosts.append((environment["DATABASE_HOST"], environment["DYNSECRETS_PROJECT"]))

    assert hosts == [("db.internal", "dynamic-secret"), ("mine", "mine"), ("mine", "dynamic-secret")]


def test_the_ttl_can_be_chosen(work: Workplace) -> None:
    """``--dynamic-ttl`` is the lease's; one over the maximum is a usage error that quotes it."""
    done = work.run("run", "--dynamic-ttl", "3h", "--", *work.command("leases", "--json"))
    over = work.run("run", "--dynamic-ttl", "25h", "--", "true")

    (lease,) = json.loads(done.stdout)
    assert 10_700 < lease["remaining_s"] <= 10_800
    assert over.returncode == 2
    assert "'25h'" in only_line(over)


@pytest.mark.parametrize(
    ("command", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)]
)
def test_the_status_is_the_childs(command: str, status: int, work: Workplace, aws: Account) -> None:
    """The child's own status is returned, 128+n if a signal ended it, and no word is said."""
    done = work.run("run", "sh", "-c", command)

    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")
    assert aws.users() == []


def test_what_cannot_be_started_is_one_line(work: Workplace) -> None:
    """A missing command is 127 and one that can't be executed 126, each with one line, and nothing is leased."""
    work.folder.joinpath("data").write_text("x", encoding="utf-8")

    missing, data = work.run("run", "--", "no-such-command"), work.run("run", "--", "./data")

    assert (missing.returncode, data.returncode) == (127, 126)
    assert "no-such-command" in only_line(missing)
    assert "data" in only_line(data)
    assert work.leases("--all") == []


def test_a_secret_that_there_is_not_is_one_line(work: Workplace) -> None:
    """``--aws`` with a wrong name tells the nearest one."""
    done = work.run("run", "--aws", "aws_user", "--", "true")

    assert done.returncode == 1
    assert only_line(done).endswith("no dynamic secret 'aws_user'; did you mean AWS_USER?")


def test_a_wrong_use_of_the_library_is_one_line(work: Workplace) -> None:
    """What the library refuses, like ``--aws`` with two dynamic secrets, is told as it says it."""
    work.write(TOML + '\n[dynamic_secrets.OTHER]\nintegration = "aws"\n')

    done = work.run("run", "--aws", "--", "true")

    assert done.returncode == 1
    assert "AWS_USER, OTHER" in only_line(done)


def test_the_variable_names_the_file(work: Workplace, tmp_path: Path) -> None:
    """``DYNSECRETS_CONFIG_FILE`` is used from anywhere; paths in the file are relative to it."""
    work.environment["DYNSECRETS_CONFIG_FILE"] = str(work.file)

    done = work.run("run", "--", "true", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert work.folder.joinpath("leases.db").exists()
    assert not tmp_path.joinpath("leases.db").exists()


def test_a_store_in_memory_will_do(work: Workplace, aws: Account) -> None:
    """Leases that end with the command need no store that outlives it."""
    work.environment["DYNSECRETS_STORE"] = "memory://"

    done = work.run("run", "--", PYTHON, "-c", SHOW)

    assert done.returncode == 0, done.stderr
    assert seen(work)[0]["AWS_USER_USERNAME"]
    assert aws.users() == []
    assert not work.folder.joinpath("leases.db").exists()


def test_a_terminated_run_ends_its_child_and_revokes(work: Workplace, aws: Account) -> None:
    """SIGTERM goes to the child; its leases are gone when the command ends with 143."""
    process = work.start("run", "--", PYTHON, "-c", "import time; open('up', 'w').close(); time.sleep(60)")
    wait_until(work.folder.joinpath("up").exists, "the child")

    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=120)

    assert (process.returncode, output, errors) == (143, "", "")
    assert aws.users() == []


def test_leases_that_could_not_be_revoked_are_told(tmp_path: Path, aws: Account, proxy: Proxy) -> None:
    """Where revoking fails, a command that did its job ends with 1, one that failed with its own status."""
    work = workplace(tmp_path / "work", aws, url=proxy.url)
    work.write(TOML.replace('"aws-iam"', '"aws-iam"\nbotocore_config = { retries = { total_max_attempts = 1 } }'))

    statuses = []
    for status in (0, 7):
        work.folder.joinpath("go").unlink(missing_ok=True)
        wait = f"import os, sys, time\nwhile not os.path.exists('go'): time.sleep(0.02)\nsys.exit({status})"
        process = work.start("run", "--", PYTHON, "-c", f"open('up{status}', 'w').close()\n{wait}")
        wait_until(work.folder.joinpath(f"up{status}").exists, "the child")
        proxy.fail("DeleteUser", "AccessDenied", times=None)
        work.folder.joinpath("go").touch()
        _, errors = process.communicate(timeout=120)
        statuses.append(process.returncode)
        assert errors.count("could not be revoked") == 1
        assert "Traceback" not in errors

    assert statuses == [1, 7]


def on_terminal(work: Workplace, *arguments: str) -> tuple[int, str]:
    """Run the command with a terminal for standard error; return its status and what the terminal got."""
    import pty

    ours, theirs = pty.openpty()
    process = work.start(*arguments, stderr=theirs)
    os.close(theirs)
    shown = b""
    # Linux raises when nobody has the other end any more, others return nothing.
    with contextlib.suppress(OSError):
        while chunk := os.read(ours, 4096):
            shown += chunk
    os.close(ours)
    process.communicate(timeout=120)
    return process.returncode, shown.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_person_is_shown_a_file_to_begin_with(work: Workplace) -> None:
    """On a terminal the error of a missing file is followed by a small one."""
    work.file.unlink()

    status, shown = on_terminal(work, "leases", "--config", "nope.toml")

    assert status == 1
    assert shown.replace("\r", "") == f"dynsecrets: nope.toml doesn't exist\n\n{MINIMAL}"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_is_told_what_takes_long(tmp_path: Path, aws: Account, proxy: Proxy) -> None:
    """On a terminal a line says what is waited for after a second, and is erased before the child starts."""
    work = workplace(tmp_path / "work", aws, url=proxy.url)
    work.environment["TERM"] = "xterm"
    proxy.latency_s = 1.2

    status, shown = on_terminal(work, "run", "--", "sh", "-c", "echo child >&2")

    assert status == 0
    before, _, after = shown.partition("child")
    assert "making the user of AWS_USER ..." in before
    assert before.endswith("\r\x1b[K")
    assert "making" not in after


def with_mfa(tmp_path: Path, aws: Account) -> tuple[OnTerminal, Workplace]:
    """Start a run at a terminal whose integration has a role with MFA, so that a code is asked for."""
    (tmp_path / "config").write_text(
        f"[profile base]\naws_access_key_id = {aws.access_key_id}\naws_secret_access_key = {aws.secret_access_key}\n"
        f"[profile boss]\nrole_arn = arn:aws:iam::{aws.id}:role/boss\nsource_profile = base\n"
        f"mfa_serial = arn:aws:iam::{aws.id}:mfa/ann\n"
    )
    work = workplace(tmp_path / "work", aws)
    work.write(TOML.replace('"aws-iam"', '"aws-iam"\nprofile = "boss"'))
    variables = {name: value for name, value in work.environment.items() if not name.endswith("_KEY")}
    variables |= {"AWS_CONFIG_FILE": str(tmp_path / "config"), "DYNSECRETS_CONFIG_FILE": str(work.file)}
    command = work.command("run", "--", "sh", "-c", "echo child runs")
    return OnTerminal(Folder(tmp_path), command, **{**variables, "TERM": "xterm"}), work


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("key", "status"), [("\x03", 130), ("\x1c", 131), ("", 143)], ids=ascii)
def test_a_prompt_for_a_code_can_be_left(key: str, status: int, tmp_path: Path, aws: Account) -> None:
    r"""While boto3 asks for an MFA device's code, Ctrl-C, Ctrl-\ and SIGTERM end the command, and the echo is on."""
    terminal, _ = with_mfa(tmp_path, aws)
    with terminal:
        before = termios.tcgetattr(terminal.master)
        terminal.until("Enter MFA code")
        wait_until(lambda: termios.tcgetattr(terminal.master) != before, "the echo to be off")
        terminal.type(key) if key else terminal.process.terminate()

        assert terminal.process.wait(60) == status
        assert termios.tcgetattr(terminal.master) == before
    assert aws.users() == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_prompt_for_a_code_is_answered(tmp_path: Path, aws: Account) -> None:
    """The code is asked for once, and is not wiped away; then the command runs."""
    terminal, _ = with_mfa(tmp_path, aws)
    with terminal:
        terminal.until("Enter MFA code")
        # For longer than it takes until progress is shown.
        with pytest.raises(subprocess.TimeoutExpired):
            terminal.process.wait(1.5)
        terminal.type("123456\n")
        shown = terminal.until("child runs")

        assert terminal.process.wait(60) == 0
    assert "\x1b[K" not in shown.partition("\n")[0]
    assert "Enter MFA code" not in shown


def test_modules_of_the_folder_are_not_the_standard_library_s(work: Workplace) -> None:
    """``python -m dynsecrets`` in a folder with a secrets.py of somebody's doesn't take that for Python's."""
    for name in ("secrets", "signal", "json", "typing", "logging", "queue", "http", "socket"):
        work.folder.joinpath(f"{name}.py").write_text(f"raise SystemExit('the folder has a {name}.py')")

    done = work.run("run", "--", "sh", "-c", "exit 3")

    assert (done.returncode, done.stderr) == (3, "")
