"""Histories that the model found, told plainly."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from dynsecrets import StoreError
from support.world import ThirdPartyStore, World

if TYPE_CHECKING:
    from collections.abc import Callable


def given_up(world: World) -> Callable[[], None]:
    """Return a step that takes so long that others give the issue up, look once more, and close its record."""

    def step() -> None:
        other = world.another()
        for pause in (150, 601):
            world.clock.leap(pause)
            other.reap(integrations=[world.integration], abandoned_after="0s")
        assert world.states() == ["revoked"]

    return step


def test_what_comes_to_be_after_its_issue_was_given_up_gets_a_record_of_its_own(world: World) -> None:
    """A slow issue finds its record closed by a reaper and can't roll back: a new record says what is left."""
    world.integration.fail("provision", given_up(world))
    world.integration.fail("revoke", None, None, OSError("no route"))

    with pytest.raises(StoreError, match="is pending"):
        world.issue()

    (thing,) = world.integration.live
    assert world.states() == ["revoked", "revoking"]
    assert [record.handle["thing"] for record in world.store.records()] == [thing, thing]
    world.another().reap(integrations=[world.integration])
    assert world.states() == ["revoked", "revoked"]
    assert list(world.integration.live) == []


def test_so_it_does_where_the_store_fails_at_that_moment() -> None:
    """Then the process that knows goes on trying, though the record is closed."""
    with World(ThirdPartyStore()) as world:
        world.integration.fail("provision", given_up(world))
        world.integration.fail("revoke", None, None, OSError("no route"), OSError("no route"))
        world.store.fail("get", StoreError("the disk is full"))

        with pytest.raises(StoreError, match="is pending"):
            world.issue()
        during = len(world.integration.live)
        world.advance(10)

        assert during == 1
        assert list(world.integration.live) == []
        assert not [record for record in world.store.records() if record.live]


def test_a_slow_integration_does_not_set_the_managers_clock(world: World) -> None:
    """Where nobody can tell when in a long call the third party's clock was read, other leases are not reaped early."""
    world.integration.skew = timedelta(0)
    world.issue("10m")
    world.integration.fail("provision", lambda: world.clock.leap(300))
    world.issue("1h")

    world.clock.leap(200)
    report = world.manager.reap(integrations=[world.integration])

    assert report.revoked == []
    assert len(world.integration.live) == 2
