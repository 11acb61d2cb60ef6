"""The lock of a store: no fork finds it held, and its thread may take it again."""

from __future__ import annotations

import threading
from typing import Final

from dynsecrets._internal.fork_safety import reset_after_fork
from dynsecrets.errors import StoreError

#: How many seconds a fork waits for another thread's call to end.
PATIENCE: Final = 5.0
#: How many seconds a call waits for another thread's. Longer than any call takes: whoever waits for longer waits for a
#: thread that waits for it, and an error ends that.
_LONGEST_CALL: Final = 60.0


class ForkSafeLock:
    """The base of objects with a lock, ``_lock``, that come through forks and may be entered again.

    A garbage collection or a signal may have any code run in the middle of a call, and that may call again: so the
    lock is one that its thread may take again. ``_inside`` is true while a call is under way.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._inside = False
        self._forking: int | None = None
        reset_after_fork(self._after_fork, before=self._before_fork, in_parent=self._after_fork_in_parent)

    def _take_lock(self) -> None:
        """Take the lock. Raises ``StoreError`` where another thread never lets go of it."""
        if not self._lock.acquire(timeout=_LONGEST_CALL):
            raise StoreError("the store is kept busy by another thread, which may be waiting for this one; try again")

    def _before_fork(self) -> None:
        """Wait for calls under way to end, and keep new ones waiting."""
        if self._lock.acquire(timeout=PATIENCE):
            self._forking = threading.get_ident()
            if not self._inside:
                self._let_go()

    def _after_fork_in_parent(self) -> None:
        """Let calls go on."""
        if self._forking == threading.get_ident():
            self._forking = None
            self._lock.release()

    def _after_fork(self) -> None:
        """Start, in the child, with a lock of its own."""
        self._forking = None
        self._inside = False
        self._lock = threading.RLock()
        self._forget()

    def _let_go(self) -> None:
        """Close what can't be shared with a child. The lock is held."""

    def _forget(self) -> None:
        """Drop, in the child, what could not be closed in time."""
