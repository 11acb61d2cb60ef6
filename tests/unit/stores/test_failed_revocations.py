"""Failed revocations are found apart from what is due, whatever their back-off."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from dynsecrets import MemoryLeaseStore, SQLiteLeaseStore
from dynsecrets.stores.base import FailureIndex
from dynsecrets.stores.sqlite.schema import APPLICATION_ID, _create_leases
from support.builders import MINUTE, NOW, PROCESS, SECOND, make_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dynsecrets import DynamoDBLeaseStore, LeaseRecord
    from support.dynamodb import DynamoDB

    Store = MemoryLeaseStore | SQLiteLeaseStore | DynamoDBLeaseStore


@pytest.fixture(params=["memory", "sqlite", "moto_dynamodb", "dynalite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each of the stores in turn."""
    made: Store
    if request.param == "memory":
        made = MemoryLeaseStore()
    elif request.param == "sqlite":
        made = SQLiteLeaseStore(tmp_path / "leases.db")
    else:
        service: DynamoDB = request.getfixturevalue(request.param)
        made = service.make()
    yield made
    made.close()


def failed(seconds: int = 60, **overrides: object) -> LeaseRecord:
    """Return the record of a revocation that failed, and is tried again after so long."""
    return make_record(state="revoking", next_attempt_at=NOW + seconds * SECOND, **{"attempts": 1, **overrides})


def ids(records: list[LeaseRecord]) -> list[str]:
    """Return the ids of records."""
    return [record.id for record in records]


def test_finds_what_failed_and_nothing_else(store: Store) -> None:
    """Of all that lives, the unclaimed revocations of one integration are found, the next attempt first."""
    late, soon = failed(60, ended_at=NOW), failed(1)
    others = [
        make_record(),
        make_record(state="active"),
        make_record(state="revoking", claimed_by=f"{PROCESS}#1"),
        make_record(state="revoked"),
        failed(attempts=0, ended_at=NOW),
        failed(integration="other"),
    ]
    for record in (late, *others, soon):
        store.insert(record)

    found = store.failed("aws")

    assert isinstance(store, FailureIndex)
    assert found == [soon, late]
    assert ids(store.failed("aws", limit=1)) == [soon.id]
    assert store.failed("unknown") == []


def test_follows_a_revocation(store: Store) -> None:
    """A lease is found after its revocation failed, and no more once it is claimed, fails to be, or is revoked."""
    store.insert(record := make_record(state="active"))
    seen = [ids(store.failed("aws"))]
    claimed = store.claim(record.id, f"{PROCESS}#1", NOW + MINUTE, NOW)
    assert claimed is not None
    seen.append(ids(store.failed("aws")))
    again = store.update(claimed.failed(now=NOW, error="no network", jitter=0.0, handle=claimed.handle))
    seen.append(ids(store.failed("aws")))

    store.update(again.revoked(now=NOW))

    assert [*seen, ids(store.failed("aws"))] == [[], [], [record.id], []]


def test_does_not_change_what_is_due(store: Store) -> None:
    """A failed revocation is due at its next attempt, as ever, and is of no process."""
    store.insert(record := failed(60))

    assert ids(list(store.due(NOW))) == []
    assert ids(list(store.due(NOW + MINUTE))) == [record.id]
    assert list(store.processes("")) == []


def test_an_older_file_gets_the_index(tmp_path: Path) -> None:
    """A file of the first version is brought up to date when it is opened, and keeps what it has."""
    path = tmp_path / "leases.db"
    with closing(sqlite3.connect(path)) as connection:
        _create_leases(connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()

    with closing(SQLiteLeaseStore(path)) as store:
        store.insert(record := failed())

        assert store.failed("aws") == [record]
