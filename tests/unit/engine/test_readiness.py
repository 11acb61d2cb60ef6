"""Waiting until a fresh credential works."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from dynsecrets import DynsecretsError, NotUsableInTime, ProvisionError
from dynsecrets.engine.readiness import wait_until_usable
from dynsecrets.testing import FakeClock
from support.fakes import make_lease

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynsecrets import Lease

IN_A_ROW = 3
MINUTE = timedelta(minutes=1)


class Probe:
    """Answers as told, then always with the last answer; an answer may be an error, or take time."""

    def __init__(self, clock: FakeClock, *answers: bool | BaseException, takes: float = 0.0) -> None:
        self.calls = 0
        self._clock = clock
        self._answers = answers
        self._takes = takes

    def __call__(self) -> bool:
        """Answer."""
        answer = self._answers[min(self.calls, len(self._answers) - 1)]
        self.calls += 1
        self._clock.leap(self._takes)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def clock() -> FakeClock:
    """A clock on which pauses take no real time."""
    return FakeClock()


@pytest.fixture
def lease(clock: FakeClock) -> Lease:
    """A lease of half an hour."""
    return make_lease({"TOKEN": "t"}, clock=clock)


def wait(
    lease: Lease, probe: Callable[[], bool], clock: FakeClock, *, in_a_row: int = IN_A_ROW, patient: bool = True
) -> None:
    """Wait for a minute at most."""
    wait_until_usable(lease, probe, MINUTE, clock, in_a_row=in_a_row, patient=patient)


def test_three_successes_in_a_row_are_believed(lease: Lease, clock: FakeClock) -> None:
    """A credential that works at once is asked three times, without a pause."""
    probe = Probe(clock, True)

    wait(lease, probe, clock)

    assert probe.calls == IN_A_ROW
    assert clock.sleeps == []


@pytest.mark.parametrize("in_a_row", [1, 2, 5])
def test_the_integration_says_how_many_successes_are_believed(lease: Lease, clock: FakeClock, in_a_row: int) -> None:
    """A third party that is consistent is asked once, others more often."""
    probe = Probe(clock, False, True)

    wait(lease, probe, clock, in_a_row=in_a_row)

    assert probe.calls == in_a_row + 1


def test_a_failure_between_starts_the_count_anew(lease: Lease, clock: FakeClock) -> None:
    """One server that doesn't know the key yet takes back what the others said."""
    probe = Probe(clock, True, True, False, True, False, True, True, True)

    wait(lease, probe, clock)

    assert probe.calls == 8


def test_pauses_grow_to_a_second(lease: Lease, clock: FakeClock) -> None:
    """After each failure the pause is longer, up to a second."""
    wait(lease, Probe(clock, *[False] * 7, True), clock)

    assert clock.sleeps == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]


def test_waiting_is_bounded(lease: Lease, clock: FakeClock) -> None:
    """A credential that never works ends in ``NotUsableInTime`` at the time-out, which says what can be done."""
    with pytest.raises(
        NotUsableInTime, match=r"did not work within 1m .*raise wait_timeout, or pass wait=None"
    ) as caught:
        wait(lease, Probe(clock, False), clock)

    assert clock.steady() == pytest.approx(60)
    assert caught.value.lease_id == lease.id
    assert caught.value.__cause__ is None


def test_waiting_ends_with_the_lease(clock: FakeClock) -> None:
    """No lease is waited for longer than it lives."""
    short = make_lease({"TOKEN": "t"}, clock=clock, ttl=timedelta(seconds=5))

    with pytest.raises(NotUsableInTime, match="within 5s"):
        wait(short, Probe(clock, False), clock)

    assert clock.steady() == pytest.approx(5)


def test_slow_answers_count(lease: Lease, clock: FakeClock) -> None:
    """The time that the probe itself takes is waited time."""
    probe = Probe(clock, False, takes=30.0)

    with pytest.raises(NotUsableInTime):
        wait(lease, probe, clock)

    assert probe.calls <= 3


def test_a_patient_wait_outlasts_errors_of_the_service(lease: Lease, clock: FakeClock) -> None:
    """An error of this library is no answer; the wait goes on."""
    probe = Probe(clock, ProvisionError("no network"), False, ProvisionError("no network"), True)

    wait(lease, probe, clock)

    assert probe.calls == 6


def test_the_last_trouble_is_the_cause(lease: Lease, clock: FakeClock) -> None:
    """Where nothing else ever came back, the error is the cause of the one that is raised."""
    trouble = ProvisionError("no network")

    with pytest.raises(NotUsableInTime) as caught:
        wait(lease, Probe(clock, trouble), clock)

    assert caught.value.__cause__ is trouble


@pytest.mark.parametrize("error", [ZeroDivisionError("theirs"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_other_errors_go_through(lease: Lease, clock: FakeClock, error: BaseException) -> None:
    """What the probe raises otherwise is raised at once, as it is."""
    probe = Probe(clock, False, error)

    with pytest.raises(type(error)) as caught:
        wait(lease, probe, clock)

    assert caught.value is error
    assert probe.calls == 2


def test_an_impatient_wait_raises_every_error(lease: Lease, clock: FakeClock) -> None:
    """A caller's own probe that raises, whatever it is, is not asked again."""
    error = DynsecretsError("theirs")

    with pytest.raises(DynsecretsError) as caught:
        wait(lease, Probe(clock, error), clock, patient=False)

    assert caught.value is error
