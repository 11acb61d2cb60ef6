"""Programs that run children, in processes and on terminals of their own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Self

from support.places import PROGRAMS, ROOT
from support.processes import clean_environment, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PROGRAM: Final = str(PROGRAMS / "run_program.py")
CHILD: Final = str(PROGRAMS / "signal_child.py")
_DEADLINE_S: Final = 60.0
#: A signal can be lost on a shell that is just about to fork (dash); it can't on this.
_SLEEP: Final = "import pathlib, sys, time; pathlib.Path(sys.argv[1], 'ready').touch(); time.sleep(60)"


def environment(folder: Path, **extra: str) -> dict[str, str]:
    """Return the environment of such a program."""
    paths = os.pathsep.join((str(ROOT / "tests"), str(ROOT)))
    plain = {"PYTHONPATH": paths, "HOME": str(folder), "PS1": "ready> ", "TERM": "dumb", "HISTFILE": ""}
    return clean_environment(**{**plain, **extra})


class Folder:
    """A folder that such a program works in."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def command(self, *child: str, **options: Any) -> list[str]:
        """Return the command that runs a child, by default the one that writes down its signals."""
        return [sys.executable, PROGRAM, str(self.path), json.dumps(options), *(child or self.counting())]

    def counting(self, *names: str) -> list[str]:
        """Return a child that writes down its signals."""
        return [sys.executable, CHILD, str(self.path), *names]

    def sleeping(self) -> list[str]:
        """Return a child that makes the file ``ready`` and then sleeps for longer than any test."""
        return [sys.executable, "-c", _SLEEP, str(self.path)]

    def has(self, name: str) -> bool:
        """Tell whether there is a file."""
        return (self.path / name).exists()

    def until(self, name: str) -> None:
        """Return once there is a file."""
        wait_until(lambda: self.has(name), f"a file {name}")

    def touch(self, name: str, text: str = "") -> None:
        """Make a file, whole."""
        (self.path / f"{name}.new").write_text(text)
        (self.path / f"{name}.new").rename(self.path / name)

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self.path / name).unlink()

    def pid(self) -> int:
        """Return the pid of the child that writes down its signals, once it is ready."""
        return int((self.path / "pid").read_text())

    def signals(self) -> list[str]:
        """Return the signals that the child has got."""
        path = self.path / "signals"
        return path.read_text().split() if path.exists() else []

    def until_signals(self, *names: str) -> None:
        """Return once the child has got just these."""
        wait_until(lambda: len(self.signals()) >= len(names), f"{names} in {self.signals()}")
        assert self.signals() == list(names)

    def result(self) -> dict[str, Any]:
        """Return how the program ended."""
        self.until("result")
        result: dict[str, Any] = json.loads((self.path / "result").read_text())
        return result

    def log(self) -> str:
        """Return what it logged."""
        return (self.path / "log").read_text()

    def live(self) -> list[str]:
        """Return what is leased now."""
        return sorted(path.name for path in (self.path / "things").iterdir()) if self.has("things") else []


class Program:
    """Such a program, without a terminal, in a session of its own."""

    def __init__(self, folder: Folder, command: Sequence[str], **extra: str) -> None:
        self._folder = folder
        self._log = (folder.path / "output").open("wb")
        self.process = subprocess.Popen(
            command,
            env=environment(folder.path, **extra),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def send(self, signum: int) -> None:
        """Send it a signal."""
        self.process.send_signal(signum)

    def wait(self) -> int:
        """Wait for its end."""
        return self.process.wait(_DEADLINE_S)

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Make sure that it is gone, and the child that would outlive it."""
        self._log.close()
        self.process.kill()
        self._folder.touch("finish")
        self.process.wait()


class OnTerminal:
    """A command on a terminal of its own: what is typed to it, and what it shows."""

    def __init__(self, folder: Folder, command: Sequence[str], **extra: str) -> None:
        self.master, slave = os.openpty()
        self.name = os.ttyname(slave)
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAMS / "on_terminal.py"), self.name, *command],
            env=environment(folder.path, **extra),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._slave = slave

    def type(self, text: str) -> None:
        """Type on the keyboard."""
        os.write(self.master, text.encode())

    def until(self, text: str) -> str:
        """Return what was shown up to a text, once that is shown; it is not looked at again."""
        deadline = time.monotonic() + _DEADLINE_S
        while text not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, f"the terminal does not show {text!r}, but {self.shown!r}"
            if select.select([self.master], [], [], min(left, 0.2))[0]:
                # Nobody ends it before we do: our own end of it is open too.
                self.shown += os.read(self.master, 65536).decode(errors="replace")
        before, _, self.shown = self.shown.partition(text)
        return before

    def foreground(self) -> int:
        """Return the process group in the foreground."""
        return os.tcgetpgrp(self.master)

    def until_foreground(self, group: int) -> None:
        """Return once a process group is in the foreground."""
        wait_until(lambda: self.foreground() == group, f"{group} in the foreground")

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            group = self.foreground()
            # Nobody is in the foreground of a terminal whose session has ended, and 0 would be ourselves.
            if group > 0:
                os.killpg(group, signal.SIGKILL)
        self.process.kill()
        os.close(self.master)
        os.close(self._slave)
        self.process.wait()
