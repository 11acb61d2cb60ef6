"""Lease records in one file: the default store, safe for many threads and many processes of one machine."""

from __future__ import annotations

import contextlib
import sqlite3
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dynsecrets._internal.log import logger
from dynsecrets.errors import StoreError
from dynsecrets.model.lifecycle import LeaseState
from dynsecrets.stores.common import check_state, claimed, conflict, not_found, taken
from dynsecrets.stores.forking import ForkSafe
from dynsecrets.stores.record_codec import (
    COLUMNS,
    RowError,
    from_key,
    from_row,
    is_text,
    to_key,
    to_microseconds,
    to_row,
)
from dynsecrets.stores.sqlite.files import check_path, explain, open_database
from dynsecrets.stores.unreadable import note_unreadable

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from dynsecrets.model.record import LeaseRecord
    from dynsecrets.stores.record_codec import Row

_T = TypeVar("_T")

# All statements are constant text (so SQLite compiles each once); what a caller gives goes in as arguments.
_LIST: Final = ", ".join(COLUMNS)
_INSERT: Final = f"INSERT INTO leases ({_LIST}) VALUES ({', '.join('?' * len(COLUMNS))})"
# The id is the first column and the version the last one.
_UPDATE: Final = f"UPDATE leases SET {' = ?, '.join(COLUMNS[1:])} = ? WHERE id = ? AND version = ?"
_GET: Final = f"SELECT {_LIST} FROM leases WHERE id = ?1"
_EXISTS: Final = "SELECT 1 FROM leases WHERE id = ?1"
_COUNT: Final = "SELECT count(*) FROM leases WHERE name = ?1 AND state <> 'revoked'"
_OLD: Final = "SELECT 1 FROM leases WHERE state = 'revoked' AND revoked_at < ?1 LIMIT 1"
_PURGE: Final = """
DELETE FROM leases WHERE seq IN (SELECT seq FROM leases WHERE state = 'revoked' AND revoked_at < ?1 LIMIT ?2)
"""
_LAST: Final = "SELECT coalesce(max(seq), 0) FROM leases"

# Each of these gives a page of rows behind a position: sort key, sequence number, then the columns.
_RECORDS: Final = f"""
SELECT created_at, seq, {_LIST} FROM leases
WHERE seq <= ?1 AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR name = ?3) AND (?4 IS NULL OR integration = ?4)
  AND (created_at, seq) > (?5, ?6)
ORDER BY created_at, seq LIMIT ?7
"""
_DUE: Final = f"""
SELECT due_at, seq, {_LIST} FROM leases
WHERE integration = ?1 AND due_at IS NOT NULL AND due_at <= ?2 AND (due_at, seq) > (?3, ?4)
ORDER BY due_at, seq LIMIT ?5
"""
_FAILED: Final = f"""
SELECT due_at, seq, {_LIST} FROM leases
WHERE integration = ?1 AND state = 'revoking' AND claimed_by IS NULL AND (due_at, seq) > (?2, ?3)
ORDER BY due_at, seq LIMIT ?4
"""
_OF_PROCESS: Final = f"""
SELECT created_at, seq, {_LIST} FROM leases WHERE process = ?1 AND (created_at, seq) > (?2, ?3)
ORDER BY created_at, seq LIMIT ?4
"""

# Each of these leaps from one value of an index to the next: it costs as many steps as there are values, not rows.
_INTEGRATIONS: Final = """
WITH RECURSIVE found(value) AS (
    SELECT min(integration) FROM leases WHERE due_at IS NOT NULL
    UNION ALL
    SELECT (SELECT min(integration) FROM leases WHERE due_at IS NOT NULL AND integration > found.value)
    FROM found WHERE found.value IS NOT NULL
)
SELECT value FROM found WHERE value IS NOT NULL
"""
_PROCESSES: Final = """
WITH RECURSIVE found(value) AS (
    SELECT min(process) FROM leases WHERE process IS NOT NULL AND process >= ?1
    UNION ALL
    SELECT (SELECT min(process) FROM leases WHERE process IS NOT NULL AND process > found.value)
    FROM found WHERE substr(found.value, 1, length(?1)) = ?1
)
SELECT value FROM found WHERE substr(value, 1, length(?1)) = ?1
"""

#: A lost record of one of these states could leave a credential behind.
_MUST_LAST: Final = frozenset({LeaseState.PENDING, LeaseState.ACTIVE})
_START: Final = (-(2**63), 0)
_PAGE: Final = 256
_PURGE_PAGE: Final = 1000

# Connections that a fork left in a child. They are never used there, nor closed: both would disturb the parent's.
_left_behind: list[sqlite3.Connection] = []


