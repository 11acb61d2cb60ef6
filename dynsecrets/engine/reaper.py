"""Reaping: any later process finishes what an earlier one could not.

What is due is found by the store's index of times; leases that end with their process are found by the names of the
processes of this host that are gone. Neither reads what isn't due.
"""

from __future__ import annotations

from concurrent.futures import wait
from datetime import timedelta
from functools import partial
from itertools import chain, takewhile
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from dynsecrets._internal.concurrency import Call, interrupts_itself
from dynsecrets._internal.log import logger
from dynsecrets.engine.process_identity import ProcessState, current_owner, liveness
from dynsecrets.engine.revocation import RevocationOutcome
from dynsecrets.errors import StoreError
from dynsecrets.model.backoff import LONGEST_BACKOFF
from dynsecrets.model.lifecycle import ABANDONED_AFTER, TOMBSTONE_AGE, LeaseState
from dynsecrets.stores.base import FailureIndex, ProcessIndex, purge_some, takes_limit
from dynsecrets.stores.unreadable import noting_unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from datetime import datetime

    from dynsecrets.engine.scheduler import Scheduler
    from dynsecrets.engine.state import EngineState
    from dynsecrets.model.integration import Integration
    from dynsecrets.model.record import LeaseRecord

#: How far a local clock is taken to be off at the most, when nothing is known of it; AWS refuses what is off by more.
_FARTHEST: Final = timedelta(minutes=15)
#: How many due records are read at first where a limit is set; more if they turn out not to be ours to reap.
_FIRST_READ: Final = 16
#: How many leases the background looks for at a time, and how many tombstones it forgets.
_BATCH: Final = 100
#: For how long a slow issue, which its process may still be at, is looked for again after it was given up.
_LATEST_ISSUE: Final = timedelta(minutes=10)


@attrs.frozen(kw_only=True)
class ReapReport:
    """What a reaper did, as lists of lease ids.

    Attributes:
        revoked: Those that it revoked.
        released: Those that it gave back, and that end by themselves later.
        failed: Those that could not be revoked (their records say why, and it is tried again), and those that are due
            and can't be dealt with, which the log explains: their records can't be read, or their third party can't
            tell the time, by which alone a lease is over.
        skipped: Those that somebody else is revoking.
    """

    revoked: list[str] = attrs.field(factory=list)
    released: list[str] = attrs.field(factory=list)
    failed: list[str] = attrs.field(factory=list)
    skipped: list[str] = attrs.field(factory=list)

    def add(self, lease_id: str, outcome: RevocationOutcome) -> None:
        """Count one lease.

        Args:
            lease_id: Its id.
            outcome: What came of it.
        """
        lists = {
            RevocationOutcome.REVOKED: self.revoked,
            RevocationOutcome.RELEASED: self.released,
            RevocationOutcome.FAILED: self.failed,
            RevocationOutcome.SKIPPED: self.skipped,
        }
        lists[outcome].append(lease_id)


class Revoking(Protocol):
    """What a reaper needs of the one who revokes."""

    def reap(
        self, record: LeaseRecord, integration: Integration, *, again_after: timedelta | None = None
    ) -> RevocationOutcome:
        """Make one attempt, unless another worker is at it."""
        ...

    def release(self, record: LeaseRecord) -> LeaseRecord | None:
        """Take the claim of a worker that is gone off a lease; ``None`` where somebody else has done that."""
        ...


