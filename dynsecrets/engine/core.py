"""The engine: what leases are issued, renewed, pooled and ended with, beneath the manager that people see.

It owns the store, the timetable and its workers, and the parts that issue, revoke and reap; what is given to it has
been checked. The library's own parts stand on it; it knows none of them.
"""

from __future__ import annotations

import atexit
import os
import random
import sys
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dynsecrets._internal.concurrency import all_or_none, past_failures, run_all
from dynsecrets._internal.log import logger
from dynsecrets.engine.issuer import Issuer
from dynsecrets.engine.orphans import SweepReport, sweep
from dynsecrets.engine.reaper import Reaper, ReapReport
from dynsecrets.engine.revocation import RevocationOutcome, raise_not_revoked
from dynsecrets.engine.revoker import Revoker
from dynsecrets.engine.scheduler import Scheduler
from dynsecrets.engine.state import EngineState
from dynsecrets.errors import DynsecretsError, LeaseNotFound
from dynsecrets.model.capabilities import find_credentials
from dynsecrets.model.config import UNSET, Unset
from dynsecrets.model.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from concurrent.futures import Future
    from datetime import datetime

    from dynsecrets.clock import Clock
    from dynsecrets.engine.job import Job
    from dynsecrets.model.config import DynamicSecretConfig, Wait
    from dynsecrets.model.events import LeaseEvent
    from dynsecrets.model.integration import Integration
    from dynsecrets.stores.base import LeaseStore

T = TypeVar("T")

#: How long a store that dies with the process keeps tombstones at most.
_KEPT_IN_MEMORY: Final = timedelta(hours=1)
#: How much sooner or later than its interval housekeeping comes.
_JITTER: Final = 0.1


