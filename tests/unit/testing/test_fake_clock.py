"""The kit's clock: what is due happens when time reaches it, and is over when ``advance`` returns."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import (
    DynamicSecretConfig,
    InvalidTTL,
    LeaseExpired,
    LeaseManager,
    LeasePool,
    MemoryLeaseStore,
    ProvisionError,
    RevocationError,
    renewing,
)
from dynsecrets.clock import Clock
from dynsecrets.engine.manager import engine_of
from dynsecrets.testing import FakeClock, MemoryIntegration, fake_clock
from dynsecrets.testing.fake_clock import PATIENCE_S
from support.fakes import BlockingClock, until_waiting

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> FakeClock:
    """A clock."""
    return FakeClock()


@pytest.fixture
def aws(clock: FakeClock) -> MemoryIntegration:
    """A third party on the clock."""
    return MemoryIntegration(clock=clock)


@pytest.fixture
def manager(clock: FakeClock) -> Iterator[LeaseManager]:
    """A manager on the clock."""
    with LeaseManager(MemoryLeaseStore(), clock=clock) as manager:
        yield manager


@pytest.fixture
def config(aws: MemoryIntegration) -> DynamicSecretConfig:
    """A config of the third party."""
    return DynamicSecretConfig("AWS_USER", aws)


def test_is_a_clock(clock: FakeClock) -> None:
    """It has all that a manager asks of a clock, and begins when it is told to."""
    start = datetime(2030, 1, 1, tzinfo=UTC)

    assert isinstance(clock, Clock)
    assert FakeClock(start).now() == start


@pytest.mark.parametrize("by", ["1h30m", 5400, 5400.0, timedelta(minutes=90)])
def test_advances_by_any_length(clock: FakeClock, by: Any) -> None:
    """A length of time is given as TTLs are, or in seconds."""
    before = clock.now()

    clock.advance(by)

    assert clock.steady() == 5400
    assert clock.now() - before == timedelta(minutes=90)


@pytest.mark.parametrize("by", ["90", -1, float("nan"), float("inf"), True, None])
def test_refuses_what_is_no_length(clock: FakeClock, by: Any) -> None:
    """Anything else is refused, and no time goes by."""
    with pytest.raises(InvalidTTL):
        clock.advance(by)

    assert clock.steady() == 0


def test_a_lease_ends_at_its_ttl(
    clock: FakeClock, aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig
) -> None:
    """A second before its end a lease is there; at its end its user is gone."""
    creds = manager.issue(config, "15m")

    clock.advance("14m59s")
    assert creds.is_valid()
    assert list(aws.users) == [creds.username]

    clock.advance("1s")
    assert creds.revoked
    assert aws.users == {}


def test_each_thing_happens_at_its_own_moment(
    clock: FakeClock, aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig
) -> None:
    """However far time is advanced, each lease ends when it is due, in order."""
    start = clock.now()
    for minutes in (30, 10, 20):
        manager.issue(config, minutes * 60, wait=None)

    clock.advance("1h")

    ends = [call.at - start for call in aws.calls if call.method == "revoke"]
    assert ends == [timedelta(minutes=minutes) for minutes in (10, 20, 30)]


def test_many_managers_share_a_clock(clock: FakeClock, aws: MemoryIntegration, config: DynamicSecretConfig) -> None:
    """All managers on a clock are at rest when time has been advanced; closed ones are not waited for."""
    with LeaseManager(MemoryLeaseStore(), clock=clock) as one, LeaseManager(MemoryLeaseStore(), clock=clock) as two:
        one.issue(config, "1m")
        two.issue(config, "2m")
        clock.advance("1m")
        assert len(aws.users) == 1
        two.close()

        clock.advance("5m")

    assert aws.users == {}


def test_a_renewer_renews(
    clock: FakeClock, aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig
) -> None:
    """Hours of renewals pass at once: the lease is always fresh, and at most two users live at a time."""
    with renewing(config, "10m", manager=manager) as renewer:
        seen = set()
        for _ in range(60):
            clock.advance("2m")
            assert renewer.current.is_valid()
            assert len(aws.users) <= 2
            seen.add(renewer.current.id)

    assert len(seen) > 10
    assert aws.users == {}


def test_a_renewer_outlives_an_outage(
    clock: FakeClock, aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig
) -> None:
    """Without AWS the lease runs out and says so; when AWS is back, so is the lease."""
    failures: list[BaseException] = []
    with renewing(config, "10m", manager=manager, on_error=failures.append) as renewer:
        with aws.outage():
            clock.advance("9m")
            assert renewer.current.is_valid()
            clock.advance("2m")
            with pytest.raises(LeaseExpired):
                _ = renewer.current
        clock.advance("10m")

        assert renewer.current.is_valid()
    assert failures
    assert all(isinstance(failure, ProvisionError) for failure in failures)


def test_a_failed_revocation_is_tried_again(
    clock: FakeClock, aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig
) -> None:
    """A lease that can't be revoked stays on record, and is gone within minutes of AWS's return."""
    creds = manager.issue(config)
    with aws.outage():
        with pytest.raises(RevocationError):
            creds.revoke()
        clock.advance("1h")
        assert manager.get(creds.id).stuck

    clock.advance("2m")

    assert aws.users == {}
    assert manager.get(creds.id).state == "revoked"


def test_a_pool_fills_and_is_kept_fresh(
    clock: FakeClock, aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig
) -> None:
    """``advance(0)`` lets the background do what is to be done now: a pool is full then, and replaces what got old."""
    with LeasePool(config, 3, "10m", manager=manager) as pool:
        clock.advance(0)
        first = set(aws.users)
        clock.advance("6m")

        assert len(first) == 3
        assert pool.ready == 3
        assert first.isdisjoint(aws.users)


def test_sleeping_takes_no_time(clock: FakeClock, aws: MemoryIntegration, config: DynamicSecretConfig) -> None:
    """Whoever sleeps on the clock moves it: a lease that takes long to work is waited for at once."""
    aws.usable_after = timedelta(seconds=20)
    with LeaseManager(MemoryLeaseStore(), clock=clock) as manager:
        creds = manager.issue(config)

        assert creds.check()
    assert sum(clock.sleeps) >= 20
    assert clock.steady() >= 20


def test_says_that_the_background_does_not_rest(
    clock: FakeClock, manager: LeaseManager, config: DynamicSecretConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where something blocks for ever, ``advance`` fails instead of waiting for ever."""
    monkeypatch.setattr(fake_clock, "PATIENCE_S", 0.05)
    blocked, release = threading.Event(), threading.Event()

    def block(_: object) -> None:
        blocked.set()
        release.wait(fake_clock.PATIENCE_S * 1000)

    with renewing(config, "10m", manager=manager, on_renew=block):
        with pytest.raises(AssertionError, match="did not come to rest"):
            clock.advance("9m")
        assert blocked.is_set()
        release.set()


