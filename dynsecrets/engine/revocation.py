"""How revocations end: one, and several at the same time."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from dynsecrets.errors import RevocationError

if TYPE_CHECKING:
    from collections.abc import Mapping


class RevocationOutcome(Enum):
    """How a reaper's attempt ended."""

    REVOKED = "revoked"
    RELEASED = "released"
    FAILED = "failed"
    SKIPPED = "skipped"


def raise_not_revoked(failed: Mapping[str, BaseException]) -> None:
    """Raise ``RevocationError`` for the leases that could not be revoked, by their ids, if there are any."""
    if not failed:
        return
    # What is not an Exception, an interrupt, goes before all others.
    first = min(failed.values(), key=lambda error: isinstance(error, Exception))
    if not isinstance(first, Exception):
        raise first
    if len(failed) == 1 and isinstance(first, RevocationError):
        raise first
    which = "1 lease" if len(failed) == 1 else f"{len(failed)} leases"
    raise RevocationError(f"{which} could not be revoked: {', '.join(failed)} ({first})") from first
