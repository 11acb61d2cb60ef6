"""The manager: what ``lease()`` stands on, and what other tools embed."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_EXCEPTION, Future
from concurrent.futures import wait as wait_for
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from dynsecrets._internal.cleanup import run_cleanup
from dynsecrets._internal.log import logger
from dynsecrets._internal.messages import safe_repr
from dynsecrets.clock import SYSTEM_CLOCK, Clock
from dynsecrets.engine.core import Engine
from dynsecrets.engine.issuer import Issuer
from dynsecrets.engine.orphans import SweepReport, sweep
from dynsecrets.engine.reaper import Reaper, ReapReport
from dynsecrets.engine.revoker import RevocationOutcome, Revoker, not_revoked
from dynsecrets.engine.scheduler import Scheduler
from dynsecrets.engine.state import EngineState, check_metadata, find
from dynsecrets.errors import DynsecretsError, InvalidConfig, LeaseNotFound, RevocationError
from dynsecrets.model.config import DynamicSecretConfig, check_wait
from dynsecrets.model.integration import Integration
from dynsecrets.model.lease import Lease
from dynsecrets.model.lifecycle import ABANDONED_AFTER, LeaseState
from dynsecrets.model.record import LeaseRecord
from dynsecrets.model.ttl import TTL, parse_ttl
from dynsecrets.model.unset import UNSET, Unset
from dynsecrets.stores import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from dynsecrets.model.config import Wait
    from dynsecrets.model.events import LeaseEvent
    from dynsecrets.stores.base import LeaseStore

_MAX_WORKERS: Final = 16


class LeaseManager:
    """Issues and revokes leases, and keeps their records in a store.

    ``store`` is a :class:`~dynsecrets.LeaseStore`; by default the one that ``DYNSECRETS_STORE`` names, else a SQLite
    file in the user's state directory. ``integrations`` are those to revoke leases of earlier processes with;
    integrations that leases are issued with are known by themselves. ``on_event`` are callables that get each
    :class:`~dynsecrets.LeaseEvent`. ``clock`` is a :class:`~dynsecrets.clock.Clock`, for tests. ``max_workers`` bounds
    the threads that work at the same time.

    Leases are revoked at their TTL while the process lives, by one background thread and a small pool. Thread-safe; a
    forked child can use the same manager and revokes nothing that its parent issued. A context manager: leaving it
    closes it.
    """

    def __init__(
        self,
        store: LeaseStore | None = None,
        *,
        integrations: Iterable[Integration] = (),
        on_event: Iterable[Callable[[LeaseEvent], object]] | Callable[[LeaseEvent], object] = (),
        clock: Clock | None = None,
        max_workers: int = _MAX_WORKERS,
    ) -> None:
        if not isinstance(max_workers, int) or isinstance(max_workers, bool) or max_workers < 1:
            raise InvalidConfig(
                f"max_workers {safe_repr(max_workers)} is not accepted; give a whole number of at least 1"
            )
        clock = SYSTEM_CLOCK if clock is None else clock
        if not isinstance(clock, Clock):
            raise InvalidConfig(
                f"clock must have the methods of dynsecrets.clock.Clock, and {safe_repr(clock)} has not"
            )
        known = _check_integrations(integrations)
        listeners = [on_event] if callable(on_event) else list(on_event)
        for listener in listeners:
            if not callable(listener):
                raise InvalidConfig(f"on_event takes callables, not {safe_repr(listener)}")
        self._owns_store = store is None
        self._store = open_store() if store is None else store
        self._books = EngineState(self._store, clock, known, listeners)
        self._scheduler = Scheduler(clock, max_workers)
        self._revoker = Revoker(self._books, self._scheduler)
        self._reaper = Reaper(self._books, self._revoker, self._scheduler)
        self._issuer = Issuer(self._books, self._revoker, self._scheduler)
        self._engine: Final = Engine(self, self._books, self._scheduler)
        self._closed = False
        self._revokes = False

    @property
    def store(self) -> LeaseStore:
        """The store of the records."""
        return self._store

    def issue(
        self,
        config: DynamicSecretConfig,
        ttl: TTL | None = None,
        *,
        wait: Wait | Unset = UNSET,
        metadata: Mapping[str, Any] | None = None,
    ) -> Lease:
        """Lease a credential that outlives the call.

        ``ttl`` is its time to live (whole seconds, a ``timedelta`` or text like ``"15m"``; ``None`` means the config's
        default), ``wait`` overrides the config's, ``metadata`` is kept with the record (what JSON can hold, no
        secrets). It is revoked at its TTL by this process while it lives, and by any reaper of the same store after
        that.

        Raises ``InvalidTTL`` and ``InvalidConfig`` before anything is called, ``QuotaExceeded``, ``PermissionDenied``,
        ``ProvisionError``, ``NotUsableInTime`` and ``StoreError`` after all that was made is deleted again.
        """
        return self._issue(config, ttl, wait=wait, metadata=metadata, held=False)

    def issue_many(self, config: DynamicSecretConfig, n: int, ttl: TTL | None = None) -> list[Lease]:
        """Lease ``n`` credentials at the same time, all or none.

        If one can't be had, those that were made are revoked, and its error is raised.
        """
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise InvalidConfig(f"n {safe_repr(n)} is not accepted; give a whole number of leases")
        _check_config(config).ttl(ttl)
        failed = threading.Event()

        def issue() -> Lease | None:
            # Whoever waits may hear of a failure too late to keep the next one from beginning.
            if failed.is_set():
                return None
            try:
                return self.issue(config, ttl)
            except BaseException:
                failed.set()
                raise

        futures = [self._scheduler.submit(issue) for _ in range(n)]
        try:
            wait_for(futures, return_when=FIRST_EXCEPTION)
        finally:
            # After an error, or an interrupt, nothing more is begun.
            begun = [future for future in futures if not future.cancel()]
            wait_for(begun)
            leases, errors = _results(begun)
            if len(leases) < n:
                self._withdraw(leases, errors)
        if errors:
            raise errors[0]
        return leases

    def revoke(self, lease_or_id: Lease | LeaseRecord | str, *, integration: Integration | None = None) -> None:
        """Revoke a lease, by itself or by its id, from any process that has the store and the integration.

        When this returns the credential is gone, whoever deleted it; twice is fine. ``integration`` is found by name
        among those that the manager was given or has used. Raises ``LeaseNotFound``, ``InvalidConfig`` where the
        integration isn't known, and ``RevocationError`` where it can't be done now.
        """
        lease_id = lease_or_id.id if isinstance(lease_or_id, Lease | LeaseRecord) else lease_or_id
        entry = self._books.entry(lease_id) if isinstance(lease_id, str) else None
        if entry is not None:
            self._revoker.revoke(entry.record, integration or entry.integration)
            return
        record = find(self._store, lease_id)
        if record.live:
            self._revoker.revoke(record, integration or self._books.integration(record.integration))

    def revoke_many(self, leases_or_ids: Iterable[Lease | LeaseRecord | str]) -> ReapReport:
        """Revoke many leases at the same time, past failures; report which were revoked and which were not.

        What was revoked already, or is not known to the store, is in ``skipped``.
        """
        report = ReapReport()
        given = {_id_of(each): each for each in leases_or_ids}
        attempts = [
            (lease_id, self._scheduler.submit(partial(self._revoke_one, each))) for lease_id, each in given.items()
        ]
        for lease_id, attempt in attempts:
            report.add(lease_id, attempt.result())
        return report

    def reap(
        self,
        *,
        integrations: Iterable[Integration],
        limit: int | None = None,
        abandoned_after: TTL = ABANDONED_AFTER,
    ) -> ReapReport:
        """Revoke everything that is overdue or half-made, in whichever process it began.

        These are expired leases, failed revocations (now, whatever their back-off), held leases and claims of processes
        of this host that are gone, and issues that were never finished: those older than ``abandoned_after`` (a TTL,
        ``"0s"`` included), and those of processes that are gone. ``limit`` is the most to revoke in this call.

        Safe to run from many processes at once: each lease is revoked by one of them. One record that can't be read or
        revoked never stops the others. Raises ``InvalidConfig``, ``InvalidTTL``, and ``StoreError`` where the store
        can't be read at all. Once for each integration that leases are issued with it runs by itself, in the
        background.
        """
        known = {integration.name: integration for integration in _check_integrations(integrations)}
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise InvalidConfig(f"limit {safe_repr(limit)} is not accepted; give a whole number of at least 1, or None")
        age = parse_ttl(abandoned_after, what="abandoned_after", minimum=0)
        for integration in known.values():
            self._books.know(integration)
        return self._reaper.reap(known, limit=limit, abandoned_after=age)

    def sweep_orphans(self, integration: Integration, *, dry_run: bool = True) -> SweepReport:
        """Find leased users that no record of this store knows, for after a store was lost.

        With ``dry_run`` nothing is deleted: look at what was found first. A user that another store knows is an orphan
        to this one. Nothing outside of the integration's path and prefix is touched, nor anything younger than ten
        minutes. Needs ``iam:ListUsers``, which nothing else does: ``required_policy(sweep=True)``. Raises
        ``PermissionDenied``, ``ProvisionError``, and ``StoreError`` where records can't be read: then nothing is
        deleted, and the report of a dry run names them.
        """
        (checked,) = _check_integrations([integration])
        return sweep(self._books, self._scheduler, checked, dry_run=dry_run)

    def get(self, lease_id: str) -> LeaseRecord:
        """Return the record of a lease. Raises ``LeaseNotFound``."""
        return find(self._store, lease_id)

    def records(
        self, *, state: LeaseState | str | None = None, name: str | None = None, integration: str | None = None
    ) -> Iterator[LeaseRecord]:
        """Iterate over the records that match, oldest first; of revoked leases too, for seven days."""
        try:
            wanted = None if state is None else LeaseState(state)
        except ValueError:
            states = ", ".join(known.value for known in LeaseState)
            raise InvalidConfig(f"state {safe_repr(state)} is not accepted; give one of {states}") from None
        return self._store.records(state=wanted, name=name, integration=integration)

    def close(self, *, revoke: bool | None = None) -> None:
        """Stop the background work; closing twice is fine.

        ``revoke`` says whether what this manager issued is revoked; by default it is where the store would not outlive
        the process. Raises ``RevocationError`` where some of it could not be.
        """
        if revoke is None:
            revoke = not self._outlives_process
        first, self._closed, self._revokes = not self._closed, True, self._revokes or revoke
        failed: list[tuple[str, Exception]] = []
        if revoke:
            entries = self._books.entries()
            futures = [
                self._scheduler.submit(partial(self._revoker.revoke, entry.record, entry.integration))
                for entry in entries
            ]
            for entry, future in zip(entries, futures, strict=True):
                error = future.exception()
                if isinstance(error, Exception):
                    failed.append((entry.record.id, error))
        self._scheduler.close()
        _close_at_exit.discard(self)
        if first and self._owns_store:
            self._store.close()
        if failed:
            raise RevocationError(not_revoked(lease_id for lease_id, _ in failed)) from failed[0][1]

    def __enter__(self) -> Self:
        """Return the manager."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the manager; an error of the block is not masked by one of closing."""
        run_cleanup(self.close, error)

    def __repr__(self) -> str:
        """Show the store."""
        return f"LeaseManager({self._store!r})"

    def _issue(
        self,
        config: DynamicSecretConfig,
        ttl: TTL | None,
        *,
        wait: Wait | Unset,
        metadata: Mapping[str, Any] | None,
        held: bool,
    ) -> Lease:
        """Check what was given, then issue."""
        length = _check_config(config).ttl(ttl)
        until = config.wait if isinstance(wait, Unset) else check_wait(wait)
        kept = check_metadata(metadata)
        if self._closed:
            raise DynsecretsError("this LeaseManager is closed; make a new one, or issue before closing it")
        if self._books.use(config.integration):
            begin = partial(self._reaper.begin, config.integration, abandoned_after=ABANDONED_AFTER)
            self._scheduler.submit(begin)
        if not self._outlives_process:
            _close_at_exit.add(self)
        lease = self._issuer.issue(config, length, wait=until, metadata=kept, held=held)
        if self._revokes:
            # close() may have looked at what is issued just before this was.
            lease.revoke()
            raise DynsecretsError("this LeaseManager was closed while it issued a lease, which is revoked")
        return lease

    def _withdraw(self, leases: list[Lease], errors: list[BaseException]) -> None:
        """Revoke all leases of a batch of which one could not be had."""
        for attempt in [self._scheduler.submit(lease.revoke) for lease in leases]:
            failure = attempt.exception()
            if failure is not None:
                logger.error("%s", failure)
                for error in errors[:1]:
                    error.add_note(str(failure))

    def _revoke_one(self, lease_or_id: Lease | LeaseRecord | str) -> RevocationOutcome:
        """Revoke one of many."""
        try:
            lease_id = _id_of(lease_or_id)
            if self._books.entry(lease_id) is None and not find(self._store, lease_id).live:
                return RevocationOutcome.SKIPPED
            self.revoke(lease_or_id)
        except LeaseNotFound:
            return RevocationOutcome.SKIPPED
        except DynsecretsError as error:
            logger.error("%s", error)
            return RevocationOutcome.FAILED
        return RevocationOutcome.REVOKED

    @property
    def _outlives_process(self) -> bool:
        return bool(getattr(self._store, "outlives_process", True))


