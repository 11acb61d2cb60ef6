"""A process that uses a store in SQLite: ``sqlite_worker.py race|insert PATH NAME``. Not a test."""

from __future__ import annotations

import json
import sys

from dynsecrets import SQLiteLeaseStore
from support.builders import MINUTE, NOW, make_record


def race(store: SQLiteLeaseStore, name: str) -> None:
    """Wait for the start, insert records, and claim all that stand in the line that starts the race."""
    print("ready", flush=True)
    wanted = json.loads(sys.stdin.readline())
    inserted = [make_record() for _ in range(10)]
    for record in inserted:
        store.insert(record)
    claimed = [lease_id for lease_id in wanted if store.claim(lease_id, name, NOW + MINUTE, NOW) is not None]
    print(json.dumps({"inserted": [record.id for record in inserted], "claimed": claimed}))


def insert(store: SQLiteLeaseStore) -> None:
    """Insert records until somebody ends the process; print the id of each that is written."""
    while True:
        record = make_record()
        store.insert(record)
        print(record.id, flush=True)


if __name__ == "__main__":
    _, _action, _path, _name = sys.argv
    _store = SQLiteLeaseStore(_path)
    if _action == "race":
        race(_store, _name)
    else:
        insert(_store)
