"""Renewers on a clock of the test's own: what a block has, and when it is renewed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import (
    DynsecretsError,
    InvalidConfig,
    InvalidTTL,
    LeaseExpired,
    renewing,
)
from support.renewal import ENDED_S, RENEWED_S, TTL, TTL_S, renewer_of
from support.world import Gate, World

if TYPE_CHECKING:
    from dynsecrets import Lease


# In a block


def test_a_block_has_a_lease_and_leaves_none(world: World) -> None:
    """Entering leases, ``current`` is that lease, and leaving revokes it."""
    with renewer_of(world) as renewer:
        current = renewer.current
        assert current.is_valid()
        assert current is renewer.current
        assert len(world.integration.live) == 1

    assert current.revoked
    assert world.integration.live == {}


def test_the_status_tells_of_the_current_lease(world: World) -> None:
    """``status()`` names the lease, its end and the next renewal, by the service's clock; nothing has failed."""
    with renewer_of(world) as renewer:
        status = renewer.status()

        assert (status.lease_id, status.expires_at) == (renewer.current.id, renewer.current.expires_at)
        assert status.next_renewal_at is not None
        share = (status.next_renewal_at - renewer.current.issued_at) / timedelta(seconds=TTL_S)
        assert 0.6 <= share <= 0.7
        assert (status.failures, status.last_error) == (0, None)


def test_a_closed_renewer_has_neither_lease_nor_plans(world: World) -> None:
    """Before and after its block ``current`` raises, and ``status()`` is empty."""
    renewer = renewer_of(world)
    with pytest.raises(DynsecretsError, match="not open"):
        _ = renewer.current
    with renewer:
        pass

    with pytest.raises(DynsecretsError, match="not open"):
        _ = renewer.current

    status = renewer.status()
    assert (status.lease_id, status.expires_at, status.next_renewal_at) == (None, None, None)
    assert "closed" in repr(renewer)


def test_a_renewer_can_be_entered_again_but_not_twice(world: World) -> None:
    """Each block begins with a lease of its own; a block within the block is refused and harms nothing."""
    renewer = renewer_of(world)
    with renewer:
        first = renewer.current

    with renewer:
        second = renewer.current
        with pytest.raises(DynsecretsError, match="open already"):
            renewer.__enter__()
        assert renewer.current is second

    assert second is not first
    assert world.states() == ["revoked", "revoked"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ttl": "ten minutes"}, InvalidTTL),
        ({"overlap": "1.5s"}, InvalidTTL),
        ({"overlap": "11m"}, InvalidTTL),
        ({"on_renew": 3}, InvalidConfig),
        ({"on_error": "print"}, InvalidConfig),
        ({"manager": object()}, InvalidConfig),
        ({"config": "AWS_USER"}, InvalidConfig),
    ],
)
def test_wrong_arguments_are_refused_at_once(world: World, options: dict[str, Any], error: type[Exception]) -> None:
    """What can't work is refused before anything is leased."""
    with pytest.raises(error):
        renewing(**{"config": world.config(), "ttl": TTL, **options})

    assert world.integration.calls == []


def test_a_coroutine_function_is_no_callback(world: World) -> None:
    """A thread can't await: such a callback would never run, so it is refused."""

    async def tell(fresh: Lease) -> None: ...

    with pytest.raises(InvalidConfig, match="plain function"):
        renewing(world.config(), on_renew=tell)


# Renewals


def test_a_fresh_lease_takes_the_place_of_the_old_one(world: World) -> None:
    """Between 60 and 70 % of the TTL another user is leased; the old one goes on through the overlap, then is gone."""
    with renewer_of(world) as renewer:
        old = renewer.current
        world.advance(0.6 * TTL_S - 1)
        assert renewer.current is old
        world.clock.leap(0.1 * TTL_S + 1)
        world.settle()
        fresh = renewer.current

        assert fresh.id != old.id
        assert fresh.access_key_id != old.access_key_id
        assert (old.is_valid(), fresh.is_valid()) == (True, True)
        world.advance(ENDED_S)
        assert (old.is_valid(), fresh.is_valid()) == (False, True)
        assert len(world.integration.live) == 1


