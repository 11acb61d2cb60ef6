"""One ``lease()`` object shared by all that a server does at once: each block ends its own lease, or none."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import DynsecretsError, Lease, lease
from support.fakes import PATIENCE_S
from support.world import World, started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from types import TracebackType

    from dynsecrets.leasing.lease_context import LeaseContext


@pytest.fixture(name="block")
def block_fixture(world: World) -> LeaseContext:
    """An object that everyone shares."""
    return lease(world.config(), "1h", manager=world.manager)


def _dependency(block: LeaseContext) -> Iterator[Lease]:
    """Yield a lease, as a dependency of a web framework does."""
    with block as leased:
        yield leased


def _in_thread(work: Callable[[], Any]) -> Any:
    """Do something in a thread of its own."""
    return started(work)()


def _state(world: World, *leases: Lease) -> list[bool]:
    return [leased.revoked for leased in leases]


def test_generators_that_take_turns(world: World, block: LeaseContext) -> None:
    """The first to begin may be the first to end: its own lease ends."""
    first, second = _dependency(block), _dependency(block)
    one, two = next(first), next(second)

    next(first, None)
    assert _state(world, one, two) == [True, False]

    next(second, None)
    assert _state(world, one, two) == [True, True]


def test_requests_that_change_threads(world: World, block: LeaseContext) -> None:
    """Each request enters in one thread and leaves in another, in which others have entered meanwhile."""
    first, second, third = (_dependency(block) for _ in range(3))
    one = _in_thread(lambda: next(first))
    two, three = next(second), next(third)

    next(first, None)
    assert _state(world, one, two, three) == [True, False, False]

    _in_thread(lambda: next(second, None))
    assert _state(world, one, two, three) == [True, True, False]


def test_exit_stacks_that_take_turns(world: World, block: LeaseContext) -> None:
    """An ``ExitStack`` stands for its blocks, innermost first."""
    first, second = contextlib.ExitStack(), contextlib.ExitStack()
    one, two, inner = (stack.enter_context(block) for stack in (first, second, first))

    _in_thread(first.close)

    assert _state(world, one, two, inner) == [True, False, True]
    second.close()
    assert two.revoked


class Wrapper:
    """Somebody's own context manager around the shared one."""

    def __init__(self, block: LeaseContext) -> None:
        self._block = block

    def __enter__(self) -> Lease:
        """Lease."""
        return self._block.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Revoke."""
        self._block.__exit__(kind, error, traceback)


def test_wrappers_that_take_turns(world: World, block: LeaseContext) -> None:
    """A context manager that passes on what it is asked stands for its block."""
    first, second = Wrapper(block), Wrapper(block)
    one, two = first.__enter__(), second.__enter__()

    first.__exit__(None, None, None)

    assert _state(world, one, two) == [True, False]
    second.__exit__(None, None, None)
    assert two.revoked


def test_tasks_and_stacks_of_a_loop(world: World, block: LeaseContext) -> None:
    """Asynchronous generators and stacks end their own leases, in another task too."""

    async def dependency() -> AsyncIterator[Lease]:
        async with block as leased:
            yield leased

    async def main() -> None:
        first, second, stack = dependency(), dependency(), contextlib.AsyncExitStack()
        one, two = await anext(first), await anext(second)
        three = await stack.enter_async_context(block)

        await asyncio.create_task(_next(first))
        assert _state(world, one, two, three) == [True, False, False]
        await asyncio.create_task(stack.aclose())
        assert _state(world, one, two, three) == [True, False, True]
        await _next(second)
        assert two.revoked

    async def _next(generator: AsyncIterator[Lease]) -> None:
        await anext(generator, None)

    asyncio.run(main())


def _enter(block: LeaseContext) -> Lease:
    """Enter by hand, in a function that is over then."""
    return block.__enter__()


def _leave(block: LeaseContext, error: BaseException | None = None) -> None:
    """Leave by hand, in another function."""
    block.__exit__(None if error is None else type(error), error, None)


def test_where_it_cannot_be_told_none_is_revoked(world: World, block: LeaseContext) -> None:
    """An error says how many are open, and each ends at its TTL."""
    one, two = _enter(block), _enter(block)

    with pytest.raises(DynsecretsError, match=r"^2 blocks of one lease\(\) object .* none is revoked now"):
        _leave(block)

    assert _state(world, one, two) == [False, False]
    world.advance(3601)
    assert _state(world, one, two) == [True, True]
    assert world.integration.live == {}


def test_an_error_of_the_block_is_not_masked_by_that(world: World, block: LeaseContext) -> None:
    """It gets a note."""
    _enter(block), _enter(block)
    error = ValueError("mine")

    _leave(block, error)

    assert "it can't be told" in error.__notes__[0]


def test_what_is_over_is_forgotten(world: World, block: LeaseContext) -> None:
    """Blocks whose leases are over stand in nobody's way for ever."""
    _enter(block), _enter(block)
    world.advance(3601)
    for _ in range(2):
        with contextlib.suppress(DynsecretsError):
            _leave(block)

    leased = _enter(block)
    _leave(block)

    assert leased.revoked


def test_blocks_of_all_kinds_at_once(world: World, block: LeaseContext) -> None:
    """Among many threads none ever finds its lease revoked by somebody else."""
    start = threading.Barrier(8, timeout=PATIENCE_S)

    def nested() -> list[bool]:
        start.wait()
        alive = []
        for _ in range(20):
            with block as outer, contextlib.ExitStack() as stack:
                inner = stack.enter_context(block)
                other = _dependency(block)
                third = next(other)
                stack.close()
                alive += [outer.is_valid(), inner.revoked, third.is_valid()]
                next(other, None)
                alive.append(third.revoked)
        return alive

    results = [started(nested) for _ in range(8)]

    assert {alive for result in results for alive in result()} == {True}
    assert world.integration.live == {}
