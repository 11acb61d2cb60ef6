"""What the fixtures of the pytest plugin stand on: one manager for the session, and a factory for each test."""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from dynsecrets._internal.log import logger
from dynsecrets.engine.manager import LeaseManager, engine_of
from dynsecrets.errors import DynsecretsError
from dynsecrets.leasing.lease_context import lease
from dynsecrets.model.config import UNSET, Unset
from dynsecrets.model.masking import MaskedStr
from dynsecrets.pytest_plugin.mock_aware_store import MockAwareStore
from dynsecrets.pytest_plugin.prefetch import Pools
from dynsecrets.pytest_plugin.report import Ledger, Totals, current_test
from dynsecrets.testing.moto import in_mock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    import pytest

    from dynsecrets.model.config import DynamicSecretConfig, Wait
    from dynsecrets.model.integration import Integration
    from dynsecrets.model.lease import Lease
    from dynsecrets.model.record import LeaseRecord
    from dynsecrets.model.ttl import TTL
    from dynsecrets.pytest_plugin.crashed_workers import Announcement
    from dynsecrets.pytest_plugin.options import Options
    from dynsecrets.pytest_plugin.prefetch import MakePool
    from dynsecrets.stores.base import LeaseStore

#: What is masked in reports is at least so long.
_SHORTEST: Final = 12
_LEFT: Final = "not revoked by the end of the session; revoked now"
_STAYS: Final = "not revoked by the end of the session, and could not be then; the next run tries again"


class Leasing:
    """The leases of one process of a test session."""

    def __init__(
        self,
        options: Options,
        make_store: Callable[[], LeaseStore],
        make_pool: MakePool,
        announcement: Announcement | None = None,
    ) -> None:
        """Lease as the options say; a worker of pytest-xdist has an announcement to make before."""
        self.options = options
        self.ledger: Ledger = Ledger()
        self._make_store = make_store
        self._announcement = announcement
        self._manager: LeaseManager | None = None
        self._store: MockAwareStore | None = None
        self._pools = Pools(options.prefetch, make_pool)
        self._integrations: dict[str, Integration] = {}
        self._fates: dict[str, str] = {}

    def open(self) -> LeaseManager:
        """Return the session's own manager, made now."""

        def find(name: str) -> Integration:
            return engine_of(manager).state.leases.integration(name)

        def begin(record: LeaseRecord) -> LeaseRecord:
            # Known since the lease was asked for.
            integration, test = find(record.integration), current_test()
            self._lease_with(integration)
            self.ledger.begun(record.id, test, integration.describe(record.handle))
            # What a session leases ends with its process, at the latest; what is left tells of which test it is.
            return attrs.evolve(record, held=True, metadata=record.metadata or {"test": test})

        self._store = MockAwareStore(self._make_store(), find, begin)
        self._manager = manager = LeaseManager(cast("LeaseStore", self._store), on_event=self.ledger)
        return manager

    def _lease_with(self, integration: Integration) -> None:
        """Register an integration that leases are about to be made with."""
        self._integrations[integration.name] = integration
        if self._announcement is not None:
            self._announcement.add(integration)

    def begin(
        self,
        manager: LeaseManager,
        config: DynamicSecretConfig,
        ttl: TTL | None,
        *,
        wait: Wait | Unset,
        metadata: Mapping[str, Any] | None,
        test: str,
    ) -> AbstractContextManager[Lease]:
        """Return the block of one lease: of a pool where that saves time, else of its own."""
        given = self.options.ttl if ttl is None else ttl
        if manager is self._manager and isinstance(wait, Unset) and metadata is None:
            pool = self._pools.find(manager, config, given)
            if pool is not None:
                return pool.lease()
        told = {"test": test} if metadata is None else metadata
        return lease(config, given, manager=manager, wait=wait, metadata=told)

    def ended_with_its_mock(self, leased: Lease) -> bool:
        """Tell whether a lease was made ahead while a mock was active that is over by now."""
        return self._store is not None and self._store.is_mocked(leased.id) and not in_mock()

    def close(self) -> None:
        """Revoke what is left of the session's own manager, and close it. What was left is remembered as leaked."""
        manager, self._manager = self._manager, None
        if manager is None:
            return
        self._pools.close()
        left = [lease_id for lease_id in self.ledger.left(heard=True) if self._is_left(lease_id)]
        if self._announcement is not None and self._integrations and not in_mock():
            # Another worker may have crashed, and this one knows how to revoke what it left.
            with contextlib.suppress(DynsecretsError):
                manager.reap(integrations=list(self._integrations.values()))
        try:
            manager.close(revoke=True)
        except DynsecretsError as error:
            logger.error("%s", error)
        still = self.ledger.left(heard=True)
        for lease_id in left:
            self._fates[lease_id] = _STAYS if lease_id in still and _lives(manager.store, lease_id) else _LEFT
        with contextlib.suppress(DynsecretsError):
            manager.store.close()

    def _is_left(self, lease_id: str) -> bool:
        """Tell whether nobody has revoked a lease: another process may have, of which no event tells."""
        store = self._store
        return store is None or _lives(cast("LeaseStore", store), lease_id) or lease_id in store.ended

    def finish(self) -> Totals:
        """Revoke what is left of all managers, and return the counts."""
        self.close()
        for lease_id, leased in self.ledger.left(heard=False).items():
            if leased is None:
                continue
            try:
                leased.revoke()
            except DynsecretsError as error:
                logger.error("%s", error)
                self._fates[lease_id] = _STAYS
            else:
                self._fates[lease_id] = _LEFT
        return self.ledger.totals(self.ledger.leaks(self._fates, self._fates))


