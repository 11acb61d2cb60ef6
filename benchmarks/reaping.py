"""How long the first reap of a fresh process takes, among few and among very many records in SQLite."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import rounds, subjects
from benchmarks.report import Row
from benchmarks.rounds import Spread
from dynsecrets import LeaseManager, LeaseRecord, SQLiteLeaseStore
from dynsecrets.clock import SystemClock
from dynsecrets.stores.record_codec import COLUMNS, to_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.stub import Stub

_SIZES: Final = (200, 20_000, 1_000_000)
_DUE: Final = 10
_FLAT: Final = 1.5
#: What isn't due ends within a day, the longest TTL unless a config says otherwise, evenly spread.
_WITHIN: Final = timedelta(days=1)
#: What time it is to the reapers, whenever they run, so that each of them finds the same due.
NOW: Final = datetime(2022, 2, 15, 17, 4, 54, tzinfo=UTC)
#: So many processes, of other machines, hold the leases that aren't due.
_PROCESSES: Final = 50
#: A file system in memory, where there is one, for the million records that are written first.
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a new folder of our own is made in it.
NOTE: Final = (
    f"A fresh process opens the file, and reaps the {_DUE} leases that are due, with an integration in memory; the "
    f"time is from opening the store to the report. The others end evenly spread over {_WITHIN.days * 24} hours, and "
    f"are held by {_PROCESSES} processes of other machines. The files are in the page cache."
)
ROWS: Final = tuple(f"First reap of {_DUE} due among {size:,} SQLite records" for size in _SIZES[1:])


def measure(stub: Stub, *, quick: bool) -> list[Row]:
    """Fill the files, and let processes reap in turn."""
    del stub
    sizes = (200, 2_000, 20_000) if quick else _SIZES
    with tempfile.TemporaryDirectory(prefix="dynsecrets-bench-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        files = {size: Path(folder) / f"{size}.db" for size in sizes}
        for size, file in files.items():
            fill(file, size - _DUE)
        measures = {str(size): partial(_reap_in_process, file) for size, file in files.items()}
        values = rounds.take_turns(measures, 5 if quick else 11)
    few = values[str(sizes[0])]
    rows = [
        Row(
            what=f"First reap of {_DUE} due among {size:,} SQLite records",
            measured=_milliseconds(values[str(size)]),
            baseline=f"among {sizes[0]:,}: {_milliseconds(few)}",
            ratio=rounds.ratios(values[str(size)], few),
        )
        for size in sizes[1:]
    ]
    return [row.at_most(_FLAT) for row in rows]


def fill(file: Path, number: int) -> None:
    """Make a store's file that holds so many live leases that aren't due."""
    with closing(SQLiteLeaseStore(file)) as store:
        assert store.count_live("AWS_USER") == 0
    with closing(sqlite3.connect(file)) as connection:
        # Quickly: nobody needs this file after a crash, and each insert of the store waits for the disk.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -400000")
        _insert(connection, _rows(number))
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def reap(file: Path) -> dict[str, Any]:
    """Make the first reap of a process on a file; return how long it took, in seconds, and how many it revoked."""
    integration, _ = subjects.memory_config()
    begun = time.perf_counter()
    with closing(SQLiteLeaseStore(file)) as store, LeaseManager(store, clock=_StoppedClock()) as manager:
        report = manager.reap(integrations=[integration])
        taken = time.perf_counter() - begun
    return {"seconds": taken, "revoked": len(report.revoked), "failed": len(report.failed)}


class _StoppedClock(SystemClock):
    """The machine's clock, but for the time of day."""

    def now(self) -> datetime:
        """Return always the same."""
        return NOW


def add_due(file: Path) -> None:
    """Add the leases that are due; those of the round before are tombstones by now."""
    with closing(sqlite3.connect(file)) as connection:
        _insert(connection, (to_row(_record(NOW - timedelta(seconds=index + 1))) for index in range(_DUE)))
        connection.commit()


def _reap_in_process(file: Path) -> float:
    add_due(file)
    code = f"import json; from benchmarks.reaping import reap, Path; print(json.dumps(reap(Path({str(file)!r}))))"
    root = Path(__file__).parent.parent
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout  # noqa: S603
    done = json.loads(output)
    assert (done["revoked"], done["failed"]) == (_DUE, 0), done
    return float(done["seconds"])


def _record(expires_at: datetime, process: int | None = None) -> LeaseRecord:
    ttl = timedelta(minutes=30)
    user = f"Dynsecrets-Dynamic-{uuid.uuid4().hex[:13]}"
    handle = {"user_name": user, "policy_name": user, "access_key_id": "AKIAIOSFODNN7EXAMPLE"}
    pending = LeaseRecord(
        id=str(uuid.uuid4()),
        name="AWS_USER",
        integration="memory",
        handle=handle,
        created_at=expires_at - ttl,
        owner=f"somebody@host-{process or 0}/boot-{process or 0}/1/1",
        held=process is not None,
    )
    return pending.activated(handle=handle, issued_at=expires_at - ttl, expires_at=expires_at).next_version()


def _rows(number: int) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of leases that aren't due; of one record each process, with ids and times of their own."""
    begin = NOW + timedelta(seconds=1)
    samples = [to_row(_record(begin, process)) for process in range(1, _PROCESSES + 1)]
    times = [COLUMNS.index(name) for name in ("created_at", "issued_at", "expires_at", "due_at")]
    step = _WITHIN // timedelta(microseconds=1) / max(number, 1)
    for index in range(number):
        row = list(samples[index % _PROCESSES])
        row[0] = uuid.uuid4().bytes
        for column in times:
            row[column] += int(index * step)
        yield tuple(row)


def _insert(connection: sqlite3.Connection, rows: Iterator[tuple[Any, ...]]) -> None:
    names = ", ".join(COLUMNS)
    marks = ", ".join("?" * len(COLUMNS))
    connection.executemany(f"INSERT INTO leases ({names}) VALUES ({marks})", rows)  # noqa: S608 - names of our own.


def _milliseconds(values: list[float]) -> str:
    return f"{Spread.of(values).median * 1000:.1f} ms"
