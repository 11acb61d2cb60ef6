"""When leases are renewed, and how failed renewals are spaced. Pure: randomness comes in as an argument (0 to 1)."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from dynsecrets.errors import InvalidConfig, PermissionDenied
from dynsecrets.model.backoff import backoff

#: A fresh lease is asked for about two thirds into the TTL; spread, so that what began together parts.
_EARLIEST: Final = 0.60
_LATEST: Final = 0.70
#: Services count in whole seconds, so a lease may be over a second before its TTL is; and a renewal takes time itself.
#: Only leases of a few seconds are renewed earlier for it, and none before its half.
_NEEDED: Final = timedelta(seconds=1.5)
_LONGEST_OVERLAP: Final = timedelta(minutes=1)
#: Failed renewals are tried again after a small part of the TTL, then twice that, and so on, up to minutes apart.
_FIRST_PART: Final = 60
_SHORTEST_FIRST_PAUSE: Final = timedelta(milliseconds=100)
_LONGEST_FIRST_PAUSE: Final = timedelta(seconds=30)
LONGEST_PAUSE: Final = timedelta(minutes=5)
_SPREAD: Final = 1 / 3


def renewal_after(ttl: timedelta, jitter: float) -> timedelta:
    """Return how long after its creation a lease is to be replaced by a fresh one."""
    latest = max(ttl - _NEEDED, ttl / 2)
    return min(ttl * (_EARLIEST + (_LATEST - _EARLIEST) * jitter), latest)


def default_overlap(ttl: timedelta) -> timedelta:
    """Return for how long work in flight may go on with the old lease: a tenth of the TTL, at most a minute."""
    return min(ttl / 10, _LONGEST_OVERLAP)


def first_pause(ttl: timedelta) -> timedelta:
    """Return how long to wait after a first failure: a sixtieth of the TTL, at least 100 ms and at most 30 s."""
    return min(max(ttl / _FIRST_PART, _SHORTEST_FIRST_PAUSE), _LONGEST_FIRST_PAUSE)


def retry_after(failures: int, ttl: timedelta, error: BaseException, jitter: float) -> timedelta:
    """Return how long to wait after the ``failures``-th failed renewal in a row.

    Doubling from :func:`first_pause`, so that a handful of attempts fit into the last third of a lease and the number
    of attempts grows with the logarithm of time, until they are minutes apart. What can't heal by itself waits for
    minutes at once. Jitter shortens by up to a third.
    """
    first = LONGEST_PAUSE if cannot_heal(error) else first_pause(ttl)
    return backoff(failures, jitter, first=first, longest=LONGEST_PAUSE, spread=_SPREAD)


def cannot_heal(error: BaseException) -> bool:
    """Tell whether trying again is of no use until a person has changed something.

    A refused revocation is a ``RevocationError`` that was caused by a ``PermissionDenied``.
    """
    return any(isinstance(one, PermissionDenied | InvalidConfig) for one in (error, error.__cause__))
