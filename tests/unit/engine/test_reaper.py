"""Reaping finishes what other processes could not, and touches nothing else."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from dynsecrets import (
    InvalidConfig,
    InvalidTTL,
    LeaseManager,
    PermissionDenied,
    ReapReport,
    SQLiteLeaseStore,
    StoreError,
    lease,
)
from dynsecrets.engine import process_identity
from dynsecrets.engine.process_identity import ProcessIdentity, current_owner
from dynsecrets.engine.revocation import RevocationOutcome
from dynsecrets.model.lifecycle import LeaseState
from dynsecrets.stores.unreadable import note_unreadable
from support.builders import PROCESS, make_record
from support.fakes import FakeIntegration, UnhurriedClock
from support.world import (
    Gate,
    IndexedStore,
    SkewedIntegration,
    ThirdPartyStore,
    World,
    started,
    together,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dynsecrets import LeaseRecord

#: A process of this host that is gone for certain: its pid is this one's, which started at another time.
_GONE = str(attrs.evolve(current_owner(), started="1"))
_HERE = str(current_owner())


@pytest.fixture(name="reap")
def reap_fixture(world: World) -> Callable[..., ReapReport]:
    """How another manager on the same store reaps."""
    manager = world.another()

    def reap(**options: Any) -> ReapReport:
        return manager.reap(**{"integrations": [world.integration], **options})

    return reap


@pytest.fixture(params=[IndexedStore, ThirdPartyStore], name="theirs")
def theirs_fixture(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world with somebody's own store, with an index of processes and without."""
    with World(request.param()) as theirs:
        yield theirs


def _put(world: World, age_s: float = 0, ttl_s: float = 1800, **overrides: Any) -> LeaseRecord:
    """Put a lease into the world that some process issued ``age_s`` seconds ago; it is active unless told otherwise."""
    thing = f"thing-{secrets.token_hex(6)}"
    world.integration.live[thing] = {}
    made = world.clock.now() - timedelta(seconds=age_s)
    record = make_record(
        **{
            "integration": world.integration.name,
            "state": "active",
            "handle": {"thing": thing},
            "created_at": made,
            "issued_at": made,
            "expires_at": made + timedelta(seconds=ttl_s),
            **overrides,
        }
    )
    world.store.insert(record)
    return record


def _revoking(world: World, due_in_s: float, **overrides: Any) -> LeaseRecord:
    """Put a lease whose revocation was begun."""
    due = world.clock.now() + timedelta(seconds=due_in_s)
    return _put(world, state="revoking", next_attempt_at=due, **overrides)


def test_there_may_be_nothing_to_do(world: World, reap: Callable[..., ReapReport]) -> None:
    """Reaping an empty store is fine, and asks nobody."""
    assert reap() == ReapReport(revoked=[], failed=[], skipped=[])
    assert world.integration.calls == []


def test_expired_leases_are_revoked(world: World, reap: Callable[..., ReapReport]) -> None:
    """Leases of processes that nobody knows are revoked once their TTL is over, and not before."""
    over, due = _put(world, age_s=31, ttl_s=30), _put(world, age_s=30, ttl_s=30)
    young = _put(world, age_s=29, ttl_s=30)

    report = reap()

    assert report == ReapReport(revoked=[over.id, due.id])
    assert set(world.integration.live) == {young.handle["thing"]}
    assert [world.state(record.id) for record in (over, due, young)] == ["revoked", "revoked", "active"]
    assert world.events.types(over.id) == ["revoked", "reaped"]


def test_failed_revocations_are_tried_now(world: World, reap: Callable[..., ReapReport]) -> None:
    """A revocation that failed is tried whatever its back-off, also where it is stuck."""
    records = [_revoking(world, 59, attempts=9, stuck=True), _revoking(world, -5, attempts=1)]

    report = reap()

    assert sorted(report.revoked) == sorted(record.id for record in records)
    assert world.integration.live == {}
    assert not world.manager.get(records[0].id).stuck


@pytest.mark.parametrize("others", [0, 40])
def test_a_clock_that_was_set_back_hides_no_failure_of_this_process(world: World, others: int) -> None:
    """What this process could not revoke is tried now, though its next attempt lies an hour ahead by the clock."""
    records = [_put(world) for _ in range(others + 1)]
    manager = world.another()
    world.integration.fail("revoke", *[PermissionDenied("no")] * len(records))
    assert len(manager.revoke_many(records).failed) == len(records)
    world.clock.jump_wall(-3600)

    report = manager.reap(integrations=[world.integration])

    assert sorted(report.revoked) == sorted(record.id for record in records)


