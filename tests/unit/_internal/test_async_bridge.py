"""Blocking work beside an event loop: trio's is refused, and not blocked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from dynsecrets import DynsecretsError, LeasePool, lease, renewing

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.world import World

_BLOCKS: dict[str, Callable[[World], Any]] = {
    "lease": lambda world: lease(world.config(), manager=world.manager),
    "renewing": lambda world: renewing(world.config(), manager=world.manager),
    "pool": lambda world: LeasePool(world.config(), 1, manager=world.manager),
    "pooled": lambda world: LeasePool(world.config(), 1, manager=world.manager).lease(),
}


@pytest.mark.parametrize("kind", list(_BLOCKS))
def test_trio_is_refused_at_once(world: World, kind: str) -> None:
    """A sentence says what to do instead; nothing is leased by the block."""
    context = _BLOCKS[kind](world)
    world.settle()
    before = world.integration.count("provision")

    async def main() -> None:
        async with context:
            pass

    with pytest.raises(DynsecretsError, match=r"run on asyncio.*trio\.to_thread\.run_sync"):
        trio.run(main)

    assert world.integration.count("provision") == before


def test_blocks_in_a_thread_of_trios_work(world: World) -> None:
    """What the sentence says to do works."""

    def work() -> str:
        with lease(world.config(), manager=world.manager) as leased:
            return leased.name

    async def main() -> str:
        return await trio.to_thread.run_sync(work)

    assert trio.run(main) == "AWS_USER"
    assert world.integration.live == {}
