"""Pools beside an event loop."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from dynsecrets import (
    LeasePool,
    PermissionDenied,
)
from support.renewal import TTL, counted_world, pool_of
from support.world import Gate, World


def test_tasks_take_without_threads(world: World) -> None:
    """``async with`` takes what is ready at once, in the loop's own thread; many tasks may wait at the same time."""

    async def use() -> str:
        async with pool.lease() as creds:
            return creds.id

    async def work() -> list[str]:
        return await asyncio.gather(*(use() for _ in range(40)))

    with pool_of(world) as pool:
        ids = asyncio.run(work())

    assert len(set(ids)) == 40
    assert world.integration.live == {}


def test_waiting_tasks_block_no_loop(world: World) -> None:
    """While a task waits for a lease the loop goes on, and the task gets the lease when it is made."""
    gate = Gate()

    async def use() -> bool:
        async with pool.lease() as creds:
            return creds.is_valid()

    async def work() -> tuple[int, bool]:
        task = asyncio.ensure_future(use())
        ticks = 0
        for _ in range(100):
            await asyncio.sleep(0)
            ticks += not task.done()
        gate.open()
        return ticks, await task

    world.integration.fail("provision", gate, gate)
    with LeasePool(world.config(), 1, TTL, manager=world.manager) as pool:
        assert asyncio.run(work()) == (100, True)


def test_a_cancelled_wait_takes_nothing(world: World) -> None:
    """A task that is cancelled while it waits leaves the queue; what was being made for it is ready for others."""
    gate = Gate()

    async def work() -> None:
        task = asyncio.ensure_future(pool.lease().__aenter__())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    world.integration.fail("provision", gate, gate)
    with LeasePool(world.config(), 1, TTL, manager=world.manager) as pool:
        asyncio.run(work())
        assert not pool._state._queue
        gate.open()
        world.settle()
        assert pool.ready >= 1
    assert world.integration.live == {}


def test_cancelling_races_with_handing_over() -> None:
    """However a cancellation meets the lease that was waited for, the lease is used, ready or revoked, never lost."""

    async def use(pool: LeasePool) -> None:
        async with pool.lease():
            pass

    async def work(pool: LeasePool, turns: int) -> None:
        task = asyncio.ensure_future(use(pool))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    for turns in range(60):
        with counted_world(max_workers=2) as world:
            with LeasePool(world.config(), 1, TTL, manager=world.manager) as pool:
                asyncio.run(work(pool, turns))

            assert world.integration.live == {}


def test_errors_reach_the_task(world: World) -> None:
    """What making met is raised in the task that waited."""

    async def work() -> None:
        async with pool.lease():
            pytest.fail("the block must not begin")

    world.integration.fail("provision", *[PermissionDenied("may not")] * 2)
    with LeasePool(world.config(), 1, TTL, manager=world.manager) as pool:
        world.settle()
        with pytest.raises(PermissionDenied):
            asyncio.run(work())


def test_a_pool_can_be_closed_beside_a_loop(world: World) -> None:
    """``async with pool`` closes it at the end, in a thread."""

    async def work() -> None:
        async with pool_of(world) as pool, pool.lease():
            pass

    asyncio.run(work())

    assert world.integration.live == {}
