"""Accounts: each holds so many users, and takes so many writes a second. Simulated time, no AWS."""

from __future__ import annotations

import heapq
import random
import statistics
from collections import deque
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Users of an account (IAM User Guide, "IAM and AWS STS quotas").
USERS: Final = 5_000
#: What one lease writes: CreateUser, then PutUserPolicy and CreateAccessKey together; two deletions, then DeleteUser.
ISSUE: Final = (1, 2)
REVOKE: Final = (2, 1)
WRITES: Final = sum(ISSUE) + sum(REVOKE)
#: How long a write takes that isn't throttled.
LATENCY_S: Final = 0.1


@attrs.frozen
class Fleet:
    """How much is leased: leases a second, and for how long each lives, in seconds."""

    rate: float = 100.0
    ttl: float = 1800.0

    @property
    def live(self) -> float:
        """How many leases live at a time, on the average."""
        return self.rate * self.ttl


@attrs.frozen
class Users:
    """How many users there were at most in one account, and how many leases were refused for there being too many."""

    peak: int
    refused: int


@attrs.frozen
class Waits:
    """How long leases took to issue (seconds), and how long after its TTL the last write of a revocation was made."""

    issue: tuple[float, float]
    late: tuple[float, float]


def arrivals(rate: float, until: float, rng: random.Random) -> Iterator[float]:
    """Yield the moments at which somebody asks for a lease: independent of each other (Poisson)."""
    now = rng.expovariate(rate)
    while now < until:
        yield now
        now += rng.expovariate(rate)


def count_users(fleet: Fleet, accounts: int, *, ttls: float, seed: int) -> Users:
    """Lease in accounts chosen at random, for so many TTLs; every lease lives to its TTL."""
    rng = random.Random(seed)  # noqa: S311 - a simulation.
    ends: list[deque[float]] = [deque() for _ in range(accounts)]
    peak = refused = 0
    for now in arrivals(fleet.rate, ttls * fleet.ttl, rng):
        account = ends[rng.randrange(accounts)]
        while account and account[0] <= now:
            account.popleft()
        if len(account) >= USERS:
            refused += 1
        else:
            account.append(now + fleet.ttl)
            peak = max(peak, len(account))
    return Users(peak, refused)


class Writes:
    """The writes of one account: a token bucket that is filled so many times a second, and holds a second's worth."""

    def __init__(self, rate: float) -> None:
        self._interval = 1.0 / rate
        self._depth = max(1.0, rate) * self._interval
        self._full_at = 0.0

    def take(self, now: float, tokens: int) -> float:
        """Take tokens; return when the last of them is to be had. Whoever waits, waits in turn."""
        self._full_at = max(self._full_at, now) + tokens * self._interval
        return max(now, self._full_at - self._depth)


def wait_for_writes(fleet: Fleet, accounts: int, writes: float, *, ttls: float, seed: int) -> Waits:
    """Issue and revoke in one account out of so many, which are all alike; leave out the first TTL, while it fills."""
    rng = random.Random(seed)  # noqa: S311 - a simulation.
    bucket = Writes(writes)
    # What is to be done next: when, a number (so that no two are equal), when it was asked for, and the rounds left.
    todo: list[tuple[float, int, float, str, tuple[int, ...]]] = []
    for number, now in enumerate(arrivals(fleet.rate / accounts, ttls * fleet.ttl, rng)):
        todo += [
            (now, 2 * number, now, "issue", ISSUE),
            (now + fleet.ttl, 2 * number + 1, now + fleet.ttl, "late", REVOKE),
        ]
    heapq.heapify(todo)
    taken: dict[str, list[float]] = {"issue": [], "late": []}
    while todo and todo[0][0] < ttls * fleet.ttl:
        now, number, asked, kind, (tokens, *rest) = heapq.heappop(todo)
        done = bucket.take(now, tokens) + LATENCY_S
        if rest:
            heapq.heappush(todo, (done, number, asked, kind, tuple(rest)))
        elif asked > fleet.ttl:
            taken[kind].append(done - asked)
    return Waits(issue=_quantiles(taken["issue"]), late=_quantiles(taken["late"]))


def _quantiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    if len(values) < 2:
        return (0.0, 0.0)
    cuts = statistics.quantiles(values, n=100)
    return (cuts[49], cuts[98])
