"""Running a child: what it gets, what is returned, and that nothing is left, whatever fails."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import (
    DynsecretsError,
    InvalidConfig,
    InvalidTTL,
    MemoryLeaseStore,
    ProvisionError,
    RevocationError,
)
from dynsecrets.child_process.runner import ExitStatus, NotRevoked
from dynsecrets.child_process.terminal import Terminal
from dynsecrets.delivery.secrets_config import SecretsConfig
from dynsecrets.testing import FakeClock
from support.fakes import FakeIntegration
from support.processes import wait_until
from support.world import Gate, World, started

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_DUMP = "import json, os, sys; json.dump([dict(os.environ), sys.argv[2:]], open(sys.argv[1], 'w'))"


def _texts(found: Any) -> Iterator[Any]:
    """Iterate over a value, and over what is in it if it is a container."""
    yield found
    for part in found.values() if isinstance(found, dict) else found if isinstance(found, list | tuple) else ():
        yield from _texts(part)


class KeyIntegration(FakeIntegration):
    """A third party whose things have a key under AWS's names."""

    def values_of(self, thing: str) -> dict[str, str]:
        """Return a key."""
        key = f"key-of-{thing}"
        return {"ACCESS_KEY_ID": key, "SECRET_ACCESS_KEY": f"s3-{key}"}


@pytest.fixture
def keys() -> Iterator[World]:
    """A world whose leases have AWS keys."""
    clock = FakeClock()
    with World(MemoryLeaseStore(), clock=clock, integration=KeyIntegration(clock=clock)) as world:
        yield world


def config_of(world: World, *names: str, **secrets: str) -> SecretsConfig:
    """Return a config with dynamic secrets of these names, by default one, and these static ones."""
    dynamic = [world.config(name=name) for name in names or ("AWS_USER",)]
    return SecretsConfig("shop", "dev", "dev_ann", secrets, dynamic, manager=world.manager)


class Dump:
    """A child that writes down its environment and arguments."""

    def __init__(self, path: Path) -> None:
        self.path = path / "dump"
        self.argv = [sys.executable, "-c", _DUMP, str(self.path)]

    @property
    def environment(self) -> dict[str, str]:
        """Return what it found."""
        environment: dict[str, str] = json.loads(self.path.read_text())[0]
        return environment


@pytest.fixture
def dump(tmp_path: Path) -> Iterator[Dump]:
    """Such a child. What it writes down is full of secrets."""
    dump = Dump(tmp_path)
    yield dump
    dump.path.unlink()


