"""Revocations that leave something for later: what ended already, and what can't be ended before its time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import (
    InvalidConfig,
    MemoryLeaseStore,
    ProvisionError,
    QuotaExceeded,
    ReapReport,
    Remainder,
    RevocationError,
    StoreError,
    lease,
    renewing,
)
from dynsecrets.engine.manager import engine_of
from support.fakes import START
from support.world import ThirdPartyStore, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynsecrets import Lease

LATER_S = 600
TTL_S = 1800


@pytest.fixture(name="world", params=[MemoryLeaseStore, ThirdPartyStore], ids=["memory", "third-party"])
def world_fixture(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world with a store that has indexes, and one that has none."""
    with World(request.param()) as world:
        yield world


def leave(world: World, *, ended: bool, seconds: float = LATER_S) -> None:
    """Have the next revocation leave something for later."""
    again_at = world.clock.now() + timedelta(seconds=seconds)
    world.integration.remainders.append(Remainder(ended, again_at))


def left(world: World, *, ended: bool) -> Lease:
    """Return a lease that was revoked, and that something is left of."""
    made = world.issue()
    leave(world, ended=ended)
    made.revoke()
    return made


class TestEnded:
    """The third party refuses the credential, and something is to be taken away later."""

    def test_it_is_revoked_at_that_moment(self, world: World) -> None:
        """The lease says so, the event comes now, and nothing counts as failed."""
        gone = left(world, ended=True)

        record = world.store.get(gone.id)
        assert (gone.revoked, gone.released, gone.is_valid()) == (True, False, False)
        assert world.events.types() == ["requested", "issued", "revoked"]
        assert (record.state, record.live, record.ended) == ("revoking", True, True)
        assert (record.ended_at, record.next_attempt_at) == (START, START + timedelta(seconds=LATER_S))
        assert (record.attempts, record.last_error, record.stuck, record.claimed_by) == (0, None, False, None)

    def test_it_is_revoked_again_then(self, world: World) -> None:
        """At the moment named the rest is taken away, and no second event tells of it."""
        gone = left(world, ended=True)
        world.advance(LATER_S - 1)
        before = (world.integration.count("revoke"), world.state(gone.id))
        world.advance(1)

        assert before == (1, "revoking")
        assert (world.integration.count("revoke"), world.state(gone.id)) == (2, "revoked")
        assert world.events.types() == ["requested", "issued", "revoked"]

    def test_it_counts_for_no_cap(self, world: World) -> None:
        """What the third party refuses is no live lease of its config."""
        config = world.config(max_active=1)
        first = world.manager.issue(config)
        leave(world, ended=True)
        first.revoke()

        assert world.store.count_live("AWS_USER") == 0
        assert world.manager.issue(config).is_valid()


