"""The terminal that a child shares with its parent: who is in the foreground of it, and how it is set. POSIX only."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class Terminal:
    """The controlling terminal of this process. It is set back to what it was when it is closed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._ours = os.getpgrp()
        self._modes = self.modes()
        self._given = False

    @classmethod
    def find(cls) -> Terminal | None:
        """Return the terminal, or ``None`` where there is none: in a service, a pipeline of CI, on Windows."""
        if os.name == "nt":
            return None
        try:
            return cls(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
        except OSError:
            return None

    @property
    def given(self) -> bool:
        """Whether the child has the terminal from us."""
        return self._given

    def foreground(self) -> int | None:
        """Return the process group in the foreground, or ``None`` where the terminal is gone."""
        try:
            return os.tcgetpgrp(self._descriptor)
        except OSError:
            return None

    def is_ours(self) -> bool:
        """Tell whether this process is in the foreground: what the keyboard sends comes to it."""
        return self.foreground() == self._ours

    def is_used_by_us(self) -> bool:
        """Tell whether input and output are the terminal's, with us in the foreground: then a child takes our place.

        Otherwise others of our process group may be at the keyboard, like the ``less`` at the end of a pipeline.
        """
        return os.isatty(0) and os.isatty(1) and self.is_ours()

    def give(self, group: int) -> None:
        """Put a child's process group into the foreground."""
        self._given = True
        self._put(group)

    def take_back(self) -> Any:
        """Put ourselves into the foreground, set the terminal as it was; return how the child had set it."""
        if not self._given:
            return None
        self._given = False
        modes = self.modes()
        self._put(self._ours)
        self.set(self._modes)
        return modes

    def modes(self) -> Any:
        """Return how the terminal is set; ``None`` where it is gone."""
        import termios

        try:
            return termios.tcgetattr(self._descriptor)
        except (OSError, termios.error):
            return None

    def set(self, modes: Any) -> None:
        """Set the terminal. Not after the output has drained: somebody may have stopped it with Ctrl-S."""
        import termios

        if modes is not None:
            with contextlib.suppress(OSError, termios.error), _allowed():
                termios.tcsetattr(self._descriptor, termios.TCSANOW, modes)

    def close(self) -> None:
        """Take the terminal back, if it was given away."""
        self.take_back()
        os.close(self._descriptor)

    def _put(self, group: int) -> None:
        # The child may have ended, and its group with it; the terminal may be gone.
        with contextlib.suppress(OSError), _allowed():
            os.tcsetpgrp(self._descriptor, group)


@contextlib.contextmanager
def _allowed() -> Iterator[None]:
    """Let the background write to the terminal's settings: who blocks SIGTTOU isn't stopped for it (POSIX)."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
