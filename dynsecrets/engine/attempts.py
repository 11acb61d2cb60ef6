"""Leasing that somebody waits for, and may give up before its end."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

from dynsecrets.errors import DynsecretsError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Attempt:
    """Leases that are made for one who asked, by whichever thread: which they are, and whether they are still wanted.

    What is issued within :meth:`make` belongs to it. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given_up = False
        self._making: set[str] = set()
        self._begun: dict[str, str] = {}

    def make(self, issue: Callable[[], T]) -> T:
        """Return what a call returns; what it issues in this thread belongs to this attempt."""
        token = _current.set(self)
        try:
            return issue()
        finally:
            _current.reset(token)

    def begin(self, lease_id: str, name: str) -> None:
        """Note a lease that is being made from now on, whatever becomes of it. Raises as :meth:`check` does."""
        self.check()
        with self._lock:
            self._begun[lease_id] = name
            self._making.add(lease_id)

    def finish(self, lease_id: str) -> None:
        """Note that a lease is made, or is not."""
        with self._lock:
            self._making.discard(lease_id)

    def note(self, lease_id: str, name: str) -> None:
        """Note a lease that was made for the same one, and the name of its dynamic secret."""
        with self._lock:
            self._begun[lease_id] = name

    def give_up(self) -> None:
        """Have nothing more made, and nothing waited for that is being made."""
        self._given_up = True

    def check(self) -> None:
        """Raise ``DynsecretsError`` where it was given up."""
        if self._given_up:
            raise DynsecretsError("leasing was given up by the one who asked for it")

    def left(self, is_live: Callable[[str], bool]) -> dict[str, str]:
        """Return the leases that are being made, or that ``is_live`` says are not revoked: names by ids.

        Nobody is asked about the others again, so that who goes on leasing for long doesn't remember all.
        """
        with self._lock:
            begun, making = dict(self._begun), set(self._making)
        left = {lease_id: name for lease_id, name in begun.items() if lease_id in making or is_live(lease_id)}
        with self._lock:
            for lease_id in begun.keys() - left.keys():
                del self._begun[lease_id]
        return left


_current: ContextVar[Attempt | None] = ContextVar("dynsecrets_attempt", default=None)


def current_attempt() -> Attempt:
    """Return the attempt that the calling thread leases for; one that nobody gives up where there is none."""
    return _current.get() or Attempt()
