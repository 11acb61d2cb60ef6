"""How often the one thread that keeps the time wakes, with one renewer and with thousands, for as many renewals."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from benchmarks import subjects
from benchmarks.report import Row
from benchmarks.rounds import Spread
from dynsecrets import LeaseManager, MemoryLeaseStore, renewing
from dynsecrets.engine.manager import engine_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from benchmarks.stub import Stub
    from dynsecrets import Lease

_RENEWERS: Final = 10_000
_RENEWALS: Final = 1_000
_TTL_S: Final = 3600
#: Before this part of a TTL nothing is renewed.
_QUIET: Final = 0.59
_PATIENCE_S: Final = 60.0
NOTE: Final = (
    "Wake-ups are counted at the clock, which is injected and moved from one planned job to the next: the end of the "
    "old lease, an overlap after each renewal, is such a job, too. Left out is the real clock's own look at the time, "
    "every 30 seconds whatever is planned."
)
ROWS: Final = (f"{_RENEWERS:,} renewers, {_RENEWALS:,} renewals due: wake-ups of the one thread",)


class DrivenClock:
    """A clock that is moved by hand, and counts how often a waiting thread wakes."""

    def __init__(self) -> None:
        #: How often a wait ended.
        self.wakes = 0
        self._steady = 0.0
        self._lock = threading.Lock()
        self._waiting: dict[threading.Condition, float | None] = {}
        self._read = threading.local()

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime(2022, 2, 15, tzinfo=UTC) + timedelta(seconds=self.steady())

    def steady(self) -> float:
        """Return the seconds it was moved."""
        with self._lock:
            self._read.value = self._steady
            return self._steady

    def sleep(self, seconds: float) -> None:
        """Do nothing: what is measured has no reason to sleep."""

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Wait until notified, or moved far enough; and count that."""
        with self._lock:
            deadline = None if seconds is None else self._read.value + seconds
            if deadline is not None and deadline <= self._steady:
                return
            self._waiting[condition] = deadline
        condition.wait()
        with self._lock:
            self._waiting.pop(condition, None)
            self.wakes += 1

    def is_waiting(self, condition: threading.Condition) -> bool:
        """Tell whether somebody waits on a condition."""
        with self._lock:
            return condition in self._waiting

    def move_to(self, steady: float) -> None:
        """Let it be so late, and wake who waited for that."""
        with self._lock:
            self._steady = max(self._steady, steady)
            due = [condition for condition, at in self._waiting.items() if at is not None and at <= self._steady]
        for condition in due:
            with condition:
                condition.notify_all()


def count_wakes(renewers: int, renewals: int) -> tuple[int, int, int]:
    """Open renewers and have some renewals come due.

    Returns the wake-ups while none was due, those of the renewals, and the number of threads that keep the time.
    """
    clock = DrivenClock()
    _, config = subjects.memory_config()
    renewed: list[str] = []

    def note(lease: Lease) -> None:
        renewed.append(lease.id)

    before = _timekeepers()
    with LeaseManager(MemoryLeaseStore(), clock=clock, housekeeping=None) as manager, ExitStack() as stack:
        watch = _Watch(manager, clock)
        for _ in range(renewers):
            stack.enter_context(renewing(config, _TTL_S, manager=manager, on_renew=note))
        watch.rest()
        begun = clock.wakes
        clock.move_to(_QUIET * _TTL_S)
        watch.rest()
        quiet, begun = clock.wakes - begun, clock.wakes
        while len(renewed) < renewals:
            clock.move_to(watch.next_at())
            watch.rest()
        woken = clock.wakes - begun
        threads = _timekeepers() - before
    return quiet, woken, threads


def measure(stub: Stub, *, quick: bool) -> list[Row]:
    """Compare one renewer with many, for as many renewals."""
    del stub
    renewers, renewals = (1_000, 100) if quick else (_RENEWERS, _RENEWALS)
    quiet, woken, threads = count_wakes(renewers, renewals)
    _, alone, _ = count_wakes(1, renewals)
    return [
        Row(
            what=f"{renewers:,} renewers, {renewals:,} renewals due: wake-ups of the one thread",
            measured=f"{woken:,} ({quiet} while none was due), {threads} thread",
            baseline=f"one renewer, {renewals:,} renewals: {alone:,}",
            ratio=Spread.of([woken / alone]),
            target="≤ 1, and one thread",
            met=woken <= alone and threads == 1 and quiet == 0,
        )
    ]


def _timekeepers() -> int:
    return sum(thread.name == "dynsecrets-clock" for thread in threading.enumerate())


class _Watch:
    """Knows whether the background of a manager has nothing to do."""

    def __init__(self, manager: LeaseManager, clock: DrivenClock) -> None:
        self._scheduler = engine_of(manager).scheduler
        self._clock = clock
        self._counted = threading.Lock()
        self._under_way = 0
        self._submit = self._scheduler.submit
        self._scheduler.submit = self._watched  # type: ignore[method-assign]

    def next_at(self) -> float:
        """Return when the thread looks next."""
        with self._scheduler._condition:  # noqa: SLF001 - as above.
            return self._scheduler._jobs[0][0]  # noqa: SLF001 - as above.

    def rest(self) -> None:
        """Return once nothing is due and nothing runs."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self._rests():
            assert time.monotonic() < deadline, "the manager found no rest"
            time.sleep(0.0001)

    def _rests(self) -> bool:
        with self._scheduler._condition:  # noqa: SLF001 - as above.
            waits = self._clock.is_waiting(self._scheduler._condition)  # noqa: SLF001 - as above.
            with self._counted:
                idle = not self._under_way
            return waits and idle and self._scheduler._jobs[0][0] > self._clock.steady()  # noqa: SLF001 - as above.

    def _watched(self, action: Callable[[], Any]) -> Future[Any]:
        with self._counted:
            self._under_way += 1
        return self._submit(lambda: self._do(action))

    def _do(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        finally:
            with self._counted:
                self._under_way -= 1
