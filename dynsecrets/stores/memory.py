"""Lease records in memory: for tests, and for processes that revoke all that they issued before they end.

What is true is one dictionary, in which each change is one step. All else is an index of it: brought up to date after a
change, and made anew where that was cut short. So a call that comes in the middle of another one, from a garbage
collection or a signal handler, finds each record before or after its change, and never between.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter, defaultdict, deque
from datetime import timedelta
from heapq import merge
from itertools import count, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dynsecrets._internal.compat import override
from dynsecrets.errors import StoreError, VersionConflict
from dynsecrets.model.lifecycle import LONGEST_CLAIM, LeaseState
from dynsecrets.stores.base import FailureIndex, LeaseStore, ProcessIndex
from dynsecrets.stores.common import (
    CLAIM_TRIES,
    changes_too_fast,
    check_state,
    check_times,
    claimed,
    conflict,
    not_found,
    taken,
)
from dynsecrets.stores.frozen_records import apart, freeze
from dynsecrets.stores.locking import ForkSafeLock

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from datetime import datetime

    from dynsecrets.model.record import LeaseRecord

#: A record, after the moment that it stands at in an index, and the number that it was inserted as.
_Entry: TypeAlias = "tuple[Any, int, LeaseRecord]"

_TOMBSTONE_AGE: Final = timedelta(hours=1)
_MOST_TOMBSTONES: Final = 10_000
#: How many are forgotten at most when a lease is revoked: more than one, so that their number falls.
_FORGOTTEN_AT_ONCE: Final = 4
_moment: Final = itemgetter(0)


class MemoryLeaseStore(ForkSafeLock, LeaseStore, ProcessIndex, FailureIndex):
    """Keeps lease records as long as the process lives.

    Safe to use from any thread, and from what runs in the middle of another call: a garbage collection, a signal
    handler. A forked child goes on with a copy of its own. The mappings of records that are handed out can't be
    changed, or are copies.

    Tombstones are kept for an hour after the latest revocation, and the latest 10,000 of them at most: whatever is
    asked of :meth:`purge`, the store of a process that lives for months doesn't grow.
    """

    #: Records die with the process, so a manager that closes revokes what it issued.
    outlives_process = False

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] | None = {}
        self._index: _Index | None = _Index()
        self._changes: deque[tuple[_Entry | None, _Entry | None]] = deque()
        #: Whether a change was made, or cut short, that is not yet among these.
        self._touched = False
        self._numbers = count()
        super().__init__()

    def insert(self, record: LeaseRecord) -> None:
        check_times(record)
        kept = freeze(record)
        self._take_lock()
        try:
            entry = (_standing(kept), next(self._numbers), kept)
            self._touched = True
            if self._open().setdefault(kept.id, entry) is not entry:
                raise taken(kept.id)
            self._note(None, entry)
        finally:
            self._lock.release()

    def update(self, record: LeaseRecord) -> LeaseRecord:
        check_times(record)
        kept = freeze(record.next_version())
        self._replace(kept)
        return apart(kept)

    def get(self, lease_id: str) -> LeaseRecord:
        return apart(self._find(lease_id)[2])

    def records(
        self,
        *,
        state: LeaseState | str | None = None,
        name: str | None = None,
        integration: str | None = None,
    ) -> Iterator[LeaseRecord]:
        wanted = check_state(state)
        # Those of one moment stay in the order in which they were inserted.
        found = sorted((record for _, _, record in list(self._open().values())), key=_created_at)
        return (
            apart(record)
            for record in found
            if wanted in (None, record.state)
            and name in (None, record.name)
            and integration in (None, record.integration)
        )

    def due(
        self, now: datetime, *, integrations: Collection[str] | None = None, limit: int | None = None
    ) -> list[LeaseRecord]:
        self._take_lock()
        try:
            index = self._settled()
            names = {*index.due, *index.claims} if integrations is None else set(integrations)
            overdue = [_up_to(index.due.get(name), now, limit) for name in names]
            overdue += [_up_to(index.claims.get(name), now, limit) for name in names]
            overdue += [_after(index.claims.get(name), now + LONGEST_CLAIM, limit) for name in names]
        finally:
            self._lock.release()
        return _first(merge(*overdue), limit)

    def claim(self, lease_id: str, worker: str, until: datetime, now: datetime) -> LeaseRecord | None:
        for _ in range(CLAIM_TRIES):
            record = claimed(self._find(lease_id)[2], worker, until, now)
            if record is None:
                return None
            try:
                self._replace(record)
            except VersionConflict:
                continue  # Changed since it was read: decide again.
            return apart(record)
        raise changes_too_fast(lease_id)

    def count_live(self, name: str) -> int:
        self._take_lock()
        try:
            return self._settled().live[name]
        finally:
            self._lock.release()

    def purge(self, before: datetime, *, limit: int | None = None) -> int:
        self._take_lock()
        try:
            revoked = self._settled().revoked
            return self._forget_first(bisect_left(revoked, before, key=_moment), limit)
        finally:
            self._lock.release()

    @override
    def processes(self, place: str) -> list[str]:
        self._take_lock()
        try:
            return sorted(process for process in self._settled().processes if process.startswith(place))
        finally:
            self._lock.release()

    @override
    def of_process(self, process: str, *, limit: int | None = None) -> list[LeaseRecord]:
        self._take_lock()
        try:
            found = list(self._settled().processes.get(process, {}).values())
        finally:
            self._lock.release()
        return _first(sorted(found, key=lambda entry: (entry[2].created_at, entry[1])), limit)

    @override
    def failed(self, integration: str, *, limit: int | None = None) -> list[LeaseRecord]:
        self._take_lock()
        try:
            found = list(self._settled().failed.get(integration, ()))
        finally:
            self._lock.release()
        return _first(found, limit)

    def close(self) -> None:
        self._entries = None

    def __repr__(self) -> str:
        entries = self._entries
        return f"MemoryLeaseStore({'closed' if entries is None else len(entries)})"

    def _open(self) -> dict[str, _Entry]:
        if self._entries is None:
            raise StoreError("the store is closed: make a new MemoryLeaseStore")
        return self._entries

    def _find(self, lease_id: str) -> _Entry:
        entry = self._open().get(lease_id)
        if entry is None:
            raise not_found(lease_id)
        return entry

    def _replace(self, record: LeaseRecord) -> None:
        """Write a record over the version before it. Raises ``VersionConflict`` or ``LeaseNotFound``."""
        self._take_lock()
        try:
            entries, lease_id, version = self._open(), record.id, record.version - 1
            entry = (_standing(record), self._find(lease_id)[1], record)
            try:
                # Nothing is called between looking and writing: whatever comes in the middle comes with a call.
                self._touched = True
                old = entries[lease_id]
                if old[2].version != version:
                    raise conflict(record)
                entries[lease_id] = entry
            except KeyError:
                raise not_found(lease_id) from None
            self._note(old, entry)
        finally:
            self._lock.release()

    def _note(self, old: _Entry | None, new: _Entry) -> None:
        """Bring the index up to date after a change, and forget some tombstones that are too old. The lock is held."""
        self._changes.append((old, new))
        self._touched = False
        if self._inside:
            return  # The call that this one came in the middle of goes on with it.
        index = self._settled()
        revoked_at = new[2].revoked_at
        if new[2].state is LeaseState.REVOKED and revoked_at is not None:
            late = bisect_left(index.revoked, revoked_at - _TOMBSTONE_AGE, key=_moment)
            self._forget_first(max(late, len(index.revoked) - _MOST_TOMBSTONES), _FORGOTTEN_AT_ONCE)

    def _forget_first(self, number: int, limit: int | None) -> int:
        """Forget so many tombstones, the oldest first, but at most ``limit``. The lock is held."""
        old = self._settled().revoked[: number if limit is None else max(min(number, limit), 0)]
        self._touched = True
        forgotten = [entry for entry in old if self._open().pop(entry[2].id, None) is not None]
        self._changes.extend([(entry, None) for entry in forgotten])
        self._touched = False
        return len(forgotten)

    def _settled(self) -> _Index:
        """Return an index that is up to date. The lock is held."""
        entries = self._open()
        if self._inside:
            # The index of the call that this one came in the middle of is in the making.
            return _Index(list(entries.values()))
        index, self._index = self._index, None
        try:
            self._inside = True
            while index is None or self._touched or self._changes:
                try:
                    if index is None or self._touched:
                        self._touched = False
                        self._changes.clear()
                        index = _Index(list(entries.values()))
                    else:
                        index.move(*self._changes.popleft())
                except LookupError:
                    index = None  # Changes came in another order than they were made in.
            self._index = index
        finally:
            self._inside = False
        return index

    def _forget(self) -> None:
        # In a child of a fork that came in the middle of a call.
        self._index = None


class _Index:
    """What records are found by. Each list is sorted."""

    def __init__(self, entries: Iterable[_Entry] = ()) -> None:
        self.live: Counter[str] = Counter()
        self.revoked: list[_Entry] = []
        self.due: defaultdict[str, list[_Entry]] = defaultdict(list)
        #: Revocations that a worker is at, by the end of its claim; and those that nobody is at, which are due, too.
        self.claims: defaultdict[str, list[_Entry]] = defaultdict(list)
        self.failed: defaultdict[str, list[_Entry]] = defaultdict(list)
        #: By the process that leases depend on, then by lease id.
        self.processes: defaultdict[str, dict[str, _Entry]] = defaultdict(dict)
        for entry in entries:
            self.move(None, entry)

    def move(self, old: _Entry | None, new: _Entry | None) -> None:
        """Take out a record, put in another. Raises ``LookupError`` where there is no such record to take out."""
        if old is not None:
            self._take(old)
        if new is not None:
            self._put(new)

    def _take(self, entry: _Entry) -> None:
        record = entry[2]
        for places, name in self._places(record):
            place = places[name]
            i = bisect_left(place, entry[:2])
            if place[i] is not entry:
                raise LookupError
            del place[i]
            if not place:
                del places[name]
        if record.live:
            self.live[record.name] -= not record.ended
            if not self.live[record.name]:
                del self.live[record.name]
            process = record.process
            if process is not None:
                del self.processes[process][record.id]
                if not self.processes[process]:
                    del self.processes[process]
        elif entry[0] is not None:
            i = bisect_left(self.revoked, entry[:2])
            if self.revoked[i] is not entry:
                raise LookupError
            del self.revoked[i]

    def _put(self, entry: _Entry) -> None:
        record = entry[2]
        for places, name in self._places(record):
            insort(places[name], entry)
        if record.live:
            self.live[record.name] += not record.ended
            process = record.process
            if process is not None:
                self.processes[process][record.id] = entry
        elif entry[0] is not None:
            insort(self.revoked, entry)

    def _places(self, record: LeaseRecord) -> list[tuple[defaultdict[str, list[_Entry]], str]]:
        """Return where a record stands among what is due, if it ever is."""
        if not record.live or record.due_at is None:
            return []
        if record.state is not LeaseState.REVOKING:
            return [(self.due, record.integration)]
        if record.claimed_by is not None:
            return [(self.claims, record.integration)]
        if record.waits:
            return [(self.due, record.integration)]
        return [(self.due, record.integration), (self.failed, record.integration)]


def _standing(record: LeaseRecord) -> datetime | None:
    """Return the moment at which a record stands in the index."""
    return record.due_at if record.live else record.revoked_at


def _created_at(record: LeaseRecord) -> datetime:
    return record.created_at


def _up_to(entries: list[_Entry] | None, moment: datetime, limit: int | None) -> list[_Entry]:
    """Return what stands at a moment or before it, at most ``limit``."""
    end = bisect_right(entries or (), moment, key=_moment)
    return (entries or [])[: end if limit is None else min(end, max(limit, 0))]


def _after(entries: list[_Entry] | None, moment: datetime, limit: int | None) -> list[_Entry]:
    """Return what stands behind a moment, at most ``limit``."""
    start = bisect_right(entries or (), moment, key=_moment)
    return (entries or [])[start : None if limit is None else start + max(limit, 0)]


def _first(entries: Iterable[_Entry], limit: int | None) -> list[LeaseRecord]:
    return [apart(record) for _, _, record in islice(entries, None if limit is None else max(limit, 0))]