def test_a_clock_that_was_set_back_by_minutes_hides_no_failure(world: World, reap: Callable[..., ReapReport]) -> None:
    """So it is with what another process could not revoke, where its clock was ahead by no more than AWS bears."""
    record = _revoking(world, 14 * 60, attempts=1)

    assert reap().revoked == [record.id]


def test_a_claim_is_respected_until_it_lapses(world: World, reap: Callable[..., ReapReport]) -> None:
    """What a worker elsewhere revokes just now is left alone, until its claim is over."""
    record = _revoking(world, 50, claimed_by=f"{PROCESS}#1")
    before = reap()
    world.clock.leap(50)

    after = reap()

    assert before.revoked == before.failed == []
    assert after.revoked == [record.id]


def test_claims_of_dead_workers_are_taken_off(world: World, reap: Callable[..., ReapReport]) -> None:
    """The claim of a process of this host that is gone holds nobody up; that of a living one does."""
    dead = _revoking(world, 110, claimed_by=f"{_GONE}#7")
    alive = _revoking(world, 110, claimed_by=f"{_HERE}#7")

    report = reap()

    assert report == ReapReport(revoked=[dead.id])
    assert world.state(alive.id) == "revoking"


def test_held_leases_of_dead_processes_are_revoked_at_once(world: World, reap: Callable[..., ReapReport]) -> None:
    """A lease that ends with its process is revoked once that is gone from this host; no other lease is."""
    held = _put(world, owner=_GONE, held=True)
    issued = _put(world, owner=_GONE)
    alive = _put(world, owner=_HERE, held=True)

    report = reap()

    assert report == ReapReport(revoked=[held.id])
    assert {world.state(issued.id), world.state(alive.id)} == {"active"}


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "elsewhere"},
        {"boot": "another-boot"},
        {"namespace": "4026530000"},
        {"boot": ""},
        {"namespace": ""},
        {"started": ""},
    ],
    ids=str,
)
def test_what_is_not_certain_is_left_to_the_ttl(
    world: World, reap: Callable[..., ReapReport], changes: dict[str, Any]
) -> None:
    """A held lease of another host, boot or container, or where that can't be told, lives up to its TTL."""
    base = attrs.evolve(current_owner(), pid=2**22 + 1, started="1")
    record = _put(world, owner=str(attrs.evolve(base, **changes)), held=True)
    before = reap()
    world.clock.leap(1800)

    after = reap()

    assert before == ReapReport()
    assert after.revoked == [record.id]


@pytest.mark.parametrize(
    "owner",
    ["", "garbage", "a|b|c|d|e", "|||1|", f"{_HERE}|more"],
    ids=["empty", "garbage", "five parts", "blanks", "six parts"],
)
def test_an_owner_that_is_none_is_left_to_the_ttl(world: World, reap: Callable[..., ReapReport], owner: str) -> None:
    """A record whose owner is no process isn't taken for one of a dead process."""
    _put(world, owner=owner, held=True)

    assert reap() == ReapReport()


def test_a_pid_that_nobody_has_is_gone(world: World, reap: Callable[..., ReapReport]) -> None:
    """A process of this host whose pid is free is gone."""
    here = current_owner()
    owner = ProcessIdentity(host=here.host, boot=here.boot, namespace=here.namespace, pid=2**22 + 1, started="1")
    record = _put(world, owner=str(owner), held=True)

    assert reap().revoked == [record.id]


@pytest.mark.parametrize("owner", [PROCESS, _HERE], ids=["elsewhere", "here"])
def test_unfinished_issues_are_revoked_when_they_are_old(
    world: World, reap: Callable[..., ReapReport], owner: str
) -> None:
    """A pending record is left alone for two minutes, or as long as the caller says, and then cleaned up."""
    old = _put(world, state="pending", age_s=120, owner=owner)
    young = _put(world, state="pending", age_s=119, owner=owner)
    assert reap().revoked == [old.id]

    assert reap(abandoned_after="2m").revoked == []
    assert reap(abandoned_after=timedelta(seconds=119)).revoked == [young.id]
    assert world.integration.live == {}