class TestReleased:
    """The third party can't end the credential before its time."""

    def test_revoking_returns(self, world: World) -> None:
        """The lease is given back, and stays what it is until it ends: not revoked, and valid."""
        given = left(world, ended=False)

        record = world.store.get(given.id)
        again_at = START + timedelta(seconds=LATER_S)
        assert (given.revoked, given.released, given.is_valid()) == (False, True, True)
        assert world.events.types() == ["requested", "issued", "released"]
        assert (record.live, record.ended) == (True, False)
        assert (record.ended_at, record.next_attempt_at, record.attempts) == (again_at, again_at, 0)

    def test_it_ends_by_itself(self, world: World) -> None:
        """At that moment the third party is asked again, and then it is revoked."""
        given = left(world, ended=False)
        world.advance(LATER_S)

        assert world.state(given.id) == "revoked"
        assert world.events.types() == ["requested", "issued", "released", "revoked"]

    def test_revoking_again_once_its_record_is_forgotten(self, world: World) -> None:
        """Its tombstone is kept for a while only; doing it again is fine all the same."""
        given = left(world, ended=False)
        world.advance(LATER_S)
        world.store.purge(world.clock.now() + timedelta(seconds=1))

        given.revoke()

        assert (given.revoked, given.released) == (True, False)

    def test_it_counts_for_the_cap(self, world: World) -> None:
        """What still works is a live lease of its config."""
        config = world.config(max_active=1)
        first = world.manager.issue(config)
        leave(world, ended=False)
        first.revoke()

        assert world.store.count_live("AWS_USER") == 1
        with pytest.raises(QuotaExceeded):
            world.manager.issue(config)

    def test_a_reaper_names_it(self, world: World) -> None:
        """``ReapReport.released`` has what a reaper gave back, which is no failure and not revoked."""
        given = world.issue()
        world.die()
        world.clock.leap(TTL_S)
        leave(world, ended=False)

        report = world.another().reap(integrations=[world.integration])

        assert report == ReapReport(released=[given.id])

    def test_revoking_many_names_it(self, world: World) -> None:
        """``revoke_many`` reports like a reaper."""
        leases = [world.issue(), world.issue()]
        leave(world, ended=False)

        report = world.manager.revoke_many(leases)

        assert len(report.released) == len(report.revoked) == 1
        assert {*report.released, *report.revoked} == {each.id for each in leases}
        assert report.failed == report.skipped == []


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "released"])
class TestBoth:
    """What is so of either."""

    def test_nobody_asks_before_its_time(self, world: World, ended: bool) -> None:
        """Revoking it again, by the lease and by its id, reaping and closing call the third party no more."""
        given = left(world, ended=ended)
        another = world.another()

        given.revoke()
        another.revoke(given.id)
        report = another.reap(integrations=[world.integration])
        world.manager.close(revoke=True)

        assert report == ReapReport()
        assert world.integration.count("revoke") == 1
        assert (given.revoked, given.released) == (ended, not ended)

    def test_whoever_reaps_goes_on_then(self, world: World, ended: bool) -> None:
        """The rest is taken away by another process, if this one is gone."""
        given = left(world, ended=ended)
        world.die()
        another = world.another()
        world.clock.leap(LATER_S - 1)
        early = another.reap(integrations=[world.integration])
        world.clock.leap(1)

        assert early == ReapReport()
        assert another.reap(integrations=[world.integration]) == ReapReport(revoked=[given.id])
        assert world.state(given.id) == "revoked"

    def test_a_failure_then_is_one(self, world: World, ended: bool) -> None:
        """Where taking the rest away fails it is a failed revocation: counted, tried again, due for reapers at once."""
        given = left(world, ended=ended)
        world.integration.fail("revoke", OSError("down"))
        world.advance(LATER_S)

        record = world.store.get(given.id)
        assert (record.attempts, record.last_error) == (1, f"lease {given.id} could not be revoked: OSError: down")
        assert record.ended_at is not None
        assert world.another().reap(integrations=[world.integration]).revoked == [given.id]

    def test_it_may_leave_something_again(self, world: World, ended: bool) -> None:
        """The third party may name a later moment, as often as it likes; listeners are told once."""
        given = left(world, ended=ended)
        leave(world, ended=ended, seconds=2 * LATER_S)
        world.advance(LATER_S)
        between = world.store.get(given.id)
        world.advance(LATER_S)

        assert between.next_attempt_at == START + timedelta(seconds=2 * LATER_S)
        assert between.ended is ended
        assert world.state(given.id) == "revoked"
        assert world.events.types().count("revoked" if ended else "released") == 1

    def test_a_moment_that_is_past_makes_no_busy_loop(self, world: World, ended: bool) -> None:
        """An integration whose moment is over already is asked again in a second."""
        given = world.issue()
        leave(world, ended=ended, seconds=-5)
        given.revoke()
        before = world.integration.count("revoke")
        world.advance(1)

        assert (before, world.integration.count("revoke")) == (1, 2)
        assert world.state(given.id) == "revoked"

    def test_an_issue_that_failed_may_leave_something(self, world: World, ended: bool) -> None:
        """What is rolled back to a remainder is written down, and its error is the caller's."""
        world.integration.fail("provisioned", ProvisionError("lost"))
        leave(world, ended=ended)

        with pytest.raises(ProvisionError, match=r"^lost$") as caught:
            world.issue()

        (record,) = world.store.records()
        assert (record.state, record.ended_at is not None) == ("revoking", True)
        assert engine_of(world.manager).possibly_leaked(caught.value) == []
        world.advance(LATER_S)
        assert world.state(record.id) == "revoked"

    def test_a_block_ends_as_ever(self, world: World, ended: bool) -> None:
        """``lease()`` raises nothing for what is left for later, nor does a renewer."""
        leave(world, ended=ended)
        with lease(world.config(), manager=world.manager) as creds:
            pass
        leave(world, ended=ended)
        with renewing(world.config(), manager=world.manager) as renewer:
            second = renewer.current

        assert [(each.revoked, each.released) for each in (creds, second)] == [(ended, not ended)] * 2

    def test_one_that_is_left_at_its_ttl(self, world: World, ended: bool) -> None:
        """The background meets a remainder when the TTL ends, and goes on with it later."""
        given = world.issue()
        leave(world, ended=ended, seconds=TTL_S + LATER_S)
        world.advance(TTL_S)
        between = world.state(given.id)
        world.advance(LATER_S)

        assert (between, world.state(given.id)) == ("revoking", "revoked")

    def test_a_store_that_is_down_hides_nothing(self, ended: bool) -> None:
        """Where the remainder can't be written the claim lapses, and the next reaper is told the same."""
        with World(ThirdPartyStore()) as world:
            given = world.issue()
            leave(world, ended=ended)
            world.store.fail("update", StoreError("down"))
            given.revoke()
            leave(world, ended=ended)
            world.clock.leap(121)

            report = world.another().reap(integrations=[world.integration])

            assert (report.revoked, report.released) == (([given.id], []) if ended else ([], [given.id]))
            assert world.store.get(given.id).waits


def test_a_failure_before_is_forgiven(world: World) -> None:
    """A remainder ends a row of failures: it counts none, and is stuck no more."""
    given = world.issue()
    world.integration.fail("revoke", *[OSError("down")] * 3)
    with pytest.raises(RevocationError):
        given.revoke()
    leave(world, ended=True)
    world.advance(2)

    record = world.store.get(given.id)
    assert (record.attempts, record.stuck, record.ended) == (0, False, True)
    assert "down" in str(record.last_error)
    assert given.revoked


@pytest.mark.parametrize(
    ("ended", "again_at", "why"),
    [
        (1, START, "ended 1 is not accepted; give True or False"),
        (None, START, "ended None"),
        (True, datetime(2022, 1, 1), "again_at must be an aware datetime"),  # noqa: DTZ001 - it is the point.
        (True, "tomorrow", "again_at must be an aware datetime, not 'tomorrow'"),
    ],
)
def test_a_remainder_is_checked(ended: Any, again_at: Any, why: str) -> None:
    """A remainder says whether it ended, and an aware moment."""
    with pytest.raises(InvalidConfig) as caught:
        Remainder(ended, again_at)

    assert why in str(caught.value)
