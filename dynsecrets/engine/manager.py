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
from dynsecrets.model.lifecycle import ABANDONED_AFTER, LeaseState
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

    Leases are revoked at their TTL while the process lives, by one background thread and a small pool. A manager that
    has leased also reaps what others have left, and forgets old tombstones. Thread-safe, and safe to use from
    listeners, finalizers and signal handlers; a forked child can use the same manager and revokes nothing that its
    parent issued. A context manager: leaving it closes it.

    Args:
        store: Where the records are kept; by default the store that ``DYNSECRETS_STORE`` names, else a SQLite file in
            the user's state directory.
        integrations: Those to revoke leases of earlier processes with. Integrations that leases are issued with are
            known by themselves.
        on_event: A callable, or several, each called with every :class:`~dynsecrets.LeaseEvent`.
        clock: The clock to go by, for tests.
        max_workers: The most threads that work at the same time.
        housekeeping: About how often the background reaps and forgets, a TTL; ``None`` for at first use and in
            :meth:`reap` only.
        keep_revoked: How long the records of revoked leases are kept, a TTL; in a store that dies with the process an
            hour at most.

    Raises:
        InvalidConfig: An argument, or the store's URL, is not accepted.
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
        keep_revoked: TTL = "7d",
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

        It is revoked at its TTL by this process while it lives, and by any reaper of the same store after that.

        Args:
            config: The dynamic secret to lease.
            ttl: Its time to live: whole seconds, a ``timedelta`` or text like ``"15m"``; ``None`` for the config's
                default.
            wait: How to wait until it works, instead of the config's way.
            metadata: What is kept with the record: what JSON can hold, no secrets.

        Returns:
            The lease.

        Raises:
            InvalidTTL: The TTL is not accepted; nothing was called.
            InvalidConfig: An argument is not accepted; nothing was called.
            QuotaExceeded: A quota, or the config's ``max_active``, allows no more.
            PermissionDenied: The integration's credentials may not do it.
            ProvisionError: It could not be provisioned. What was made is deleted again, here and below.
            NotUsableInTime: It did not work within ``wait_timeout``.
            StoreError: The store could not be written.
        """
        length = _check_config(config).ttl(ttl)
        until = wait if isinstance(wait, Unset) else check_wait(wait)
        return self._engine.issue(config, length, wait=until, metadata=check_metadata(metadata))

    def issue_many(self, config: DynamicSecretConfig, n: int, ttl: TTL | None = None) -> list[Lease]:
        """Lease several credentials at the same time, all or none.

        Args:
            config: The dynamic secret to lease.
            n: How many.
            ttl: The time to live of each; ``None`` for the config's default.

        Returns:
            The leases.

        Raises:
            InvalidConfig: ``n`` is not a whole number.
            DynsecretsError: One can't be had: what :meth:`issue` raises. Those that were made are revoked.
        """
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise InvalidConfig(f"n {safe_repr(n)} is not accepted; give a whole number of leases")
        return self._engine.issue_many(config, n, _check_config(config).ttl(ttl))

    def revoke(self, lease_or_id: Lease | LeaseRecord | str, *, integration: Integration | None = None) -> None:
        """Revoke a lease, from any process that has the store and the integration.

        When this returns the credential is gone, whoever deleted it, or was released to end by itself; twice is fine.

        Args:
            lease_or_id: The lease, its record, or its id.
            integration: What to revoke it with; by default it is found by name among those that the manager was given
                or has used.

        Raises:
            LeaseNotFound: The store has no record of it.
            InvalidConfig: The integration isn't known.
            RevocationError: It can't be revoked now; the attempts go on.
        """
        self._engine.revoke(_id_of(lease_or_id), integration)

    def revoke_many(self, leases_or_ids: Iterable[Lease | LeaseRecord | str]) -> ReapReport:
        """Revoke many leases at the same time, past failures.

        Args:
            leases_or_ids: Leases, records or ids.

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

        These are expired leases, failed revocations (now, whatever their back-off), held leases and claims of
        processes of this host that are gone, and issues that were never finished. Safe to run from many processes at
        once: each lease is revoked by one of them. One record that can't be read or revoked never stops the others.
        Old records of revoked leases are forgotten. Where a third party can't be asked for its time, its leases that
        live are left alone.

        Args:
            integrations: What to revoke with; leases of others are not looked at.
            limit: The most leases to revoke, and the most records to forget; ``None`` for all.
            abandoned_after: How old an unfinished issue is, a TTL, unless its process is known to be alive; ``"0s"``
                for any age, whoever is at it.

        Returns:
            What was done, by lease ids.

        Raises:
            InvalidConfig: An argument is not accepted.
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

        A user that another store knows is an orphan to this one: look at a dry run first. Nothing outside of the
        integration's path and prefix is touched, nor anything younger than ten minutes, nor what a live record names,
        whatever its integration. Needs ``iam:ListUsers``, which nothing else does: ``required_policy(sweep=True)``.

        Args:
            integration: Where to look.
            dry_run: Whether nothing is deleted.

        Returns:
            What was found and deleted.

        Raises:
            InvalidConfig: The integration can't list what it has leased.
            PermissionDenied: It may not list.
            ProvisionError: It could not list.
            StoreError: Records can't be read. Then nothing is deleted, and the report of a dry run names them.
        """
        (checked,) = _check_integrations([integration])
        return self._engine.sweep_orphans(checked, dry_run=dry_run)

    def get(self, lease_id: str) -> LeaseRecord:
        """Return the record of a lease.

        Args:
            lease_id: Its id.

        Returns:
            The record as it is now.

        Raises:
            LeaseNotFound: The store has no record of it.
        """
        return self._engine.state.find(lease_id)

    def records(
        self, *, state: LeaseState | str | None = None, name: str | None = None, integration: str | None = None
    ) -> Iterator[LeaseRecord]:
        """Iterate over records, oldest first; of revoked leases too, as long as these are kept.

        Args:
            state: The state of the records, ``None`` for any.
            name: The name of their dynamic secret, ``None`` for any.
            integration: The name of their integration, ``None`` for any.

        Returns:
            An iterator over the records that match.

        Raises:
            InvalidConfig: There is no such state.
        """
        try:
            wanted = None if state is None else LeaseState(state)
        except ValueError:
            states = ", ".join(known.value for known in LeaseState)
            raise InvalidConfig(f"state {safe_repr(state)} is not accepted; give one of {states}") from None
        return self._engine.store.records(state=wanted, name=name, integration=integration)

    def close(self, *, revoke: bool | None = None) -> None:
        """Stop the background work; closing twice is fine.

        Waits for what is just being done, not for a backlog; a worker, or who interrupts the library, waits for
        nothing.

        Args:
            revoke: Whether what this manager issued is revoked; by default that is so where the store would not
                outlive the process.

        Raises:
            RevocationError: Some of it could not be revoked.
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
        self._lock = threading.RLock()
        self._manager: LeaseManager | None = None
        reset_after_fork(self._after_fork)

    def _after_fork(self) -> None:
        """Keep the manager, which knows how to go on in a child, under a lock that nobody holds."""
        self._lock = threading.RLock()

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