def test_an_issue_of_a_process_that_is_alive_is_not_abandoned(world: World, reap: Callable[..., ReapReport]) -> None:
    """However old its record looks: the clocks of two processes may differ. Told to at once, a reaper does."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        owner = attrs.evolve(current_owner(), pid=other.pid, started=process_identity._start_time(other.pid) or "")
        record = _put(world, state="pending", age_s=600, owner=str(owner))

        assert reap() == ReapReport()
        assert reap(abandoned_after="0s").revoked == [record.id]
        other.communicate(b"\n")


def test_an_issue_that_goes_on_after_it_was_given_up_is_looked_for_again(
    world: World, reap: Callable[..., ReapReport]
) -> None:
    """Its process can't be seen, may have made something since, and may be dead: nothing is left all the same."""
    record = _put(world, state="pending", age_s=120, owner=PROCESS)
    assert reap().revoked == [record.id]
    world.integration.live[record.handle["thing"]] = "made later"

    assert reap() == ReapReport()
    world.clock.advance(600)
    reap()

    assert world.integration.live == {}
    assert world.state(record.id) == "revoked"


def test_unfinished_issues_can_be_revoked_at_once(world: World, reap: Callable[..., ReapReport]) -> None:
    """With ``abandoned_after="0s"`` no pending record is too young."""
    records = [_put(world, state="pending", owner=owner) for owner in (PROCESS, _HERE)]

    assert sorted(reap(abandoned_after="0s").revoked) == sorted(record.id for record in records)


def test_unfinished_issues_of_dead_processes_are_revoked_at_once(world: World, reap: Callable[..., ReapReport]) -> None:
    """A pending record of a process of this host that is gone is cleaned up, however young."""
    record = _put(world, state="pending", owner=_GONE)

    assert reap().revoked == [record.id]
    assert world.integration.live == {}


def test_an_issue_in_the_making_is_left_alone(world: World, reap: Callable[..., ReapReport]) -> None:
    """What a living process is issuing just now is not touched."""
    gate = Gate()
    world.integration.fail("provisioned", gate)
    result = started(world.issue)
    gate.until_reached()

    report = reap()
    gate.open()

    assert report == ReapReport()
    assert result().is_valid()


def test_revoked_leases_are_left_alone(world: World, reap: Callable[..., ReapReport]) -> None:
    """A tombstone is nothing to reap, whoever owned it."""
    world.issue("10s").revoke()
    _put(world, state="revoked", revoked_at=world.clock.now(), owner=_GONE, held=True)
    world.clock.leap(3600)

    assert reap() == ReapReport()
    assert world.integration.count("revoke") == 1


def test_only_what_was_asked_for_is_reaped(world: World) -> None:
    """Leases of other integrations are left alone, whatever makes them due."""
    other = FakeIntegration("other", clock=world.clock)
    mine = [_put(world, age_s=60, ttl_s=30), _put(world, owner=_GONE, held=True)]
    theirs = [
        _put(world, age_s=60, ttl_s=30, integration="other"),
        _put(world, owner=_GONE, held=True, integration="other"),
        _revoking(world, 100, claimed_by=f"{_GONE}#1", integration="other"),
    ]

    first = world.manager.reap(integrations=[world.integration])
    second = world.manager.reap(integrations=[world.integration, other])

    assert sorted(first.revoked) == sorted(record.id for record in mine)
    assert sorted(second.revoked) == sorted(record.id for record in theirs)
    assert other.count("revoke") == 3


def test_no_integration_is_nothing_to_do(world: World) -> None:
    """Reaping with no integration does nothing."""
    _put(world, age_s=60, ttl_s=30)

    assert world.manager.reap(integrations=[]) == ReapReport()


def test_a_limit_is_the_most_to_revoke(world: World, reap: Callable[..., ReapReport]) -> None:
    """With a limit the most overdue leases come first, and the others another time."""
    records = [_put(world, age_s=1000 - i, ttl_s=30) for i in range(40)]
    records += [_put(world, owner=_GONE, held=True) for _ in range(3)]

    runs = [reap(limit=limit).revoked for limit in (1, 20, 20, 20)]

    ids = [record.id for record in records]
    assert runs[0] == ids[:1]
    assert sorted(runs[1]) == sorted(ids[1:21])
    assert sorted(runs[2] + runs[3]) == sorted(ids[21:])
    assert len(runs[2]) == 20


def test_a_limit_is_not_used_up_by_what_is_not_to_be_reaped(world: World, reap: Callable[..., ReapReport]) -> None:
    """Many unfinished issues, which are due for a look, don't hide what is overdue behind them."""
    for _ in range(100):
        _put(world, state="pending", age_s=60)
    overdue = _put(world, age_s=31, ttl_s=30)

    assert reap(limit=1).revoked == [overdue.id]


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "3"], ids=repr)
def test_a_limit_that_is_none_is_refused(reap: Callable[..., ReapReport], limit: Any) -> None:
    """A wrong limit is an ``InvalidConfig``."""
    with pytest.raises(InvalidConfig, match="limit"):
        reap(limit=limit)


