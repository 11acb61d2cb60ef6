"""The one way to space what is tried again."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dynsecrets.model.backoff import backoff

FIRST = timedelta(seconds=2)
LONGEST = timedelta(seconds=50)


def test_it_doubles_up_to_the_longest() -> None:
    """Without jitter each pause is twice the one before, until it stays the longest."""
    pauses = [backoff(failures, 0.0, first=FIRST, longest=LONGEST, spread=0.5) for failures in range(1, 9)]

    assert [pause.total_seconds() for pause in pauses] == [2, 4, 8, 16, 32, 50, 50, 50]


@given(st.integers(-5, 10**9), st.floats(-2, 3), st.floats(0, 1))
def test_it_stays_within_its_bounds(failures: int, jitter: float, spread: float) -> None:
    """However often it failed and whatever the jitter, a pause is shortened by the spread at the most."""
    pause = backoff(failures, jitter, first=FIRST, longest=LONGEST, spread=spread)

    assert FIRST * (1 - spread) <= pause <= LONGEST


@given(st.lists(st.floats(0, 1), min_size=2))
def test_jitter_shortens(jitters: list[float]) -> None:
    """The more jitter, the shorter the pause, down to the spread."""
    pauses = [backoff(3, jitter, first=FIRST, longest=LONGEST, spread=0.25) for jitter in sorted(jitters)]

    assert all(earlier >= later for earlier, later in pairwise(pauses))
    assert backoff(3, 1.0, first=FIRST, longest=LONGEST, spread=0.25) == timedelta(seconds=6)
