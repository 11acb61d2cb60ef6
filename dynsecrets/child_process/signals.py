"""What signals do while a child is prepared, runs, and is cleaned up after.

    before the child            while it runs        after it
    ────────────────            ─────────────        ────────
    leasing is given up,        passed on to it      the first is noted, and revoking goes on;
    or kept for the child                            the second leaves it to the next reaper

The handlers are in place before anything is leased, so that there is no moment at which a signal ends this process and
leaves a lease. They raise nothing: what takes time is done in another thread, and the main one waits for news of it,
or of a signal. The same signal twice within half a second is one: ``timeout`` sends it to a process and to its group.

A signal that is ignored (``nohup``, a shell's ``&``) stays ignored, here and in the child. Handlers can only be set in
the main thread: in others nothing is passed on, and the process's own handlers stay.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from dynsecrets._internal.concurrency import start_aside
from dynsecrets._internal.log import logger
from dynsecrets._internal.signal_relay import hearing_signals

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_ENDING: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK")
_KEPT: Final = ("SIGUSR1", "SIGUSR2")
#: Only of interest once there is a child. Ctrl-Z stops this process as any other until then.
_OF_THE_CHILD: Final = ("SIGTSTP", "SIGCONT", "SIGWINCH", "SIGINFO")
#: What comes sooner after the first is the same wish; what takes longer than this is explained.
_SAME_S: Final = 0.5


class Interrupted(Exception):
    """A signal asked to end, and what was waited for goes on without anybody who waits; ``signum`` says which."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def _numbers(names: tuple[str, ...]) -> list[signal.Signals]:
    """Return the signals of these names that the system has."""
    return [signal.Signals[name] for name in names if name in signal.Signals.__members__]


class SignalForwarder:
    """The handlers, from ``with`` to its end."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._ending = frozenset(_numbers(_ENDING))
        self._forward: Callable[[int], None] | None = None
        self._over = False
        self._pending: list[int] = []
        self._late: list[signal.Signals] = []
        #: Of signals, and of work that is done. Putting something there is safe in a handler.
        self._news: SimpleQueue[None] = SimpleQueue()
        #: The first that asked to end and that no child got, and when it was.
        self._first: tuple[signal.Signals, float] | None = None
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Take over, where that can be done."""
        if threading.current_thread() is not threading.main_thread():
            return self
        with contextlib.ExitStack() as resources:
            resources.enter_context(hearing_signals())
            resources.callback(self._give_back)
            for signum in _numbers(_ENDING + _KEPT):
                self._take(signum)
            if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
                # Where it is ignored the system forgets how a child ended.
                self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Put back what was there before."""
        self._resources.close()

    def start(self, work: Callable[[], T]) -> Future[T]:
        """Begin work in another thread, and return its future; do it here and now where signals aren't handled."""
        if self._before:
            return start_aside(work)
        future: Future[T] = Future()
        try:
            future.set_result(work())
        except BaseException as error:  # Raised where the result is asked for.
            future.set_exception(error)
        return future

    def wait(self, work: Future[Any], explain: Callable[[signal.Signals], object] | None = None) -> None:
        """Wait until work is done, or until a signal asks to end: then raise :class:`Interrupted`.

        With ``explain`` the first such signal is only explained, where the work takes longer than half a second after
        it, and the second one is raised. One that came in an earlier wait is the first.
        """
        work.add_done_callback(lambda _: self._news.put(None))
        explained = False
        while not work.done():
            left = None
            if explain is not None and self._first is not None and not explained:
                left = max(self._first[1] + _SAME_S - time.monotonic(), 0.0)
            try:
                self._news.get(timeout=left)
            except Empty:
                if explain is not None and self._first is not None:
                    explain(self._first[0])
                explained = True
            for signum in [signum for signum in self._pending if signum in self._ending]:
                self._pending.remove(signum)
                self._hear(signal.Signals(signum), patient=explain is not None)

    def _hear(self, signum: signal.Signals, *, patient: bool) -> None:
        """Take a signal that asks to end while there is no child."""
        now = time.monotonic()
        first, self._first = self._first, self._first or (signum, now)
        if not patient or (first is not None and now - first[1] >= _SAME_S):
            raise Interrupted(signum)
        self._late.append(signum)

    def expect_child(self) -> None:
        """Keep, from now on, what is meant for the child that is about to start."""
        if self._before:
            for signum in _numbers(_OF_THE_CHILD):
                self._take(signum)

    def pass_on(self, forward: Callable[[int], None]) -> None:
        """Pass signals on from now on, beginning with those that came before."""
        self._forward = forward
        while self._pending:
            forward(self._pending.pop(0))

    def end(self) -> None:
        """Pass nothing on any more."""
        self._over = True
        self._forward = None

    def report(self) -> None:
        """Log what came too late for the child."""
        for signum in self._late:
            logger.info("%s came while there was no child, and leases were revoked nonetheless", signum.name)

    def _take(self, signum: signal.Signals) -> None:
        before = signal.getsignal(signum)
        # None: set by something that isn't Python, which can't be put back.
        if before is not None and before is not signal.SIG_IGN:
            self._before[signum] = before
            signal.signal(signum, self._handle)

    def _give_back(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before.clear()

    def _handle(self, signum: int, _frame: object) -> None:
        if self._forward is not None:
            self._forward(signum)
        elif not self._over or signum in self._ending:
            self._pending.append(signum)
            self._news.put(None)
