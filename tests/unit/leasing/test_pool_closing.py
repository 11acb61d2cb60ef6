"""How a pool ends: everything that nobody took is revoked, whatever is under way."""

from __future__ import annotations

import contextlib

import pytest

from dynsecrets import (
    DynsecretsError,
    LeasePool,
    PermissionDenied,
    RevocationError,
)
from dynsecrets.engine.manager import engine_of
from support.renewal import TTL, TTL_S, counted_world, pool_of, until
from support.world import Gate, World, started, together


def test_closing_revokes_what_was_never_used(world: World) -> None:
    """``close()`` revokes all that is ready, leaves alone what is in use, and hands out nothing more."""
    pool = pool_of(world)
    with pool.lease() as creds:
        world.settle()
        pool.close()

        assert creds.is_valid()
        assert len(world.integration.live) == 1
        with pytest.raises(DynsecretsError, match="closed"):
            pool.lease().__enter__()
    pool.close()
    world.advance(TTL_S)
    assert world.integration.live == {}
    assert world.integration.count("provision") == 4


def test_closing_at_once_makes_little(world: World) -> None:
    """What is not being made yet when the pool is closed is not made at all; what is, is revoked."""
    with World(max_workers=2) as small:
        gate = Gate()
        small.integration.fail("provision", gate)
        pool = LeasePool(small.config(), 50, TTL, manager=small.manager)
        gate.until_reached()
        closing = started(pool.close)
        until(lambda: pool._state._closed)
        gate.open()
        closing()

        assert small.integration.count("provision") == 1
        assert small.integration.live == {}


def test_closing_tells_who_waits(world: World) -> None:
    """Whoever waits for a lease when the pool is closed is told so at once."""
    gate = Gate()
    world.integration.fail("provision", gate, gate)
    pool = LeasePool(world.config(), 1, TTL, manager=world.manager)
    gate.until_reached()
    waiting = started(pool.lease().__enter__)
    until(lambda: len(pool._state._queue) == 1)

    closing = started(pool.close)
    error = waiting()
    gate.open()
    closing()

    assert isinstance(error, DynsecretsError)
    assert "closed" in str(error)
    assert world.integration.live == {}


def test_closing_names_what_it_could_not_revoke(world: World) -> None:
    """``close()`` tries all, then raises with the ids of those that are left; the background goes on."""
    pool = pool_of(world, 3)
    ids = {record.id for record in world.store.records(state="active")}
    world.integration.fail("revoke", PermissionDenied("may not"), PermissionDenied("may not"))

    with pytest.raises(RevocationError, match="2 leases could not be revoked") as caught:
        pool.close()

    assert sum(lease_id in str(caught.value) for lease_id in ids) == 2
    world.advance(61)
    assert world.integration.live == {}


def test_an_error_of_the_block_is_not_masked(world: World) -> None:
    """Where closing fails too, the block's own error is raised, with a note."""
    mine = ValueError("mine")

    pool = pool_of(world, 1)
    world.integration.fail("revoke", PermissionDenied("may not"))

    pool.__exit__(ValueError, mine, None)

    assert any("could not be revoked" in note for note in mine.__notes__)


def test_one_worker_is_enough_to_close() -> None:
    """With one thread for everything, and closed from that thread, a pool ends all the same."""
    with World(max_workers=1) as world:
        pool = LeasePool(world.config(), 4, TTL, manager=world.manager)
        world.settle()

        assert pool.ready == 4
        engine_of(world.manager).scheduler.submit(pool.close).result(60)
        assert world.integration.live == {}


def test_closing_races_with_everything() -> None:
    """However closing meets filling, taking and ageing, nothing is left alive and nobody waits for ever."""
    for _ in range(30):
        with counted_world(max_workers=3) as world:
            pool = LeasePool(world.config(), 4, TTL, manager=world.manager)

            def use(pool: LeasePool = pool) -> None:
                with contextlib.suppress(DynsecretsError), pool.lease():
                    pass

            results = together(use, use, use, pool.close, lambda world=world: world.clock.leap(TTL_S / 2))  # type: ignore[misc]
            world.settle()

            assert results == [None] * 5
            assert world.integration.live == {}


def test_a_closed_manager_is_the_end_of_its_pools(world: World) -> None:
    """Once the manager is closed a block can't begin, whoever waited is told, and closing the pool is fine."""
    gate = Gate()
    with pool_of(world, 1) as pool:
        world.integration.fail("provision", gate, gate)
        with pool.lease():
            gate.until_reached()
            waiting = started(pool.lease().__enter__)
            until(lambda: len(pool._state._queue) == 1)
            closing = started(world.manager.close)
            until(lambda: pool._state._engine.closed)
            gate.open()
            closing()
            error = waiting()

            assert isinstance(error, DynsecretsError)
            with pytest.raises(DynsecretsError, match="closed"):
                pool.lease().__enter__()
    assert world.integration.live == {}


def test_closing_fails_at_the_end_of_a_block_too(world: World) -> None:
    """Where the block itself ended well, what ``close()`` could not do is raised."""
    with pytest.raises(RevocationError, match=r"^lease .* could not be revoked: may not"), pool_of(world, 1):
        world.integration.fail("revoke", PermissionDenied("may not"))

    world.advance(61)
    assert world.integration.live == {}