class SQLiteLeaseStore(ForkSafe):
    """Keeps lease records in an SQLite file.

    ``path`` is the file's path; by default ``leases.db`` in the user's state folder. The file is made on first use,
    with what folders it needs, for its owner alone (modes 0600 and 0700). What a method has written survives the death
    of the process. What says that a credential may exist is on the disk when the method returns, and survives the loss
    of power too; the begin and the end of a revocation may be lost then, and it is made again.

    Safe to use from any thread, and from any number of processes with stores of their own on the same file. It may be
    used before and after a fork, in the parent and in the child: it closes the file just before the process forks,
    because SQLite's locks don't work in a child that inherits them. The file must be on a disk of this machine.
    """

    #: The file stays, so a manager that closes leaves its leases to whoever comes next.
    outlives_process = True

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path: Path = check_path(path)
        self._connection: sqlite3.Connection | None = None
        self._waits_for_disk = True
        self._closed = False
        super().__init__()

    def insert(self, record: LeaseRecord) -> None:
        """Keep a new record. Raises ``StoreError`` where its id is taken."""
        row = to_row(record)
        try:
            self._do("writing a lease", lambda connection: connection.execute(_INSERT, row), wait_for_disk=True)
        except StoreError as error:
            if getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_CONSTRAINT_UNIQUE:
                raise taken(record.id) from error.__cause__
            raise

    def update(self, record: LeaseRecord) -> LeaseRecord:
        """Replace the record of the same id and ``version``; return it as stored, with the next version.

        Raises ``VersionConflict`` where the stored version is another one, ``LeaseNotFound`` where there is none.
        """
        updated = record.next_version()
        if self._do("writing a lease", _replacing(updated), wait_for_disk=record.state in _MUST_LAST):
            return updated
        if self._fetch("reading a lease", _EXISTS, to_key(record.id)):
            raise conflict(record)
        raise not_found(record.id)

    def get(self, lease_id: str) -> LeaseRecord:
        """Return one record. Raises ``LeaseNotFound``, and ``StoreError`` where it can't be read."""
        return self._do("reading a lease", lambda connection: self._read(connection, lease_id))

    def records(
        self,
        *,
        state: LeaseState | str | None = None,
        name: str | None = None,
        integration: str | None = None,
    ) -> Iterator[LeaseRecord]:
        """Iterate over the records that match, oldest first, among those that there are now.

        Read in pages: nothing is locked while the caller works on a record. What can't be read is logged and left out.
        """
        wanted = check_state(state)
        ((last,),) = self._fetch("reading leases", _LAST)
        found = self._pages(_RECORDS, (last, None if wanted is None else wanted.value, name, integration))
        return (record for _, _, record in found)

    def due(
        self, now: datetime, *, integrations: Collection[str] | None = None, limit: int | None = None
    ) -> list[LeaseRecord]:
        """Return the records whose ``due_at`` is not later than ``now``, the most overdue first; at most ``limit``.

        ``integrations`` are the names to look for, ``None`` for all. Costs what is due, not what is stored. What can't
        be read is logged and left out, and doesn't count.
        """
        moment = to_microseconds(now)
        known = self._texts("looking for due leases", _INTEGRATIONS) if integrations is None else set(integrations)
        overdue = merge(*(self._pages(_DUE, (name, moment), limit) for name in known), key=_position)
        return _first(overdue, limit)

    def claim(self, lease_id: str, worker: str, until: datetime, now: datetime) -> LeaseRecord | None:
        """Begin a revocation, for one worker at a time: the lease is ``worker``'s up to ``until``.

        Returns the record as stored, or ``None`` where another worker's claim holds at ``now`` or the lease is revoked
        already. Raises ``LeaseNotFound``, and ``StoreError`` where the record can't be read.
        """

        def decide(connection: sqlite3.Connection) -> LeaseRecord | None:
            connection.execute("BEGIN IMMEDIATE")
            record = claimed(self._read(connection, lease_id), worker, until, now)
            if record is not None:
                _replacing(record)(connection)
            connection.execute("COMMIT")
            return record

        return self._do("claiming a lease", decide, wait_for_disk=False)

    def count_live(self, name: str) -> int:
        """Return how many leases of a dynamic secret are not revoked."""
        ((count,),) = self._fetch("counting leases", _COUNT, name)
        return int(count)

    def purge(self, before: datetime) -> int:
        """Forget the tombstones of leases revoked before a moment; return how many.

        Goes in steps, so that others can write meanwhile.
        """
        moment = to_microseconds(before)
        purged = 0
        # Looked for first: reading waits for nobody, and mostly there is nothing to do.
        while self._fetch("purging leases", _OLD, moment):
            purged += self._do(
                "purging leases", lambda connection: connection.execute(_PURGE, _numbered(moment, _PURGE_PAGE)).rowcount
            )
        return purged

    def processes(self, place: str) -> list[str]:
        """Return each different ``record.process`` that begins with ``place``, of live records."""
        return self._texts("looking for processes", _PROCESSES, place)

    def of_process(self, process: str, *, limit: int | None = None) -> list[LeaseRecord]:
        """Return the live records with that ``record.process``, oldest first; at most ``limit``.

        What can't be read is logged and left out, and doesn't count.
        """
        return _first(self._pages(_OF_PROCESS, (process,), limit), limit)

    def failed(self, integration: str, *, limit: int | None = None) -> list[LeaseRecord]:
        """Return the records in ``revoking`` that nobody has claimed, by the time of their next attempt.

        What can't be read is logged and left out, and doesn't count.
        """
        return _first(self._pages(_FAILED, (integration,), limit), limit)

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        with self._lock:
            self._closed = True
            self._let_go()

    def __del__(self) -> None:
        """Close the file of a store that nobody closed: from Python 3.13 on, sqlite3 warns of it otherwise."""
        connection: sqlite3.Connection | None = getattr(self, "_connection", None)
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def __repr__(self) -> str:
        """Show the path."""
        return f"SQLiteLeaseStore({str(self.path)!r})"

    def _do(self, doing: str, work: Callable[[sqlite3.Connection], _T], *, wait_for_disk: bool | None = None) -> _T:
        """Do work on the connection, alone; open it first where it isn't open yet. Reading needs not say for what."""
        with self._lock:
            try:
                connection = self._connection or self._open()
                if wait_for_disk is not None and wait_for_disk is not self._waits_for_disk:
                    connection.execute("PRAGMA synchronous = FULL" if wait_for_disk else "PRAGMA synchronous = NORMAL")
                    self._waits_for_disk = wait_for_disk
                try:
                    return work(connection)
                except BaseException:
                    if connection.in_transaction:
                        connection.rollback()
                    raise
            except (sqlite3.Error, OSError) as error:
                raise explain(error, self.path, doing) from error
            except (UnicodeEncodeError, OverflowError) as error:
                raise StoreError(f"{doing} failed: a text or number can't be stored ({error})") from error

    def _fetch(self, doing: str, statement: str, *arguments: object) -> list[Row]:
        """Return all rows that a statement finds; ``?1`` in it is the first argument."""
        numbered = _numbered(*arguments)
        return self._do(doing, lambda connection: connection.execute(statement, numbered).fetchall())

    def _texts(self, doing: str, statement: str, *arguments: object) -> list[str]:
        """Return the texts that a statement finds; log and leave out what is none."""
        found = [value for (value,) in self._fetch(doing, statement, *arguments)]
        for value in found:
            if not is_text(value):
                logger.error("leases of %r in %s can't be read: that is no text", value, self.path)
        return [value for value in found if is_text(value)]

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreError(f"the store is closed: make a new SQLiteLeaseStore for {self.path}")
        self._connection = open_database(self.path)
        self._waits_for_disk = True
        return self._connection

    def _read(self, connection: sqlite3.Connection, lease_id: str) -> LeaseRecord:
        row = connection.execute(_GET, _numbered(to_key(lease_id))).fetchone()
        if row is None:
            raise not_found(lease_id)
        try:
            return from_row(row)
        except RowError as error:
            msg = f"the record of lease {lease_id} in {self.path} can't be read: {error}"
            raise StoreError(msg, lease_id=lease_id) from error

    def _pages(
        self, statement: str, arguments: tuple[Any, ...], limit: int | None = None
    ) -> Iterator[tuple[Any, int, LeaseRecord]]:
        """Run a statement page by page, each behind the one before; log and leave out what can't be read."""
        size = _PAGE if limit is None else max(1, min(limit, _PAGE))
        position: tuple[Any, int] = _START
        while True:
            rows = self._fetch("reading leases", statement, *arguments, *position, size)
            for row in rows:
                try:
                    yield row[0], row[1], from_row(row[2:])
                except RowError as error:
                    logger.error("the record of lease %s in %s can't be read: %s", from_key(row[2]), self.path, error)
                    note_unreadable(from_key(row[2]))
            if len(rows) < size:
                return
            position = rows[-1][:2]

    def _let_go(self) -> None:
        """Close the connection. The lock is held."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                logger.warning("store %s was not closed cleanly: %s", self.path, error)

    def _forget(self) -> None:
        if self._connection is not None:
            _left_behind.append(self._connection)
            self._connection = None


def _replacing(record: LeaseRecord) -> Callable[[sqlite3.Connection], bool]:
    """Return how to write a record over the version before it; that tells whether it was there."""
    row = to_row(record)
    arguments = (*row[1:], row[0], record.version - 1)
    return lambda connection: connection.execute(_UPDATE, arguments).rowcount == 1


def _numbered(*arguments: object) -> dict[str, object]:
    """Return arguments for ``?1``, ``?2`` …: from Python 3.12 on a sequence is not taken for numbered placeholders."""
    return {str(number): argument for number, argument in enumerate(arguments, 1)}


def _position(entry: tuple[Any, int, LeaseRecord]) -> tuple[Any, int]:
    return entry[:2]


def _first(entries: Iterable[tuple[Any, int, LeaseRecord]], limit: int | None) -> list[LeaseRecord]:
    return [record for _, _, record in islice(entries, None if limit is None else max(limit, 0))]
