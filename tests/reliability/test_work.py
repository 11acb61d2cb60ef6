"""Starting up and reaping costs what is due, not what is stored: asserted on work, not on time."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from dynsecrets import LeaseManager, SQLiteLeaseStore
from dynsecrets.engine.process_identity import current_owner
from dynsecrets.stores import record_codec
from dynsecrets.testing import FakeClock
from support.builders import make_record
from support.fakes import START, FakeIntegration

if TYPE_CHECKING:
    from pathlib import Path

    from dynsecrets import ReapReport

DUE: Final = 10
FEW: Final = 200
MANY: Final = 200_000
#: An index is a little deeper where there is more.
AT_MOST: Final = 1.5
#: Copies of the first row, each with an id of its own and due a second after the one before.
_COPIES: Final = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
INSERT INTO leases ({columns}) SELECT {values} FROM numbers, (SELECT * FROM leases WHERE seq = 1)
"""
_VALUES: Final = {
    "id": "randomblob(16)",
    "created_at": "created_at + n",
    "expires_at": "expires_at + n * 1000000",
    "due_at": "due_at + n * 1000000",
}


@attrs.define
class Work:
    """What was done: steps of SQLite's machine, and records read."""

    steps: int = 0
    reads: int = 0


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Count the work of all stores that are opened from now on."""
    work = Work()
    connect, from_row = sqlite3.connect, record_codec.from_row

    def counting(*args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **options)

        def step() -> int:
            work.steps += 1
            return 0

        connection.set_progress_handler(step, 1)
        return connection

    def reading(row: Any) -> Any:
        work.reads += 1
        return from_row(row)

    monkeypatch.setattr("sqlite3.connect", counting)
    monkeypatch.setattr("dynsecrets.stores.sqlite.store.from_row", reading)
    return work


def fill(path: Path, number: int, *, held: bool) -> None:
    """Make a file with ten leases that are due and others that are not, all of this process."""
    later = START + timedelta(hours=1)
    common = {"name": "AWS_USER", "integration": "fake", "owner": str(current_owner()), "handle": {"thing": "none"}}
    active = {"state": "active", "created_at": START, "issued_at": START}
    with closing(SQLiteLeaseStore(path)) as store:
        store.insert(make_record(**common, **active, expires_at=later, held=held))
        for _ in range(DUE):
            store.insert(make_record(**common, **active, expires_at=START - timedelta(minutes=1)))
    with closing(sqlite3.connect(path)) as connection, connection:
        columns = [column for _, column, *_ in connection.execute("PRAGMA table_info(leases)") if column != "seq"]
        values = ", ".join(_VALUES.get(column, column) for column in columns)
        connection.execute(_COPIES.format(columns=", ".join(columns), values=values), (number - DUE - 1,))
        assert connection.execute("SELECT count(*) FROM leases").fetchone() == (number,)


def first_reap(path: Path) -> ReapReport:
    """Do what a process does that starts and reaps."""
    clock = FakeClock()
    with closing(SQLiteLeaseStore(path)) as store, LeaseManager(store, clock=clock, max_workers=1) as manager:
        return manager.reap(integrations=[FakeIntegration(clock=clock)])


@pytest.mark.parametrize("held", [False, True])
def test_the_first_reap_costs_what_is_due(tmp_path: Path, request: pytest.FixtureRequest, held: bool) -> None:
    """Ten due leases among 200,000 cost as much as among 200, whether or not the others are held by a process."""
    fill(tmp_path / "few.db", FEW, held=held)
    fill(tmp_path / "many.db", MANY, held=held)
    work: Work = request.getfixturevalue("work")

    among_few = first_reap(tmp_path / "few.db")
    few = attrs.evolve(work)
    work.steps = work.reads = 0
    among_many = first_reap(tmp_path / "many.db")

    assert len(among_few.revoked) == len(among_many.revoked) == DUE
    assert few.steps > 0
    assert work.reads == few.reads <= 5 * DUE
    assert work.steps <= AT_MOST * few.steps
