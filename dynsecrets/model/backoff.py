"""How long to wait after a failure: exponential, capped, and spread. Pure: randomness comes in as an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import timedelta

_MOST_DOUBLINGS: Final = 30


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
