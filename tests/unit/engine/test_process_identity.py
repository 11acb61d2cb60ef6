"""Which process asked for a lease, and whether it is still there."""

from __future__ import annotations

import getpass
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsecrets.engine import process_identity
from dynsecrets.engine.process_identity import ProcessIdentity, ProcessState, actor, current_owner, liveness
from support.forking import in_child, needs_fork
from support.strategies import wild_text

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows doesn't tell what owners are known by")

#: Says who it is, then waits to be killed.
PROGRAM = (
    "import sys; from dynsecrets.engine.process_identity import current_owner; "
    "print(current_owner(), flush=True); sys.stdin.read()"
)


def other(**changes: Any) -> str:
    """Return this process as a record names it, but for some parts."""
    return str(attrs.evolve(current_owner(), **changes))


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """A process that has said who it is on its output."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def its_owner(process: subprocess.Popen[str]) -> str:
    """Return how a process names itself in records."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


class TestNames:
    """How processes are named."""

    def test_this_process(self) -> None:
        """A process is named by where it runs, its pid and when it started."""
        here = current_owner()

        assert here.pid == os.getpid()
        assert here.started
        assert here.boot
        assert here.namespace
        assert here == current_owner()

    @needs_fork
    def test_a_forked_child_has_a_name_of_its_own(self) -> None:
        """A child is another process at the same place."""
        child = ProcessIdentity.parse(in_child(lambda: str(current_owner())))

        assert child is not None
        assert child.place == current_owner().place
        assert child.pid != os.getpid()

    @given(
        st.builds(
            ProcessIdentity,
            host=wild_text.map(lambda text: text.replace("|", "")),
            boot=st.uuids().map(str),
            namespace=st.integers(0).map(str),
            pid=st.integers(0, 2**31),
            started=st.integers(0).map(str),
        )
    )
    def test_names_are_read_back(self, named: ProcessIdentity) -> None:
        """What stands in a record is read back as it was, and begins with the process's place."""
        assert ProcessIdentity.parse(str(named)) == named
        assert str(named).startswith(named.place)

    @pytest.mark.parametrize(
        "text", ["", "me", "a|b|c|d|e", "a|b|c|1", "a|b|c|1|e|f", "a|b|c|-1|e", "a|b|c|1.0|e", "a|b|c| 1|e", "a|b|c||e"]
    )
    def test_other_text_names_no_process(self, text: str) -> None:
        """Text of another form is no process."""
        assert ProcessIdentity.parse(text) is None

    def test_hosts_with_the_separator_in_their_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A host's name can't be taken for several parts."""
        monkeypatch.setattr("socket.gethostname", lambda: "a|b")
        process_identity._machine.cache_clear()

        named = current_owner()
        process_identity._machine.cache_clear()

        assert ProcessIdentity.parse(str(named)) == named

    def test_actors_are_named_for_people(self) -> None:
        """An audit log names user, host and process."""
        assert re.fullmatch(rf".+@.+/{os.getpid()}", actor())

    def test_actors_without_a_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A user whom the system has no name for is named by number."""

        def fail() -> str:
            raise KeyError("getpwuid(): uid not found")

        monkeypatch.setattr(getpass, "getuser", fail)
        process_identity._user.cache_clear()

        name = actor()
        process_identity._user.cache_clear()

        assert name.startswith(f"{os.getuid()}@")


