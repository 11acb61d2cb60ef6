"""How a pool fills itself: after failures, when leases get old, and in a forked child."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dynsecrets import Lease, LeasePool, PermissionDenied
from support.forking import in_child, needs_fork
from support.renewal import TTL, TTL_S, outage, pool_of

if TYPE_CHECKING:
    from support.world import World

# Failures


def test_filling_is_tried_again_with_pauses(world: World) -> None:
    """While leases can't be made, the pool asks rarely, once each time, and is full soon after it can."""
    recover = outage(world)
    with LeasePool(world.config(), 5, TTL, manager=world.manager) as pool:
        world.settle()
        begun = world.integration.count("provision")
        world.advance(3600)
        asked = world.integration.count("provision") - begun
        recover()
        world.advance(301)

        assert begun == 5
        assert 12 <= asked <= 24
        assert pool.ready == 5


def test_a_lease_that_could_be_had_ends_the_pause(world: World) -> None:
    """As soon as somebody got a lease again, the pool is filled up."""
    recover = outage(world)
    with LeasePool(world.config(), 5, TTL, manager=world.manager) as pool:
        world.advance(3600)
        recover()
        with pool.lease():
            world.settle()

            assert pool.ready == 5


@pytest.mark.parametrize("error", [RuntimeError("a third party's own"), SystemExit(3)])
def test_whatever_making_raises_the_pool_goes_on(world: World, error: BaseException) -> None:
    """An error that isn't the library's, an exit too, is one like any other."""
    world.integration.fail("provision", error)
    with LeasePool(world.config(), 2, TTL, manager=world.manager) as pool:
        world.advance(11)

        assert pool.ready == 2


# Age


def test_what_got_too_old_is_replaced(world: World) -> None:
    """A lease that waited for half of its TTL is revoked, and another one is ready in its place."""
    with pool_of(world) as pool:
        first = set(world.integration.live)
        world.advance(TTL_S / 2 - 1)
        assert set(world.integration.live) == first
        world.advance(1)

        assert pool.ready == 3
        assert not first & set(world.integration.live)
        assert len(world.integration.live) == 3


def test_nothing_old_is_handed_out_after_sleep(world: World) -> None:
    """Where the machine slept, and nobody noticed, what was ready is not handed out but replaced."""
    with pool_of(world) as pool:
        first = set(world.integration.live)
        # Time goes by, and nobody who waits for it is told.
        world.clock._steady += TTL_S / 2

        with pool.lease() as creds:
            assert creds.remaining.total_seconds() == TTL_S
        world.settle()

        assert not first & set(world.integration.live)
        assert pool.ready == 3


def test_a_day_of_waiting_leaves_no_more_than_the_pool(world: World) -> None:
    """In a day in which nobody takes anything there are always as many leases, and each is replaced in time."""
    with pool_of(world, 2) as pool:
        for _ in range(96):
            world.advance(900)
            assert pool.ready == 2
            assert len(world.integration.live) == 2

        assert world.integration.count("provision") <= 2 * 86_400 / (TTL_S / 2) + 2


def test_leases_that_work_late_are_handed_out_all_the_same(world: World) -> None:
    """Where a lease needs most of its TTL to become usable, the pool doesn't replace it for ever."""

    def slow(fresh: Lease) -> bool:
        world.clock.leap(TTL_S * 0.2)
        return True

    with pool_of(world, 1, wait=slow, wait_timeout=TTL) as pool, pool.lease() as creds:
        assert 0 < creds.remaining.total_seconds() <= TTL_S * 0.4


def test_what_somebody_else_revoked_is_not_handed_out(world: World) -> None:
    """A lease that was revoked while it waited, by its id, is passed over."""
    with pool_of(world, 2) as pool:
        gone = next(iter(world.store.records(state="active"))).id
        world.manager.revoke(gone)

        with pool.lease() as creds:
            assert creds.id != gone
            assert creds.is_valid()


def test_its_leases_are_held(world: World) -> None:
    """What is ready ends with the process: any reaper of the host that finds it gone revokes at once."""
    with pool_of(world, 2):
        assert [record.held for record in world.store.records(state="active")] == [True, True]


# Forks


@needs_fork
def test_a_child_takes_nothing_of_its_parent(world: World) -> None:
    """In a forked child the pool starts empty and fills up when it is used; the parent's leases stay the parent's."""

    def child() -> tuple[int, bool, int, int]:
        before = pool.ready
        with pool.lease() as creds:
            world.settle()
            fresh = creds.id not in ids
            full = pool.ready
        pool.close()
        return before, fresh, full, world.integration.count("revoke")

    with pool_of(world) as pool:
        ids = {record.id for record in world.store.records()}

        assert in_child(child) == (0, True, 3, 4)
        assert pool.ready == 3
        assert all(record.state == "active" for record in world.store.records() if record.id in ids)


@needs_fork
def test_forking_while_locks_are_held_is_safe(world: World) -> None:
    """A child forked while other threads stand in the pool can use and close it."""

    def child() -> bool:
        with pool.lease() as creds:
            valid = creds.is_valid()
        pool.close()
        return valid

    with pool_of(world) as pool:
        with pool._state._lock:
            worked = in_child(child)

        assert worked


def test_an_old_lease_that_cannot_be_revoked_is_the_managers(world: World) -> None:
    """The pool goes on with a fresh lease; the manager tries again to revoke the old one."""
    with pool_of(world, 1) as pool:
        world.integration.fail("revoke", PermissionDenied("may not"))
        world.advance(TTL_S / 2)
        assert pool.ready == 1

        world.advance(2)
        assert len(world.integration.live) == 1
