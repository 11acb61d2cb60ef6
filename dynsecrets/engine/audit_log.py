"""An audit log of leases: one JSON object a line, appended, never rewritten."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Self

from dynsecrets._internal.fork_safety import reset_after_fork
from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig

if TYPE_CHECKING:
    from types import TracebackType

    from dynsecrets.model.events import LeaseEvent


class JSONLinesAudit:
    """Writes each event as a line of JSON: ``LeaseManager(on_event=[JSONLinesAudit("audit.jsonl")])``.

    Lines hold names, key ids and times, and no secret. Each is written by one ``write`` to the end of the file, so that
    threads and processes can share it; a file that was moved away (log rotation) is made anew at the next event.

    Args:
        path: The file, made with mode 0600 where it doesn't exist.

    Raises:
        InvalidConfig: The path is not a path.
        OSError: The file can't be written, when there is an event; a manager logs that and goes on.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            raise InvalidConfig(f"the path of an audit log must be a path, not {safe_repr(path)}")
        self._path = os.fspath(path)
        self._lock = threading.RLock()
        reset_after_fork(self._after_fork)

    def __call__(self, event: LeaseEvent) -> None:
        """Write one event."""
        line = json.dumps(event.as_dict(), ensure_ascii=False, separators=(",", ":")) + "\n"
        # Text of a path or of an error may hold lone surrogates; their escapes are JSON's own.
        data = line.encode(errors="backslashreplace")
        with self._lock:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            try:
                os.write(handle, data)
            finally:
                os.close(handle)

    def _after_fork(self) -> None:
        """Make a new lock: the parent may have held the old one."""
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        """Show the path."""
        return f"JSONLinesAudit({self._path!r})"

    def close(self) -> None:
        """Do nothing: no file is kept open. Here so that an audit can be used like a file."""

    def __enter__(self) -> Self:
        """Return the audit."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
