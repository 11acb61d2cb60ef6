"""Lease records in one file: the default store, safe for many threads and many processes of one machine."""

from __future__ import annotations

import sqlite3
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from dynsecrets._internal.compat import override
from dynsecrets._internal.log import logger
from dynsecrets.errors import StoreError
from dynsecrets.model.lifecycle import LONGEST_CLAIM, LeaseState
from dynsecrets.stores.base import FailureIndex, LeaseStore, ProcessIndex
from dynsecrets.stores.common import CLAIM_TRIES, changes_too_fast, check_state, claimed, conflict, not_found, taken
from dynsecrets.stores.record_codec import RowError, from_key, from_row, is_text, to_key, to_microseconds, to_row
from dynsecrets.stores.sqlite import statements as sql
from dynsecrets.stores.sqlite.database import Database, numbered
from dynsecrets.stores.sqlite.files import check_path
from dynsecrets.stores.unreadable import note_unreadable

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from dynsecrets.model.record import LeaseRecord

_START: Final = (-(2**63), 0)
_PAGE: Final = 256
_PURGE_PAGE: Final = 1000


class SQLiteLeaseStore(LeaseStore, ProcessIndex, FailureIndex):
    """Keeps lease records in an SQLite file.

    The file is made on first use, with what folders it needs, for its owner alone (modes 0600 and 0700). What a method
    has written survives the death of the process. What says that a credential may exist is on the disk when the method
    returns, and survives the loss of power too; the begin and the end of a revocation may be lost then, and it is made
    again. A file that is removed or replaced while the store is in use is noticed before the next lease is written
    down, and when due work is looked for: the live records go to the file that is made, or found, in its place.

    Safe to use from any thread, and from any number of processes with stores of their own on the same file. It may be
    used before and after a fork, in the parent and in the child: it closes the file just before the process forks,
    because SQLite's locks don't work in a child that inherits them. The file must be on a disk of this machine.

    Args:
        path: The path of the file. By default ``leases.db`` in the user's state folder.

    Raises:
        InvalidConfig: That is not the path of a file, or the user has no home to have a state folder in.
    """

    #: The file stays, so a manager that closes leaves its leases to whoever comes next.
    outlives_process = True

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path: Path = check_path(path)
        self._database = Database(self.path)

    def insert(self, record: LeaseRecord) -> None:
        row = to_row(record)
        try:
            self._database.do(
                "writing a lease", lambda connection: connection.execute(sql.INSERT, row), wait_for_disk=True
            )
        except StoreError as error:
            if getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_CONSTRAINT_UNIQUE:
                raise taken(record.id) from error.__cause__
            raise

    def update(self, record: LeaseRecord) -> LeaseRecord:
        updated = record.next_version()
        if self._replace(updated, wait_for_disk=_must_last(record)):
            return updated
        if self._database.fetch("reading a lease", sql.EXISTS, to_key(record.id)):
            raise conflict(record)
        raise not_found(record.id)

    def get(self, lease_id: str) -> LeaseRecord:
        arguments = numbered(to_key(lease_id))
        row = self._database.do("reading a lease", lambda connection: connection.execute(sql.GET, arguments).fetchone())
        if row is None:
            raise not_found(lease_id)
        try:
            return from_row(row)
        except RowError as error:
            msg = f"the record of lease {lease_id} in {self.path} can't be read: {error}"
            raise StoreError(msg, lease_id=lease_id) from error

    def records(
        self,
        *,
        state: LeaseState | str | None = None,
        name: str | None = None,
        integration: str | None = None,
    ) -> Iterator[LeaseRecord]:
        # Read in pages: nothing is locked while the caller works on a record.
        wanted = check_state(state)
        ((last,),) = self._database.fetch("reading leases", sql.LAST)
        found = self._pages(sql.RECORDS, (last, None if wanted is None else wanted.value, name, integration))
        return (record for _, _, record in found)

    def due(
        self, now: datetime, *, integrations: Collection[str] | None = None, limit: int | None = None
    ) -> list[LeaseRecord]:
        moment, latest = to_microseconds(now), to_microseconds(now + LONGEST_CLAIM)
        known = self._texts("looking for due leases", sql.INTEGRATIONS) if integrations is None else set(integrations)
        overdue = [self._pages(sql.DUE, (name, moment), limit) for name in known]
        lapsed = [self._pages(sql.LAPSED, (name, moment, latest), limit) for name in known]
        return _first(merge(*overdue, *lapsed, key=_position), limit)

    def claim(self, lease_id: str, worker: str, until: datetime, now: datetime) -> LeaseRecord | None:
        for _ in range(CLAIM_TRIES):
            record = claimed(self.get(lease_id), worker, until, now)
            if record is None or self._replace(record, wait_for_disk=False):
                return record
            # Changed since it was read: decide again.
        raise changes_too_fast(lease_id)

    def count_live(self, name: str) -> int:
        ((count,),) = self._database.fetch("counting leases", sql.COUNT, name)
        return int(count)

    def purge(self, before: datetime, *, limit: int | None = None) -> int:
        # Goes in steps, so that others can write meanwhile. Looked for first: reading waits for nobody, and mostly
        # there is nothing to do.
        moment = to_microseconds(before)
        purged = 0
        while limit is None or purged < limit:
            if not self._database.fetch("purging leases", sql.OLD, moment):
                break
            most = _PURGE_PAGE if limit is None else min(limit - purged, _PURGE_PAGE)
            purged += self._write("purging leases", sql.PURGE, numbered(moment, most))
        return purged

    @override
    def processes(self, place: str) -> list[str]:
        return self._texts("looking for processes", sql.PROCESSES, place)

    @override
    def of_process(self, process: str, *, limit: int | None = None) -> list[LeaseRecord]:
        return _first(self._pages(sql.OF_PROCESS, (process,), limit), limit)

    @override
    def failed(self, integration: str, *, limit: int | None = None) -> list[LeaseRecord]:
        return _first(self._pages(sql.FAILED, (integration,), limit), limit)

    def close(self) -> None:
        self._database.close()

    def __repr__(self) -> str:
        return f"SQLiteLeaseStore({str(self.path)!r})"

    def _replace(self, record: LeaseRecord, *, wait_for_disk: bool) -> bool:
        """Write a record over the version before it; tell whether that was there."""
        row = to_row(record)
        arguments = (*[row[i] for i in sql.CHANGING], row[0], record.version - 1)
        return self._write("writing a lease", sql.UPDATE, arguments, wait_for_disk=wait_for_disk) == 1

    def _write(self, doing: str, statement: str, arguments: Any, *, wait_for_disk: bool | None = None) -> int:
        """Return how many rows a statement has changed."""
        return self._database.do(
            doing, lambda connection: connection.execute(statement, arguments).rowcount, wait_for_disk=wait_for_disk
        )

    def _texts(self, doing: str, statement: str, *arguments: object) -> list[str]:
        """Return the texts that a statement finds; log and leave out what is not text."""
        found = [value for (value,) in self._database.fetch(doing, statement, *arguments)]
        for value in found:
            if not is_text(value):
                logger.error("leases of %r in %s can't be read: that is not text", value, self.path)
        return [value for value in found if is_text(value)]

    def _pages(
        self, statement: str, arguments: tuple[Any, ...], limit: int | None = None
    ) -> Iterator[tuple[Any, int, LeaseRecord]]:
        """Run a statement page by page, each behind the one before; log and leave out what can't be read."""
        size = _PAGE if limit is None else max(1, min(limit, _PAGE))
        position: tuple[Any, int] = _START
        while True:
            rows = self._database.fetch("reading leases", statement, *arguments, *position, size)
            for row in rows:
                try:
                    yield row[0], row[1], from_row(row[2:])
                except RowError as error:
                    logger.error("the record of lease %s in %s can't be read: %s", from_key(row[2]), self.path, error)
                    note_unreadable(from_key(row[2]))
            if len(rows) < size:
                return
            position = rows[-1][:2]


def _must_last(record: LeaseRecord) -> bool:
    """Tell whether a record must survive the loss of power.

    A pending one names all that may come to be. An active one of a lease that ends with its process needs not: power
    takes the process too, and what is left is the pending record, by which a reaper finds everything.
    """
    return record.state is LeaseState.PENDING or (record.state is LeaseState.ACTIVE and not record.held)


def _position(entry: tuple[Any, int, LeaseRecord]) -> tuple[Any, int]:
    return entry[:2]


def _first(entries: Iterable[tuple[Any, int, LeaseRecord]], limit: int | None) -> list[LeaseRecord]:
    return [record for _, _, record in islice(entries, None if limit is None else max(limit, 0))]
