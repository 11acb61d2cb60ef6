"""The store in DynamoDB, shared by threads and processes: raced and forked.

The races are run on dynalite: moto checks a condition and writes in two steps, so that two of many writers may win.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from support.builders import MINUTE, NOW, PLACE, make_record
from support.forking import in_child, needs_fork
from support.places import PROGRAMS, ROOTS

if TYPE_CHECKING:
    from support.dynamodb import DynamoDB

PROCESSES = 4
THREADS = 4


def start_worker(service: DynamoDB, table: str, name: str) -> subprocess.Popen[str]:
    """Start a process that uses the table, and finds its credentials in the environment."""
    return subprocess.Popen(
        [sys.executable, str(PROGRAMS / "dynamodb_worker.py"), table, service.account.url, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **service.account.environment(), "PYTHONPATH": os.pathsep.join(ROOTS)},
    )


def test_gives_each_lease_to_one_process(dynalite: DynamoDB) -> None:
    """Of processes that claim the same leases at once each lease goes to one, and all find the others' work."""
    store = dynalite.make()
    wanted = [make_record(state="active") for _ in range(15)]
    for record in wanted:
        store.insert(record)
    workers = [start_worker(dynalite, store.table, f"worker {i}") for i in range(PROCESSES)]
    line = json.dumps([record.id for record in wanted]) + "\n"

    assert [worker.stdout.readline() for worker in workers if worker.stdout] == ["ready\n"] * PROCESSES
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(line)
        worker.stdin.flush()
    outcomes = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]

    claimed = [lease_id for outcome in outcomes for lease_id in outcome["claimed"]]
    assert sorted(claimed) == sorted(record.id for record in wanted)
    assert {outcome["inserted"] for outcome in outcomes} == {record.id for record in store.due(NOW)}


def test_gives_each_lease_to_one_thread_of_one_store(dynalite: DynamoDB) -> None:
    """Threads that claim by one store, made and used first by all of them at once, share each lease with nobody."""
    made = dynalite.make()
    wanted = [make_record(state="active") for _ in range(10)]
    for record in wanted:
        made.insert(record)
    store = dynalite.open(made.table)
    barrier = threading.Barrier(THREADS)

    def claim_all(i: int) -> list[str]:
        barrier.wait()
        claims = [store.claim(record.id, f"{PLACE}{i}|1#1", NOW + MINUTE, NOW) for record in wanted]
        return [claim.id for claim in claims if claim is not None]

    with ThreadPoolExecutor(THREADS) as pool:
        claimed = [lease_id for won in pool.map(claim_all, range(THREADS)) for lease_id in won]

    assert sorted(claimed) == sorted(record.id for record in wanted)


@needs_fork
@pytest.mark.parametrize("used", [True, False])
def test_is_used_on_both_sides_of_a_fork(dynamodb_service: DynamoDB, used: bool) -> None:
    """A child has a client of its own, and sees what its parent writes, as the parent does of the child."""
    made = dynamodb_service.make()
    store = made if used else dynamodb_service.open(made.table)
    parents, childs = make_record(), make_record()
    if used:
        store.insert(parents)
    client = store._table._clients._clients.get("dynamodb")

    def child() -> tuple[bool, list[str]]:
        store.insert(childs)
        found = [record.id for record in store.due(NOW)]
        return store._table.client() is client, found

    shared, found = in_child(child)
    if not used:
        store.insert(parents)

    assert not shared
    assert set(found) == ({parents.id, childs.id} if used else {childs.id})
    assert {record.id for record in store.due(NOW)} == {parents.id, childs.id}
    assert not used or store._table.client() is client


@needs_fork
def test_is_forked_while_a_client_is_being_made(moto_dynamodb: DynamoDB) -> None:
    """A lock that a thread of the parent held doesn't stop the child."""
    store = moto_dynamodb.make()
    store._table._clients._clients.clear()

    with store._table._clients._lock:
        found = in_child(lambda: list(store.records()))

    assert found == []