def test_values_are_in_the_childs_environment(keys: World, dump: Dump, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child finds the static values, the lease and the parent's variables; afterwards the lease is revoked."""
    monkeypatch.setenv("OURS", "1")

    status = config_of(keys, GREETING="hello $there").run(dump.argv)

    assert status == 0
    assert dump.environment["GREETING"] == "hello $there"
    assert dump.environment["OURS"] == "1"
    assert dump.environment["AWS_USER_SECRET_ACCESS_KEY"] == f"s3-{dump.environment['AWS_USER_ACCESS_KEY_ID']}"
    assert dump.environment["DYNSECRETS_CONFIG"] == "dev_ann"
    assert keys.states() == ["revoked"]
    assert not keys.integration.live


def test_env_replaces_the_environment(keys: World, dump: Dump, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``env`` the child has that and the values, and nothing of ``os.environ``."""
    monkeypatch.setenv("OURS", "1")

    config_of(keys).run(dump.argv, env={"MINE": "2"})

    assert "OURS" not in dump.environment
    assert dump.environment["MINE"] == "2"


@pytest.mark.parametrize(
    ("preserve", "expected"),
    [(False, ["new", "new"]), (True, ["old", "old"]), (["A"], ["old", "new"]), ((), ["new", "new"])],
)
def test_preserve_env_lets_the_environment_win(preserve: Any, expected: list[str], keys: World, dump: Dump) -> None:
    """The values win, unless everything or this variable is preserved."""
    config_of(keys, A="new", B="new").run(dump.argv, env={"A": "old", "B": "old"}, preserve_env=preserve)

    assert [dump.environment[name] for name in "AB"] == expected


@pytest.mark.parametrize(("preserve", "kept"), [(False, False), (True, False), (["AWS_ACCESS_KEY_ID"], True)])
def test_the_parents_own_key_stays_behind(
    preserve: Any, kept: bool, keys: World, dump: Dump, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The integration's credentials don't reach the child, unless they are named."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAADMIN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "admin")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "admin")

    config_of(keys).run(dump.argv, preserve_env=preserve)

    assert ("AWS_ACCESS_KEY_ID" in dump.environment) is kept
    assert "AWS_SECRET_ACCESS_KEY" not in dump.environment
    assert "AWS_SESSION_TOKEN" not in dump.environment


@pytest.mark.parametrize("aws", [True, "AWS_USER"])
def test_aws_gives_the_lease_under_the_sdks_names(aws: Any, keys: World, dump: Dump) -> None:
    """The child's SDK takes the lease, and nothing that would win over it or poison it is there."""
    poison = {"AWS_PROFILE": "x", "AWS_DEFAULT_PROFILE": "x", "AWS_SESSION_TOKEN": "x", "AWS_SECURITY_TOKEN": "x"}

    config_of(keys).run(dump.argv, env=poison, aws=aws)

    assert not poison.keys() & dump.environment.keys()
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        assert dump.environment[f"AWS_{name}"] == dump.environment[f"AWS_USER_{name}"]


@pytest.mark.parametrize(("preserve", "hidden"), [(False, True), (["AWS_SHARED_CREDENTIALS_FILE"], False)])
def test_a_default_profile_with_keys_is_hidden(
    preserve: Any, hidden: bool, keys: World, dump: Dump, tmp_path: Path
) -> None:
    """The .NET SDK asks the default profile before the environment, so that would win over the lease."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[default]\naws_access_key_id = AKIAOTHER\n")

    config_of(keys).run(dump.argv, env={"HOME": str(tmp_path)}, aws=True, preserve_env=preserve)

    assert (dump.environment.get("AWS_SHARED_CREDENTIALS_FILE") == os.devnull) is hidden


def test_with_renewal_there_is_no_key_in_the_environment(keys: World, dump: Dump) -> None:
    """Only the endpoint is told; the values of the renewed secret are left out, others' stay."""
    config_of(keys, "AWS_USER", "OTHER").run(dump.argv, env={}, aws="AWS_USER", renew=True)

    names = {name for name in dump.environment if name.startswith(("AWS_", "OTHER_"))}
    assert {name for name in names if name.startswith("AWS_")} == {
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    }
    assert "OTHER_SECRET_ACCESS_KEY" in names
    assert keys.states() == ["revoked", "revoked"]


def test_one_secret_is_meant_by_renewal(keys: World, dump: Dump) -> None:
    """With just one dynamic secret its name needs not be given."""
    config_of(keys).run(dump.argv, renew=True)

    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" in dump.environment


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 1", 1), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143), ("exit 127", 127)],
)
def test_the_childs_status_is_returned(script: str, status: int, keys: World) -> None:
    """A child's own status is returned, and 128 and the signal's number where a signal ended it."""
    returned = config_of(keys).run(["sh", "-c", script])

    assert returned == status
    assert isinstance(returned, ExitStatus)
    assert returned.reason is None
    assert keys.states() == ["revoked"]


def test_a_command_that_does_not_exist_costs_nothing(keys: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is 127, said in one line, and nothing was leased for it."""
    status = config_of(keys).run(["no-such-command", "hunter2"])

    assert isinstance(status, ExitStatus)
    assert (status, status.reason) == (127, "no-such-command: command not found")
    assert keys.integration.calls == []
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [status.reason]
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    ("kind", "status", "leased"),
    [
        ("missing", 127, 0),
        ("folder", 126, 0),
        ("not executable", 126, 0),
        ("below a file", 127, 0),
        ("no format", 126, 1),
        ("no interpreter", 127, 1),
    ],
)
def test_what_can_t_be_executed(kind: str, status: int, leased: int, keys: World, tmp_path: Path) -> None:
    """Shells' statuses are returned; what only the system finds out is revoked again."""
    path = tmp_path / "command"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_text("#!/no/such/interpreter\n" if kind == "no interpreter" else "\x00\x01")
        path.chmod(0o600 if kind == "not executable" else 0o700)

    returned = config_of(keys).run([path / "x" if kind == "below a file" else path])

    assert isinstance(returned, ExitStatus)
    assert returned == status
    assert returned.reason is not None
    assert str(path) in returned.reason
    assert keys.states() == ["revoked"] * leased


def test_the_command_is_found_with_the_childs_path(keys: World, tmp_path: Path) -> None:
    """``PATH`` is that of the child, whether it comes from ``env`` or is one of the values; folders are passed over."""
    for name, mode in (("a", 0o600), ("b", 0o700)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tool").write_text("#!/bin/sh\nexit 3\n")
        (tmp_path / name / "tool").chmod(mode)
    (tmp_path / "c" / "tool").mkdir(parents=True)
    a, b, c = (str(tmp_path / name) for name in "abc")

    assert config_of(keys).run(["tool"]) == 127
    assert config_of(keys).run(["tool"], env={"PATH": f"{c}:{a}:{b}"}) == 3
    assert config_of(keys, PATH=b).run(["tool"], env={"PATH": a}) == 3
    assert config_of(keys).run(["tool"], env={"PATH": f"{c}:{a}"}) == 126
    assert config_of(keys).run(["sh", "-c", "exit 4"], env={}) == 4
    assert config_of(keys).run([""]) == 127


def test_values_are_in_no_argument(keys: World, tmp_path: Path) -> None:
    """No secret stands in the command line that every user of the machine can see."""
    out = tmp_path / "cmdline"

    config_of(keys, PASSWORD="pass-word").run(
        ["sh", "-c", f"tr '\\0' ' ' < /proc/$$/cmdline > {out}; ps axww >> {out}"]
    )

    assert "sh -c" in out.read_text()
    assert "pass-word" not in out.read_text()
    assert "s3-key-of" not in out.read_text()


def test_no_open_file_leaks(keys: World, tmp_path: Path) -> None:
    """The child has standard input, output and error; not even what is marked as inheritable, unless it is named."""
    out, given = tmp_path / "files", tmp_path / "given"
    given.write_text("from a file")
    number = os.open(given, os.O_RDONLY)
    os.set_inheritable(number, True)

    config_of(keys).run(["sh", "-c", f"ls /proc/$$/fd > {out}"])
    config_of(keys).run(["sh", "-c", f"cat $1 > {out}.2", "sh", f"/dev/fd/{number}"])
    os.close(number)

    assert str(number) not in out.read_text().split()
    assert (tmp_path / "files.2").read_text() == "from a file"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"argv": "ls -l"}, "argv takes"),
        ({"argv": []}, "argv is empty"),
        ({"argv": None}, "argv takes"),
        ({"argv": ["ls", 1]}, r"argv\[1\] is of type int"),
        ({"argv": ["ls", "a\0b"]}, r"argv\[1\] has a NUL"),
        ({"argv": ["ls", "\ud800"]}, r"argv\[1\] has .* half a character"),
        ({"env": {"A": "\ud800"}}, "value of A"),
        ({"env": [("A", "1")]}, "env takes"),
        ({"env": {"A": 1}}, "value of A"),
        ({"env": {"A=B": "1"}}, "a variable can't have"),
        ({"env": {"A": "x\0"}}, "value of A"),
        ({"preserve_env": "A,B"}, "preserve_env takes"),
        ({"preserve_env": [1]}, "preserve_env has 1"),
        ({"preserve_env": 1}, "preserve_env takes"),
        ({"renew": "yes"}, "renew 'yes'"),
        ({"aws": "NOPE"}, "aws 'NOPE' is not a dynamic secret of this config; there are: AWS_USER, OTHER"),
        ({"aws": True}, "exactly one"),
        ({"aws": 7}, "aws 7"),
        ({"renew": True}, "renew needs exactly one"),
        ({"renew": True, "aws": True}, "exactly one"),
    ],
    ids=ascii,
)
def test_what_cannot_be_run_is_refused_at_once(options: dict[str, Any], message: str, keys: World) -> None:
    """Bad arguments are said to be so before anything is called."""
    config = config_of(keys, "AWS_USER", "OTHER")

    with pytest.raises(InvalidConfig, match=message):
        config.run(**{"argv": ["true"], **options})

    assert keys.integration.calls == []


