"""What the parts of the suite for stores have in common."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest

from dynsecrets.stores.base import LeaseStore, ProcessIndex
from dynsecrets.testing.store_contract.records import MINUTE, NOW, OTHER_PROCESS, PROCESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dynsecrets.model.record import LeaseRecord

_T = TypeVar("_T")
#: How many threads get in each other's way.
THREADS: Final = 8
WORKER: Final = f"{PROCESS}#1"
OTHER_WORKER: Final = f"{OTHER_PROCESS}#1"


class StoreSuite:
    """The store under test, and what a suite of tests needs to know of it."""

    def make_store(self) -> LeaseStore:
        """Return a new, empty store. It is closed when the test ends."""
        raise NotImplementedError

    def corrupt(self, store: LeaseStore, lease_id: str) -> None:
        """Make the stored record unreadable, behind the store's back. A store that can't leaves this method alone."""
        raise NotImplementedError

    @pytest.fixture
    def store(self) -> Iterator[LeaseStore]:
        """The store under test."""
        store = self.make_store()
        yield store
        store.close()

    def corrupt_or_skip(self, store: LeaseStore, lease_id: str) -> None:
        """Make the stored record unreadable, or skip the test."""
        try:
            self.corrupt(store, lease_id)
        except NotImplementedError:
            pytest.skip("this store's records can't be made unreadable")


def process_index(store: LeaseStore) -> ProcessIndex:
    """Return the store's index of processes, or skip the test."""
    if not isinstance(store, ProcessIndex):
        pytest.skip("this store has no index of processes")
    return store


def claim(store: LeaseStore, lease_id: str, *, now: Any = NOW) -> LeaseRecord:
    """Claim a lease that can be claimed, for two minutes."""
    record = store.claim(lease_id, WORKER, now + 2 * MINUTE, now)
    assert record is not None
    return record


def ids(records: Iterable[LeaseRecord]) -> set[str]:
    """Return the ids of records."""
    return {record.id for record in records}


def at_once(work: Callable[[int], _T]) -> list[_T | Exception]:
    """Do the same in many threads, started together; return what each got or raised."""
    barrier = threading.Barrier(THREADS)

    def run(i: int) -> _T | Exception:
        barrier.wait()
        try:
            return work(i)
        except Exception as error:  # Whatever it is, the test looks at it.
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))