@pytest.mark.parametrize("age", ["-1s", -1, None, "soon", 1.5, True, timedelta(milliseconds=1)], ids=repr)
def test_an_age_that_is_none_is_refused(reap: Callable[..., ReapReport], age: Any) -> None:
    """A wrong ``abandoned_after`` is an ``InvalidTTL`` that names the argument."""
    with pytest.raises(InvalidTTL, match="abandoned_after"):
        reap(abandoned_after=age)


@pytest.mark.parametrize("integrations", [None, "aws", ["aws"], 5, FakeIntegration()], ids=repr)
def test_integrations_that_are_none_are_refused(world: World, integrations: Any) -> None:
    """Something else than a list of integrations is an ``InvalidConfig``."""
    with pytest.raises(InvalidConfig, match="integrations must be"):
        world.manager.reap(integrations=integrations)


@pytest.mark.parametrize("error", [OSError("down"), PermissionDenied("no"), StoreError("odd"), KeyError("x")], ids=repr)
def test_one_that_fails_stops_no_other(world: World, reap: Callable[..., ReapReport], error: Exception) -> None:
    """What can't be revoked is reported and recorded; all others are revoked."""
    records = [_put(world, age_s=60, ttl_s=30) for _ in range(6)]
    world.integration.fail("revoke", None, None, error)

    report = reap()

    (failed,) = report.failed
    assert sorted([*report.revoked, failed]) == sorted(record.id for record in records)
    assert world.state(failed) == "revoking"
    assert str(error) in str(world.manager.get(failed).last_error)
    assert "revoke_failed" in world.events.types(failed)
    world.advance(60)
    assert world.integration.live == {}


def test_one_that_cannot_be_read_stops_no_other(tmp_path: Path) -> None:
    """An unreadable record among those that are due is left out, and all others are revoked."""
    path = tmp_path / "leases.db"
    with World(SQLiteLeaseStore(path)) as world:
        records = [_put(world, age_s=60, ttl_s=30) for _ in range(3)]
        records.append(_put(world, owner=_GONE, held=True))
        bads = (records[1], _put(world, owner=_GONE, held=True))
        for bad in bads:
            handle, due = "{broken", bad.due_at
            assert due is not None
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                connection.execute(
                    "UPDATE leases SET handle = ? WHERE created_at = ? AND handle LIKE ?",
                    (handle, int(bad.created_at.timestamp() * 1_000_000), f"%{bad.handle['thing']}%"),
                )

        report = world.another().reap(integrations=[world.integration])

        assert sorted(report.revoked) == sorted(record.id for record in (records[0], *records[2:]))
        assert sorted(report.failed) == sorted(bad.id for bad in bads)


def test_one_that_cannot_be_read_is_reported(theirs: World) -> None:
    """What the store leaves out of its answers is reported as failed, once."""
    record = _put(theirs, age_s=60, ttl_s=30)

    def leave_out() -> None:
        note_unreadable("unreadable")

    theirs.store.fail("due", leave_out, leave_out)

    report = theirs.manager.reap(integrations=[theirs.integration])

    assert report == ReapReport(revoked=[record.id], failed=["unreadable"])


def test_one_that_the_store_fails_stops_no_other(theirs: World) -> None:
    """A store that can't claim or write one of the records doesn't stop the others."""
    records = [_put(theirs, age_s=60, ttl_s=30) for _ in range(6)]
    theirs.store.fail("claim", None, StoreError("odd"), RuntimeError("odder"))
    theirs.store.fail("update", None, StoreError("odd"))

    report = theirs.manager.reap(integrations=[theirs.integration])

    assert sorted(report.revoked + report.failed) == sorted(record.id for record in records)
    assert len(report.failed) <= 1
    assert len(theirs.integration.live) <= 1


def test_a_store_that_cannot_be_read_is_an_error(theirs: World) -> None:
    """Where it can't be told what is overdue, that is a ``StoreError``."""
    theirs.store.fail("due", StoreError("down"))

    with pytest.raises(StoreError, match="down"):
        theirs.manager.reap(integrations=[theirs.integration])


