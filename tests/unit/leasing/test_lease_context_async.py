"""``async with lease(...)``: the same promises, while the event loop goes on."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import Lease, ProvisionError, RevocationError, lease
from dynsecrets._internal.async_bridge import run_in_thread
from support.fakes import PATIENCE_S
from support.world import Gate, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from dynsecrets.leasing.lease_context import LeaseContext


@pytest.fixture(name="block")
def block_fixture(world: World) -> LeaseContext:
    """A context of the world's config."""
    return lease(world.config(), manager=world.manager)


def _run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine function to its end; one that hangs fails."""
    return asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


async def _reached(gate: Gate) -> None:
    """Return once a thread stands at the gate, and let the loop go on meanwhile."""
    await asyncio.to_thread(gate.until_reached)


async def _outcome(task: asyncio.Task[Any]) -> BaseException | None:
    """Wait for a task; return what it raised."""
    await asyncio.wait([task])
    return asyncio.CancelledError() if task.cancelled() else task.exception()


async def _hold(block: LeaseContext, inside: asyncio.Event | None = None) -> None:
    """Stay in a block until somebody ends that."""
    async with block:
        if inside is not None:
            inside.set()
        await asyncio.Event().wait()


def test_the_block_has_a_lease_and_then_it_is_gone(world: World, block: LeaseContext) -> None:
    """The lease works in the block, and nothing is left of it after that."""

    async def main() -> Lease:
        async with block as leased:
            assert leased.check()
            assert world.manager.get(leased.id).held
        return leased

    leased = _run(main)

    assert leased.revoked
    assert world.integration.live == {}


@pytest.mark.parametrize("step", ["provision", "revoke"])
def test_the_loop_is_not_blocked(world: World, block: LeaseContext, step: str) -> None:
    """While the third party takes its time, other tasks go on: here one of them is what it waits for."""
    gate = Gate()
    world.integration.fail(step, gate)

    async def main() -> None:
        async def opens() -> None:
            await _reached(gate)
            gate.open()

        opening = asyncio.create_task(opens())
        async with block:
            pass
        await opening

    _run(main)

    assert world.integration.live == {}


def test_tasks_share_one_object(world: World, block: LeaseContext) -> None:
    """Tasks that are in a block of one object at the same time each have and revoke their own lease."""

    async def main() -> None:
        left = asyncio.Event()

        async def work(patient: bool) -> str:
            async with block as outer:
                async with block as inner:
                    assert outer.id != inner.id
                if patient:
                    await left.wait()
                assert outer.is_valid()
                assert inner.revoked
            left.set()
            assert outer.revoked
            return outer.id

        ids = await asyncio.gather(work(True), work(True), work(False))
        assert len(set(ids)) == 3

    _run(main)

    assert world.integration.live == {}
    assert world.integration.count("provision") == 6


def test_both_kinds_of_block_nest(world: World, block: LeaseContext) -> None:
    """A plain block in an asynchronous one, of the same object, ends its own lease."""

    async def main() -> None:
        async with block as outer:
            with block as inner:
                assert outer.id != inner.id
            assert inner.revoked
            assert outer.is_valid()

    _run(main)

    assert world.integration.live == {}


@pytest.mark.parametrize(
    "error", [ValueError("mine"), asyncio.CancelledError("mine"), RevocationError("mine")], ids=repr
)
def test_an_error_of_the_block_is_not_masked(world: World, block: LeaseContext, error: BaseException) -> None:
    """Where the revocation fails too, the block's own error goes on, with a note."""
    world.integration.fail("revoke", *[OSError("down")] * 3)

    async def main() -> None:
        with pytest.raises(type(error)) as caught:
            async with block:
                raise error
        assert caught.value is error

    _run(main)

    assert "could not be revoked" in error.__notes__[0]
    world.advance(60)
    assert world.integration.live == {}


def test_a_block_that_ended_well_tells_of_a_failed_revocation(world: World, block: LeaseContext) -> None:
    """Where the block itself succeeded, leaving raises ``RevocationError``."""
    world.integration.fail("revoke", *[OSError("down")] * 3)

    async def main() -> None:
        async with block:
            pass

    with pytest.raises(RevocationError):
        _run(main)


def test_a_block_that_cannot_be_entered_leaves_nothing(world: World, block: LeaseContext) -> None:
    """The error of issuing comes out of the entry."""
    error = ProvisionError("no")
    world.integration.fail("provisioned", error)

    async def main() -> None:
        async with block:
            pytest.fail("the block was entered")

    with pytest.raises(ProvisionError) as caught:
        _run(main)

    assert caught.value is error
    assert world.integration.live == {}