class Factory:
    """What ``dynsecrets_lease`` is in one test. Thread-safe."""

    def __init__(self, leasing: Leasing, request: pytest.FixtureRequest, secrets: list[str]) -> None:
        self._leasing = leasing
        self._request = request
        self._secrets = secrets
        self._lock = threading.RLock()
        self._manager: LeaseManager | None = None
        self._open: list[_Open] = []
        self._over = False

    def __call__(
        self,
        config: DynamicSecretConfig,
        ttl: TTL | None = None,
        *,
        wait: Wait | Unset = UNSET,
        metadata: Mapping[str, Any] | None = None,
    ) -> Lease:
        """Lease a credential for the rest of the test."""
        with self._lock:
            if self._over:
                raise DynsecretsError("the test that dynsecrets_lease belongs to is over; ask for leases while it runs")
            if self._manager is None:
                # Not before a lease is asked for: what was set up by then (a server, a mock) outlives the manager.
                self._manager = cast("LeaseManager", self._request.getfixturevalue("dynsecrets_manager"))
        test = self._request.node.nodeid
        begin = partial(self._leasing.begin, self._manager, config, ttl, wait=wait, metadata=metadata, test=test)
        context = begin()
        leased = context.__enter__()
        while self._leasing.ended_with_its_mock(leased):
            context.__exit__(None, None, None)
            context = begin()
            leased = context.__enter__()
        opened = _Open(context, leased, self._leasing.ledger)
        # A short one ("5432", "localhost") is not a secret, and would be found everywhere.
        values = [str.__str__(value) for value in leased.values() if isinstance(value, MaskedStr)]
        self._secrets += [value for value in values if len(value) >= _SHORTEST]
        self._leasing.ledger.issued(leased, test)
        with self._lock:
            over = self._over
            self._open.append(opened)
        if over:
            opened.end()
            raise DynsecretsError("the test ended while dynsecrets_lease made a lease, which is revoked")
        # Before any fixture ends that was set up by now: it may be the mock that the lease lives in. Where the test is
        # not running (a thread of another one), the end of the fixture has to do.
        with contextlib.suppress(AssertionError, KeyError):
            self._request.node.addfinalizer(opened.end)
        return leased

    def close(self) -> None:
        """Revoke what is left, the latest first. Raises ``RevocationError``."""
        with self._lock:
            self._over = True
            opened = list(self._open)
        with contextlib.ExitStack() as stack:
            for one in opened:
                stack.callback(one.end)


class _Open:
    """A lease of a test, and how it ends: once."""

    def __init__(self, context: AbstractContextManager[Lease], leased: Lease, ledger: Ledger) -> None:
        self._context = context
        self._leased = leased
        self._ledger = ledger
        self._lock = threading.Lock()
        self._ended = False

    def end(self) -> None:
        """Revoke it. Raises ``RevocationError``, the first time."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self._context.__exit__(None, None, None)
        if self._leased.revoked or self._leased.released:
            # Not so in a forked child, which revokes nothing that is its parent's.
            self._ledger.revoked(self._leased)


def _lives(store: LeaseStore, lease_id: str) -> bool:
    """Tell whether a lease may exist that nobody has given back, by its record."""
    try:
        record = store.get(lease_id)
    except DynsecretsError:
        return True
    return record.live and record.ended_at is None