@pytest.mark.parametrize("ttl", [0, -1, "0s", "500ms", "1.5h", "forever", "8d", 1.5, True])
def test_a_bad_ttl_is_quoted(ttl: Any, keys: World) -> None:
    """A TTL that isn't one is never replaced by another: the error quotes it, and nothing is called."""
    with pytest.raises(InvalidTTL) as caught:
        config_of(keys).run(["true"], dynamic_ttl=ttl)

    assert repr(ttl) in str(caught.value)
    assert keys.integration.calls == []


def test_two_sources_of_aws_credentials_are_refused(keys: World) -> None:
    """Half a pair of the parent's with half a pair of the lease's would help nobody."""
    with pytest.raises(InvalidConfig, match="static secrets AWS_SECRET_ACCESS_KEY"):
        config_of(keys, AWS_SECRET_ACCESS_KEY="x").run(["true"], aws=True)
    with pytest.raises(InvalidConfig, match="preserve_env those of AWS_ACCESS_KEY_ID"):
        config_of(keys).run(["true"], aws=True, env={"AWS_ACCESS_KEY_ID": "x"}, preserve_env=["AWS_ACCESS_KEY_ID"])

    assert keys.integration.calls == []


def test_renewal_needs_room_for_two(keys: World) -> None:
    """A secret that may be leased once at a time can't be renewed, which is said before anything is leased."""
    config = SecretsConfig("p", "e", "c", {}, [keys.config(max_active=1)], manager=keys.manager)

    with pytest.raises(InvalidConfig, match="max_active is 1"):
        config.run(["true"], renew=True)


