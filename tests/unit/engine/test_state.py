"""What the parts of a manager share: what it knows, what it writes, and what it tells."""

from __future__ import annotations

import logging
from datetime import UTC, timedelta

import pytest

from dynsecrets import LeaseNotFound, StoreError, VersionConflict
from dynsecrets.engine.lease_registry import LiveLease
from dynsecrets.engine.process_identity import current_owner
from dynsecrets.engine.state import EngineState
from dynsecrets.testing import FakeClock
from support.builders import make_record
from support.fakes import START, FakeIntegration
from support.forking import in_child, needs_fork
from support.world import Recorder, ThirdPartyStore

_HOUR_LATER = START + timedelta(hours=1)


@pytest.fixture(name="clock")
def clock_fixture() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture(name="store")
def store_fixture() -> ThirdPartyStore:
    """A store that fails when told to."""
    return ThirdPartyStore()


@pytest.fixture(name="told")
def told_fixture() -> Recorder:
    """A listener."""
    return Recorder()


@pytest.fixture(name="state")
def state_fixture(store: ThirdPartyStore, clock: FakeClock, told: Recorder) -> EngineState:
    """The state of an engine that knows one integration."""
    return EngineState(store, clock, [FakeIntegration("known")], [told])


def test_a_write_is_of_what_the_record_is_by_now(state: EngineState, store: ThirdPartyStore) -> None:
    """Where a record was changed since it was read, the change is made to what it is now."""
    record = make_record(state="active")
    store.insert(record)
    store.update(record.claimed(worker="w#1", until=_HOUR_LATER))

    written = state.write(record, lambda found: found.failed(now=START, error="why", jitter=0, handle={"a": "b"}))

    assert (written.version, written.state, written.attempts, written.claimed_by) == (3, "revoking", 1, None)
    assert store.get(record.id) == written


def test_a_tombstone_is_not_written_over(state: EngineState, store: ThirdPartyStore) -> None:
    """Where a record was closed since it was read, it stays closed."""
    record = make_record(state="active")
    store.insert(record)
    closed = store.update(record.revoked(now=START))

    assert state.write(record, lambda found: found.claimed(worker="w#1", until=_HOUR_LATER)) == closed


def test_a_write_gives_up(state: EngineState, store: ThirdPartyStore) -> None:
    """A record that changes again and again can't be written: a ``VersionConflict``, after a few tries."""
    record = make_record(state="active")
    store.insert(record)
    store.fail("update", *[VersionConflict("again")] * 100)

    with pytest.raises(VersionConflict, match="changes too fast") as caught:
        state.write(record, lambda found: found.revoked(now=START))

    assert caught.value.lease_id == record.id
    assert len(store._script["update", False]) > 90


def test_other_errors_of_the_store_go_on(state: EngineState, store: ThirdPartyStore) -> None:
    """What isn't a conflict isn't tried again."""
    record = make_record(state="active")
    store.insert(record)
    store.fail("update", StoreError("down"))

    with pytest.raises(StoreError, match="down"):
        state.write(record, lambda found: found.revoked(now=START))


def test_all_listeners_are_told(state: EngineState, told: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    """An event has what is known of the lease, and a line of the log."""
    caplog.set_level(logging.INFO, "dynsecrets")
    record = make_record(state="active", integration="known")

    state.emit("issued", record)
    state.emit("revoke_failed", record, OSError("down"))

    first, second = told.events
    assert (first.type, first.lease_id, first.name, first.integration) == ("issued", record.id, record.name, "known")
    assert (first.expires_at, first.time, first.error) == (record.expires_at, START, None)
    assert (second.type, second.error) == ("revoke_failed", "down")
    assert [entry.levelname for entry in caplog.records] == ["INFO", "WARNING"]


def test_events_go_to_the_log_without_listeners(
    store: ThirdPartyStore, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """With no listener, steps are logged all the same."""
    caplog.set_level(logging.INFO, "dynsecrets")

    EngineState(store, clock, [], []).emit("issued", make_record())

    assert "issued" in caplog.text


def test_a_record_is_found_by_id(state: EngineState, store: ThirdPartyStore) -> None:
    """``find`` returns a record, and calls whatever is not an id by its name."""
    record = make_record()
    store.insert(record)

    assert state.find(record.id) == record
    with pytest.raises(LeaseNotFound, match="'' is not a lease id"):
        state.find("")
    with pytest.raises(LeaseNotFound, match="of type list is not a lease id"):
        state.find(["x"])


@needs_fork
def test_a_child_starts_with_no_leases(state: EngineState) -> None:
    """A forked child has none of its parent's leases, another name, and the same integrations."""
    state.leases.add(LiveLease(make_record(), FakeIntegration("known")))

    def child() -> tuple[int, bool, bool, str]:
        mine = state.owner == str(current_owner())
        named = state.new_worker().startswith(state.owner)
        return len(state.leases.all()), mine, named, state.leases.integration("known").name

    assert in_child(child) == (0, True, True, "known")
    assert len(state.leases.all()) == 1
    assert state.owner == str(current_owner())
    assert START.tzinfo is UTC
