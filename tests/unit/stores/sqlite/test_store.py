"""The store in an SQLite file."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from typing import TYPE_CHECKING

import attrs
import pytest

from dynsecrets import InvalidConfig, LeaseState, SQLiteLeaseStore, StoreError
from dynsecrets.stores.sqlite import statements
from dynsecrets.stores.sqlite import store as sqlite_store
from dynsecrets.testing import LeaseStoreContract
from support.builders import MINUTE, NOW, PLACE, SECOND, make_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dynsecrets.stores.base import LeaseStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteLeaseStore]:
    """A store of the test's own."""
    with contextlib.closing(SQLiteLeaseStore(tmp_path / "leases.db")) as store:
        yield store


def tamper(store: LeaseStore, statement: str, *arguments: object) -> None:
    """Change a store's file behind its back."""
    assert isinstance(store, SQLiteLeaseStore)
    with contextlib.closing(sqlite3.connect(store.path)) as connection, connection:
        assert connection.execute(statement, arguments).rowcount == 1


def statements_of(store: SQLiteLeaseStore) -> list[str]:
    """Return a list that all statements of an open store are added to, by their first word."""
    seen: list[str] = []
    assert store._database._connection is not None
    store._database._connection.set_trace_callback(lambda statement: seen.append(statement.split()[0]))
    return seen


class TestSQLiteStoreContract(LeaseStoreContract):
    """The store in a file is a store."""

    @pytest.fixture(autouse=True)
    def _path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "leases.db"

    def make_store(self) -> SQLiteLeaseStore:
        """Return a store in a new file."""
        return SQLiteLeaseStore(self.path)

    def corrupt(self, store: LeaseStore, lease_id: str) -> None:
        """Cut off a record's handle."""
        key = bytes.fromhex(lease_id.replace("-", ""))
        tamper(store, "UPDATE leases SET handle = substr(handle, 1, 5) WHERE id = ?", key)


def test_says_that_its_records_outlive_the_process(store: SQLiteLeaseStore) -> None:
    """A manager may leave its leases to whoever comes next."""
    assert store.outlives_process is True


def test_shows_its_path(store: SQLiteLeaseStore) -> None:
    """The ``repr`` tells where the records are."""
    assert repr(store) == f"SQLiteLeaseStore({str(store.path)!r})"


def test_lives_in_the_state_folder_by_default(home: Path) -> None:
    """Without a path the file is in the user's own folder for state."""
    store = SQLiteLeaseStore()

    assert store.path.name == "leases.db"
    assert "dynsecrets" in store.path.parts
    assert store.path.is_relative_to(home)


@pytest.mark.parametrize("path", ["", b"leases.db", 7, "a\0b", ["leases.db"], ":memory:"])
def test_refuses_what_is_no_path(path: object) -> None:
    """Anything but a path is refused at once, not on first use."""
    with pytest.raises(InvalidConfig):
        SQLiteLeaseStore(path)  # type: ignore[arg-type]


def test_touches_no_file_before_it_is_used(tmp_path: Path) -> None:
    """Making a store does no I/O."""
    SQLiteLeaseStore(tmp_path / "folder" / "leases.db").close()

    assert not list(tmp_path.iterdir())