def test_what_is_cancelled_is_at_rest(clock: FakeClock, aws: MemoryIntegration, config: DynamicSecretConfig) -> None:
    """Jobs that were cancelled before they began don't keep time from going by."""
    aws.fail("provision", ProvisionError("Throttling"))
    with LeaseManager(MemoryLeaseStore(), clock=clock, max_workers=1) as manager:
        with pytest.raises(ProvisionError, match="Throttling"):
            manager.issue_many(config, 8)

        busy = threading.Event()
        engine_of(manager).scheduler.submit(busy.wait)
        assert engine_of(manager).scheduler.submit(int).cancel()
        busy.set()
        clock.advance("1m")

        assert aws.users == {}
        assert aws.count("provision") == 1


def test_the_wall_clock_may_jump(clock: FakeClock, manager: LeaseManager, config: DynamicSecretConfig) -> None:
    """A jump of the wall clock neither revokes a lease nor lets it live longer; far ahead, it is not relied upon."""
    creds = manager.issue(config, "10m")

    clock.jump_wall(86_400)
    clock.advance("9m")
    assert (creds.is_valid(), creds.revoked) == (False, False)

    clock.jump_wall(-2 * 86_400)
    assert creds.is_valid()
    clock.advance("1m")
    assert creds.revoked


def test_a_leap_is_noticed_afterwards(
    clock: FakeClock, aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig
) -> None:
    """A machine that slept past a lease's end revokes it once it wakes."""
    creds = manager.issue(config, "10m")

    clock.leap(3600)
    assert creds.expired
    clock.settle()

    assert aws.users == {}


def test_a_sleeper_can_be_made_to_wait() -> None:
    """On the tests' own clock for that, a sleeper returns once the time has gone by."""
    clock = BlockingClock()
    sleeper = threading.Thread(target=clock.sleep, args=(10,))
    sleeper.start()
    until_waiting(clock)
    clock.leap(9)
    asleep = sleeper.is_alive()
    clock.leap(1)
    sleeper.join(PATIENCE_S)

    assert asleep
    assert not sleeper.is_alive()


@pytest.mark.parametrize("wake", ["leap", "notify"])
def test_a_waiter_wakes(wake: str) -> None:
    """A wait ends when its time has come, or when the condition is notified."""
    clock, condition = FakeClock(), threading.Condition()

    def wait() -> None:
        with condition:
            clock.wait(condition, 10 if wake == "leap" else None)

    waiter = threading.Thread(target=wait)
    waiter.start()
    until_waiting(clock)
    if wake == "leap":
        clock.leap(10)
    else:
        with condition:
            condition.notify_all()
    waiter.join(PATIENCE_S)

    assert not waiter.is_alive()


def test_no_leap_is_lost() -> None:
    """Time that went by between a thread's reading of the clock and its wait counts as waited."""
    clock, condition = FakeClock(), threading.Condition()
    clock.steady()
    clock.leap(10)

    with condition:
        clock.wait(condition, 10)

    assert clock.steady() == 10
