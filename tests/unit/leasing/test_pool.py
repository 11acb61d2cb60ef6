"""Pools: leases made ahead and handed out once; who finds none ready waits, in order."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from dynsecrets import (
    InvalidConfig,
    InvalidTTL,
    Lease,
    LeasePool,
    PermissionDenied,
    ProvisionError,
)
from dynsecrets.engine.manager import engine_of
from support.fakes import PATIENCE_S, FakeIntegration
from support.renewal import TTL, pool_of, until
from support.world import Gate, World, started, together

# Handing out


def test_a_block_gets_a_lease_that_was_ready(world: World) -> None:
    """Entering waits for nothing: the lease was made before, and found usable; leaving revokes it."""
    gate = Gate()
    with pool_of(world, wait="usable") as pool:
        world.integration.fail("provision", gate)

        with pool.lease() as creds:
            gate.until_reached()
            assert creds.is_valid()
            assert creds.access_key_id.removeprefix("key-of-") in world.integration.live
            gate.open()

        assert creds.revoked


def test_each_lease_is_handed_out_once(world: World) -> None:
    """Nobody gets what somebody else has, or had."""
    with pool_of(world, 4) as pool:
        seen: list[str] = []
        for _ in range(6):
            with pool.lease() as first, pool.lease() as second:
                seen += [first.id, second.id]
            world.settle()

    assert len(set(seen)) == 12
    assert world.integration.live == {}


def test_many_threads_never_share_a_lease() -> None:
    """Threads that take and leave all the time never hold the same lease, and leave nothing behind."""
    held: set[str] = set()
    shared: list[str] = []
    lock = threading.Lock()

    def work() -> None:
        for _ in range(25):
            with pool.lease() as creds, lock:
                if creds.id in held:
                    shared.append(creds.id)
                held.add(creds.id)

    with World(max_workers=4) as world:
        with LeasePool(world.config(), 3, TTL, manager=world.manager) as pool:
            results = together(*[work] * 6)

        assert results == [None] * 6
        assert shared == []
        assert len(held) == 150
        assert world.integration.live == {}


def test_what_was_taken_is_replaced(world: World) -> None:
    """The pool is full again soon after a lease was taken, while it is in use."""
    with pool_of(world) as pool, pool.lease(), pool.lease():
        world.settle()

        assert pool.ready == 3
        assert len(world.integration.live) == 5
        assert repr(pool) == "<LeasePool of AWS_USER, 3 of 3 ready>"


def test_a_context_can_be_entered_again_and_inside_itself(world: World) -> None:
    """Each entry of one context takes another lease, and each end revokes its own."""
    with pool_of(world) as pool:
        context = pool.lease()
        with context as outer:
            with context as inner:
                assert inner.id != outer.id
            assert (inner.revoked, outer.revoked) == (True, False)
        with context as again:
            assert again.id not in (outer.id, inner.id)


def test_blocks_that_overlap_end_their_own_lease(world: World) -> None:
    """Two contexts of a pool can be left in any order."""
    with pool_of(world) as pool:
        first, second = pool.lease(), pool.lease()
        one, two = first.__enter__(), second.__enter__()

        first.__exit__(None, None, None)
        assert (one.revoked, two.revoked) == (True, False)
        second.__exit__(None, None, None)
        assert two.revoked


def test_it_decorates_functions(world: World) -> None:
    """A decorated function, plain or async, gets another lease of the pool at each call."""
    with pool_of(world) as pool:

        @pool.lease()
        def plain(word: str, lease: Lease) -> tuple[str, str]:
            assert lease.is_valid()
            return word, lease.id

        @pool.lease()
        async def later(lease: Lease) -> str:
            assert lease.is_valid()
            return lease.id

        calls: Any = plain, later  # The pool fills the lease in, of which type checkers know nothing.
        seen = [calls[0]("a"), calls[0]("b")]
        ids = {lease_id for _, lease_id in seen} | {asyncio.run(calls[1]())}

    assert [word for word, _ in seen] == ["a", "b"]
    assert len(ids) == 3
    with pytest.raises(InvalidConfig, match="decorates functions"):
        pool.lease()(3)  # type: ignore[arg-type]  # That's what is tested.


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"size": 0}, InvalidConfig),
        ({"size": True}, InvalidConfig),
        ({"size": 1.0}, InvalidConfig),
        ({"ttl": "soon"}, InvalidTTL),
        ({"manager": object()}, InvalidConfig),
        ({"config": "AWS_USER"}, InvalidConfig),
    ],
)
def test_wrong_arguments_are_refused(world: World, arguments: dict[str, Any], error: type[Exception]) -> None:
    """What can't work is refused before anything is leased."""
    with pytest.raises(error):
        LeasePool(**{"config": world.config(), "size": 2, "manager": world.manager, **arguments})

    assert world.integration.calls == []


def test_taking_takes_microseconds() -> None:
    """Half of all blocks begin within a millisecond while making a lease takes forty; the benchmarks look closer."""

    def slow() -> None:
        time.sleep(0.04)

    integration = FakeIntegration()
    integration.fail("provision", *[slow] * 100)
    with World(integration=integration) as world, LeasePool(world.config(), 30, TTL, manager=world.manager) as pool:
        until(lambda: pool.ready == 30)
        taken = []
        with contextlib.ExitStack() as stack:
            for _ in range(30):
                begun = time.perf_counter()
                stack.enter_context(pool.lease())
                taken.append(time.perf_counter() - begun)

    assert sorted(taken)[15] < 0.001


# Waiting


