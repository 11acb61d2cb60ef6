"""Time, as the manager asks for it. Injected, so that tests drive it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import threading


@runtime_checkable
class Clock(Protocol):
    """A source of time. Every method must be safe to call from any thread."""

    def now(self) -> datetime:
        """Return the wall clock's time, aware, in UTC. It may jump."""
        ...

    def steady(self) -> float:
        """Return seconds that only ever grow, by one a second, also while the machine sleeps."""
        ...

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Wait on a condition that the caller holds, until it is notified or ``seconds`` of :meth:`steady` are over."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return when ``seconds`` are over."""
        ...


def _suspend_aware() -> int:
    """Return the id of a clock that never jumps and goes on while the machine sleeps, as far as there is one."""
    # On Linux CLOCK_MONOTONIC stands still in suspend and CLOCK_BOOTTIME does not; on macOS CLOCK_MONOTONIC goes on.
    return int(getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", 0)))


class SystemClock:
    """The machine's own clocks."""

    #: A condition's time-out stands still while the machine sleeps, so long waits are cut and the time read again.
    LONGEST_WAIT = 30.0

    def __init__(self) -> None:
        self._id = _suspend_aware()

    def now(self) -> datetime:
        """Return the wall clock's time."""
        return datetime.now(UTC)

    def steady(self) -> float:
        """Return the seconds since the machine started."""
        if hasattr(time, "clock_gettime"):
            return time.clock_gettime(self._id)
        return time.monotonic()  # Windows, where it goes on in sleep.

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Wait on a condition; waking early is allowed, and done at least every 30 seconds while something is due."""
        condition.wait(None if seconds is None else min(max(seconds, 0.0), self.LONGEST_WAIT))

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(max(seconds, 0.0))


SYSTEM_CLOCK = SystemClock()