def test_a_store_without_an_index_of_processes_will_do(theirs: World) -> None:
    """What dead processes left is found in any store; live processes' leases are left alone."""
    gone = [
        _put(theirs, owner=_GONE, held=True),
        _put(theirs, owner=_GONE, state="pending"),
        _revoking(theirs, 100, claimed_by=f"{_GONE}#3"),
    ]
    _put(theirs, owner=_HERE, held=True)
    _put(theirs, owner=_GONE, state="revoked", revoked_at=theirs.clock.now())

    report = theirs.manager.reap(integrations=[theirs.integration])

    assert sorted(report.revoked) == sorted(record.id for record in gone)


def test_a_claim_that_was_taken_meanwhile_is_left_alone(theirs: World) -> None:
    """Where somebody else changes a record between the look and the hand, it is theirs."""
    record = _revoking(theirs, 100, claimed_by=f"{_GONE}#3")

    def somebody_else() -> None:
        stored = theirs.store.inner.get(record.id)
        theirs.store.inner.update(stored.claimed(worker=f"{_HERE}#99", until=stored.next_attempt_at))

    theirs.store.fail("update", somebody_else)

    assert theirs.manager.reap(integrations=[theirs.integration]) == ReapReport()
    assert theirs.integration.count("revoke") == 0


def test_what_somebody_else_begins_meanwhile_is_skipped(theirs: World) -> None:
    """A lease that another reaper claims between the look and the hand is reported as skipped."""
    record = _put(theirs, age_s=60, ttl_s=30)
    now = theirs.clock.now()
    later = now + timedelta(minutes=2)
    theirs.store.fail("claim", lambda: theirs.store.inner.claim(record.id, f"{_HERE}#99", later, now))

    assert theirs.manager.reap(integrations=[theirs.integration]) == ReapReport(skipped=[record.id])
    assert theirs.integration.count("revoke") == 0


def test_many_reapers_at_once_share_the_work() -> None:
    """Each lease is revoked by one of many reapers that work at the same time, and deleted once."""
    with World(clock=UnhurriedClock()) as world:
        due = [_put(world, age_s=60, ttl_s=30) for _ in range(30)]
        due += [_put(world, owner=_GONE, held=True) for _ in range(10)]
        due += [_revoking(world, 100, claimed_by=f"{_GONE}#1") for _ in range(10)]
        managers = [world.another() for _ in range(6)]

        reports = together(
            *[lambda manager=manager: manager.reap(integrations=[world.integration]) for manager in managers]
        )

        revoked = [lease_id for report in reports for lease_id in report.revoked]
        assert sorted(revoked) == sorted(record.id for record in due)
        assert all(report.failed == [] for report in reports)
        assert world.integration.count("revoke") == 50
        assert world.integration.live == {}


@pytest.mark.parametrize(
    ("lasting", "options", "kept_for"),
    [
        (True, {}, timedelta(days=7)),
        (True, {"keep_revoked": "1d"}, timedelta(days=1)),
        (True, {"keep_revoked": "30d"}, timedelta(days=30)),
        (False, {}, timedelta(hours=1)),
        (False, {"keep_revoked": "30d"}, timedelta(hours=1)),
        (False, {"keep_revoked": "5m"}, timedelta(minutes=5)),
    ],
)
def test_old_tombstones_are_forgotten(lasting: bool, options: dict[str, Any], kept_for: timedelta) -> None:
    """Records of revoked leases are kept as long as asked, in memory an hour at most, until somebody reaps."""
    with World(ThirdPartyStore() if lasting else None, housekeeping=None, **options) as world:
        world.issue().revoke()
        world.clock.advance(kept_for.total_seconds())
        world.manager.reap(integrations=[world.integration])
        kept = world.states()
        world.clock.advance(1)

        world.manager.reap(integrations=[world.integration])

        assert kept == ["revoked"]
        assert world.states() == []


def test_the_limit_bounds_what_is_forgotten(world: World) -> None:
    """``reap(limit=...)`` forgets no more tombstones than it may revoke leases."""
    for leased in world.manager.issue_many(world.config(), 5):
        leased.revoke()
    world.clock.advance(3601)

    world.manager.reap(integrations=[world.integration], limit=2)

    assert len(world.states()) == 3


def test_old_tombstones_are_forgotten_by_the_first_issue(world: World) -> None:
    """A manager that first issues forgets old tombstones too, in the background."""
    world.issue().revoke()
    world.clock.leap(timedelta(days=8).total_seconds())

    world.another().issue(world.config())
    world.settle()

    assert world.states() == ["active"]


