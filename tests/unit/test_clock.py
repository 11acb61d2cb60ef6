"""The system's clock."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dynsecrets.clock import SYSTEM_CLOCK, Clock, SystemClock

if TYPE_CHECKING:
    import pytest


class Waited(threading.Condition):
    """A condition that notes how long it was to wait, and returns at once."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Note the time-out."""
        self.timeouts.append(timeout)
        return True


class TestSystemClock:
    """The machine's own clocks."""

    def test_it_is_a_clock(self) -> None:
        """It has the methods of the protocol, and an object without them has not."""
        thing: Any = object()

        assert isinstance(SYSTEM_CLOCK, Clock)
        assert not isinstance(thing, Clock)

    def test_it_tells_the_time(self) -> None:
        """The wall clock's time is aware and in UTC; the steady one only grows."""
        before, steady = datetime.now(UTC), SYSTEM_CLOCK.steady()

        assert before <= SYSTEM_CLOCK.now() <= datetime.now(UTC)
        assert SYSTEM_CLOCK.now().utcoffset() == timedelta(0)
        assert SYSTEM_CLOCK.steady() >= steady

    def test_long_waits_are_cut(self) -> None:
        """A wait is at most half a minute, since a time-out stands still while the machine sleeps; none is negative."""
        condition = Waited()

        for seconds in (5.0, 3_600.0, -1.0, None):
            SYSTEM_CLOCK.wait(condition, seconds)

        assert condition.timeouts == [5.0, SystemClock.LONGEST_WAIT, 0.0, None]

    def test_sleeping_for_less_than_nothing(self) -> None:
        """A pause that is over already is none."""
        SYSTEM_CLOCK.sleep(-1.0)

    def test_without_posix_clocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where there are no such clocks, as on Windows, the monotonic one is read."""
        monkeypatch.delattr("time.clock_gettime")

        assert SystemClock().steady() <= SystemClock().steady()
