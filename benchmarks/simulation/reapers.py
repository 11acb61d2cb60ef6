"""Reapers: how many of them keep up where no holder revokes, and every lease is left to them."""

from __future__ import annotations

import heapq
import itertools
import math
import random
import statistics
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks.simulation.accounts import LATENCY_S, REVOKE, arrivals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.simulation.accounts import Fleet

#: Threads of a manager, unless told otherwise.
WORKERS: Final = 16
#: How long a write to the table takes; a revocation makes two, around its two rounds of calls.
STORE_S: Final = 0.01
_REVOKED_IN: Final = len(REVOKE) * LATENCY_S + 2 * STORE_S
#: How long it takes to find that a lease is another reaper's: one read of the record, and one refused write at most.
_REFUSED_IN: Final = 2 * STORE_S
#: How often each reaper looks, and how long it takes to read one page of what is due.
EVERY_S: Final = 60.0
_PAGE: Final = 100
_PAGE_S: Final = 0.02


@attrs.frozen
class Kept:
    """How well reapers keep up.

    ``median`` and ``worst`` are how late leases were deleted (seconds), ``left`` how many were due and not deleted in
    the end, ``lost`` the share of attempts that met a lease which another reaper had claimed.
    """

    median: float
    worst: float
    left: int
    lost: float


class _Reaper:
    """What one reaper found when it looked last, and how many of its workers are at it."""

    def __init__(self) -> None:
        self.found: Iterator[int] = iter(())
        self.at_work = 0


def keep_up(fleet: Fleet, reapers: int, *, minutes: int, seed: int) -> Kept:
    """Let leases come due for some minutes, while reapers look once a minute each, at different times.

    Whoever looks finds all that is due and that nobody has claimed, the most overdue first, and its workers go through
    that in order; it looks again when they are done, and not before its next minute.
    """
    rng = random.Random(seed)  # noqa: S311 - a simulation.
    until = minutes * 60.0
    due = list(arrivals(fleet.rate, until, rng))
    claimed = bytearray(len(due))
    late: list[float] = []
    lost = 0
    crew = [_Reaper() for _ in range(reapers)]
    # What happens next: when, a number (so that no two are equal), which reaper, and whether it looks.
    todo = [(EVERY_S * (number + 1) / reapers, number, number, True) for number in range(reapers)]
    numbers = itertools.count(reapers)
    first = 0
    while todo:
        now, _, which, looks = heapq.heappop(todo)
        reaper = crew[which]
        if looks:
            if now > until:
                continue
            while first < len(due) and claimed[first]:
                first += 1
            found = [index for index in range(first, bisect_right(due, now)) if not claimed[index]]
            reaper.found = iter(found)
            reaper.at_work = WORKERS
            begin = now + _PAGE_S * (1 + len(found) // _PAGE)
            for _ in range(WORKERS):
                heapq.heappush(todo, (begin, next(numbers), which, False))
            continue
        index = next(reaper.found, None)
        if index is None:
            reaper.at_work -= 1
            if not reaper.at_work:
                phase = EVERY_S * (which + 1) / reapers
                turn = math.floor((now - phase) / EVERY_S) + 1
                heapq.heappush(todo, (phase + turn * EVERY_S, next(numbers), which, True))
        elif claimed[index]:
            lost += 1
            heapq.heappush(todo, (now + _REFUSED_IN, next(numbers), which, False))
        else:
            claimed[index] = 1
            late.append(now + _REVOKED_IN - due[index])
            heapq.heappush(todo, (now + _REVOKED_IN, next(numbers), which, False))
    return Kept(
        median=statistics.median(late),
        worst=max(late),
        left=len(due) - len(late),
        lost=lost / (lost + len(late)),
    )