def test_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is one of the working directory at the time, also when the process goes elsewhere."""
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(SQLiteLeaseStore("leases.db")) as store:
        monkeypatch.chdir("/")
        store.insert(make_record())

    assert (tmp_path / "leases.db").exists()


def test_keeps_records_when_it_is_closed(tmp_path: Path) -> None:
    """Another store on the same file has the same records."""
    record = make_record()
    with contextlib.closing(SQLiteLeaseStore(tmp_path / "leases.db")) as store:
        store.insert(record)

    with contextlib.closing(SQLiteLeaseStore(str(tmp_path / "leases.db"))) as store:
        assert store.get(record.id) == record


def test_writes_through_to_the_disk(store: SQLiteLeaseStore) -> None:
    """What says that a credential may exist is synced at each commit; the steps of a revocation need not be."""
    synced = "PRAGMA synchronous"
    record = make_record()

    store.insert(record)
    inserted = store._database.fetch("asking", synced)
    claimed = store.claim(record.id, "worker", NOW + MINUTE, NOW)
    assert claimed is not None
    begun = store._database.fetch("asking", synced)
    store.update(claimed.revoked(now=NOW))
    ended = store._database.fetch("asking", synced)
    fresh = make_record()
    store.insert(fresh)
    store.update(fresh)

    assert (inserted, begun, ended) == ([(2,)], [(1,)], [(1,)])
    assert store._database.fetch("asking", synced) == [(2,)]
    assert store._database.fetch("asking", "PRAGMA journal_mode") == [("wal",)]


@pytest.mark.parametrize("held", [True, False])
def test_what_ends_with_its_process_is_synced_once(store: SQLiteLeaseStore, held: bool) -> None:
    """Power that is lost takes the process that holds a lease too; then its pending record is enough to clean up."""
    pending = make_record(held=held, state=LeaseState.PENDING, issued_at=None, expires_at=None)
    store.insert(pending)

    store.update(pending.activated(handle=pending.handle, issued_at=NOW, expires_at=NOW + MINUTE))

    assert store._database.fetch("asking", "PRAGMA synchronous") == [(1,) if held else (2,)]


def test_writes_by_single_statements(store: SQLiteLeaseStore) -> None:
    """An insert and an update are one statement each, a claim reads without a lock, then writes over what it read."""
    record = make_record()
    store.count_live("")
    seen = statements_of(store)

    store.insert(record)
    store.update(record)
    store.claim(record.id, "worker", NOW + MINUTE, NOW)

    assert [word for word in seen if word != "PRAGMA"] == ["INSERT", "UPDATE", "SELECT", "UPDATE"]


def test_leaves_no_transaction_open(store: SQLiteLeaseStore) -> None:
    """A claim that is refused, or fails, ends its transaction."""
    store.insert(make_record(id="revoked", state="revoked"))

    store.claim("revoked", "worker", NOW + MINUTE, NOW)
    with pytest.raises(LookupError):
        store.claim("unknown", "worker", NOW + MINUTE, NOW)

    assert store._database._connection is not None
    assert not store._database._connection.in_transaction


@pytest.mark.parametrize(
    ("query", "arguments", "index"),
    [
        (statements.DUE, 5, "leases_due"),
        (statements.LAPSED, 6, "leases_due"),
        (statements.INTEGRATIONS, 0, "leases_due"),
        (statements.PROCESSES, 1, "leases_process"),
        (statements.OF_PROCESS, 4, "leases_process"),
        (statements.FAILED, 4, "leases_failed"),
        (statements.COUNT, 1, "leases_live"),
        (statements.OLD, 1, "leases_revoked"),
        (statements.PURGE, 2, "leases_revoked"),
        (statements.RECORDS, 7, "leases_created"),
        (statements.GET, 1, "sqlite_autoindex_leases_1"),
    ],
)
def test_finds_by_an_index(store: SQLiteLeaseStore, query: str, arguments: int, index: str) -> None:
    """No question is answered by reading the whole table, nor by sorting."""
    rows = store._database.fetch("explaining", f"EXPLAIN QUERY PLAN {query}", *[1] * arguments)

    plan = [row[3] for row in rows]

    assert any(step.startswith("SEARCH leases USING") and index in step for step in plan)
    assert not [step for step in plan if step.startswith("SCAN leases") or "TEMP B-TREE" in step]


def test_reads_page_by_page(store: SQLiteLeaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Iterating reads a page at a time, keeps nothing locked between pages, and sees what was there at its begin."""
    monkeypatch.setattr(sqlite_store, "_PAGE", 2)
    records = [make_record(created_at=NOW + i // 2 * SECOND) for i in range(5)]
    for record in records:
        store.insert(record)

    found = store.records()
    first = next(found)
    store.insert(make_record(created_at=NOW + MINUTE))
    claimed = store.claim(records[4].id, "worker", NOW + MINUTE, NOW)

    assert [first, *found] == [*records[:4], claimed]


def test_finds_due_work_behind_many_pages(store: SQLiteLeaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Due work comes in one order, however many pages and integrations it is spread over."""
    monkeypatch.setattr(sqlite_store, "_PAGE", 2)
    for i in (7, 3, 5, 1, 6, 2, 4, 0):
        store.insert(make_record(id=str(i), created_at=NOW + i * SECOND, integration=f"aws-{i % 3}"))

    due = store.due(NOW + MINUTE)

    assert [record.id for record in due] == [str(i) for i in range(8)]


def test_purges_step_by_step(store: SQLiteLeaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tombstones are forgotten in small transactions, and all are counted."""
    monkeypatch.setattr(sqlite_store, "_PURGE_PAGE", 2)
    for i in range(5):
        store.insert(make_record(state="revoked", revoked_at=NOW + i * SECOND))
    seen = statements_of(store)

    assert store.purge(NOW + 5 * SECOND) == 5
    assert seen.count("DELETE") == 3


def test_only_reads_where_there_is_nothing_to_purge(store: SQLiteLeaseStore) -> None:
    """Purging waits for no writer where nothing is old."""
    store.insert(make_record(state="revoked", revoked_at=NOW))
    seen = statements_of(store)

    store.purge(NOW)

    assert seen == ["SELECT"]


@pytest.mark.parametrize(
    "damage",
    [
        "state = 'lost'",
        "handle = '{oops'",
        "handle = '[]'",
        "handle = x'7b7d'",
        "metadata = '\"text\"'",
        "created_at = 'yesterday'",
        "created_at = 1.5",
        "expires_at = 9000000000000000000",
        "version = 'new'",
        "stuck = 'perhaps'",
        "claimed_by = CAST(x'ff41' AS TEXT)",
        "name = x'00'",
        "last_error = x'37'",
        "owner = NULL, process = NULL",
        "handle = CAST(x'7b22ff223a22227d' AS TEXT)",
    ],
)
def test_leaves_out_damaged_records(store: SQLiteLeaseStore, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    """Whatever is wrong with a record, it is logged by its id, and reading others goes on."""
    broken, sound = make_record(), make_record(created_at=NOW + SECOND)
    store.insert(broken)
    store.insert(sound)
    tamper(store, f"UPDATE leases SET {damage} WHERE seq = 1")

    with caplog.at_level(logging.ERROR, logger="dynsecrets"):
        assert list(store.records()) == [sound]
        assert store.due(NOW + MINUTE, limit=1) == [sound]
        assert store.of_process(sound.owner, limit=1) == [sound]

    assert broken.id in caplog.text
    with pytest.raises(StoreError, match=broken.id) as caught:
        store.get(broken.id)
    assert caught.value.lease_id == broken.id


@pytest.mark.parametrize("key", ["x'00'", "x'ff' || 'abc'", "CAST(x'ff' AS TEXT)", "7"])
def test_leaves_out_records_without_an_id(store: SQLiteLeaseStore, key: str) -> None:
    """A record whose very id is damaged hides no other one."""
    sound = make_record()
    store.insert(make_record())
    store.insert(sound)
    tamper(store, f"UPDATE leases SET id = {key} WHERE seq = 1")

    assert list(store.records()) == [sound]


@pytest.mark.parametrize("column", ["integration", "process"])
def test_leaves_out_names_that_are_no_text(
    store: SQLiteLeaseStore, caplog: pytest.LogCaptureFixture, column: str
) -> None:
    """A damaged name of an integration or process, which nothing can be looked for by, is logged and hides nothing."""
    sound = make_record()
    store.insert(make_record())
    store.insert(sound)
    damaged = f"'{PLACE}' || CAST(x'ff' AS TEXT)"
    tamper(store, f"UPDATE leases SET {column} = {damaged} WHERE seq = 1")

    with caplog.at_level(logging.ERROR, logger="dynsecrets"):
        assert sound in store.due(NOW)
        assert store.processes(PLACE) == [sound.owner]

    assert "not text" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"expires_at": NOW.replace(tzinfo=None)},
        {"metadata": {"a": object()}},
        {"metadata": {"a": float("nan")}},
        {"name": "\ud800"},
        {"attempts": 2**63},
    ],
)
def test_refuses_what_it_can_not_keep(store: SQLiteLeaseStore, change: dict[str, object]) -> None:
    """What wouldn't come back as it was is refused, and nothing is written."""
    record = attrs.evolve(make_record(state="active"), **change)  # type: ignore[arg-type]

    with pytest.raises(StoreError):
        store.insert(record)

    assert list(store.records()) == []


def test_records_any_failure(store: SQLiteLeaseStore) -> None:
    """The text of an error is kept, also where some of its bytes were no text."""
    record = make_record(last_error="no such file: caf\udce9")

    store.insert(record)

    assert store.get(record.id).last_error == "no such file: caf\\udce9"
