"""Leasing that somebody waits for, and may give up before its end."""

from __future__ import annotations

import contextlib
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

from dynsecrets.errors import DynsecretsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Attempt:
    """Leases that are made for one who asked, by whichever thread: which they are, and whether they are still wanted.

    What is issued within :meth:`in_this_thread` belongs to it. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given_up = False
        self._making: set[str] = set()
        self._begun: dict[str, None] = {}

    @contextlib.contextmanager
    def in_this_thread(self) -> Iterator[None]:
        """Have what the block issues belong to this attempt."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    @contextlib.contextmanager
    def making(self, lease_id: str) -> Iterator[None]:
        """Note a lease that the block makes, whatever becomes of it. Raises as :meth:`check` does."""
        self.check()
        self.note(lease_id)
        with self._lock:
            self._making.add(lease_id)
        try:
            yield
        finally:
            with self._lock:
                self._making.discard(lease_id)

    def note(self, lease_id: str) -> None:
        """Note a lease that was made for the same one."""
        with self._lock:
            self._begun[lease_id] = None

    def give_up(self) -> None:
        """Have nothing more made, and nothing waited for that is being made."""
        self._given_up = True

    def check(self) -> None:
        """Raise ``DynsecretsError`` where it was given up."""
        if self._given_up:
            raise DynsecretsError("leasing was given up by the one who asked for it")

    def left(self, is_live: Callable[[str], bool]) -> list[str]:
        """Return the ids of the leases that are being made, or that ``is_live`` says are not revoked."""
        with self._lock:
            begun, making = list(self._begun), set(self._making)
        return [lease_id for lease_id in begun if lease_id in making or is_live(lease_id)]


_current: ContextVar[Attempt | None] = ContextVar("dynsecrets_attempt", default=None)


def current_attempt() -> Attempt:
    """Return the attempt that the calling thread leases for; one that nobody gives up where there is none."""
    return _current.get() or Attempt()