def test_a_secret_without_aws_keys_can_t_be_aws(world: World) -> None:
    """A third party that grants no AWS keys is found out after leasing: nothing is started, and it is revoked."""
    with pytest.raises(InvalidConfig, match="grants no AWS keys"):
        config_of(world).run(["true"], aws=True)

    assert world.states() == ["revoked"]


@pytest.mark.parametrize("renew", [False, True])
def test_nothing_is_started_when_leasing_fails(renew: bool, keys: World, tmp_path: Path) -> None:
    """An error of leasing is raised, what was leased is revoked, and the child was not started."""
    keys.integration.fail("provision", None, ProvisionError("no more users"))

    with pytest.raises(ProvisionError, match="no more users"):
        config_of(keys, "AWS_USER", "OTHER").run(["touch", tmp_path / "ran"], aws="AWS_USER", renew=renew)

    assert not (tmp_path / "ran").exists()
    assert not keys.integration.live


@pytest.mark.parametrize("renew", [False, True])
def test_a_failed_revocation_is_an_error_with_the_status(renew: bool, keys: World) -> None:
    """The child's status is not lost where a lease could not be revoked, and the next reap revokes it."""
    keys.integration.fail("revoke", *[RevocationError("strike")] * 3)

    with pytest.raises(NotRevoked, match=r"^1 lease could not be revoked") as caught:
        config_of(keys).run(["sh", "-c", "exit 5"], renew=renew)
    keys.integration._script["revoke"].clear()
    keys.manager.reap(integrations=[keys.integration])

    assert caught.value.status == 5
    assert isinstance(caught.value, RevocationError)
    assert keys.states() == ["revoked"]


