"""A child process: started, passed signals on to, waited for; with the terminal lent to it as a shell would.

The child gets a process group of its own. So whatever is sent to this process, or to its group, reaches the child once,
by way of this process; and what the keyboard sends reaches whoever has the terminal. The child has it

* from its start, where input and output are a terminal's and this process is in the foreground: an editor, a shell;
* else from the moment on that it asks for it (reading from the background stops it with SIGTTIN, which is seen here),
  if this process is in the foreground by then. So the ``less`` at the end of a pipeline keeps the keyboard, and a job
  that was started with ``&`` gets it after ``fg``.

While this process has the terminal itself, it passes on to the child's whole group what the keyboard sends. When the
child stops (Ctrl-Z), this process takes the terminal back, sets it as it was, and stops too, with its group, so that
the shell in front of it notices; when it is continued it continues the child, with the terminal and the child's
settings if it is in the foreground again.

On Windows there are no process groups of that kind: the console sends Ctrl-C to the child itself, and there is nothing
to pass on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from dynsecrets._internal.concurrency import run_aside
from dynsecrets.child_process.executables import explain
from dynsecrets.child_process.terminal import Terminal
from dynsecrets.errors import DynsecretsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What the keyboard sends to all of the foreground.
_OF_THE_KEYBOARD: Final = ("SIGINT", "SIGQUIT", "SIGTSTP", "SIGWINCH", "SIGINFO")
#: What is meant for a job, not for a process.
_OF_A_JOB: Final = ("SIGTSTP", "SIGCONT")
_OF_THE_BACKGROUND: Final = ("SIGTTIN", "SIGTTOU")
_BREATH_S: Final = 0.1
_GRACE_S: Final = 3.0
_POLL_S: Final = 0.02
#: How a shell spells a file that it has opened for a command: ``<(…)``.
_OPENED: Final = re.compile(r"/(?:dev|proc/self)/fd/([0-9]{1,6})")


class ChildProcess:
    """One child process, running from its construction on."""

    def __init__(self, path: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a program with these arguments, in exactly this environment.

        It inherits standard input, output and error, and no other open file but those that an argument names as
        ``/dev/fd/…``. Raises ``CannotStart`` where that is the program's fault, and else ``DynsecretsError``.
        """
        _flush()
        self._terminal = Terminal.find()
        self._suspending = False
        options: dict[str, Any] = {}
        if os.name != "nt":
            options = {"process_group": 0, "pass_fds": _opened(argv)}

        self._process: subprocess.Popen[bytes] | None = None

        def start() -> subprocess.Popen[bytes]:
            # Noted here: a handler of other code may raise before whoever waits for this has heard of it.
            self._process = subprocess.Popen(  # noqa: S603 - what the caller wants to be run.
                list(argv), executable=path, env=dict(environment), **options
            )
            return self._process

        try:
            # A process that is forked just when a handler of other code raises (an alarm's) would be nobody's.
            self.pid: Final = run_aside(start).pid
            if self._terminal is not None and self._terminal.is_used_by_us():
                self._terminal.give(self.pid)
        except OSError as error:
            self.close()
            raise explain(error, argv[0]) or _not_started(error, argv, environment) from (
                # The frames of ``subprocess`` hold the whole environment.
                error.with_traceback(None)
            )
        except BaseException:
            self.close()
            raise

    def forward(self, signum: int) -> None:
        """Pass a signal on. Called by a signal handler; the child may be over."""
        if os.name == "nt" or (signum == signal.SIGCONT and self._suspending):
            return
        name = signal.Signals(signum).name
        at_keyboard = name in _OF_THE_KEYBOARD and self._terminal is not None and self._terminal.is_ours()
        # The child may run as somebody else (sudo).
        with contextlib.suppress(OSError):
            if self._process is None or self._process.returncode is not None:
                return
            if at_keyboard or name in _OF_A_JOB:
                os.killpg(self.pid, signum)
            else:
                os.kill(self.pid, signum)

    def wait(self) -> int:
        """Wait for its end, but not for that of processes that it leaves behind.

        Returns its exit status; 128+n if signal n ended it.
        """
        process = self._process
        if process is None:
            raise DynsecretsError("this child is closed")
        status = process.wait() if os.name == "nt" else self._wait(process)
        return 128 - status if status < 0 else status

    def close(self) -> None:
        """Take the terminal back. If waiting ended with an exception, end the child: nobody would wait for it."""
        self._end()
        terminal, self._terminal = self._terminal, None
        if terminal is not None:
            terminal.close()

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        while True:
            try:
                _, status = os.waitpid(self.pid, 0 if self._terminal is None else os.WUNTRACED)
            except ChildProcessError:
                # Somebody else has waited for all children of this process.
                process.returncode = 0
                raise DynsecretsError("the child has ended, but other code of this process took its status") from None
            if not os.WIFSTOPPED(status):
                process.returncode = os.waitstatus_to_exitcode(status)
                return process.returncode
            if self._terminal is not None:
                self._stopped(self._terminal, signal.Signals(os.WSTOPSIG(status)))

    def _stopped(self, terminal: Terminal, signum: signal.Signals) -> None:
        """Have the terminal lent, or stop as the child has, and then go on as the one who continues us wishes."""
        asks = signum.name in _OF_THE_BACKGROUND
        if asks and terminal.foreground() in (os.getpgrp(), self.pid):
            terminal.give(self.pid)
            self._continue()
            return
        had = terminal.given
        modes = terminal.take_back()
        self._suspend(signum if asks else signal.SIGTSTP)
        if (had or asks) and terminal.is_ours():
            terminal.set(modes)
            terminal.give(self.pid)
        elif asks:
            # Nobody may have stopped us: a job whose shell is gone can't be. Then it must not go round and round.
            time.sleep(_BREATH_S)
        self._continue()

    def _suspend(self, signum: int) -> None:
        """Stop this process and its group, as the keyboard would; return when it is continued."""
        self._suspending = True
        before: Any = None
        try:
            # Not from another thread, where there is no handler of ours to be set aside.
            with contextlib.suppress(ValueError):
                before = signal.signal(signum, signal.SIG_DFL)
                if before is signal.SIG_IGN:
                    return
            os.killpg(os.getpgrp(), signum)
        finally:
            if before is not None:
                signal.signal(signum, before)
            self._suspending = False

    def _continue(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGCONT)

    def _end(self) -> None:
        """End it if it runs, gently first."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        if os.name != "nt":
            # It may be stopped.
            process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + _GRACE_S
        while process.poll() is None:
            if time.monotonic() >= deadline:
                process.kill()
                process.wait()
                return
            time.sleep(_POLL_S)


def _flush() -> None:
    """Write what was printed before the child prints."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _opened(argv: Sequence[str]) -> tuple[int, ...]:
    """Return the open files that arguments name, if they were given to this process to be inherited."""
    named = {int(number) for argument in argv for number in _OPENED.findall(argument)}
    return tuple(sorted(number for number in named if number > 2 and _is_inheritable(number)))


def _is_inheritable(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:
        return False


def _not_started(error: OSError, argv: Sequence[str], environment: Mapping[str, str]) -> DynsecretsError:
    """Return an error for what is nobody's fault but the system's, or that of too much text."""
    if error.errno == errno.E2BIG:
        arguments = sum(len(os.fsencode(text)) + 1 for text in argv)
        variables = sum(len(os.fsencode(name + value)) + 2 for name, value in environment.items())
        return DynsecretsError(
            f"{argv[0]} could not be started: its environment ({variables} bytes) and arguments ({arguments} bytes) "
            "are more than the system takes; Linux takes 131072 bytes for one variable"
        )
    return DynsecretsError(f"{argv[0]} could not be started: {error.strerror}")
