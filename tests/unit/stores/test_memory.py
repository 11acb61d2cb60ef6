"""The store in memory."""

from __future__ import annotations

import copy
import json
import os
import pickle
from typing import TYPE_CHECKING

import pytest

from dynsecrets import LeaseNotFound, MemoryLeaseStore, StoreError
from dynsecrets.testing import LeaseStoreContract
from support.builders import MINUTE, NOW, SECOND, make_record
from support.forking import in_child
from support.threads import held_by_another_thread

if TYPE_CHECKING:
    from datetime import timedelta


class TestMemoryStoreContract(LeaseStoreContract):
    """The store in memory is a store."""

    def make_store(self) -> MemoryLeaseStore:
        """Return a new store."""
        return MemoryLeaseStore()


def test_says_that_its_records_die_with_the_process() -> None:
    """A manager must revoke what it issued before the process ends."""
    store = MemoryLeaseStore()

    assert store.outlives_process is False


def test_refuses_times_without_a_zone() -> None:
    """A time that can't be compared with others is refused, and the store stays as it was."""
    store = MemoryLeaseStore()
    record = make_record(state="active", expires_at=NOW.replace(tzinfo=None))

    with pytest.raises(StoreError, match="zone"):
        store.insert(record)

    assert list(store.records()) == []


def test_keeps_no_traces_of_what_is_purged() -> None:
    """A store that is used for years doesn't grow by the names and processes that it once saw."""
    store = MemoryLeaseStore()
    for i in range(10):
        record = make_record(owner=f"process {i}")
        store.insert(record)
        store.update(record.revoked(now=NOW))

    store.purge(NOW.replace(year=2050))

    assert repr(store) == "MemoryLeaseStore(0)"
    index = store._settled()
    assert not any((index.live, index.revoked, index.due, index.claims, index.failed, index.processes))


def revoke(store: MemoryLeaseStore, after: timedelta) -> None:
    """Have a lease begin and end."""
    record = make_record()
    store.insert(record)
    store.update(record.revoked(now=NOW + after))


def test_keeps_tombstones_for_an_hour() -> None:
    """Whoever only leases and revokes, and never purges, has no tombstones older than an hour."""
    store = MemoryLeaseStore()

    for minute in range(300):
        revoke(store, minute * MINUTE)

    assert [record.revoked_at for record in store.records()] == [NOW + minute * MINUTE for minute in range(239, 300)]


def test_keeps_so_many_tombstones(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many leases an hour has, only the latest tombstones are kept; each revocation forgets a few at most."""
    store = MemoryLeaseStore()
    for second in range(50):
        revoke(store, second * SECOND)
    monkeypatch.setattr("dynsecrets.stores.memory._MOST_TOMBSTONES", 10)

    left = []
    for second in range(50, 65):
        revoke(store, second * SECOND)
        left.append(len(list(store.records())))

    assert left == [47, 44, 41, 38, 35, 32, 29, 26, 23, 20, 17, 14, 11, 10, 10]


def test_forgets_no_live_lease() -> None:
    """What lives stays, however long ago it was made."""
    store = MemoryLeaseStore()
    store.insert(old := make_record())

    for hour in range(30):
        revoke(store, 60 * hour * MINUTE)

    assert store.get(old.id) == old


def test_shares_one_record_with_its_callers() -> None:
    """What can't be changed isn't copied: a process that holds many leases has one record of each."""
    store = MemoryLeaseStore()
    store.insert(record := make_record(metadata={"project": "web"}))

    active = store.update(record.activated(handle={"user_name": "u"}, issued_at=NOW, expires_at=NOW + MINUTE))

    assert store.get(record.id) is active
    for mapping in (active.handle, active.metadata):
        with pytest.raises(TypeError, match="can't be changed"):
            mapping["x"] = "y"  # type: ignore[index]
        assert json.loads(json.dumps(mapping)) == mapping
        assert copy.deepcopy(mapping) == pickle.loads(pickle.dumps(mapping)) == mapping  # noqa: S301 - its own.


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX")
def test_gives_a_forked_child_a_copy() -> None:
    """What a child does to its copy is not seen by its parent, and the other way round."""
    store = MemoryLeaseStore()
    ours, theirs = make_record(), make_record()
    store.insert(ours)

    def child() -> None:
        assert store.get(ours.id) == ours
        store.insert(theirs)

    in_child(child)

    with pytest.raises(LeaseNotFound):
        store.get(theirs.id)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX")
def test_is_not_locked_in_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork in the middle of a call, whose lock nobody can release in time, leaves a child that can use its copy."""
    monkeypatch.setattr("dynsecrets.stores.locking.PATIENCE", 0.01)
    store = MemoryLeaseStore()

    with held_by_another_thread(store._lock):
        in_child(lambda: store.insert(make_record()))

    store.insert(make_record())
