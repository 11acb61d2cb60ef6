"""The system's clock, and the fake one that tests drive."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dynsecrets.clock import SYSTEM_CLOCK, Clock, SystemClock
from support.fakes import PATIENCE_S, START, FakeClock


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


class TestFakeClock:
    """The clock that the other tests rely on."""

    def test_it_is_a_clock_that_stands_still(self) -> None:
        """Time goes by only when it is told to."""
        clock = FakeClock()
        clock.advance(90)

        assert isinstance(clock, Clock)
        assert clock.now() == START + timedelta(seconds=90)
        assert clock.steady() == 90

    def test_the_wall_clock_can_jump(self) -> None:
        """A jump moves the wall clock alone."""
        clock = FakeClock()
        clock.jump_wall(-3_600)

        assert clock.now() == START - timedelta(hours=1)
        assert clock.steady() == 0

    def test_sleeping_lets_time_go_by(self) -> None:
        """A sleeper advances the clock by itself, and what it asked for is kept."""
        clock = FakeClock()
        clock.sleep(2.5)

        assert clock.steady() == 2.5
        assert clock.sleeps == [2.5]

    def test_a_sleeper_can_be_made_to_wait(self) -> None:
        """Without ``auto_sleep`` a sleeper returns once the clock was advanced far enough."""
        clock = FakeClock(auto_sleep=False)
        sleeper = threading.Thread(target=clock.sleep, args=(10,))
        sleeper.start()
        clock.until_waiting()
        clock.advance(9)
        asleep = sleeper.is_alive()
        clock.advance(1)
        sleeper.join(PATIENCE_S)

        assert asleep
        assert not sleeper.is_alive()

    @pytest.mark.parametrize("wake", ["advance", "notify"])
    def test_a_waiter_wakes(self, wake: str) -> None:
        """A wait ends when its time was advanced to, or when the condition is notified."""
        clock, condition = FakeClock(), threading.Condition()

        def wait() -> None:
            with condition:
                clock.wait(condition, 10 if wake == "advance" else None)

        waiter = threading.Thread(target=wait)
        waiter.start()
        clock.until_waiting()
        if wake == "advance":
            clock.advance(10)
        else:
            with condition:
                condition.notify_all()
        waiter.join(PATIENCE_S)

        assert not waiter.is_alive()

    def test_no_advance_is_lost(self) -> None:
        """Time that went by between a thread's reading of the clock and its wait counts as waited."""
        clock, condition = FakeClock(), threading.Condition()
        clock.steady()
        clock.advance(10)

        with condition:
            clock.wait(condition, 10)

        assert clock.steady() == 10