def test_a_burst_waits_and_is_served_in_order(world: World) -> None:
    """Who comes when nothing is ready waits for a lease to be made; who came first is served first."""
    gates = [Gate() for _ in range(5)]
    served: list[int] = []

    def use(number: int) -> None:
        with pool.lease():
            served.append(number)

    with pool_of(world, 1) as pool:
        world.integration.fail("provision", *gates)
        with pool.lease():
            waiting = []
            for number in range(4):
                waiting.append(started(partial(use, number)))
                until(lambda: len(pool._state._queue) == len(waiting))
            for count, gate in enumerate(gates[:4], 1):
                gate.open()
                until(lambda count=count: len(served) == count)  # type: ignore[misc]  # Of this turn.
            gates[4].open()
            for join in waiting:
                join()

    assert served == [0, 1, 2, 3]


def test_a_burst_is_made_at_the_same_time() -> None:
    """Those who wait don't wait for each other: their leases are made side by side, as far as there are threads."""
    with World(max_workers=8) as world:
        barrier = threading.Barrier(6)
        pool = LeasePool(world.config(), 1, TTL, manager=world.manager)
        until(lambda: pool.ready == 1)
        world.integration.fail("provision", *[lambda: barrier.wait(PATIENCE_S)] * 6)

        results = together(*[lambda: pool.lease().__enter__()] * 6)

        assert all(isinstance(result, Lease) for result in results)
        pool.close()


def test_some_threads_are_left_to_others() -> None:
    """However large the pool, a quarter of the manager's threads stay free, for renewals and expiries."""
    with World(max_workers=8) as world:
        gate = Gate()
        world.integration.fail("provision", *[gate] * 100)
        pool = LeasePool(world.config(), 100, TTL, manager=world.manager)
        gate.until_reached()

        done = engine_of(world.manager).scheduler.submit(lambda: "done").result(PATIENCE_S)

        assert done == "done"
        assert world.integration.count("provision") <= 6
        gate.open()
        world.settle()
        assert pool.ready == 100
        pool.close()


def test_a_failed_making_is_raised_to_who_waits(world: World) -> None:
    """Who waits for a lease that can't be made gets the error; what comes later works again."""
    error = PermissionDenied("may not")
    world.integration.fail("provision", error, error)
    with LeasePool(world.config(), 1, TTL, manager=world.manager) as pool:
        world.settle()

        with pytest.raises(PermissionDenied) as caught:
            pool.lease().__enter__()
        with pool.lease() as creds:
            assert creds.is_valid()

    assert caught.value is error


def test_a_failure_is_nobodys_while_others_are_made() -> None:
    """Where one of many that are being made fails, who waits gets one of the others."""
    with World(max_workers=8) as world:
        gate = Gate()
        world.integration.fail("provision", ProvisionError("no answer"), gate, gate)
        with LeasePool(world.config(), 3, TTL, manager=world.manager) as pool:
            gate.until_reached()
            taking = started(pool.lease().__enter__)
            gate.open()

            assert isinstance(taking(), Lease)


def test_who_gives_up_waiting_takes_nothing(world: World) -> None:
    """An interrupt while waiting is raised; the lease that was being made for it is for the next one."""
    gate = Gate()
    world.integration.fail("provision", gate)
    with LeasePool(world.config(), 1, TTL, manager=world.manager) as pool:
        stock = pool._state
        gate.until_reached()
        ticket = stock._queue_up()

        stock._leave(ticket)
        gate.open()
        world.settle()

        assert pool.ready >= 1
        with pool.lease() as creds:
            assert creds.is_valid()
    assert world.integration.live == {}


def test_what_comes_too_late_is_for_the_next_one(world: World) -> None:
    """A lease that was handed to somebody who had just given up goes to who waits, or is ready."""
    with pool_of(world) as pool:
        stock = pool._state
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(pool.lease())
            gate = Gate()
            world.integration.fail("provision", gate)
            ticket = stock._queue_up()
            gate.open()
            late = ticket.result(PATIENCE_S)
            world.settle()
            before = pool.ready

            stock._leave(ticket)

            assert pool.ready == before + 1
            assert late.is_valid()
    assert late.revoked


def test_what_comes_after_closing_is_revoked(world: World) -> None:
    """Where the pool was closed meanwhile, such a lease is revoked."""
    pool = pool_of(world, 1)
    with pool.lease():
        ticket = pool._state._queue_up()
        late = ticket.result(PATIENCE_S)
        pool.close()

        pool._state._leave(ticket)
        world.settle()

        assert late.revoked


def test_an_interrupted_wait_leaves_the_queue(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a block waits to begin is raised there; no ticket is left, and no lease is lost."""
    gate = Gate()
    world.integration.fail("provision", gate)
    result = Future.result

    def interrupted(*_: object) -> None:
        monkeypatch.setattr(Future, "result", result)
        raise KeyboardInterrupt

    with LeasePool(world.config(), 1, TTL, manager=world.manager) as pool:
        gate.until_reached()
        monkeypatch.setattr(Future, "result", interrupted)

        with pytest.raises(KeyboardInterrupt):
            pool.lease().__enter__()

        assert not pool._state._queue
        gate.open()
    assert world.integration.live == {}


def test_a_worker_does_not_wait_for_workers() -> None:
    """A block that begins in the manager's only thread, as a listener's does, makes its own lease rather than wait."""
    with World(max_workers=1) as world, LeasePool(world.config(), 1, TTL, manager=world.manager) as pool:
        world.settle()

        def work() -> int:
            with pool.lease() as first, pool.lease() as second:
                return len({first.id, second.id})

        assert engine_of(world.manager).scheduler.submit(work).result(PATIENCE_S) == 2
