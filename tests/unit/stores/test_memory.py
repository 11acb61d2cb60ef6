"""The store in memory."""

from __future__ import annotations

import os

import pytest

from dynsecrets import LeaseNotFound, MemoryLeaseStore, StoreError
from dynsecrets.testing import LeaseStoreContract
from support.builders import NOW, make_record
from support.forking import in_child
from support.threads import held_by_another_thread


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
    monkeypatch.setattr("dynsecrets._internal.fork_safety.PATIENCE", 0.01)
    store = MemoryLeaseStore()

    with held_by_another_thread(store._lock):
        in_child(lambda: store.insert(make_record()))

    store.insert(make_record())
