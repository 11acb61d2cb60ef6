"""What the parts of a manager share: what it knows, what it writes, and what it tells."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dynsecrets import InvalidConfig, LeaseNotFound, MemoryLeaseStore, StoreError, VersionConflict
from dynsecrets.engine.process_identity import current_owner
from dynsecrets.engine.state import EngineState, LiveLease, check_metadata, find
from support.builders import make_record
from support.fakes import START, FakeClock, FakeIntegration, make_lease
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


@pytest.fixture(name="books")
def books_fixture(store: ThirdPartyStore, clock: FakeClock, told: Recorder) -> EngineState:
    """EngineState that know one integration."""
    return EngineState(store, clock, [FakeIntegration("known")], [told])


def test_integrations_are_known_by_name(books: EngineState) -> None:
    """An integration that was given or used is found; another one is an error that names what is known."""
    books.know(FakeIntegration("used"))

    assert books.integration("known").name == "known"
    assert books.integration("used").name == "used"
    with pytest.raises(InvalidConfig, match=r"'other', which this manager doesn't know \(it knows known, used\)"):
        books.integration("other")


def test_knowing_none_is_said(store: ThirdPartyStore, clock: FakeClock) -> None:
    """EngineState that know nothing say so."""
    with pytest.raises(InvalidConfig, match="it knows none"):
        EngineState(store, clock, [], []).integration("other")


def test_the_first_use_is_told(books: EngineState) -> None:
    """Using an integration tells whether it is the first time, for one that was given too, and for a new one."""
    given, new = books.integration("known"), FakeIntegration("known")

    assert [books.use(given), books.use(given), books.use(new), books.use(new)] == [True, False, True, False]
    assert books.integration("known") is new


def test_the_time_there_is_counted_on(books: EngineState, clock: FakeClock) -> None:
    """Once a third party's clock was seen, its time is known without asking again."""
    before = books.now("known")
    books.see_time("known", _HOUR_LATER, clock.steady())
    clock.advance(10)

    assert before == START
    assert books.now("known") == _HOUR_LATER + timedelta(seconds=10)
    assert books.now("other") == START + timedelta(seconds=10)


@pytest.mark.parametrize("off", [-6.0, -5.0, -0.5, 0.0, 0.5, 5.0, 6.0])
def test_clocks_about_right_are_taken_for_right(books: EngineState, clock: FakeClock, off: float) -> None:
    """Where the clocks differ by five seconds at most the local one counts, else the third party's."""
    there = START + timedelta(seconds=off)
    books.see_time("known", there, clock.steady())

    assert books.now("known") == (START if abs(off) <= 5 else there)


def test_the_time_is_asked_for_once_an_hour(books: EngineState, clock: FakeClock) -> None:
    """The third party is asked for its time when an hour has passed."""
    asked: list[int] = []
    integration: Any = FakeIntegration("known")

    def service_time() -> datetime:
        asked.append(1)
        return clock.now() + timedelta(hours=1)

    integration.service_time = service_time
    for seconds in (0, 3599, 1, 3599):
        clock.advance(seconds)
        books.ask_time(integration)

    assert len(asked) == 2