class Engine:
    """Thread-safe; a forked child can use the same engine and revokes nothing that its parent issued."""

    def __init__(
        self,
        store: LeaseStore,
        *,
        owns_store: bool,
        clock: Clock,
        integrations: Iterable[Integration],
        on_event: Iterable[Callable[[LeaseEvent], object]],
        max_workers: int,
        housekeeping: timedelta | None,
        keep_revoked: timedelta,
    ) -> None:
        self.store: Final = store
        self.workers: Final = max_workers
        self._owns_store = owns_store
        self.state: Final = EngineState(store, clock, integrations, on_event)
        self.scheduler: Final = Scheduler(clock, max_workers)
        self.revoker: Final = Revoker(self.state, self.scheduler)
        keep = keep_revoked if self._outlives_process else min(keep_revoked, _KEPT_IN_MEMORY)
        self._reaper = Reaper(self.state, self.revoker, self.scheduler, keep)
        self._housekeeping = housekeeping
        self._random = random.SystemRandom()
        self._issuer = Issuer(self.state, self.revoker, self.scheduler)
        self._house_job: Job | None = None
        self._closed = False
        self._revokes = False

    @property
    def closed(self) -> bool:
        """Whether it is closed: nothing is leased, and nothing runs in the background, any more."""
        return self._closed

    def issue(
        self,
        config: DynamicSecretConfig,
        ttl: timedelta,
        *,
        wait: Wait | Unset = UNSET,
        metadata: Mapping[str, Any] | None = None,
        held: bool = False,
    ) -> Lease:
        """Issue a lease; a held one ends with this process, if not before."""
        if self._closed:
            raise DynsecretsError("this LeaseManager is closed; make a new one, or issue before closing it")
        new, first = self.state.leases.use(config.integration)
        if new:
            # Here rather than in the background, which can't be asked for the code of an MFA device.
            find_credentials([config.integration])
        if first:
            self._tend(config.integration)
            self._plan_housekeeping()
        if not self._outlives_process:
            _close_at_exit.add(self)
            _close_at_end_of_child()
        until = config.wait if isinstance(wait, Unset) else wait
        lease = self._issuer.issue(config, ttl, wait=until, metadata=metadata or {}, held=held)
        if self._revokes:
            # close() may have looked at what is issued just before this was.
            lease.revoke()
            raise DynsecretsError("this LeaseManager was closed while it issued a lease, which is revoked")
        return lease

    def issue_held(
        self,
        config: DynamicSecretConfig,
        ttl: timedelta,
        *,
        wait: Wait | Unset = UNSET,
        metadata: Mapping[str, Any] | None = None,
    ) -> Lease:
        """Issue a lease that ends with this process, if not before."""
        return self.issue(config, ttl, wait=wait, metadata=metadata, held=True)

    def issue_many(self, config: DynamicSecretConfig, n: int, ttl: timedelta) -> list[Lease]:
        """Issue ``n`` leases at the same time, all or none."""
        makers = dict.fromkeys(range(n), partial(self.issue, config, ttl))
        return list(all_or_none(self.scheduler, makers, Lease.revoke).values())

    def possibly_leaked(self, error: BaseException) -> list[str]:
        """Return the ids of what a failed :meth:`issue` may have left alive: each error names its lease."""
        lease_id = getattr(error, "lease_id", None)
        return [] if lease_id is None or self.state.leases.get(lease_id) is None else [lease_id]

    def is_live(self, lease_id: str) -> bool:
        """Tell whether this process has issued a lease, or is to delete it, and has not revoked it yet."""
        return self.state.leases.get(lease_id) is not None

    def revoke(self, lease_id: object, integration: Integration | None = None) -> RevocationOutcome:
        """Revoke a lease; when this returns it is gone, or was released.

        Raises ``LeaseNotFound``, and ``RevocationError``.
        """
        live = self.state.leases.get(lease_id) if isinstance(lease_id, str) else None
        if live is not None:
            return self.revoker.revoke(live.record, integration or live.integration)
        record = self.state.find(lease_id)
        if not record.live:
            return RevocationOutcome.REVOKED
        return self.revoker.revoke(record, integration or self.state.leases.integration(record.integration))

    def revoke_by_id(self, lease_id: str, config: DynamicSecretConfig) -> None:
        """Revoke a lease of a config; one that the store never knew is fine."""
        try:
            self.revoke(lease_id, config.integration)
        except LeaseNotFound:
            return

    def revoke_many(self, lease_ids: Iterable[str]) -> ReapReport:
        """Revoke many leases at the same time, past failures."""
        ids = list(lease_ids)
        report = ReapReport()
        attempts = run_all(self.scheduler, [partial(self._revoke_one, lease_id) for lease_id in ids])
        for lease_id, attempt in zip(ids, attempts, strict=True):
            report.add(lease_id, attempt.result())
        return report

    def reap(
        self, integrations: Mapping[str, Integration], *, limit: int | None, abandoned_after: timedelta
    ) -> ReapReport:
        """Revoke all that is overdue or half-made of these integrations, which are registered."""
        for integration in integrations.values():
            self.state.leases.register(integration)
        return self._reaper.reap(integrations, limit=limit, abandoned_after=abandoned_after)

    def sweep_orphans(self, integration: Integration, *, dry_run: bool) -> SweepReport:
        """Find what no record knows, and delete it unless it is a dry run."""
        return sweep(self.state, self.scheduler, integration, dry_run=dry_run)

    def submit(self, action: Callable[[], T]) -> Future[T]:
        """Run an action in a worker thread."""
        return self.scheduler.submit(action)

    def in_worker(self) -> bool:
        """Tell whether the calling thread is a worker, for which other workers may have to wait."""
        return self.scheduler.in_worker()

    def call_at(self, at: float, action: Callable[[], object]) -> Job:
        """Schedule ``action`` at ``at``, in seconds of the monotonic clock."""
        return self.scheduler.call_at(at, action)

    def call_after(self, delay: timedelta, action: Callable[[], object]) -> Job:
        """Schedule ``action`` after a delay."""
        return self.scheduler.call_at(self.steady() + delay.total_seconds(), action)

    def cancel(self, job: Job | None) -> None:
        """Cancel a scheduled action, if there is one."""
        if job is not None:
            self.scheduler.cancel(job)

    def wake(self) -> None:
        """Check the timetable now: the machine may have slept."""
        self.scheduler.wake()

    def steady(self) -> float:
        """Return the monotonic clock's seconds."""
        return self.state.clock.steady()

    def now(self, config: DynamicSecretConfig) -> datetime:
        """Return the time by the clock of the config's third party."""
        return self.state.now(config.integration.name)

    def time_at(self, config: DynamicSecretConfig, at: float) -> datetime:
        """Return a moment of the monotonic clock as a date, by the clock of the config's third party."""
        return self.now(config) + timedelta(seconds=at - self.steady())

    def emit(self, kind: str, lease: Lease) -> None:
        """Emit an event of a lease to all listeners."""
        live = self.state.leases.get(lease.id)
        if live is not None:
            self.state.emit(kind, live.record)

    def close(self, *, revoke: bool | None) -> None:
        """Stop the background work, and revoke what was issued; with ``None`` where the store dies with the process.

        Raises ``RevocationError`` where some of it could not be.
        """
        if revoke is None:
            revoke = not self._outlives_process
        first, self._closed, self._revokes = not self._closed, True, self._revokes or revoke
        live = self.state.leases.all() if revoke else []
        ends = {each.record.id: partial(self.revoker.revoke, each.record, each.integration) for each in live}
        failed = past_failures(self.scheduler, ends)
        self.scheduler.close()
        _close_at_exit.discard(self)
        if first and self._owns_store:
            self.store.close()
        raise_not_revoked(failed)

    def _revoke_one(self, lease_id: str) -> RevocationOutcome:
        """Revoke one of many."""
        try:
            if self.state.leases.get(lease_id) is None and not self.state.find(lease_id).live:
                return RevocationOutcome.SKIPPED
            return self.revoke(lease_id)
        except LeaseNotFound:
            return RevocationOutcome.SKIPPED
        except DynsecretsError as error:
            logger.error("%s", error)
            return RevocationOutcome.FAILED

    def _tend(self, integration: Integration) -> None:
        """Revoke what is overdue, and forget old tombstones, in the background."""
        work = partial(self._reaper.tend, {integration.name: integration})
        self.scheduler.submit_for(integration.name, work, has_time=True)

    def _plan_housekeeping(self) -> None:
        """Plan to do so again, for all integrations, at about the interval: processes that began together part."""
        if self._housekeeping is None:
            return
        delay = self._housekeeping.total_seconds() * self._random.uniform(1 - _JITTER, 1 + _JITTER)
        before, self._house_job = (
            self._house_job,
            self.scheduler.call_at(self.steady() + delay, self._keep_house, idle=True),
        )
        self.cancel(before)

    def _keep_house(self) -> None:
        for integration in self.state.leases.integrations().values():
            self._tend(integration)
        self._plan_housekeeping()

    def retire(self) -> None:
        """Let the background end once nothing is left to do: nobody has the manager any more. Never blocks."""
        self.scheduler.retire(partial(_close_at_exit.discard, self))

    @property
    def _outlives_process(self) -> bool:
        return bool(getattr(self.store, "outlives_process", True))


#: Kept although nobody else may keep them: their leases may still be in use.
_close_at_exit: set[Engine] = set()


@atexit.register
def _close_all() -> None:
    """Revoke what only this process knows of, before it ends."""
    for engine in list(_close_at_exit):
        try:
            engine.close(revoke=None)
        except Exception:
            logger.exception("Leases were not revoked at exit")


#: The child process of multiprocessing that has been told to close all: such children end without ``atexit``.
_told: set[int] = set()


def _close_at_end_of_child() -> None:
    """Have all closed at the end of a child process of multiprocessing, if this is one."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is None or process is None or process.parent_process() is None or os.getpid() in _told:
        return
    _told.add(os.getpid())
    # Later than what the program itself has planned for the end, which may still lease.
    util.Finalize(None, _close_all, exitpriority=-1)
