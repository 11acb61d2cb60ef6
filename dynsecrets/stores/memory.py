"""Lease records in memory: for tests, and for processes that revoke all that they issued before they end."""

from __future__ import annotations

import copy
from bisect import bisect_left, bisect_right, insort
from collections import Counter, defaultdict
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any

import attrs

from dynsecrets.errors import StoreError
from dynsecrets.model.lifecycle import LeaseState
from dynsecrets.stores.common import check_state, check_times, claimed, conflict, not_found, taken
from dynsecrets.stores.forking import ForkSafe

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from datetime import datetime

    from dynsecrets.model.record import LeaseRecord


class _Timeline:
    """Lease ids by time, the earliest first; those of one moment in the order in which they came to the store."""

    def __init__(self) -> None:
        self._entries: list[tuple[datetime, int, str]] = []

    def add(self, moment: datetime, rank: int, lease_id: str) -> None:
        insort(self._entries, (moment, rank, lease_id))

    def remove(self, moment: datetime, rank: int, lease_id: str) -> None:
        del self._entries[bisect_left(self._entries, (moment, rank, lease_id))]

    def until(self, moment: datetime, limit: int | None = None) -> list[tuple[datetime, int, str]]:
        """Return what is not later than a moment, at most ``limit``."""
        end = bisect_right(self._entries, moment, key=_moment)
        return self._entries[: end if limit is None else min(end, max(limit, 0))]

    def before(self, moment: datetime) -> list[tuple[datetime, int, str]]:
        """Return what is earlier than a moment."""
        return self._entries[: bisect_left(self._entries, moment, key=_moment)]

    def all(self) -> list[tuple[datetime, int, str]]:
        return list(self._entries)

    def __bool__(self) -> bool:
        return bool(self._entries)


def _moment(entry: tuple[datetime, int, str]) -> datetime:
    return entry[0]