def engine_of(manager: LeaseManager) -> Engine:
    """Return the engine of a manager, for those parts of the library that lease on their own."""
    return manager._engine  # noqa: SLF001 - its own module.


def _check_config(config: object) -> DynamicSecretConfig:
    if not isinstance(config, DynamicSecretConfig):
        raise InvalidConfig(f"config must be a DynamicSecretConfig, not {safe_repr(config)}")
    return config


def _check_integrations(integrations: Iterable[Integration]) -> list[Integration]:
    if isinstance(integrations, Integration) or not isinstance(integrations, Iterable):
        raise InvalidConfig(f"integrations must be a list of Integration objects, not {safe_repr(integrations)}")
    checked = list(integrations)
    for integration in checked:
        if not isinstance(integration, Integration):
            raise InvalidConfig(f"integrations must be Integration objects, not {safe_repr(integration)}")
    return checked


def _id_of(lease_or_id: Lease | LeaseRecord | str) -> str:
    return lease_or_id.id if isinstance(lease_or_id, Lease | LeaseRecord) else str(lease_or_id)


def _results(futures: Iterable[Future[Lease | None]]) -> tuple[list[Lease], list[BaseException]]:
    """Return the leases and the errors of futures that are done."""
    leases: list[Lease] = []
    errors: list[BaseException] = []
    for future in futures:
        error = future.exception()
        if error is not None:
            errors.append(error)
        elif (lease := future.result()) is not None:
            leases.append(lease)
    return leases, errors


#: Kept although nobody else may keep them: their leases may still be in use.
_close_at_exit: set[LeaseManager] = set()


@atexit.register
def _close_all() -> None:
    """Revoke what only this process knows of, before it ends."""
    for manager in list(_close_at_exit):
        try:
            manager.close()
        except Exception:
            logger.exception("Leases were not revoked at exit")
