"""What is said on a terminal while something takes longer than a second, and is erased afterwards."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Final, Self, TextIO

from dynsecrets.cli.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from dynsecrets.model.events import LeaseEvent

_PATIENCE_S: Final = 1.0
_ERASE: Final = "\r\x1b[K"
_STEPS: Final = {
    "requested": "making the user of {name} ...",
    "issued": "waiting for {name} to become usable ...",
    "usable": "waiting for {name} to become usable ...",
}


class Progress:
    """One line on a terminal; nothing at all elsewhere. Thread-safe.

    It is fed with what is being done (``say``) or with a manager's events (it is a listener), and shows the last of
    these once they have taken ``patience_s`` seconds together.
    """

    def __init__(self, stream: TextIO, *, patience_s: float = _PATIENCE_S) -> None:
        self._stream = stream
        self._patience_s = patience_s
        self._waiting: dict[str, str] | None = None
        self._left: dict[str, str] = {}
        self._condition = threading.Condition()
        self._text = ""
        self._shown = ""
        self._stopped = not _is_terminal(stream)
        self._thread: threading.Thread | None = None

    def wait_for(self, last: Mapping[str, str]) -> None:
        """Fall silent for good when these dynamic secrets have met their last event: a child has the terminal then.

        ``last`` is that event's type, by the names of the secrets.
        """
        with self._condition:
            self._waiting = dict(last)

    def say(self, text: str) -> None:
        """Have a text shown if it is still true in a second; an empty one shows nothing."""
        with self._condition:
            if self._stopped:
                return
            self._text = one_line(text)
            if self._text and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dynsecrets-progress", daemon=True)
                self._thread.start()
            self._condition.notify_all()

    def __call__(self, event: LeaseEvent) -> None:
        """Take an event of a manager."""
        if event.type == "requested":
            self._left[event.lease_id] = event.name
        elif event.type == "revoked":
            self._left.pop(event.lease_id, None)
        with self._condition:
            waiting = self._waiting
            if waiting is not None and waiting.get(event.name) == event.type:
                del waiting[event.name]
                over, left = not waiting, " and ".join(sorted(waiting))
            else:
                over, left = False, "" if event.type == "usable" else event.name
        if over:
            self.stop()
        elif event.type in _STEPS:
            self.say(_STEPS[event.type].format(name=left) if left else "")

    def left(self) -> dict[str, str]:
        """Return the leases that were made, or begun, and of which nobody has said that they are revoked."""
        return dict(self._left)

    def stop(self) -> None:
        """Erase what is shown, and show nothing more."""
        with self._condition:
            self._stopped = True
            self._erase()
            thread = self._thread
            self._condition.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def __enter__(self) -> Self:
        """Return the line."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def pause(self) -> None:
        """Erase what is shown, for something else to be printed; it comes back when it changes."""
        with self._condition:
            self._erase()

    def _run(self) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._stopped, self._patience_s)
            while not self._stopped:
                if self._text != self._shown:
                    self._write(f"{_ERASE}{self._text}")
                    self._shown = self._text
                self._condition.wait()

    def _erase(self) -> None:
        if self._shown:
            self._write(_ERASE)
            self._shown = ""

    def _write(self, text: str) -> None:
        # A terminal that is gone is not a reason to fail.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


def _is_terminal(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal on which a line can be erased."""
    try:
        return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
    except (AttributeError, ValueError):
        return False
