"""Time that goes by when a test says so."""

from __future__ import annotations

import math
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from dynsecrets.model.ttl import TTL, parse_ttl
from dynsecrets.testing.quiescence import Watch

if TYPE_CHECKING:
    from dynsecrets.engine.scheduler import Scheduler

#: When the clock starts, unless told otherwise.
START: Final = datetime(2022, 2, 15, 17, 4, 54, 782_000, tzinfo=UTC)
#: How long the background may take to come to rest, in real seconds.
PATIENCE_S: Final = 60.0
_GLANCE_S: Final = 0.0005


class FakeClock:
    """A clock for ``LeaseManager(clock=...)`` on which time goes by only when it is advanced.

    Everything that managers do at a time (revoke at the TTL, renew, try again) happens when :meth:`advance` reaches
    that time, in order, and is over when ``advance`` returns:

    >>> from dynsecrets import DynamicSecretConfig, LeaseManager, MemoryLeaseStore
    >>> from dynsecrets.testing import FakeClock, MemoryIntegration
    >>> clock = FakeClock()
    >>> aws = MemoryIntegration(clock=clock)
    >>> with LeaseManager(MemoryLeaseStore(), clock=clock) as manager:
    ...     creds = manager.issue(DynamicSecretConfig("AWS_USER", aws), ttl="15m")
    ...     clock.advance("14m")
    ...     print(len(aws.users), creds.is_valid())
    ...     clock.advance("2m")
    ...     print(len(aws.users), creds.is_valid())
    1 True
    0 False

    Nothing sleeps: whatever would sleep on the clock moves it forward itself and goes on (``sleeps`` has how long each
    time). Thread-safe.

    Args:
        start: What the wall clock shows at first, an aware datetime.
    """

    def __init__(self, start: datetime = START) -> None:
        #: How long each ``sleep`` was asked for, in seconds.
        self.sleeps: list[float] = []
        self._changed = threading.Condition()
        self._start = start
        self._jumps = timedelta(0)
        self._steady = 0.0
        self._waiters: dict[object, tuple[threading.Condition, float | None]] = {}
        self._read = threading.local()
        self._watches: list[Watch] = []

    def now(self) -> datetime:
        """Return the wall clock's time."""
        with self._changed:
            return self._start + self._jumps + timedelta(seconds=self._steady)

    def steady(self) -> float:
        """Return the seconds that have gone by so far."""
        with self._changed:
            # A wait is counted from the waiting thread's own last reading: what comes in between is not lost.
            self._read.value = self._steady
            return self._steady

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Block until a condition is notified or time has gone by; managers call it.

        Args:
            condition: What to wait on; the caller holds it.
            seconds: How long at most; ``None`` for as long as it takes.
        """
        waiter = object()
        with self._changed:
            deadline = None if seconds is None else getattr(self._read, "value", self._steady) + seconds
            if deadline is not None and deadline <= self._steady:
                return
            self._waiters[waiter] = (condition, deadline)
            self._changed.notify_all()
        try:
            condition.wait()
        finally:
            with self._changed:
                self._waiters.pop(waiter, None)

    def sleep(self, seconds: float) -> None:
        """Let time go by at once, instead of sleeping.

        Args:
            seconds: How much.
        """
        with self._changed:
            self.sleeps.append(seconds)
        self.leap(max(seconds, 0.0))

    def advance(self, by: TTL | float) -> None:
        """Let time go by, with everything done at its own moment, and return when that is done.

        Not for a callback of a manager to call: that would wait for itself.

        Args:
            by: How much: text like ``"20m"``, a ``timedelta``, or seconds (a float too, ``0`` included).

        Raises:
            InvalidTTL: ``by`` is not a length of time.
            AssertionError: The background doesn't come to rest within a minute of real time: a callback waits for the
                test, say.
        """
        end = self.steady() + _seconds(by)
        self.settle()
        while (at := self._next_at()) is not None and at <= end:
            self.leap(max(at - self.steady(), 0.0))
            self.settle()
        self.leap(max(end - self.steady(), 0.0))
        self.settle()

    def settle(self) -> None:
        """Return once the background has nothing left to do at this moment; time doesn't go by.

        Raises:
            AssertionError: It doesn't come to rest, as in :meth:`advance`.
        """
        glance = threading.Event()
        deadline = time.monotonic() + PATIENCE_S
        while not self._at_rest():
            if time.monotonic() > deadline:
                msg = f"the background of the managers on this clock did not come to rest within {PATIENCE_S:g} s"
                raise AssertionError(msg)
            glance.wait(_GLANCE_S)

    def leap(self, seconds: float) -> None:
        """Let time go by all at once, as if the machine had been asleep; wait for nothing.

        Args:
            seconds: How much.
        """
        with self._changed:
            self._steady += seconds
            due = [
                (waiter, condition)
                for waiter, (condition, deadline) in self._waiters.items()
                if deadline is not None and deadline <= self._steady
            ]
            for waiter, _ in due:
                del self._waiters[waiter]
        for _, condition in due:
            with condition:
                condition.notify_all()

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward, or back, as an administrator or NTP may; :meth:`steady` doesn't notice.

        Args:
            seconds: How far; less than zero for back.
        """
        with self._changed:
            self._jumps += timedelta(seconds=seconds)

    def watch(self, scheduler: Scheduler) -> None:
        """Register a scheduler that lives by this clock; schedulers call it.

        Args:
            scheduler: What has to rest before time goes by.
        """
        watch = Watch(scheduler)
        with self._changed:
            self._watches.append(watch)

    def _at_rest(self) -> bool:
        # Twice: what one manager does can give work to another.
        return all(watch.idle(self.steady(), self._is_waiting) for _ in range(2) for watch in self._live_watches())

    def _is_waiting(self, condition: threading.Condition) -> bool:
        with self._changed:
            return any(waiting is condition for waiting, _ in self._waiters.values())

    def _next_at(self) -> float | None:
        return min((at for watch in self._live_watches() if (at := watch.next_at()) is not None), default=None)

    def _live_watches(self) -> list[Watch]:
        with self._changed:
            self._watches = [watch for watch in self._watches if not watch.scheduler.closed]
            return list(self._watches)


def _seconds(by: TTL | float) -> float:
    """Return a length of time in seconds."""
    if isinstance(by, float | int) and not isinstance(by, bool) and math.isfinite(by) and by >= 0:
        return float(by)
    return parse_ttl(by, what="a length of time", minimum=0).total_seconds()
