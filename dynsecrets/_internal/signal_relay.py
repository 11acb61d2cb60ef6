"""Signals that are heard at once, whatever the main thread waits in. POSIX.

Python runs handlers in the main thread alone, between two of its steps. A main thread that sleeps in a system call is
woken by a signal only if the kernel gave it to that very thread, and of two that come together Linux gives the second
to another one (``complete_signal``): its handler then waits for as long as the main thread sleeps. So does that of a
signal that comes just before the main thread begins to sleep.

Here a thread reads what the handlers in C write (``signal.set_wakeup_fd``), and interrupts the main thread's call by a
signal of no meaning, again and again until its handler was run, and with it those of all that came before.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_FIRST_PAUSE_S: Final = 0.005
_LONGEST_PAUSE_S: Final = 0.25


@contextlib.contextmanager
def hearing_signals() -> Iterator[None]:
    """Have each signal interrupt what the main thread waits in, whichever thread the kernel gave it to.

    Does nothing in another thread, nor on Windows. What reads the descriptor of an earlier ``set_wakeup_fd`` (an event
    loop) goes on getting what it would.
    """
    if os.name == "nt" or threading.current_thread() is not threading.main_thread():
        yield
        return
    relay = _Relay()
    try:
        relay.begin()
        yield
    finally:
        relay.end()


class _Relay:
    """The thread, and the descriptor that it reads."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._writer.settimeout(0)
        self._main = threading.get_ident()
        self._woken = False
        self._over = False
        self._thread = threading.Thread(target=self._run, name="dynsecrets-signals", daemon=True)
        self._handler = signal.getsignal(signal.SIGURG)
        self._descriptor = -1

    def begin(self) -> None:
        """Begin to wake the main thread."""
        # It means urgent data on a socket; ignored by default, so that one too many harms nobody.
        signal.signal(signal.SIGURG, self._wake)
        self._descriptor = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._thread.start()

    def end(self) -> None:
        """Put back what was there before."""
        self._over = True
        signal.set_wakeup_fd(self._descriptor)
        # None: set by something that isn't Python, which can't be put back.
        signal.signal(signal.SIGURG, signal.SIG_DFL if self._handler is None else self._handler)
        self._writer.close()
        if self._thread.ident is not None:
            self._thread.join()
        self._reader.close()

    def _wake(self, signum: int, frame: FrameType | None) -> None:
        self._woken = True
        if callable(self._handler):
            self._handler(signum, frame)

    def _run(self) -> None:
        while numbers := self._reader.recv(4096):
            if self._descriptor != -1:
                with contextlib.suppress(OSError):
                    os.write(self._descriptor, numbers)
            if numbers.strip(bytes([signal.SIGURG])):
                self._interrupt()

    def _interrupt(self) -> None:
        self._woken = False
        pause = _FIRST_PAUSE_S
        while not self._woken and not self._over:
            signal.pthread_kill(self._main, signal.SIGURG)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