def test_the_system_s_own_trouble_is_an_error(keys: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no process can be made it is no status, but an error, with everything revoked."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refuse)

    with pytest.raises(DynsecretsError, match="true could not be started: Resource temporarily unavailable"):
        config_of(keys).run(["true"])

    assert keys.states() == ["revoked"]


def test_too_large_an_environment_is_an_error(keys: World) -> None:
    """The system's limit is named, the value is not shown, and everything is revoked."""
    with pytest.raises(DynsecretsError, match=r"its environment .* more than the system takes") as caught:
        config_of(keys, BIG=200_000 * "x").run(["true"])

    assert "xxx" not in str(caught.value)
    assert keys.states() == ["revoked"]


def test_the_end_of_a_ttl_is_said_once(keys: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When the TTL ends while the child runs, the lease is revoked, a warning says so, and the child goes on."""
    go_on = tmp_path / "go-on"
    os.mkfifo(go_on)
    join = started(lambda: config_of(keys).run(["sh", "-c", f"read line < {go_on}; exit 6"], dynamic_ttl="10s"))
    with go_on.open("w") as pipe:  # Opened once the child reads.
        keys.advance(100)
        assert keys.states() == ["revoked"]
        pipe.write("\n")

    assert join() == 6
    assert [r.getMessage() for r in caplog.records if "is over; the child goes on" in r.getMessage()] == [
        f"The TTL of AWS_USER (lease {next(keys.store.records()).id}) is over; the child goes on without it"
    ]


def test_in_another_thread_it_works_without_handlers(keys: World) -> None:
    """Where signals can't be handled a child runs all the same."""
    assert started(lambda: config_of(keys).run(["sh", "-c", "exit 8"]))() == 8
    assert keys.states() == ["revoked"]


def test_several_at_a_time(keys: World) -> None:
    """Children run side by side in threads, each with a lease of its own."""
    config = config_of(keys)
    joins = [started(partial(config.run, ["sh", "-c", f"exit {n}"])) for n in range(1, 6)]

    assert [join() for join in joins] == [1, 2, 3, 4, 5]
    assert keys.states() == ["revoked"] * 5


def test_an_exception_while_waiting_ends_the_child(keys: World, tmp_path: Path) -> None:
    """A child that nobody waits for any more is ended, and the leases revoked, before the exception goes on."""
    pid = tmp_path / "pid"

    def interrupt(*_: object) -> None:
        raise KeyError("a handler of the caller's")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyError):
            config_of(keys).run(["sh", "-c", f"echo $$ > {pid}; kill -ALRM $PPID; exec sleep 60"])
    finally:
        signal.signal(signal.SIGALRM, before)

    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert keys.states() == ["revoked"]


def test_an_exception_right_after_the_start_ends_the_child(
    keys: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does one that a handler raises once the child runs, and before anybody waits for it."""
    pid = tmp_path / "pid"

    class Interrupting(Terminal):
        def is_used_by_us(self) -> bool:
            wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"), "the child runs")
            raise KeyError("a handler of the caller's")

    ours, theirs = os.openpty()
    monkeypatch.setattr(Terminal, "find", lambda: Interrupting(os.dup(theirs)))

    with pytest.raises(KeyError):
        config_of(keys).run(["sh", "-c", f"echo $$ > {pid}; exec sleep 60"])

    os.close(ours)
    os.close(theirs)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert keys.states() == ["revoked"]


def test_background_processes_are_not_waited_for(keys: World, tmp_path: Path) -> None:
    """What a child leaves behind goes on by itself."""
    out = tmp_path / "pid"

    status = config_of(keys).run(["sh", "-c", f"sleep 60 > /dev/null 2>&1 & echo $! > {out}"])
    pid = int(out.read_text())

    os.kill(pid, 9)
    assert status == 0


def test_leases_are_revoked_before_it_returns(keys: World) -> None:
    """The status is returned once everything is revoked, however long that takes."""
    gate = Gate()
    keys.integration.fail("revoke", gate)
    join = started(lambda: config_of(keys).run(["true"]))
    gate.until_reached()

    assert keys.integration.live
    gate.open()

    assert join() == 0
    assert not keys.integration.live


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's limit of one variable")
def test_no_frame_shows_the_environment_of_a_child_that_cannot_start(keys: World) -> None:
    """Trackers of errors print locals (pytest --showlocals, Sentry): those of ``subprocess``, too."""
    config = config_of(keys, PASSWORD="hunter2", LARGE="x" * 200_000)

    with pytest.raises(DynsecretsError, match="could not be started") as caught:
        config.run(["env"], aws=True)

    link: BaseException | None = caught.value
    seen = 0
    while link is not None:
        traceback = link.__traceback__
        while traceback is not None:
            frame = traceback.tb_frame
            if "tests" not in frame.f_code.co_filename:
                seen += 1
                for value in _texts(list(frame.f_locals.values())):
                    assert "hunter2" not in repr(value), frame
                    assert "s3-key-of" not in repr(value), frame
            traceback = traceback.tb_next
        link = link.__cause__ or link.__context__
    assert seen > 3
