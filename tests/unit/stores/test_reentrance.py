"""A call that comes in the middle of another one of the same thread: from a garbage collection, or a signal handler."""

from __future__ import annotations

import dis
import gc
import sys
import threading
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

import dynsecrets.stores
from dynsecrets import MemoryLeaseStore, SQLiteLeaseStore, StoreError, VersionConflict
from support.builders import MINUTE, NOW, PROCESS, make_record
from support.threads import held_by_another_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dynsecrets import DynamoDBLeaseStore, LeaseRecord

    Store = MemoryLeaseStore | SQLiteLeaseStore | DynamoDBLeaseStore

WORKER = f"{PROCESS}#1"
STORES = dynsecrets.stores.__path__[0]
#: After these instructions the interpreter collects garbage, calls signal handlers, and lets other threads run.
BREAKS = ("CALL", "RESUME", "JUMP_BACKWARD", "BUILD_")
#: Whatever waits for itself waits for longer.
LONGEST_S = 60


def new_store(kind: str, folder: Path) -> MemoryLeaseStore | SQLiteLeaseStore:
    """Return a new store of a kind."""
    return MemoryLeaseStore() if kind == "memory" else SQLiteLeaseStore(folder / f"{len(list(folder.iterdir()))}.db")


#: Until 3.11 a collection may come in the middle of C code. In that of ``ContextVar.set``, of which botocore makes use
#: at each call, the interpreter itself crashes if what is collected sets the variable too.
_NEEDS_PYTHON_312 = pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.11 crashes in ContextVar.set")


@pytest.fixture(params=["memory", "sqlite", pytest.param("moto_dynamodb", marks=_NEEDS_PYTHON_312)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each of the stores in turn."""
    remote = request.param == "moto_dynamodb"
    made = request.getfixturevalue(request.param).make() if remote else new_store(request.param, tmp_path)
    yield made
    made.close()


def live(store: Store, record: LeaseRecord) -> None:
    """Have a record go through a whole life."""
    store.insert(record)
    store.update(record.activated(handle={"a": "b"}, issued_at=NOW, expires_at=NOW + MINUTE))
    claimed = store.claim(record.id, WORKER, NOW + MINUTE, NOW)
    assert claimed is not None
    assert [found.id for found in store.of_process(PROCESS)].count(record.id) == 1
    store.update(claimed.revoked(now=NOW))


def run_to_its_end(work: Callable[[], None]) -> None:
    """Do work that may wait for itself for ever, and fail where it does, or where it raises."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LONGEST_S)
    assert not thread.is_alive()
    assert failures == []


@contextmanager
def collections_call(calls: Iterator[Callable[[], object]]) -> Iterator[None]:
    """Have garbage collected as often as can be, and every seventh collection call something, until all is called."""
    threshold, thread, collections, inside = gc.get_threshold(), threading.get_ident(), 0, False

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


@contextmanager
def interrupted(at: int, call: Callable[[], object]) -> Iterator[list[int]]:
    """Have something called at the n-th place of the stores' own code where that can happen; count the places."""
    count = [0]
    before: dict[Any, str] = {}

    def trace(frame: Any, event: str, _: Any) -> Any:
        # A store that a garbage collection deletes just now is none of ours.
        if STORES not in frame.f_code.co_filename or frame.f_code.co_name == "__del__":
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            if before.get(frame, "").startswith(BREAKS):
                count[0] += 1
                if count[0] == at:
                    sys.settrace(None)
                    call()
            before[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        return trace

    outer = sys.gettrace()
    # Python 3.12 asks, when tracing begins, whether any frame wants this.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(outer)


def test_collections_may_revoke(store: Store) -> None:
    """What a garbage collection runs, like the end of a generator that holds a lease, may use the store as ever."""
    inner, outer = [make_record() for _ in range(20)], [make_record() for _ in range(10)]
    left = iter(inner)

    def work() -> None:
        with collections_call((lambda record=record: live(store, record)) for record in left):  # type: ignore[misc]
            for record in outer:
                live(store, record)

    run_to_its_end(work)
    for record in left:
        live(store, record)

    assert {store.get(record.id).state.value for record in (*inner, *outer)} == {"revoked"}
    assert store.count_live("AWS_USER") == 0


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_another_lease_may_live_at_any_instruction(kind: str, tmp_path: Path) -> None:
    """Whatever instruction of a life the life of another lease comes before, both are as if one had come first."""
    store = new_store(kind, tmp_path)
    live(store, make_record())
    with interrupted(0, print) as count:
        live(store, make_record())

    for at in range(1, count[0] + 1):
        inner, outer = make_record(), make_record()
        with interrupted(at, lambda inner=inner: live(store, inner)):  # type: ignore[misc]
            live(store, outer)

        assert [store.get(record.id).state.value for record in (inner, outer)] == ["revoked"] * 2

    assert count[0] > 100
    assert store.count_live("AWS_USER") == 0
    assert store.due(NOW + 9 * MINUTE) == []
    assert store.processes("") == []
    tombstones = len(list(store.records()))
    assert store.purge(NOW + MINUTE) == tombstones > 60
    store.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_the_same_lease_may_change_at_any_instruction(kind: str, tmp_path: Path) -> None:
    """An update in the middle of an update of the same version: one of them wins, and the other one is a conflict."""
    store = new_store(kind, tmp_path)
    at, won = 0, {"inner": 0, "outer": 0}
    while True:
        at += 1
        record = make_record()
        store.insert(record)
        outcomes: dict[str, LeaseRecord] = {}

        def update(who: str, record: LeaseRecord = record, outcomes: dict[str, LeaseRecord] = outcomes) -> None:
            try:
                outcomes[who] = store.update(record.failed(now=NOW, error=who, jitter=0.0, handle={}))
            except VersionConflict:
                return

        with interrupted(at, lambda: update("inner")) as count:
            update("outer")
        if count[0] < at:
            break

        (who,) = outcomes
        won[who] += 1
        assert store.get(record.id) == outcomes[who]

    assert won["inner"] > 5
    assert won["outer"] > 5
    store.close()


def test_an_interrupted_change_is_whole(tmp_path: Path) -> None:
    """An interrupt that raises at any instruction leaves a store whose index is that of its records."""
    del tmp_path

    class Interrupt(BaseException):
        """What a signal handler raises."""

    def interrupt() -> None:
        raise Interrupt

    store, at = MemoryLeaseStore(), 0
    while True:
        at += 1
        record = make_record()
        with interrupted(at, interrupt) as count, suppress(Interrupt):
            live(store, record)
        if count[0] < at:
            break
        sound = [found for found in store.records() if found.live]
        assert store.count_live("AWS_USER") == len(sound)
        assert {found.id for found in store.due(NOW + 9 * MINUTE)} == {found.id for found in sound}
        assert store.processes("") == ([PROCESS] if any(found.process for found in sound) else [])
        for found in sound:
            store.update(found.revoked(now=NOW))
        store.purge(NOW + MINUTE)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_does_not_wait_for_ever_for_another_thread(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a call waits for a thread that waits for it, an error ends that."""
    monkeypatch.setattr("dynsecrets.stores.locking._LONGEST_CALL", 0.01)
    store = new_store(kind, tmp_path)
    lock = store._lock if isinstance(store, MemoryLeaseStore) else store._database._lock

    with held_by_another_thread(lock), pytest.raises(StoreError, match="another thread"):
        store.insert(make_record())

    store.insert(make_record())
    store.close()
