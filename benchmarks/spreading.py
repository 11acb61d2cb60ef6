"""How long it takes until a lease is usable, where AWS's front ends learn of a new key one after the other."""

from __future__ import annotations

import random
import statistics
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks import subjects
from benchmarks.report import Row
from benchmarks.rounds import Spread
from dynsecrets import DynamicSecretConfig, LeaseManager, MemoryLeaseStore

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from benchmarks.stub import Stub
    from dynsecrets import Grant

_SEED: Final = 20220215
_LEASES: Final = 1_000
#: What users write instead.
_SLEEP_S: Final = 10.0
_PROBE_S: Final = 0.04
#: One poll: the longest pause between two, and the three probes that must succeed.
POLL_S: Final = 1.0 + 3 * _PROBE_S
_WHAT: Final = {
    1: "Time until a lease is handed over, one front end, keys spread in 0 to 10 s",
    5: "Time until a lease is handed over, five front ends, keys spread in 0 to 10 s",
}
ROWS: Final = tuple(_WHAT.values())
NOTE: Final = (
    "Front ends are simulated, and so is time. Each learns of a new key after a delay of its own, drawn evenly from 0 "
    f"to 10 s; each probe takes {_PROBE_S * 1000:.0f} ms and meets any of them. A lease works once the last of them "
    "knows its key. One poll is a pause of at most 1 s and three probes. `sleep(10)` is never too early, since no "
    "delay is longer. That a request after the hand-over meets a front end that doesn't know the key is what the "
    "session's own patience is for."
)


@attrs.frozen(kw_only=True)
class Waited:
    """How long one lease took: to work everywhere, to succeed once, to be handed over; and who was behind then."""

    works: float
    first_success: float
    handed_over: float
    behind: float


class SimulatedClock:
    """A clock that only sleeping and probing move. Nobody waits on it."""

    def __init__(self) -> None:
        self._steady = 0.0

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime(2022, 2, 15, tzinfo=UTC) + timedelta(seconds=self._steady)

    def steady(self) -> float:
        """Return the seconds that were slept and probed away."""
        return self._steady

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self._steady += seconds

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Wait for a notification alone."""
        del seconds
        condition.wait()


class FrontEnds(subjects.InMemoryIntegration):
    """A third party whose front ends learn of a new key after delays of their own."""

    def __init__(self, number: int, clock: SimulatedClock, seed: int) -> None:
        super().__init__("front-ends")
        self._number = number
        self._clock = clock
        self._random = random.Random(seed)  # noqa: S311 - a simulation.
        self._made = 0.0
        self._delays: list[float] = []
        self._first_success: float | None = None

    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Make up a key, and when each front end will know it."""
        self._made = self._clock.steady()
        self._delays = [self._random.uniform(0, 10) for _ in range(self._number)]
        self._first_success = None
        grant = super().provision(plan, config, ttl)
        now = self._clock.now()
        return attrs.evolve(grant, values=_revealed(grant), expires_at=now + ttl, issued_at=now)

    def is_usable(self, values: Mapping[str, str]) -> bool:
        """Ask any of the front ends."""
        del values
        self._clock.sleep(_PROBE_S)
        age = self._clock.steady() - self._made
        knows = self._random.choice(self._delays) <= age
        if knows and self._first_success is None:
            self._first_success = age
        return knows

    def waited(self) -> Waited:
        """Say how long the last lease took, which has just been handed over."""
        age = self._clock.steady() - self._made
        assert self._first_success is not None
        behind = sum(delay > age for delay in self._delays) / self._number
        return Waited(works=max(self._delays), first_success=self._first_success, handed_over=age, behind=behind)


def simulate(front_ends: int, leases: int, seed: int = _SEED) -> list[Waited]:
    """Issue leases one after the other; return how long each took."""
    clock = SimulatedClock()
    integration = FrontEnds(front_ends, clock, seed)
    config = DynamicSecretConfig("AWS_USER", integration)
    waits = []
    with LeaseManager(MemoryLeaseStore(), clock=clock) as manager:
        for _ in range(leases):
            lease = manager.issue(config)
            waits.append(integration.waited())
            lease.revoke()
    return waits


def measure(stub: Stub, *, quick: bool) -> list[Row]:
    """Wait for many keys."""
    del stub
    return [_row(number, simulate(number, 200 if quick else _LEASES)) for number in _WHAT]


def _row(front_ends: int, waits: list[Waited]) -> Row:
    late = max(wait.handed_over - wait.works for wait in waits)
    times = [wait.handed_over for wait in waits]
    behind = statistics.mean(wait.behind for wait in waits)
    after = max(wait.handed_over - wait.first_success for wait in waits)
    row = Row(
        what=_WHAT[front_ends],
        measured=(
            f"{statistics.median(times):.2f} s; at most {late:.2f} s after the key works everywhere, at most "
            f"{after:.2f} s after the first success; {behind:.1%} of next requests meet a front end that is behind"
        ),
        baseline=f"`sleep(10)`: {_SLEEP_S:.2f} s, 0 % behind",
        ratio=Spread.of([time / _SLEEP_S for time in times]),
    )
    if front_ends > 1:
        # No number of successes proves that the others know the key: there is nothing to reach but less of that.
        return row
    target = f"≤ one poll ({POLL_S:.2f} s) after the first success, and after the key works"
    return attrs.evolve(row, target=target, met=max(late, after) <= POLL_S)


def _revealed(grant: Grant) -> dict[str, str]:
    return {suffix: secret.reveal() for suffix, secret in grant.values.items()}