class MemoryLeaseStore(ForkSafe):
    """Keeps lease records as long as the process lives.

    Safe to use from any thread. A forked child goes on with a copy of its own. What is put in and handed out shares
    nothing with the store: changing a record's ``handle`` or ``metadata`` changes no other record.
    """

    #: Records die with the process, so a manager that closes revokes what it issued.
    outlives_process = False

    def __init__(self) -> None:
        self._records: dict[str, LeaseRecord] | None = {}
        self._ranks: dict[str, int] = {}
        self._next_rank = 0
        self._live: Counter[str] = Counter()
        self._created = _Timeline()
        self._revoked = _Timeline()
        self._due: defaultdict[str, _Timeline] = defaultdict(_Timeline)
        self._processes: defaultdict[str, _Timeline] = defaultdict(_Timeline)
        self._failed: defaultdict[str, _Timeline] = defaultdict(_Timeline)
        super().__init__()

    def insert(self, record: LeaseRecord) -> None:
        """Keep a new record. Raises ``StoreError`` where its id is taken."""
        check_times(record)
        kept = _apart(record)
        with self._lock:
            records = self._open()
            if kept.id in records:
                raise taken(kept.id)
            self._ranks[kept.id] = self._next_rank
            self._next_rank += 1
            self._put(kept)

    def update(self, record: LeaseRecord) -> LeaseRecord:
        """Replace the record of the same id and ``version``; return it as stored, with the next version.

        Raises ``VersionConflict`` where the stored version is another one, ``LeaseNotFound`` where there is none.
        """
        check_times(record)
        kept = _apart(record, version=record.version + 1)
        with self._lock:
            stored = self._find(record.id)
            if stored.version != record.version:
                raise conflict(record)
            self._replace(stored, kept)
        return _apart(kept)

    def get(self, lease_id: str) -> LeaseRecord:
        """Return one record. Raises ``LeaseNotFound``."""
        with self._lock:
            record = self._find(lease_id)
        return _apart(record)

    def records(
        self,
        *,
        state: LeaseState | str | None = None,
        name: str | None = None,
        integration: str | None = None,
    ) -> Iterator[LeaseRecord]:
        """Iterate over the records that match as they are now, oldest first."""
        wanted = check_state(state)
        with self._lock:
            records = self._open()
            found = [records[lease_id] for _, _, lease_id in self._created.all()]
        return (
            _apart(record)
            for record in found
            if wanted in (None, record.state)
            and name in (None, record.name)
            and integration in (None, record.integration)
        )

    def due(
        self, now: datetime, *, integrations: Collection[str] | None = None, limit: int | None = None
    ) -> list[LeaseRecord]:
        """Return the records whose ``due_at`` is not later than ``now``, the most overdue first; at most ``limit``.

        ``integrations`` are the names to look for, ``None`` for all. Costs what is due, not what is stored.
        """
        with self._lock:
            records = self._open()
            names = self._due if integrations is None else set(integrations) & self._due.keys()
            overdue = merge(*(self._due[name].until(now, limit) for name in names))
            found = [records[lease_id] for _, _, lease_id in _first(overdue, limit)]
        return [_apart(record) for record in found]

    def claim(self, lease_id: str, worker: str, until: datetime, now: datetime) -> LeaseRecord | None:
        """Begin a revocation, for one worker at a time: the lease is ``worker``'s up to ``until``.

        Returns the record as stored, or ``None`` where another worker's claim holds at ``now`` or the lease is revoked
        already. Raises ``LeaseNotFound``.
        """
        with self._lock:
            stored = self._find(lease_id)
            record = claimed(stored, worker, until, now)
            if record is None:
                return None
            self._replace(stored, record)
        return _apart(record)

    def count_live(self, name: str) -> int:
        """Return how many leases of a dynamic secret are not revoked."""
        with self._lock:
            self._open()
            return self._live[name]

    def purge(self, before: datetime) -> int:
        """Forget the tombstones of leases revoked before a moment; return how many."""
        with self._lock:
            records = self._open()
            old = self._revoked.before(before)
            for _, _, lease_id in old:
                self._take(records[lease_id])
                del records[lease_id], self._ranks[lease_id]
        return len(old)

    def processes(self, place: str) -> list[str]:
        """Return each different ``record.process`` that begins with ``place``, of live records."""
        with self._lock:
            self._open()
            return sorted(process for process in self._processes if process.startswith(place))

    def of_process(self, process: str, *, limit: int | None = None) -> list[LeaseRecord]:
        """Return the live records with that ``record.process``, oldest first; at most ``limit``."""
        with self._lock:
            records = self._open()
            entries = self._processes[process].all() if process in self._processes else ()
            found = [records[lease_id] for _, _, lease_id in _first(entries, limit)]
        return [_apart(record) for record in found]

    def failed(self, integration: str, *, limit: int | None = None) -> list[LeaseRecord]:
        """Return the records in ``revoking`` that nobody has claimed, by the time of their next attempt."""
        with self._lock:
            records = self._open()
            entries = self._failed[integration].all() if integration in self._failed else ()
            found = [records[lease_id] for _, _, lease_id in _first(entries, limit)]
        return [_apart(record) for record in found]

    def close(self) -> None:
        """Forget all records. Closing twice is fine."""
        with self._lock:
            self._records = None

    def __repr__(self) -> str:
        """Say how many records there are."""
        records = self._records
        return f"MemoryLeaseStore({'closed' if records is None else len(records)})"

    def _open(self) -> dict[str, LeaseRecord]:
        if self._records is None:
            msg = "the store is closed: make a new MemoryLeaseStore"
            raise StoreError(msg)
        return self._records

    def _find(self, lease_id: str) -> LeaseRecord:
        record = self._open().get(lease_id)
        if record is None:
            raise not_found(lease_id)
        return record

    def _replace(self, old: LeaseRecord, new: LeaseRecord) -> None:
        """Keep a record in the place of another version of it. The lock is held."""
        rank = self._ranks[new.id]
        before, after = self._places(old), self._places(new)
        for place in before:
            if place not in after:
                place[0].remove(place[1], rank, old.id)
        for place in after:
            if place not in before:
                place[0].add(place[1], rank, new.id)
        self._live[new.name] += new.live - old.live
        process = old.process
        if process is not None and not self._processes[process]:
            del self._processes[process]
        self._open()[new.id] = new

    def _put(self, record: LeaseRecord) -> None:
        """Keep a record, and note it wherever it is looked for. The lock is held."""
        rank = self._ranks[record.id]
        for timeline, moment in self._places(record):
            timeline.add(moment, rank, record.id)
        self._live[record.name] += record.live
        self._open()[record.id] = record

    def _take(self, record: LeaseRecord) -> None:
        """Undo all notes of a record. The lock is held."""
        rank = self._ranks[record.id]
        for timeline, moment in self._places(record):
            timeline.remove(moment, rank, record.id)
        self._live[record.name] -= record.live
        if record.process is not None and not self._processes[record.process]:
            del self._processes[record.process]

    def _places(self, record: LeaseRecord) -> list[tuple[_Timeline, datetime]]:
        """Return the timelines that a record stands in, with its time there."""
        places = [(self._created, record.created_at)]
        due_at, process = record.due_at, record.process
        if due_at is not None:
            places.append((self._due[record.integration], due_at))
            if record.state is LeaseState.REVOKING and record.claimed_by is None:
                places.append((self._failed[record.integration], due_at))
        if process is not None:
            places.append((self._processes[process], record.created_at))
        if not record.live and record.revoked_at is not None:
            places.append((self._revoked, record.revoked_at))
        return places


def _first(entries: Iterable[Any], limit: int | None) -> Iterator[Any]:
    return islice(entries, None if limit is None else max(limit, 0))


def _apart(record: LeaseRecord, **changes: Any) -> LeaseRecord:
    """Return the record with mappings of its own."""
    metadata = copy.deepcopy(dict(record.metadata)) if record.metadata else {}
    return attrs.evolve(record, handle=dict(record.handle), metadata=metadata, **changes)