class TestLiveness:
    """What can be said of a process."""

    def test_this_process_and_its_parent_are_alive(self) -> None:
        """A process that runs is alive."""
        parent = os.getppid()

        assert liveness(other()) is ProcessState.ALIVE
        assert liveness(other(pid=parent, started=process_identity._start_time(parent))) is ProcessState.ALIVE

    def test_a_killed_process_is_gone(self, process: subprocess.Popen[str]) -> None:
        """After ``kill -9`` a process is gone at once, also while its parent has not asked for its status."""
        named = its_owner(process)
        before = liveness(named)

        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        as_a_zombie = liveness(named)
        process.wait()

        assert before is ProcessState.ALIVE
        assert as_a_zombie is ProcessState.GONE
        assert liveness(named) is ProcessState.GONE

    def test_a_pid_that_was_given_anew_is_another_process(self) -> None:
        """The same pid with another start time is somebody else: the owner is gone."""
        assert liveness(other(started="1")) is ProcessState.GONE

    @pytest.mark.parametrize("change", ["host", "boot", "namespace"])
    @pytest.mark.parametrize("pid", [os.getpid(), 2**22 + 1], ids=["taken", "free"])
    def test_elsewhere_nothing_is_known(self, change: str, pid: int) -> None:
        """Of another host, boot or pid namespace nothing is said, whether the pid is free here or taken."""
        assert liveness(other(**{change: "elsewhere", "pid": pid})) is ProcessState.UNKNOWN

    @pytest.mark.parametrize("part", ["boot", "namespace", "started"])
    def test_what_the_system_does_not_tell_is_not_guessed(self, part: str) -> None:
        """Where the system leaves out a part, two processes without it are not taken for the same."""
        empty: dict[str, Any] = {part: ""}
        here = attrs.evolve(current_owner(), **empty)

        assert liveness(str(here), here) is ProcessState.UNKNOWN

    @pytest.mark.parametrize(("exists", "expected"), [(True, ProcessState.UNKNOWN), (False, ProcessState.GONE)])
    def test_processes_that_cannot_be_looked_at(
        self, exists: bool, expected: ProcessState, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A pid without a start time is gone if it is free, and unknown if somebody has it."""
        named = other()
        monkeypatch.setattr(process_identity, "_start_time", lambda pid: None)
        monkeypatch.setattr(process_identity, "_exists", lambda pid: exists)

        assert liveness(named, current_owner()) is expected

    def test_others_processes_exist(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process that may not be signalled is there."""

        def refuse(pid: int, number: int) -> None:
            raise PermissionError(pid)

        monkeypatch.setattr(os, "kill", refuse)

        assert process_identity._exists(1)

    @pytest.mark.parametrize("pid", [2**31, 2**53, 10**18 - 1])
    def test_pids_that_no_system_has(self, pid: int) -> None:
        """A record with a pid out of range is garbage, and harms nothing."""
        assert liveness(other(pid=pid)) is ProcessState.UNKNOWN

    @given(wild_text | st.lists(wild_text, min_size=5, max_size=5).map("|".join))
    def test_garbage_is_unknown(self, text: str) -> None:
        """Whatever text stands in a record, nothing is raised and nobody is said to be gone."""
        assert liveness(text) is ProcessState.UNKNOWN

    def test_long_numbers_are_garbage(self) -> None:
        """A pid of thousands of digits, which Python refuses to read, is garbage like any other."""
        here = current_owner()

        assert liveness(f"{here.place}{'9' * 5_000}|1") is ProcessState.UNKNOWN


class TestSystems:
    """How the systems are asked."""

    @pytest.mark.parametrize("command", ["python", "a b", "a) S 1 (b", "((", ")"])
    def test_linux_commands_of_any_name(self, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """On Linux the start time is the 22nd field, whatever the command's name looks like."""
        fields = ["S", *map(str, range(4, 53))]
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(process_identity, "_read", lambda path: f"41 ({command}) {' '.join(fields)}")

        assert process_identity._start_time(41) == "22"

    @pytest.mark.parametrize("state", ["Z", "X"])
    def test_linux_zombies(self, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A process that has ended and still has its pid equals none that runs."""
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(
            process_identity, "_read", lambda path: f"41 (python) {state} {' '.join(map(str, range(4, 53)))}"
        )

        assert process_identity._start_time(41) not in ("22", None)

    def test_macos(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On macOS the kernel's boot session, one pid namespace and the start time of ``ps`` do the same."""
        answers = {"/usr/sbin/sysctl": "BOOT-1", "/bin/ps": "Tue Feb 15 17:04:54 2022"}
        monkeypatch.setattr(sys, "platform", "darwin")
        monkeypatch.setattr(process_identity, "_output", lambda argv: answers[argv[0]])

        assert (process_identity._boot(), process_identity._namespace()) == ("BOOT-1", "host")
        assert process_identity._start_time(41) == "Tue Feb 15 17:04:54 2022"
        answers["/bin/ps"] = ""
        assert process_identity._start_time(41) is None

    def test_commands_that_fail_say_nothing(self) -> None:
        """A system command that isn't there, or fails, is no answer."""
        assert process_identity._output(["/nonexistent"]) == ""
        assert process_identity._output([sys.executable, "-c", "print('x'); raise SystemExit(1)"]) == ""
        assert process_identity._output([sys.executable, "-c", "print(' x ')"]) == "x"

    def test_files_that_cannot_be_read_say_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where ``/proc`` is missing there is no namespace and no start time."""

        def fail(path: object, **options: object) -> os.stat_result:
            raise FileNotFoundError(path)

        with monkeypatch.context() as patch:
            patch.setattr(sys, "platform", "linux")
            patch.setattr(os, "stat", fail)
            namespace = process_identity._namespace()

        assert namespace == ""
        assert process_identity._read("/nonexistent/file") == ""

    def test_windows_processes_are_not_signalled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where asking for a pid would end the process, nobody asks."""
        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setattr(os, "kill", lambda pid, number: pytest.fail("a process was signalled"))

        assert process_identity._exists(os.getpid())


class TestNamespaces:
    """Forks into other pid namespaces."""

    def test_a_fork_may_lead_into_another(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a process is counted in is read anew each time, so a child is never taken for its parent."""
        parent = str(current_owner())
        monkeypatch.setattr(process_identity, "_namespace", lambda: "another")

        assert str(current_owner()) != parent
        assert liveness(str(current_owner())) is ProcessState.ALIVE
        assert liveness(parent) is ProcessState.UNKNOWN

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux has pid namespaces")
    def test_where_the_system_shows_other_pids_nobody_is_gone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A mount of another namespace says nothing of ours."""
        named = str(attrs.evolve(current_owner(), started="1"))
        assert liveness(named) is ProcessState.GONE
        monkeypatch.setattr(Path, "readlink", lambda path: Path("123456"))

        assert liveness(named) is ProcessState.UNKNOWN
        assert liveness(str(current_owner())) is ProcessState.ALIVE
