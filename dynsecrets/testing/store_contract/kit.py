"""What the parts of the suite for stores have in common."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
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
_LONGEST_S: Final = 20
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
        if not getattr(self, "_hangs", False):
            store.close()

    def run_to_its_end(self, work: Callable[[], None]) -> None:
        """Do work that may wait for itself for ever, and fail where it does."""
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(_LONGEST_S)
        self._hangs = thread.is_alive()
        assert not self._hangs, "the store waits for a lock that this very thread holds"

    def corrupt_or_skip(self, store: LeaseStore, lease_id: str) -> None:
        """Make the stored record unreadable, or skip the test."""
        try:
            self.corrupt(store, lease_id)
        except NotImplementedError:
            pytest.skip("this store's records can't be made unreadable")


@contextmanager
def collections_call(calls: Iterator[Callable[[], object]]) -> Iterator[None]:
    """Have garbage collected as often as can be, and every seventh collection call something, until all is called."""
    threshold, thread, collections = gc.get_threshold(), threading.get_ident(), 0
    inside = False

    def collected(phase: str, _: object) -> None:
        nonlocal collections, inside
        if phase != "stop" or inside or threading.get_ident() != thread:
            return
        collections += 1
        if collections % 7 == 0:
            inside = True
            for call in islice(calls, 1):
                call()
                inside = False
            if inside:
                gc.set_threshold(*threshold)

    gc.callbacks.append(collected)
    gc.set_threshold(1, 1_000_000, 1_000_000)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(collected)


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
