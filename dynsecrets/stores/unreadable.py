"""Records that a store came upon and could not read: told to whoever listens, beside the log."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_listening: Final[ContextVar[list[str] | None]] = ContextVar("dynsecrets_unreadable", default=None)


def note_unreadable(lease_id: str) -> None:
    """Tell that the record of a lease was left out of an answer, since it can't be read. For stores to call."""
    heard = _listening.get()
    if heard is not None and lease_id not in heard:
        heard.append(lease_id)


@contextmanager
def noting_unreadable() -> Iterator[list[str]]:
    """Collect the ids of what the store leaves out, in the calling thread, until the block ends."""
    heard: list[str] = []
    token = _listening.set(heard)
    try:
        yield heard
    finally:
        _listening.reset(token)
