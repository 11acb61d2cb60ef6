"""What signals do while a child is prepared, runs, and is cleaned up after.

    before the child            while it runs        after it
    ────────────────            ─────────────        ────────
    leasing is given up,        passed on to it      noted: revoking goes on
    or kept for the child

The handlers are in place before anything is leased, so that there is no moment at which a signal ends this process and
leaves a lease. A signal that is ignored (``nohup``, a shell's ``&``) stays ignored, here and in the child. Handlers can
only be set in the main thread: in others nothing is passed on, and the process's own handlers stay.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any, Final, Self

from dynsecrets._internal.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# SIGINT first: once it is taken, nothing raises in the middle of taking the others.
_ENDING: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK")
_KEPT: Final = ("SIGUSR1", "SIGUSR2")
#: Only of interest once there is a child. Ctrl-Z stops this process as any other until then.
_OF_THE_CHILD: Final = ("SIGTSTP", "SIGCONT", "SIGWINCH", "SIGINFO")


class Interrupted(SystemExit):
    """Leasing was given up because of a signal; ``signum`` says which."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


def _numbers(names: tuple[str, ...]) -> list[signal.Signals]:
    """Return the signals of these names that the system has."""
    return [signal.Signals[name] for name in names if name in signal.Signals.__members__]


class SignalForwarder:
    """The handlers, from ``with`` to its end."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._ending = frozenset(_numbers(_ENDING))
        self._interruptible = False
        self._forward: Callable[[int], None] | None = None
        self._over = False
        self._pending: list[int] = []

    def __enter__(self) -> Self:
        """Take over, where that can be done."""
        if threading.current_thread() is not threading.main_thread():
            return self
        try:
            for signum in _numbers(_ENDING + _KEPT):
                self._take(signum)
            if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
                # Where it is ignored the system forgets how a child ended.
                self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        except BaseException:
            self._give_back()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Put back what was there before."""
        self._give_back()

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Have the first signal that ends a process raise :class:`Interrupted`, once, while the block runs."""
        self._interruptible = True
        try:
            for signum in list(self._pending):
                if signum in self._ending:
                    self._interrupt(signum)
            yield
        finally:
            self._interruptible = False

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
        """Pass nothing on any more, and stop for nothing: cleaning up takes its time."""
        self._over = True
        self._forward = None

    def tell(self) -> None:
        """Log what came too late for the child."""
        while self._pending:
            name = signal.Signals(self._pending.pop(0)).name
            logger.info("%s came while there was no child, and leases were revoked nonetheless", name)

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
        forward = self._forward
        if forward is not None:
            forward(signum)
        elif self._interruptible and signum in self._ending:
            self._interrupt(signum)
        elif not self._over or signum in self._ending:
            self._pending.append(signum)

    def _interrupt(self, signum: int) -> None:
        self._interruptible = False
        if signum in self._pending:
            self._pending.remove(signum)
        raise Interrupted(signum)