@pytest.mark.parametrize(("overlap", "seconds"), [(None, 60), ("5s", 5), ("0s", 0)])
def test_the_old_lease_ends_after_the_overlap(world: World, overlap: str | None, seconds: int) -> None:
    """``overlap`` says for how long work in flight may go on; by default it is a tenth of the TTL."""
    swapped: list[float] = []
    with renewer_of(world, overlap=overlap, on_renew=lambda _: swapped.append(world.clock.steady())) as renewer:
        old = renewer.current
        world.clock.leap(RENEWED_S)
        world.settle()
        (at,) = swapped

        if seconds:
            world.advance(at + seconds - 1 - world.clock.steady())
            assert not old.revoked
        world.advance(at + seconds - world.clock.steady())
        assert old.revoked


def test_renewals_go_on_for_as_long_as_the_block(world: World) -> None:
    """In ten hours of ten-minute leases every one is replaced in time, and no more than two are ever alive."""
    fresh: list[Lease] = []
    with renewer_of(world, on_renew=fresh.append) as renewer:
        for _ in range(600):
            world.advance(60)
            assert renewer.current.is_valid()
            assert len(world.integration.live) <= 2

    assert len({one.id for one in fresh}) == len(fresh)
    assert 36_000 / 420 <= len(fresh) <= 36_000 / 360
    assert world.integration.live == {}


def test_a_lease_is_swapped_in_once_it_works(world: World) -> None:
    """While a fresh key doesn't work yet the old lease stays the current one."""
    gate = Gate()
    with renewer_of(world, config={"wait": "usable"}) as renewer:
        old = renewer.current
        world.integration.fail("is_usable", gate)
        world.clock.leap(RENEWED_S)
        gate.until_reached()
        during = renewer.current
        gate.open()
        world.settle()

        assert during is old
        assert renewer.current is not old


def test_a_lease_that_ended_while_it_was_read_is_not_the_answer(world: World) -> None:
    """Who asks for the lease in the very moment of a renewal without overlap gets the new one, and no error."""
    with renewer_of(world, overlap="0s") as renewer:
        read_before = renewer.current
        world.advance(RENEWED_S)
        assert not read_before.is_valid()

        assert renewer._newer(read_before) is renewer.current


def test_renewals_are_told(world: World) -> None:
    """``on_renew`` gets each fresh lease, and the manager's listeners a ``renewed`` event of it."""
    fresh: list[Lease] = []
    with renewer_of(world, on_renew=fresh.append) as renewer:
        world.advance(RENEWED_S)

        assert fresh == [renewer.current]
        assert world.events.types(fresh[0].id) == ["requested", "issued", "renewed"]


def test_each_renewer_has_its_own_moment(world: World) -> None:
    """Renewers that began together renew at different times."""
    renewers = [renewer_of(world) for _ in range(8)]
    for renewer in renewers:
        renewer.__enter__()

    moments = {renewer.status().next_renewal_at for renewer in renewers}

    assert len(moments) == 8
    for renewer in renewers:
        renewer.__exit__(None, None, None)


def test_a_lease_that_took_long_to_work_is_not_renewed_at_once(world: World) -> None:
    """Where getting ready took most of the TTL, renewals are still some time apart."""

    def slow(fresh: Lease) -> bool:
        world.clock.leap(TTL_S * 0.25)
        return True

    with renewer_of(world, config={"wait": slow, "wait_timeout": TTL}) as renewer:
        next_at = renewer.status().next_renewal_at

        assert next_at is not None
        assert next_at >= world.clock.now() + timedelta(seconds=TTL_S / 60)


def test_a_lease_that_somebody_else_revoked_is_replaced(world: World) -> None:
    """Where the current lease was revoked by hand, ``current`` says so once, and a fresh one is had at once."""
    with renewer_of(world) as renewer:
        world.manager.revoke(renewer.current)

        with pytest.raises(LeaseExpired):
            _ = renewer.current
        world.settle()

        assert renewer.current.is_valid()
