"""A store of one's own: each record is a JSON file in a folder, which the processes of one machine can share.

It is here to be read. It looks at every file to find what is due, so it is for tens of leases, not for thousands; the
SQLite store, which is the default, does all that this one does, with an index. POSIX only, for its lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import attrs

from dynsecrets import InvalidConfig, LeaseNotFound, LeaseRecord, LeaseState, StoreError, VersionConflict
from dynsecrets.stores.unreadable import note_unreadable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

logger = logging.getLogger(__name__)

_MOMENTS = ("created_at", "issued_at", "expires_at", "revoked_at", "next_attempt_at")


class JSONFolderStore:
    """Keeps lease records in a folder. Safe to use from many threads and processes of one machine."""

    #: The files stay, so a manager that closes leaves its leases to whoever comes next.
    outlives_process = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._threads = threading.Lock()
        self._closed = False

    def insert(self, record: LeaseRecord) -> None:
        """Keep a new record."""
        with self._locked():
            if self._path(record.id).exists():
                raise StoreError(f"there is a lease {record.id} already", lease_id=record.id)
            self._write(record)

    def update(self, record: LeaseRecord) -> LeaseRecord:
        """Replace a record, if nobody else has in the meantime."""
        with self._locked():
            if self._read(record.id).version != record.version:
                raise VersionConflict(f"lease {record.id} was changed; read it again", lease_id=record.id)
            return self._write(record.next_version())

    def get(self, lease_id: str) -> LeaseRecord:
        """Return one record."""
        with self._locked():
            return self._read(lease_id)

    def records(
        self, *, state: LeaseState | str | None = None, name: str | None = None, integration: str | None = None
    ) -> Iterator[LeaseRecord]:
        """Return an iterator over what matches, the oldest first, as it was when this was called."""
        try:
            wanted = None if state is None else LeaseState(state)
        except ValueError as error:
            raise InvalidConfig(str(error)) from None
        with self._locked():
            found = [
                record
                for record in self._all()
                if wanted in (None, record.state)
                and name in (None, record.name)
                and integration in (None, record.integration)
            ]
        return iter(sorted(found, key=lambda record: record.created_at))

    def due(
        self, now: datetime, *, integrations: Collection[str] | None = None, limit: int | None = None
    ) -> list[LeaseRecord]:
        """Return what is due, the most overdue first."""
        with self._locked():
            found = [
                (record.due_at, record.id, record)
                for record in self._all()
                if record.due_at is not None
                # A claim that ends later than a claim can was made by a wrong clock, and is nobody's.
                and (record.due_at <= now or (record.claimed_by is not None and not record.is_claimed(now)))
                and (integrations is None or record.integration in integrations)
            ]
        return [record for _, _, record in sorted(found, key=lambda each: each[:2])[:limit]]

    def claim(self, lease_id: str, worker: str, until: datetime, now: datetime) -> LeaseRecord | None:
        """Begin a revocation, unless somebody else has."""
        with self._locked():
            record = self._read(lease_id)
            if not record.live or (record.is_claimed(now) and record.claimed_by != worker):
                return None
            return self._write(record.claimed(worker=worker, until=until).next_version())

    def count_live(self, name: str) -> int:
        """Count the leases of one name that are not revoked."""
        with self._locked():
            return sum(record.live and record.name == name for record in self._all())

    def purge(self, before: datetime, *, limit: int | None = None) -> int:
        """Forget old tombstones, the oldest first."""
        with self._locked():
            old = sorted(
                (record.revoked_at, record.id)
                for record in self._all()
                if record.revoked_at is not None and record.revoked_at < before
            )[:limit]
            for _, lease_id in old:
                self._path(lease_id).unlink()
            return len(old)

    def close(self) -> None:
        """Do no more. No file is kept open."""
        self._closed = True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep all other threads and processes out. The lock is the kernel's: a process that dies lets go of it."""
        if self._closed:
            raise StoreError("the store is closed")
        try:
            with self._threads, open(self._folder / "lock", "a", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise StoreError(f"the folder {self._folder} can't be read or written: {error}") from error

    def _path(self, lease_id: str) -> Path:
        # The library's ids are UUIDs, but an id may be any text: none gets out of the folder.
        return self._folder / f"{quote(lease_id, safe='')}.json"

    def _write(self, record: LeaseRecord) -> LeaseRecord:
        """Write a record so that it is there, whole, when this returns, and the old one until then."""
        path = self._path(record.id)
        new = path.with_suffix(".new")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(_to_json(record), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # Its name must survive the machine, too.
        finally:
            os.close(folder)
        return self._read(record.id)

    def _read(self, lease_id: str) -> LeaseRecord:
        try:
            return _from_json(json.loads(self._path(lease_id).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise LeaseNotFound(f"there is no lease {lease_id}", lease_id=lease_id) from None
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"the record of lease {lease_id} can't be read: {error!r}", lease_id=lease_id) from error

    def _all(self) -> Iterator[LeaseRecord]:
        """Read all records; one that can't be read hides no other."""
        for path in self._folder.glob("*.json"):
            try:
                yield self._read(unquote(path.stem))
            except StoreError as error:
                note_unreadable(error.lease_id or path.stem)  # So that reports name it.
                logger.error("%s", error)  # noqa: TRY400 - the traceback says nothing that the message doesn't.


def _to_json(record: LeaseRecord) -> dict[str, Any]:
    fields = attrs.asdict(record)
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in fields.items()}


def _from_json(fields: dict[str, Any]) -> LeaseRecord:
    moments = {key: datetime.fromisoformat(fields[key]) for key in _MOMENTS if fields[key] is not None}
    return LeaseRecord(**{**fields, **moments})
