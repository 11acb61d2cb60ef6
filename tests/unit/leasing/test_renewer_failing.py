"""What a renewer does when renewals fail: the lease at hand serves, attempts get rarer, and it recovers."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import (
    InvalidConfig,
    LeaseExpired,
    MemoryLeaseStore,
    PermissionDenied,
    ProvisionError,
    RevocationError,
    StoreError,
)
from support.renewal import ENDED_S, RENEWED_S, TTL_S, outage, renewer_of, until
from support.world import Gate, World

if TYPE_CHECKING:
    from dynsecrets import Lease


def test_the_current_lease_serves_until_its_end(world: World) -> None:
    """While renewals fail the lease at hand is used; when its TTL is over ``current`` raises ``LeaseExpired``."""
    with renewer_of(world) as renewer:
        current = renewer.current
        outage(world)
        world.advance(TTL_S - 1)
        assert renewer.current is current

        world.advance(1)
        with pytest.raises(LeaseExpired, match="attempts go on") as caught:
            _ = renewer.current

    assert caught.value.lease_id == current.id
    assert isinstance(caught.value.__cause__, ProvisionError)


def test_it_recovers_when_the_service_does(world: World) -> None:
    """After an outage of a day there is a lease again within minutes, and renewals go on as before."""
    with renewer_of(world) as renewer:
        recover = outage(world)
        world.advance(86_400)
        recover()
        world.advance(301)

        assert renewer.current.is_valid()
        assert renewer.status().failures == 0
        assert renewer.status().last_error is None
        before = renewer.current
        world.advance(RENEWED_S)
        assert renewer.current is not before


def test_each_failed_attempt_is_told(world: World) -> None:
    """``on_error`` gets each attempt's exception, and ``status()`` counts them and has the last one."""
    errors: list[BaseException] = []
    with renewer_of(world, on_error=errors.append) as renewer:
        outage(world)
        world.advance(TTL_S)
        status = renewer.status()

        assert len(errors) >= 4
        assert status.failures == len(errors)
        assert status.last_error is errors[-1]
        assert world.integration.count("provision") == 1 + len(errors)


def test_failed_attempts_get_rarer(world: World) -> None:
    """The pauses between attempts grow to minutes: an outage of an hour costs some twenty attempts, not thousands."""
    at: list[float] = []
    with renewer_of(world, on_error=lambda _: at.append(world.clock.steady())):
        outage(world)
        world.advance(0.7 * TTL_S + 3600)

    pauses = [later - earlier for earlier, later in pairwise(at)]
    assert pauses[0] <= 10
    assert all(later > earlier * 1.3 for earlier, later in pairwise(pauses[:5]))
    assert all(200 <= pause <= 300 for pause in pauses[6:])
    assert len(at) <= 25


@pytest.mark.parametrize("error", [PermissionDenied("may not"), InvalidConfig("no such group")])
def test_a_refusal_is_told_at_once_and_not_hammered(world: World, error: Exception) -> None:
    """What a person must mend is reported with the first attempt, and tried again after minutes."""
    errors: list[BaseException] = []
    with renewer_of(world, on_error=errors.append) as renewer:
        world.integration.fail("provision", *[error] * 100)
        world.clock.leap(RENEWED_S)
        world.settle()
        assert errors == [error]

        world.advance(199)
        assert len(errors) == 1
        world.advance(3600)
        assert len(errors) <= 19
        assert renewer.status().last_error is error


def test_no_third_user_is_made_while_an_old_one_lives(world: World) -> None:
    """Where the old lease can't be revoked there is no renewal, and as soon as it can there is one."""
    errors: list[BaseException] = []
    with renewer_of(world, on_error=errors.append) as renewer:
        recover = outage(world, step="revoke")
        world.advance(2 * TTL_S)
        assert len(world.integration.live) == 2
        assert {type(error) for error in errors} == {RevocationError}

        recover()
        world.advance(301)
        assert renewer.current.is_valid()
        assert len(world.integration.live) == 1


def test_a_store_that_fails_delays_a_renewal(world: World) -> None:
    """An error of the store is one like any other: told, tried again, and nothing is left behind."""
    errors: list[BaseException] = []
    broken: Any = MemoryLeaseStore()
    with World(broken) as other, renewer_of(other, on_error=errors.append) as renewer:
        before = renewer.current
        insert = broken.insert

        def fail(_: object) -> None:
            broken.insert = insert
            raise StoreError("locked")

        broken.insert = fail
        other.advance(RENEWED_S + 20)

        assert [str(error) for error in errors] == ["locked"]
        assert renewer.current is not before
        other.advance(ENDED_S)
        assert len(other.integration.live) == 1


@pytest.mark.parametrize("error", [RuntimeError("mine"), SystemExit(3), KeyboardInterrupt()])
def test_whatever_an_attempt_raises_the_attempts_go_on(world: World, error: BaseException) -> None:
    """An error that isn't the library's own, an exit in a thread too, is told and tried again."""
    errors: list[BaseException] = []
    with renewer_of(world, on_error=errors.append) as renewer:
        before = renewer.current
        world.integration.fail("provision", error)
        world.advance(RENEWED_S + 20)

        assert [one.__cause__ or one for one in errors] == [error]
        assert renewer.current is not before


def test_callbacks_that_raise_harm_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """What ``on_renew`` and ``on_error`` raise is logged, and renewals go on."""

    def oops(_: object) -> None:
        raise SystemExit("oops")

    with renewer_of(world, on_renew=oops, on_error=oops) as renewer:
        world.integration.fail("provision", ProvisionError("no answer"))
        world.advance(RENEWED_S + 20)
        world.advance(RENEWED_S)

        assert renewer.current.is_valid()
    assert sum("callback" in record.message for record in caplog.records) == 3


def test_a_slow_callback_delays_no_renewal(world: World) -> None:
    """While ``on_renew`` still runs, later renewals take place."""
    gate = Gate()
    calls: list[Lease] = []

    def slow(fresh: Lease) -> None:
        calls.append(fresh)
        if len(calls) == 1:
            gate()

    with renewer_of(world, on_renew=slow) as renewer:
        world.clock.leap(RENEWED_S)
        gate.until_reached()
        first = renewer.current
        world.clock.leap(RENEWED_S)
        until(lambda: renewer.current is not first)
        gate.open()
        world.settle()

        assert len(calls) == 2
