"""The manager: what ``lease()`` stands on, and what other tools embed. The engine does the work."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakKeyDictionary

from dynsecrets._internal.cleanup import run_cleanup
from dynsecrets._internal.fork_safety import reset_after_fork
from dynsecrets._internal.messages import safe_repr
from dynsecrets.clock import SYSTEM_CLOCK, Clock
from dynsecrets.engine.core import Engine
from dynsecrets.errors import InvalidConfig
from dynsecrets.model.config import UNSET, DynamicSecretConfig, Unset, check_wait
from dynsecrets.model.integration import Integration
from dynsecrets.model.lease import Lease
from dynsecrets.model.lifecycle import ABANDONED_AFTER, TOMBSTONE_AGE, LeaseState
from dynsecrets.model.record import LeaseRecord, check_metadata
from dynsecrets.model.ttl import TTL, parse_ttl
from dynsecrets.stores import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from dynsecrets.engine.orphans import SweepReport
    from dynsecrets.engine.reaper import ReapReport
    from dynsecrets.model.config import Wait
    from dynsecrets.model.events import LeaseEvent
    from dynsecrets.stores.base import LeaseStore

_MAX_WORKERS: Final = 16
#: Beside the managers rather than within them: the library's own parts ask here, and nobody reads another's attributes.
_engines: WeakKeyDictionary[LeaseManager, Engine] = WeakKeyDictionary()


class LeaseManager:
    """Issues and revokes leases, and keeps their records in a store.

    Leases are revoked at their TTL while the process lives, by one background thread and a small pool. Thread-safe; a
    forked child can use the same manager and revokes nothing that its parent issued. A context manager: leaving it
    closes it.

    Args:
        store: A :class:`~dynsecrets.LeaseStore`; by default the one that ``DYNSECRETS_STORE`` names, else a SQLite file
            in the user's state directory. A store that is given is not closed by the manager.
        integrations: Those to revoke leases of earlier processes with. Integrations that leases are issued with need
            not be given.
        on_event: One callable or several, which get each :class:`~dynsecrets.LeaseEvent`.
        clock: A :class:`~dynsecrets.clock.Clock`, for tests; by default the system's.
        max_workers: The most threads that work at the same time, at least 1.
        housekeeping: How often records are tidied and overdue leases revoked in the background: whole seconds, a
            ``timedelta`` or text like ``"10m"``; ``None`` means never.
        keep_revoked: How long records of revoked leases are kept, a TTL too; by default seven days, ``"0s"`` included.

    Raises:
        InvalidConfig: An argument is not accepted, or ``DYNSECRETS_STORE`` doesn't name a store.
        InvalidTTL: ``housekeeping`` or ``keep_revoked`` is not a TTL.
    """

    def __init__(
        self,
        store: LeaseStore | None = None,
        *,
        integrations: Iterable[Integration] = (),
        on_event: Iterable[Callable[[LeaseEvent], object]] | Callable[[LeaseEvent], object] = (),
        clock: Clock | None = None,
        max_workers: int = _MAX_WORKERS,
        housekeeping: TTL | None = "10m",
        keep_revoked: TTL = TOMBSTONE_AGE,
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
        self._engine = _engines[self] = Engine(
            open_store() if store is None else store,
            owns_store=store is None,
            clock=clock,
            integrations=known,
            on_event=listeners,
            max_workers=max_workers,
            housekeeping=None if housekeeping is None else parse_ttl(housekeeping, what="housekeeping"),
            keep_revoked=parse_ttl(keep_revoked, what="keep_revoked", minimum=0),
        )
        weakref.finalize(self, self._engine.retire).atexit = False

    @property
    def store(self) -> LeaseStore:
        """The store of the records."""
        return self._engine.store

    def issue(
        self,
        config: DynamicSecretConfig,
        ttl: TTL | None = None,
        *,
        wait: Wait | Unset = UNSET,
        metadata: Mapping[str, Any] | None = None,
    ) -> Lease:
        """Issue a lease that outlives the call.

        The lease is revoked at its TTL by this process while it lives, and by any reaper of the same store after that.

        Args:
            config: What to lease.
            ttl: The time to live: whole seconds, a ``timedelta`` or text like ``"15m"``; ``None`` means the config's
                default.
            wait: When the lease is handed over; by default as the config says.
            metadata: What is kept with the record: what JSON can hold, and not a secret.

        Returns:
            The lease, with its values.

        Raises:
            InvalidTTL: ``ttl`` is not a TTL, or is over the config's maximum. Nothing was called.
            InvalidConfig: An argument is not accepted. Nothing was called, unless it is the integration that refuses.
            QuotaExceeded: The config's ``max_active`` or a limit of the service is reached.
            PermissionDenied: The integration's own credentials may not make the user.
            ProvisionError: The service failed in another way.
            NotUsableInTime: The credential did not work before the wait was over.
            StoreError: The record could not be written. In this and the four cases before it, all that was made is
                deleted again; what can't be deleted now is tried again.
        """
        length = _check_config(config).ttl(ttl)
        until = wait if isinstance(wait, Unset) else check_wait(wait)
        return self._engine.issue(config, length, wait=until, metadata=check_metadata(metadata))

    def issue_many(self, config: DynamicSecretConfig, n: int, ttl: TTL | None = None) -> list[Lease]:
        """Issue ``n`` leases at the same time, all or none.

        Args:
            config: What to lease.
            n: How many, 0 included.
            ttl: The time to live of each, as for :meth:`issue`.

        Returns:
            The leases.

        Raises:
            InvalidTTL: ``ttl`` is not a TTL, or is over the config's maximum.
            InvalidConfig: ``n`` or ``config`` is not accepted.
            DynsecretsError: What :meth:`issue` raises. The leases that were issued are revoked.
        """
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise InvalidConfig(f"n {safe_repr(n)} is not accepted; give a whole number of leases")
        return self._engine.issue_many(config, n, _check_config(config).ttl(ttl))

    def revoke(self, lease_or_id: Lease | LeaseRecord | str, *, integration: Integration | None = None) -> None:
        """Revoke a lease, from any process that has the store and the integration.

        When this returns the credential is gone, whoever deleted it; revoking twice is fine.

        Args:
            lease_or_id: The lease, its record or its id.
            integration: What to revoke it with; by default found by name among the integrations that the manager was
                given or has used.

        Raises:
            LeaseNotFound: The store has no record of the lease.
            InvalidConfig: The integration is not known.
            RevocationError: The lease can't be revoked now. The attempts go on.
            StoreError: The store can't be read or written.
        """
        self._engine.revoke(_id_of(lease_or_id), integration)

    def revoke_many(self, leases_or_ids: Iterable[Lease | LeaseRecord | str]) -> ReapReport:
        """Revoke many leases at the same time, past failures.

        Args:
            leases_or_ids: Leases, records or ids, in any mixture.

        Returns:
            Which were revoked and which were not. What was revoked already, or is not known to the store, is in
            ``skipped``.
        """
        return self._engine.revoke_many(dict.fromkeys(str(_id_of(each)) for each in leases_or_ids))

    def reap(
        self,
        *,
        integrations: Iterable[Integration],
        limit: int | None = None,
        abandoned_after: TTL = ABANDONED_AFTER,
    ) -> ReapReport:
        """Revoke everything that is overdue or half-made, in whichever process it began.

        These are expired leases, failed revocations (now, whatever their back-off), held leases and claims of processes
        of this host that are gone, and issues that were never finished: those older than ``abandoned_after``, and those
        of processes that are gone.

        Safe to run from many processes at once: each lease is revoked by one of them. One record that can't be read or
        revoked never stops the others. Once for each integration that leases are issued with, it runs by itself in the
        background.

        Args:
            integrations: Whose leases to revoke, and what to revoke them with.
            limit: The most leases to revoke in this call; ``None`` means all.
            abandoned_after: The age from which an unfinished issue counts as abandoned: whole seconds, a ``timedelta``
                or text, ``"0s"`` included.

        Returns:
            The ids of the leases, by what became of them.

        Raises:
            InvalidConfig: ``integrations`` or ``limit`` is not accepted.
            InvalidTTL: ``abandoned_after`` is not a TTL.
            StoreError: The store can't be read at all.
        """
        known = {integration.name: integration for integration in _check_integrations(integrations)}
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise InvalidConfig(f"limit {safe_repr(limit)} is not accepted; give a whole number of at least 1, or None")
        age = parse_ttl(abandoned_after, what="abandoned_after", minimum=0)
        return self._engine.reap(known, limit=limit, abandoned_after=age)

    def sweep_orphans(self, integration: Integration, *, dry_run: bool = True) -> SweepReport:
        """Find leased users that no record of this store knows, for after a store was lost.

        A user that another store knows is an orphan to this one. Nothing outside of the integration's path and prefix
        is touched, nor anything younger than ten minutes. Needs ``iam:ListUsers``, which nothing else does:
        ``required_policy(sweep=True)``.

        Args:
            integration: Whose users to look through.
            dry_run: Whether to delete nothing: look at what was found first.

        Returns:
            The names of the users that were found, deleted and not deleted.

        Raises:
            InvalidConfig: The integration can't list what it made.
            PermissionDenied: The integration's own credentials may not list users.
            ProvisionError: The service failed in another way.
            StoreError: Records can't be read. Nothing is deleted then; a dry run names them in its report instead.
        """
        (checked,) = _check_integrations([integration])
        return self._engine.sweep_orphans(checked, dry_run=dry_run)

    def get(self, lease_id: str) -> LeaseRecord:
        """Return the record of a lease.

        Args:
            lease_id: The lease's id.

        Returns:
            The record as the store has it now.

        Raises:
            LeaseNotFound: The store has no such record.
            StoreError: The store can't be read.
        """
        return self._engine.state.find(lease_id)

    def records(
        self, *, state: LeaseState | str | None = None, name: str | None = None, integration: str | None = None
    ) -> Iterator[LeaseRecord]:
        """Iterate over the records that match, oldest first; of revoked leases too, for ``keep_revoked``.

        Args:
            state: The :class:`~dynsecrets.LeaseState`, or its value; ``None`` means any.
            name: The dynamic secret's name; ``None`` means any.
            integration: The integration's name; ``None`` means any.

        Returns:
            An iterator, which reads from the store as it goes.

        Raises:
            InvalidConfig: ``state`` is not one of the states.
            StoreError: The store can't be read.
        """
        try:
            wanted = None if state is None else LeaseState(state)
        except ValueError:
            states = ", ".join(known.value for known in LeaseState)
            raise InvalidConfig(f"state {safe_repr(state)} is not accepted; give one of {states}") from None
        return self._engine.store.records(state=wanted, name=name, integration=integration)

    def close(self, *, revoke: bool | None = None) -> None:
        """Stop the background work; closing twice is fine.

        Args:
            revoke: Whether to revoke what this manager issued; by default only if the store would not outlive the
                process.

        Raises:
            RevocationError: Some leases could not be revoked.
        """
        self._engine.close(revoke=revoke)

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
        return f"LeaseManager({self.store!r})"


def engine_of(manager: LeaseManager | None) -> Engine:
    """Return the engine of a manager, or of the default one, for the library's own parts."""
    return _engines[default_manager() if manager is None else manager]


def check_manager(manager: object) -> None:
    """Raise ``InvalidConfig`` unless ``manager`` is a ``LeaseManager`` or ``None``."""
    if manager is not None and not isinstance(manager, LeaseManager):
        raise InvalidConfig(f"manager must be a LeaseManager, not {safe_repr(manager)}")


class _Default:
    """The manager that ``lease()`` uses where none is given: made when it is first needed, one for the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._manager: LeaseManager | None = None
        reset_after_fork(self._after_fork)

    def _after_fork(self) -> None:
        """Keep the manager, which knows how to go on in a child, under a lock that nobody holds."""
        self._lock = threading.Lock()

    def manager(self) -> LeaseManager:
        """Return the manager."""
        with self._lock:
            if self._manager is None:
                self._manager = LeaseManager()
            return self._manager


_default = _Default()


def default_manager() -> LeaseManager:
    """Return the default manager. Its store is the one that ``DYNSECRETS_STORE`` names when it is first used."""
    return _default.manager()


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


def _id_of(lease_or_id: object) -> object:
    return lease_or_id.id if isinstance(lease_or_id, Lease | LeaseRecord) else lease_or_id