@pytest.mark.parametrize("answer", [datetime(2022, 1, 1), "2022-01-01", 5], ids=repr)  # noqa: DTZ001 - it is the point.
def test_a_time_that_is_none_is_not_believed(books: EngineState, answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An integration that answers with something else than an aware time stops nobody."""
    integration: Any = FakeIntegration("known")
    integration.service_time = lambda: answer

    books.ask_time(integration)

    assert books.now("known") == START
    assert "could not be read" in caplog.text


def test_a_write_is_of_what_the_record_is_by_now(books: EngineState, store: ThirdPartyStore) -> None:
    """Where a record was changed since it was read, the change is made to what it is now."""
    record = make_record(state="active")
    store.insert(record)
    store.update(record.claimed(worker="w#1", until=_HOUR_LATER))

    written = books.write(record, lambda found: found.failed(now=START, error="why", jitter=0, handle={"a": "b"}))

    assert (written.version, written.state, written.attempts, written.claimed_by) == (3, "revoking", 1, None)
    assert store.get(record.id) == written


def test_a_tombstone_is_not_written_over(books: EngineState, store: ThirdPartyStore) -> None:
    """Where a record was closed since it was read, it stays closed."""
    record = make_record(state="active")
    store.insert(record)
    closed = store.update(record.revoked(now=START))

    assert books.write(record, lambda found: found.claimed(worker="w#1", until=_HOUR_LATER)) == closed


def test_a_write_gives_up(books: EngineState, store: ThirdPartyStore) -> None:
    """A record that changes again and again can't be written: a ``VersionConflict``, after a few tries."""
    record = make_record(state="active")
    store.insert(record)
    store.fail("update", *[VersionConflict("again")] * 100)

    with pytest.raises(VersionConflict, match="changes too fast") as caught:
        books.write(record, lambda found: found.revoked(now=START))

    assert caught.value.lease_id == record.id
    assert len(store._script["update", False]) > 90


def test_other_errors_of_the_store_go_on(books: EngineState, store: ThirdPartyStore) -> None:
    """What isn't a conflict isn't tried again."""
    record = make_record(state="active")
    store.insert(record)
    store.fail("update", StoreError("down"))

    with pytest.raises(StoreError, match="down"):
        books.write(record, lambda found: found.revoked(now=START))


def test_leases_are_remembered_until_they_are_gone(books: EngineState) -> None:
    """An entry is found until it is removed, and then its lease knows that it is revoked."""
    lease = make_lease({"TOKEN": "a-token-of-no-use"})
    entry = LiveLease(make_record(id=lease.id), FakeIntegration("known"), lambda: lease)
    books.add(entry)

    found = (books.entry(lease.id), books.entries())
    removed = books.remove(lease.id)

    assert found == (entry, [entry])
    assert removed is entry
    assert lease.revoked
    assert (books.entry(lease.id), books.entries(), books.remove(lease.id)) == (None, [], None)


def test_there_is_one_entry_for_a_lease(books: EngineState) -> None:
    """What is to be deleted has an entry too; where there is one, it stays."""
    record = make_record()
    mine, other = FakeIntegration("known"), FakeIntegration("known")

    first = books.ensure(record, mine)

    assert books.ensure(record, other) is first
    assert (first.integration, first.lease()) == (mine, None)


def test_all_listeners_are_told(books: EngineState, told: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    """An event has what is known of the lease, and a line of the log."""
    caplog.set_level(logging.INFO, "dynsecrets")
    record = make_record(state="active", integration="known")

    books.emit("issued", record)
    books.emit("revoke_failed", record, OSError("down"))

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


def test_a_record_is_found_by_id() -> None:
    """``find`` returns a record, and calls whatever is no id by its name."""
    store, record = MemoryLeaseStore(), make_record()
    store.insert(record)

    assert find(store, record.id) == record
    with pytest.raises(LeaseNotFound, match="'' is no lease id"):
        find(store, "")
    with pytest.raises(LeaseNotFound, match="of type list is no lease id"):
        find(store, ["x"])


def test_metadata_is_plain_json() -> None:
    """Metadata comes back equal, and shares nothing with what was given."""
    given = {"a": [1, {"b": None}], "c": 1.5}

    kept = check_metadata(given)

    assert kept == given
    assert kept["a"] is not given["a"]
    assert check_metadata(None) == check_metadata({}) == {}


@needs_fork
def test_a_child_starts_with_empty_books(books: EngineState) -> None:
    """A forked child has none of its parent's leases, another name, and the same integrations."""
    books.add(LiveLease(make_record(), FakeIntegration("known")))

    def child() -> tuple[int, bool, bool, str]:
        mine = books.owner == str(current_owner())
        return len(books.entries()), mine, books.new_worker().startswith(books.owner), books.integration("known").name

    assert in_child(child) == (0, True, True, "known")
    assert len(books.entries()) == 1
    assert books.owner == str(current_owner())
    assert START.tzinfo is UTC