class Reaper:
    """Finds and revokes what is overdue, for a manager. Thread-safe; any number may work at the same time."""

    def __init__(
        self, state: EngineState, revoker: Revoking, scheduler: Scheduler, keep_revoked: timedelta = TOMBSTONE_AGE
    ) -> None:
        self._state = state
        self._keep_revoked = keep_revoked
        self._revoker = revoker
        self._scheduler = scheduler

    def reap(
        self, integrations: Mapping[str, Integration], *, limit: int | None, abandoned_after: timedelta
    ) -> ReapReport:
        """Revoke all that is overdue, at most ``limit`` leases, many at the same time; wait for that and report."""
        look = _Look(limit, abandoned_after, retry=True)
        with noting_unreadable() as unreadable:
            overdue = chain(self._overdue(integrations, look), self._failed_here(integrations))
            attempts = self._start(overdue, integrations, limit)
        report = ReapReport(failed=[*unreadable, *look.undecided])
        if self._scheduler.in_worker() or interrupts_itself():
            # It can't wait for the other workers: they may wait like this one, or for this one.
            for call in attempts.values():
                call()
        for lease_id, call in attempts.items():
            wait([call.future])
            report.add(lease_id, _outcome(call))
        self._purge(integrations, limit)
        return report

    def tend(self, integrations: Mapping[str, Integration]) -> None:
        """Revoke what is overdue and forget old tombstones, in the background, a batch after another."""
        look = _Look(_BATCH, ABANDONED_AFTER, retry=False)
        # A scheduler that is closed has its caller do all work itself, and who closes waits for the caller.
        overdue = takewhile(lambda _: not self._scheduler.closed, self._overdue(integrations, look))
        try:
            attempts = self._start(overdue, integrations, _BATCH)
        except StoreError as error:
            logger.error("Overdue leases of %s could not be looked for: %s", ", ".join(integrations), error)
            return
        if len(attempts) == _BATCH:
            self._go_on(integrations, list(attempts.values()))
        else:
            while self._purge(integrations, _BATCH) and not self._scheduler.closed:
                pass

    def _go_on(self, integrations: Mapping[str, Integration], batch: list[Call[RevocationOutcome]]) -> None:
        """Have the next batch follow this one, as long as that gets on."""
        left = SimpleQueue[None]()
        for _ in batch[1:]:
            left.put(None)

        def ended(_: object) -> None:
            try:
                left.get_nowait()
            except Empty:
                if not self._scheduler.closed and any(_outcome(call) is RevocationOutcome.REVOKED for call in batch):
                    name = next(iter(integrations))
                    self._scheduler.submit_for(name, partial(self.tend, integrations), has_time=True)

        for call in batch:
            call.future.add_done_callback(ended)

    def _start(
        self, records: Iterable[LeaseRecord], integrations: Mapping[str, Integration], limit: int | None
    ) -> dict[str, Call[RevocationOutcome]]:
        """Start one attempt for each lease that is to be reaped."""
        started: dict[str, Call[RevocationOutcome]] = {}
        for record in records:
            if limit is not None and len(started) >= limit:
                break
            if record.id not in started:
                started[record.id] = Call(partial(self._reap_one, record, integrations[record.integration]))
                if not interrupts_itself():
                    self._scheduler.submit_for(record.integration, started[record.id], has_time=True)
        return started

    def _reap_one(self, record: LeaseRecord, integration: Integration) -> RevocationOutcome:
        """Make one attempt. One record that can't be dealt with never stops the others."""
        try:
            late = record.state is LeaseState.PENDING and self._may_go_on(record)
            return self._revoker.reap(record, integration, again_after=_LATEST_ISSUE if late else None)
        except Exception:
            logger.exception("Lease %s could not be reaped", record.id)
            return RevocationOutcome.FAILED

    def _overdue(self, integrations: Mapping[str, Integration], look: _Look) -> Iterable[LeaseRecord]:
        """Return what is to be reaped: what time has made due first, then what belonged to processes that are gone."""
        return chain(
            *(self._due(integration, look) for integration in integrations.values()),
            *(self._failed(name, look.limit) for name in integrations if look.retry),
            self._abandoned(integrations),
        )

    def _failed(self, integration: str, limit: int | None) -> Iterable[LeaseRecord]:
        """Find failed revocations, which are due whatever their back-off."""
        store = self._state.store
        return store.failed(integration, limit=limit) if isinstance(store, FailureIndex) else ()

    def _failed_here(self, integrations: Collection[str]) -> Iterator[LeaseRecord]:
        """Return what this process has failed to revoke: where its clock was set back, no time finds that.

        Its background tries again by another clock, so this is for who asks to have it done now.
        """
        for entry in self._state.leases.all():
            if entry.retry is not None and entry.record.integration in integrations:
                yield entry.record

    def _due(self, integration: Integration, look: _Look) -> Iterator[LeaseRecord]:
        """Find what is due by time, by the clock of the third party."""
        names = [integration.name]
        here = self._state.clock.now()
        horizon = max(here, self._state.now(integration.name)) + _FARTHEST
        first = self._state.store.due(horizon, integrations=names, limit=_FIRST_READ)
        # What this process issues just now is not a reason to ask what time it is there.
        young = here - look.abandoned_after
        if len(first) < _FIRST_READ and all(self._is_being_issued_here(record, young) for record in first):
            return
        certain = self._state.clocks.ask(integration)
        now = self._state.now(integration.name)
        # A process writes its first pending record by a local clock: it has not seen the third party's yet.
        abandoned = min(now, here) - look.abandoned_after if look.abandoned_after else None
        until = max(now, here)
        if look.retry and not isinstance(self._state.store, FailureIndex):
            # Failed revocations are due whatever their back-off, which is never longer than this.
            until += LONGEST_BACKOFF
        limit, count = look.limit, None if look.limit is None else max(look.limit, _FIRST_READ)
        while True:
            found = self._state.store.due(until, integrations=names, limit=count)
            # The first look reached further ahead: it finds failed revocations whose clock was set back since.
            known = {record.id: record for record in (*first, *found)}
            ready = [
                record
                for record in known.values()
                if (record.state is not LeaseState.PENDING or self._is_abandoned(record, abandoned))
                # Whoever goes by a wrong clock would end what still has time: better late, which the guard bears.
                and (record.state is not LeaseState.ACTIVE or (certain and record.is_due(now)))
                and (record.state is not LeaseState.REVOKING or _is_open(record, now, retry=look.retry))
            ]
            if count is None or limit is None or len(found) < count or len(ready) >= limit:
                break
            count *= 4
        if not certain:
            overdue = (record for record in known.values() if record.state is LeaseState.ACTIVE and record.is_due(now))
            look.undecided.extend(record.id for record in overdue)
        yield from ready

    def _is_being_issued_here(self, record: LeaseRecord, young: datetime) -> bool:
        """Tell whether a record is of an issue that this very process has begun a moment ago."""
        return record.state is LeaseState.PENDING and record.owner == self._state.owner and record.created_at > young

    def _is_abandoned(self, record: LeaseRecord, abandoned: datetime | None) -> bool:
        """Tell whether an issue that began by ``abandoned``, ``None`` for any time, is one that nobody finishes."""
        if abandoned is None:
            return True
        if record.created_at > abandoned:
            return False
        if record.owner == self._state.owner:
            return not self._state.is_issuing(record.id)
        # Of a process that can't be seen, age tells.
        return liveness(record.owner) is not ProcessState.ALIVE

    def _may_go_on(self, record: LeaseRecord) -> bool:
        """Tell whether the process of an issue that is given up may be at it still, and make something later."""
        if record.owner == self._state.owner:
            return self._state.is_issuing(record.id)
        return liveness(record.owner) is not ProcessState.GONE

    def _abandoned(self, integrations: Mapping[str, Integration]) -> Iterator[LeaseRecord]:
        """Find what belonged to processes of this host that are gone, whatever the time."""
        here = current_owner()
        for process, records in self._by_process(here.place, integrations):
            if liveness(process, here) is not ProcessState.GONE:
                continue
            for record in records():
                if record.integration not in integrations:
                    continue
                if record.state is not LeaseState.REVOKING:
                    yield record
                elif (released := self._revoker.release(record)) is not None:
                    yield released

    def _by_process(
        self, place: str, integrations: Collection[str]
    ) -> Iterator[tuple[str, Callable[[], Iterable[LeaseRecord]]]]:
        """Return the processes of a place that live leases depend on, each with how to read those leases."""
        store = self._state.store
        if isinstance(store, ProcessIndex):
            for process in store.processes(place):
                yield process, partial(store.of_process, process)
            return
        found: dict[str, list[LeaseRecord]] = {}
        for name in integrations:
            for record in store.records(integration=name):
                if record.process is not None and record.process.startswith(place):
                    found.setdefault(record.process, []).append(record)
        for process, records in found.items():
            yield process, partial(iter, records)

    def _purge(self, names: Iterable[str], limit: int | None) -> bool:
        """Forget old tombstones, at most ``limit``; return whether there may be more."""
        moments = [self._state.now(name) for name in names]
        before = min(moments, default=self._state.clock.now()) - self._keep_revoked
        try:
            purged = purge_some(self._state.store, before, limit)
        except StoreError as error:
            logger.warning("Old tombstones could not be purged: %s", error)
            return False
        return limit is not None and takes_limit(self._state.store) and purged >= limit


@attrs.frozen
class _Look:
    """What is looked for: at most ``limit`` leases, how old an unfinished issue is, failures before their time."""

    limit: int | None
    abandoned_after: timedelta
    retry: bool = attrs.field(kw_only=True)
    #: Leases that are over by a clock that may be wrong: their third party's time could not be had.
    undecided: list[str] = attrs.field(factory=list)


def _is_open(record: LeaseRecord, now: datetime, *, retry: bool) -> bool:
    """Tell whether a revocation that was begun is anybody's to go on with."""
    if record.claimed_by is not None:
        return not record.is_claimed(now)
    # A failed one may be tried before its time; what was left for later is not due before.
    return record.is_due(now) or (retry and not record.waits)


def _outcome(call: Call[RevocationOutcome]) -> RevocationOutcome:
    """Return how an attempt ended; one that was cancelled is left to others."""
    return RevocationOutcome.SKIPPED if call.future.cancelled() else call.future.result()