def test_a_store_that_cannot_forget_harms_nothing(theirs: World, caplog: pytest.LogCaptureFixture) -> None:
    """Where old tombstones can't be purged, that is logged, and what is overdue is revoked."""
    record = _put(theirs, age_s=60, ttl_s=30)
    theirs.store.fail("purge", StoreError("read-only"))

    report = theirs.manager.reap(integrations=[theirs.integration])

    assert report.revoked == [record.id]
    assert "read-only" in caplog.text


@pytest.mark.parametrize("limit", [None, 10])
def test_the_cost_does_not_grow_with_the_store(limit: int | None) -> None:
    """To reap ten leases, as many records are read among twenty thousand as among two hundred."""
    reads = []
    for size in (200, 20_000):
        with World(IndexedStore()) as world:
            now = world.clock.now()
            for number in range(size):
                later = now + timedelta(minutes=20, seconds=number)
                state = LeaseState.REVOKED if number % 2 else LeaseState.ACTIVE
                world.store.insert(
                    make_record(
                        id=f"lease-{number}",
                        integration="fake",
                        state=state,
                        created_at=now,
                        issued_at=now,
                        expires_at=later,
                        revoked_at=now if number % 2 else None,
                        held=True,
                    )
                )
            due = [_put(world, age_s=60, ttl_s=30) for _ in range(6)]
            due += [_put(world, owner=_GONE, held=True) for _ in range(4)]
            before = world.store.reads

            report = world.manager.reap(integrations=[world.integration], limit=limit)

            assert sorted(report.revoked) == sorted(record.id for record in due)
            reads.append(world.store.reads - before)

    assert reads[0] == reads[1]
    assert reads[1] <= 30


def test_nothing_due_costs_nothing() -> None:
    """Where nothing is due, no record is read, and the third party isn't asked for the time."""
    with World(IndexedStore(), integration=SkewedIntegration()) as world:
        for _ in range(50):
            _put(world)

        world.manager.reap(integrations=[world.integration])

        assert world.store.reads == 0
        assert world.integration.asked == 0


def test_a_held_lease_of_this_process_is_left_alone(world: World, reap: Callable[..., ReapReport]) -> None:
    """A block that is open in a living process keeps its lease, whoever reaps."""
    with lease(world.config(), manager=world.manager) as leased:
        assert world.manager.get(leased.id).held

        assert reap() == ReapReport()
        assert reap(abandoned_after="0s") == ReapReport()

        assert leased.is_valid()


def test_a_lease_that_its_record_has_lost_is_deleted(theirs: World) -> None:
    """A record that vanishes between the look and the hand doesn't save its lease."""
    _put(theirs, age_s=60, ttl_s=30)

    def lose() -> None:
        theirs.store.inner = type(theirs.store.inner)()

    theirs.store.fail("claim", lose)

    report = theirs.manager.reap(integrations=[theirs.integration])

    assert len(report.revoked) == 1
    assert theirs.integration.live == {}


def test_reaping_with_a_closed_manager(world: World) -> None:
    """A closed manager can still be asked to reap."""
    record = _put(world, age_s=60, ttl_s=30)
    world.manager.close()

    assert world.manager.reap(integrations=[world.integration]).revoked == [record.id]


def test_a_report_counts_each_outcome() -> None:
    """Each outcome has a list of its own."""
    report = ReapReport()

    for lease_id, outcome in (
        ("a", RevocationOutcome.REVOKED),
        ("b", RevocationOutcome.FAILED),
        ("c", RevocationOutcome.SKIPPED),
    ):
        report.add(lease_id, outcome)

    assert report == ReapReport(revoked=["a"], failed=["b"], skipped=["c"])


def test_by_the_systems_clock() -> None:
    """With the machine's own clock, what is over is reaped and what is not isn't."""
    with World() as world:
        manager = LeaseManager(world.store)
        now = datetime.now(UTC)
        old, new = (
            _put(world, created_at=now - age, issued_at=now - age, expires_at=now - age + timedelta(minutes=5))
            for age in (timedelta(minutes=6), timedelta(minutes=4))
        )

        report = manager.reap(integrations=[world.integration])
        manager.close(revoke=False)

        assert report.revoked == [old.id]
        assert world.state(new.id) == "active"


def test_this_process_is_known_as_itself() -> None:
    """The tests' own idea of a dead process differs from the living one in its start alone."""
    dead, living = ProcessIdentity.parse(_GONE), ProcessIdentity.parse(_HERE)

    assert dead is not None
    assert living is not None
    assert attrs.evolve(dead, started=living.started) == living
    assert living.pid == os.getpid()