@pytest.mark.parametrize("step", ["provision", "provisioned"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_cancelled_entry_leaves_nothing(world: World, block: LeaseContext, step: str, times: int) -> None:
    """A task cancelled while its lease is made, once or again and again, ends when that lease is revoked."""
    gate = Gate()
    world.integration.fail(step, gate)

    async def main() -> None:
        task = asyncio.create_task(_hold(block))
        await _reached(gate)
        for _ in range(times):
            task.cancel("enough")
            await asyncio.sleep(0)
        assert not task.done()
        gate.open()
        assert isinstance(await _outcome(task), asyncio.CancelledError)
        assert world.integration.live == {}

    _run(main)

    assert world.states() == ["revoked"]


def test_a_cancelled_entry_that_fails_is_cancelled(world: World, block: LeaseContext) -> None:
    """A task cancelled while its lease can't be had is cancelled, with a note of the failure."""
    gate = Gate()

    def failing() -> None:
        gate()
        raise ProvisionError("no more users")

    world.integration.fail("provision", failing)

    async def main() -> asyncio.CancelledError:
        async def cancels(task: asyncio.Task[Any]) -> None:
            await _reached(gate)
            task.cancel()
            gate.open()

        task = asyncio.current_task()
        assert task is not None
        cancelling = asyncio.create_task(cancels(task))
        with pytest.raises(asyncio.CancelledError) as caught:
            await block.__aenter__()
        await cancelling
        return caught.value

    cancelled = asyncio.run(main())

    assert "no more users" in cancelled.__notes__[0]
    assert world.integration.live == {}


def test_a_cancelled_entry_that_cannot_be_undone_is_cancelled(world: World, block: LeaseContext) -> None:
    """Where a lease that comes too late can't be revoked, the task is cancelled, and the background goes on."""
    gate = Gate()
    world.integration.fail("provision", gate)
    world.integration.fail("revoke", *[OSError("down")] * 3)

    async def main() -> None:
        task = asyncio.create_task(_hold(block))
        await _reached(gate)
        task.cancel()
        gate.open()
        assert isinstance(await _outcome(task), asyncio.CancelledError)

    _run(main)

    assert world.states() == ["revoking"]
    world.advance(60)
    assert world.integration.live == {}


def test_cancellation_that_comes_with_the_lease_leaves_nothing(world: World, block: LeaseContext) -> None:
    """A task cancelled at the moment at which its lease is ready neither has nor leaves it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        handed = asyncio.Event()
        task = asyncio.create_task(_hold(block))
        issue = block._issue

        def issued() -> Lease:
            leased = issue()
            # Its result is on the way to the loop before the cancellation is.
            loop.call_soon_threadsafe(handed.set)
            return leased

        block._issue = issued
        await handed.wait()
        task.cancel()
        assert isinstance(await _outcome(task), asyncio.CancelledError)

    _run(main)

    assert world.integration.live == {}
    assert world.states() == ["revoked"]


def test_a_cancelled_body_revokes(world: World, block: LeaseContext) -> None:
    """A task cancelled in its block ends when the lease is revoked."""

    async def main() -> None:
        inside = asyncio.Event()
        task = asyncio.create_task(_hold(block, inside))
        await inside.wait()
        task.cancel()
        assert isinstance(await _outcome(task), asyncio.CancelledError)
        assert world.integration.live == {}

    _run(main)


def test_a_time_out_of_the_body_is_a_time_out(world: World, block: LeaseContext) -> None:
    """``asyncio.timeout`` around a block works as ever, and the lease is revoked."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await _hold(block)

    _run(main)

    assert world.integration.live == {}


@pytest.mark.parametrize("times", [1, 3])
def test_a_cancelled_exit_is_finished(world: World, block: LeaseContext, times: int) -> None:
    """A task cancelled while its lease is revoked ends when that is done, and is cancelled."""
    gate = Gate()
    world.integration.fail("revoke", gate)

    async def leave() -> None:
        async with block:
            pass

    async def main() -> None:
        task = asyncio.create_task(leave())
        await _reached(gate)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()
        gate.open()
        assert isinstance(await _outcome(task), asyncio.CancelledError)
        assert world.integration.live == {}

    _run(main)

    assert world.states() == ["revoked"]


def test_the_end_of_the_loop_waits_for_a_lease_in_the_making(world: World, block: LeaseContext) -> None:
    """``asyncio.run`` cancels all tasks when it ends: a lease that is made just then is revoked, not lost."""
    gate = Gate()
    world.integration.fail("provision", gate)
    tasks: list[asyncio.Task[None]] = []

    async def main() -> None:
        tasks.append(asyncio.create_task(_hold(block)))
        await _reached(gate)
        # Opened by a thread, when the loop is about to end.
        asyncio.get_running_loop().call_soon(gate.open)

    asyncio.run(main())

    assert tasks[0].cancelled()
    assert world.integration.live == {}
    assert world.states() == ["revoked"]


def test_the_end_of_the_loop_waits_for_a_revocation(world: World, block: LeaseContext) -> None:
    """A block that is open when ``asyncio.run`` ends is left, and its lease revoked."""

    async def main() -> None:
        inside = asyncio.Event()
        keep.append(asyncio.create_task(_hold(block, inside)))
        await inside.wait()

    keep: list[asyncio.Task[None]] = []
    asyncio.run(main())

    assert world.integration.live == {}
    assert world.states() == ["revoked"]


def test_a_coroutine_that_is_thrown_away_revokes(world: World, block: LeaseContext) -> None:
    """A coroutine closed in its block, without a loop, revokes before it is gone."""
    inside: list[Lease] = []

    async def work() -> None:
        async with block as leased:
            inside.append(leased)
            await asyncio.Event().wait()

    async def drive() -> None:
        """Run the coroutine by hand up to the wait in its block."""
        while True:
            waited = coroutine.send(None)
            if inside:
                return
            waited._asyncio_future_blocking = False
            await asyncio.wait([waited])

    coroutine: Any = work()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(drive())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert len(world.integration.live) == 1

    coroutine.close()

    assert world.integration.live == {}


def test_a_coroutine_thrown_away_while_it_enters_leaves_nothing(world: World, block: LeaseContext) -> None:
    """A coroutine closed while its lease is made leaves it to its thread, which revokes it."""
    gate = Gate()
    world.integration.fail("provision", gate)
    loop = asyncio.new_event_loop()

    async def start() -> Coroutine[Any, Any, None]:
        coroutine = _hold(block)
        coroutine.send(None)
        await _reached(gate)
        return coroutine

    coroutine = loop.run_until_complete(start())
    coroutine.close()
    gate.open()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    gc.collect()

    assert world.integration.live == {}
    assert world.states() == ["revoked"]


def test_an_asynchronous_generator_that_is_closed_revokes(world: World, block: LeaseContext) -> None:
    """A block in an asynchronous generator ends when that is closed."""

    async def work() -> AsyncIterator[Lease]:
        async with block as leased:
            yield leased

    async def main() -> None:
        generator = work()
        leased = await anext(generator)
        await generator.aclose()  # type: ignore[attr-defined]
        assert leased.revoked

    _run(main)

    assert world.integration.live == {}


def test_a_block_left_in_another_task_revokes(world: World, block: LeaseContext) -> None:
    """Where a block is entered in one task and left in another, as fixtures do, its lease is revoked."""

    async def main() -> None:
        leased = await asyncio.create_task(block.__aenter__())
        await asyncio.create_task(block.__aexit__(None, None, None))
        assert leased.revoked

    _run(main)

    assert world.integration.live == {}


def test_work_in_a_thread_sees_the_context() -> None:
    """Context variables of the task are those of the work."""
    variable = contextvars.ContextVar("variable", default="outside")

    async def main() -> str:
        variable.set("inside")
        return await run_in_thread(variable.get)

    assert asyncio.run(main()) == "inside"


def test_work_without_a_loop_is_done_at_once() -> None:
    """Where no loop runs, the work is done in the caller's own thread."""
    coroutine = run_in_thread(threading.get_ident)

    with pytest.raises(StopIteration) as done:
        coroutine.send(None)

    assert done.value.value == threading.get_ident()


def test_work_after_the_end_of_the_loops_threads_is_done_at_once() -> None:
    """Where the loop has no threads any more, the work is done in its own."""

    async def main() -> int:
        await asyncio.get_running_loop().shutdown_default_executor()
        return await run_in_thread(threading.get_ident)

    assert asyncio.run(main()) == threading.get_ident()


def test_what_was_done_too_late_is_undone_once() -> None:
    """Work whose task is cancelled is undone exactly once, whenever the cancellation comes."""
    undone: list[int] = []

    async def main(number: int, steps: int) -> None:
        task = asyncio.create_task(run_in_thread(partial(int, number), undo=undone.append))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            undone.append(task.result())

    for number in range(60):
        asyncio.run(main(number, number % 20))

    # One that was cancelled before it began had nothing to undo.
    assert len(undone) == len(set(undone))
    assert set(undone) >= {number for number in range(60) if number % 20}
