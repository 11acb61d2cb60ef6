"""How long to wait after a failure: exponential, capped, and spread. Pure: randomness comes in as an argument."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

_MOST_DOUBLINGS: Final = 30
_FIRST_BACKOFF: Final = timedelta(seconds=1)
#: How long a failed revocation waits at the most before it is tried again.
LONGEST_BACKOFF: Final = timedelta(minutes=1)


def backoff(failures: int, jitter: float, *, first: timedelta, longest: timedelta, spread: float) -> timedelta:
    """Return how long to wait after the ``failures``-th failure in a row.

    Args:
        failures: How many there were in a row, at least one.
        jitter: A random number from 0 to 1, so that many workers spread out.
        first: The longest pause after the first failure; it doubles with each.
        longest: No pause is longer.
        spread: By how much jitter shortens a pause at the most, as a part of it.
    """
    doublings = min(max(failures, 1) - 1, _MOST_DOUBLINGS)
    pause: timedelta = min(first * 2**doublings, longest)
    return pause * (1 - min(max(jitter, 0.0), 1.0) * spread)


def revocation_delay(failures: int, jitter: float) -> timedelta:
    """Return how long to wait after the ``failures``-th failed revocation in a row.

    Exponential from one second, capped at a minute, then shortened by up to half by ``jitter`` (0 to 1). The cap is
    short because a credential may be alive: whoever failed for an hour retries within a minute of the service's return.
    """
    return backoff(failures, jitter, first=_FIRST_BACKOFF, longest=LONGEST_BACKOFF, spread=0.5)
