"""The library is entered again in the middle of itself: nothing waits for what can't get on before it returns."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import DynsecretsError, LeasePool, MemoryLeaseStore, lease
from dynsecrets.engine.manager import engine_of
from support.fakes import PATIENCE_S
from support.processes import wait_until
from support.world import World, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dynsecrets import Lease, LeaseRecord


class InterruptedStore(MemoryLeaseStore):
    """A memory store in the middle of whose next write something happens, while its lock is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.interrupt: Callable[[], object] | None = None

    def insert(self, record: LeaseRecord) -> None:
        """Keep a record, and be interrupted."""
        with self._lock:
            super().insert(record)
            interrupt, self.interrupt = self.interrupt, None
            if interrupt is not None:
                interrupt()


@pytest.fixture(name="store")
def store_fixture() -> InterruptedStore:
    """A store that is interrupted when told to be."""
    return InterruptedStore()


@pytest.fixture(name="torn")
def torn_fixture(store: InterruptedStore) -> Iterator[World]:
    """A world with such a store."""
    with World(store) as torn:
        yield torn


def _generator(world: World) -> Iterator[Lease]:
    with lease(world.config(), manager=world.manager) as leased:
        yield leased


def _in_time(work: Callable[[], object]) -> object:
    """Do something in a thread of its own; fail where it doesn't end."""
    thread = started(work)
    return thread()


def test_a_generator_that_is_collected_in_a_store(torn: World, store: InterruptedStore) -> None:
    """It holds a lease and is closed in the middle of a write: its lease is revoked, and the write goes on."""

    class Cycle:
        """What only the garbage collector takes away."""

        def __init__(self) -> None:
            self.me = self
            self.generator = _generator(torn)
            self.lease = next(self.generator)

    held = Cycle().lease
    store.interrupt = gc.collect

    other = _in_time(torn.issue)

    assert held.revoked
    assert other.is_valid()  # type: ignore[attr-defined]


_ENDS: dict[str, Callable[[World], Any]] = {
    "close": lambda world: world.manager.close(revoke=True),
    "revoke_many": lambda world: world.manager.revoke_many(
        [record.id for record in world.manager.records(state="active")]
    ),
    "reap": lambda world: world.manager.reap(integrations=[world.integration]),
}


@pytest.mark.parametrize("end", list(_ENDS))
def test_a_call_in_the_middle_of_a_write(torn: World, store: InterruptedStore, end: str) -> None:
    """It does all itself, though the workers may wait for the store, and returns."""
    leases = torn.manager.issue_many(torn.config(), 3, "1h")
    torn.settle()
    store.interrupt = lambda: _ENDS[end](torn)

    thread = threading.Thread(target=lambda: _quietly(torn.issue), daemon=True)
    thread.start()
    thread.join(PATIENCE_S)

    assert not thread.is_alive()
    assert [leased.revoked for leased in leases] == [end != "reap"] * 3


_MOMENTS: dict[str, Callable[[World], object]] = {
    "heappush": lambda world: engine_of(world.manager).scheduler.call_at(1e9, int),
    "get": lambda world: engine_of(world.manager).is_live("lease"),
}


@pytest.mark.parametrize("moment", list(_MOMENTS))
def test_closing_in_the_middle_of_what_workers_need(world: World, moment: str) -> None:
    """It comes while its thread holds the lock of the timetable, or of what is live: it waits for no worker."""
    leases = world.manager.issue_many(world.config(), 3, "1h")
    world.settle()

    def close(_frame: object, event: str, called: object) -> None:
        if event == "c_call" and getattr(called, "__name__", "") == moment:
            sys.setprofile(None)
            world.manager.close(revoke=True)

    def work() -> None:
        sys.setprofile(close)
        try:
            _MOMENTS[moment](world)
        finally:
            sys.setprofile(None)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)

    assert not thread.is_alive()
    assert [leased.revoked for leased in leases] == [True] * 3


def _quietly(work: Callable[[], object]) -> None:
    """Do something that may fail: the manager may be closed by now."""
    with contextlib.suppress(DynsecretsError):
        work()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are raised here")
def test_a_signal_handler_that_closes(torn: World, store: InterruptedStore) -> None:
    """It comes in the middle of a write of the main thread, and returns with everything revoked."""
    leases = torn.manager.issue_many(torn.config(), 3, "1h")
    torn.settle()
    before = signal.signal(signal.SIGUSR1, lambda *_: torn.manager.close(revoke=True))
    store.interrupt = lambda: signal.raise_signal(signal.SIGUSR1)
    try:
        _quietly(torn.issue)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert all(leased.revoked for leased in leases)
    wait_until(lambda: not torn.integration.live, "what was being issued is revoked too")


def test_a_pool_in_the_middle_of_a_write(torn: World, store: InterruptedStore) -> None:
    """An empty pool's lease is made by the one who interrupts."""
    with LeasePool(torn.config(), 1, manager=torn.manager) as pool:
        torn.settle()
        taken: list[bool] = []

        def take() -> None:
            with pool.lease() as first, pool.lease() as second:
                taken.extend([first.is_valid(), second.is_valid()])

        store.interrupt = take
        _in_time(torn.issue)

    assert taken == [True, True]
