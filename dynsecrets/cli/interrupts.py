"""Signals that ask to end a command.

The first ends it, and has what nobody will get revoked; where that takes longer than half a second, a line says what is
waited for. The second ends it at once, and says what is left: the records make that safe. What comes within half a
second of the first is the same wish: ``timeout`` sends a signal to a process and to its group.

``run`` has handlers of its own while its command runs. Signals that are ignored (``nohup``) stay so.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Self

from dynsecrets._internal.signal_relay import hearing_signals
from dynsecrets.cli.errors import Terminated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from dynsecrets.cli.progress import Progress

#: SIGQUIT too: where a code is asked for, it would leave the terminal without an echo.
_ENDING: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
_SAME_S: Final = 0.5


class Interrupts:
    """The handlers, from ``with`` to its end, in the main thread."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._first: float | None = None
        self._deferred = 0
        self._over = threading.Event()
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Take over, where that can be done."""
        global _current  # noqa: PLW0603 - there is one main thread.
        if threading.current_thread() is not threading.main_thread():
            return self
        with contextlib.ExitStack() as resources:
            resources.enter_context(hearing_signals())
            for name in _ENDING:
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    resources.callback(signal.signal, number, signal.signal(number, self._handle))
            self._resources = resources.pop_all()
        _current = self
        return self

    def __exit__(self, *_: object) -> None:
        """Put back what was there before."""
        global _current  # noqa: PLW0603 - as above.
        _current = None
        self._over.set()
        self._resources.close()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Have the first signal interrupt nothing of what the block does."""
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1

    def hand_over(self) -> None:
        """Have the first signal interrupt nothing from now on."""
        self._deferred += 1

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
            with contextlib.suppress(RuntimeError):
                _thread.start_new_thread(self._explain, ())
            if not self._deferred:
                raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)
        elif now - self._first >= _SAME_S:
            self._leave(number)

    def _explain(self) -> None:
        """Say what is waited for, where it takes long."""
        if self._over.wait(_SAME_S):
            return
        left = self._progress.left()
        if left:
            doing = f"revoking {_listed(left)} ... (the same once more leaves that to the next reap)"
        else:
            # It may be the canary of verify, of which no reap knows.
            doing = "ending what is under way ... (the same once more doesn't wait for that)"
        self._progress.pause()
        _say(f"interrupted; {doing}")

    def _leave(self, number: int) -> Any:
        """End at once. A revocation may be cut off anywhere: the next reaping goes on with it."""
        left = self._progress.left()
        _say(f"not revoked yet: {_listed(left)}; dynsecrets reap does that" if left else "interrupted")
        os._exit(128 + number)


_current: Interrupts | None = None


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Have the first signal interrupt nothing of what the block does."""
    with contextlib.nullcontext() if _current is None else _current.deferred():
        yield


def handed_over() -> None:
    """Have the first signal interrupt nothing any more: somebody has what was leased, and the status has to say so."""
    if _current is not None:
        _current.hand_over()


def leave(status: int) -> None:
    """End at once, without waiting for threads."""
    import sys

    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    os._exit(status)


def _listed(left: dict[str, str]) -> str:
    return ", ".join(f"{name} ({lease_id})" for lease_id, name in left.items())


def _say(text: str) -> None:
    """Say a line on stderr, from within a handler too: what buffers there may be in the middle of a line."""
    with contextlib.suppress(OSError):
        os.write(2, f"dynsecrets: {text}\n".encode())
