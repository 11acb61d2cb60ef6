"""The store in SQLite, shared by processes: raced, killed and forked."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from dynsecrets import SQLiteLeaseStore
from dynsecrets.stores.sqlite import database as sqlite_database
from support.builders import NOW, make_record
from support.forking import in_child, start_child, wait_for_child
from support.places import PROGRAMS, ROOTS
from support.threads import held_by_another_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROCESSES = 5
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteLeaseStore]:
    """A store of the test's own."""
    with contextlib.closing(SQLiteLeaseStore(tmp_path / "leases.db")) as store:
        yield store


def start_worker(action: str, path: Path, name: str) -> subprocess.Popen[str]:
    """Start a process that uses the store."""
    return subprocess.Popen(
        [sys.executable, str(PROGRAMS / "sqlite_worker.py"), action, str(path), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(ROOTS)},
    )


def line_of(worker: subprocess.Popen[str]) -> str:
    """Return the next line that a process prints."""
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


@pytest.mark.parametrize("made_by", ["this process", "all at once"])
def test_is_shared_by_processes(store: SQLiteLeaseStore, made_by: str) -> None:
    """Processes lose none of each other's records, each lease is claimed by one; also if all make the file at once."""
    wanted = [make_record(state="active") for _ in range(30)]
    if made_by == "this process":
        for record in wanted:
            store.insert(record)
    workers = [start_worker("race", store.path, f"worker {i}") for i in range(PROCESSES)]
    assert {line_of(worker) for worker in workers} == {"ready"}
    known = {record.id for record in store.records(state="active")} if made_by == "this process" else set[str]()

    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(json.dumps(sorted(known)) + "\n")
        worker.stdin.flush()
    outcomes = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]

    claimed = [lease_id for outcome in outcomes for lease_id in outcome["claimed"]]
    inserted = {lease_id for outcome in outcomes for lease_id in outcome["inserted"]}
    assert sorted(claimed) == sorted(known)
    assert {record.id for record in store.records()} == inserted | known
    assert len(inserted) == 10 * PROCESSES


def test_survives_a_killed_writer(store: SQLiteLeaseStore) -> None:
    """A process killed in the middle of its writes loses nothing that was written, and hinders nobody."""
    with start_worker("insert", store.path, "victim") as worker:
        written = {line_of(worker) for _ in range(20)}
        worker.kill()
        written |= set(worker.stdout.read().split()[:-1]) if worker.stdout else set()

    record = make_record()
    store.insert(record)

    assert written | {record.id} <= {found.id for found in store.records()}


@posix
def test_is_used_by_a_forked_child_and_its_parent(store: SQLiteLeaseStore) -> None:
    """A child goes on with a store that its parent used, while the parent does, and each sees what the other writes."""
    first, theirs, ours = make_record(), make_record(), make_record()
    store.insert(first)
    read, write = os.pipe()

    def child() -> None:
        store.insert(theirs)
        os.read(read, 1)
        assert {record.id for record in store.records()} == {first.id, theirs.id, ours.id}

    pid = start_child(child)
    store.insert(ours)
    os.write(write, b"!")
    wait_for_child(pid)

    assert {record.id for record in store.records()} == {first.id, theirs.id, ours.id}
    os.close(read)
    os.close(write)


@posix
def test_keeps_what_a_child_writes_after_its_parent_closed(tmp_path: Path) -> None:
    """A child has locks of its own: the parent, closing the file, doesn't take the log away from under it."""
    store, again = SQLiteLeaseStore(tmp_path / "leases.db"), SQLiteLeaseStore(tmp_path / "leases.db")
    before, after = make_record(), make_record()
    store.insert(make_record())
    (child_read, parent_write), (parent_read, child_write) = os.pipe(), os.pipe()

    def child() -> None:
        store.insert(before)
        os.write(child_write, b"!")
        os.read(child_read, 1)
        store.insert(after)

    pid = start_child(child)
    os.read(parent_read, 1)
    store.close()
    os.write(parent_write, b"!")
    wait_for_child(pid)

    with contextlib.closing(again):
        assert {record.id for record in again.records()} >= {before.id, after.id}
    for pipe in (child_read, parent_write, parent_read, child_write):
        os.close(pipe)


@posix
def test_is_forked_while_threads_write(store: SQLiteLeaseStore) -> None:
    """Children that are forked in the middle of other threads' writes can write, and nothing is lost or doubled."""
    enough = threading.Event()
    written: list[str] = []

    def keep_writing() -> None:
        while not enough.is_set():
            record = make_record()
            store.insert(record)
            written.append(record.id)

    threads = [threading.Thread(target=keep_writing) for _ in range(3)]
    for thread in threads:
        thread.start()
    children = [make_record() for _ in range(5)]
    try:
        for record in children:
            in_child(lambda record=record: store.insert(record))  # type: ignore[misc]
    finally:
        enough.set()
        for thread in threads:
            thread.join()

    found = [record.id for record in store.records()]
    assert sorted(found) == sorted([*written, *(record.id for record in children)])


@posix
def test_leaves_alone_what_could_not_be_closed(store: SQLiteLeaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork in the middle of a call keeps the parent's connection from use and from being closed in the child."""
    monkeypatch.setattr("dynsecrets.stores.locking.PATIENCE", 0.01)
    store.insert(make_record())
    connection, theirs = store._database._connection, make_record()

    def child() -> None:
        assert sqlite_database._left_behind == [connection]
        store.insert(theirs)
        assert store._database._connection is not connection

    with held_by_another_thread(store._database._lock):
        in_child(child)

    assert store._database._connection is connection
    assert store.get(theirs.id) == theirs
    assert store.due(NOW)
