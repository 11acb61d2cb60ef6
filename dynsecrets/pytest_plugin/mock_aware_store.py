"""Keeping leases of an in-process mock of AWS apart from real ones.

moto's ``mock_aws`` replaces AWS for the whole process, background threads included, and takes all that was made in it
with it when it ends. So a record of a lease that was made in a mock must not wait for a later process to look for its
user in the real AWS; and the record of a real user, of a run that was killed, must not be looked for in a mock, where
"no such user" proves nothing.
"""

from __future__ import annotations

import contextlib
import heapq
from typing import TYPE_CHECKING, Any

import attrs

from dynsecrets.errors import RevocationError, StoreError
from dynsecrets.model.capabilities import CallsService
from dynsecrets.stores.base import purge_some
from dynsecrets.stores.memory import MemoryLeaseStore
from dynsecrets.testing.moto import in_mock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import datetime

    from dynsecrets.model.integration import Integration
    from dynsecrets.model.record import LeaseRecord
    from dynsecrets.stores.base import LeaseStore


class MockAwareStore:
    """A store in front of another one, in which records of leases made in a mock stay in memory. Thread-safe.

    ``find`` returns an integration by its name, ``begin`` a new record as it is to be kept: held by this process, and
    with its metadata. While a mock is active only leases of the mock are due, and none of the real AWS can be revoked;
    once it has ended its leases are revoked: their users went with it.
    """

    def __init__(
        self,
        store: LeaseStore,
        find: Callable[[str], Integration],
        begin: Callable[[LeaseRecord], LeaseRecord],
    ) -> None:
        self.real = store
        self._find = find
        self._begin = begin
        #: What ``begin`` has said of records, whose managers know nothing of it.
        self._begun: dict[str, LeaseRecord] = {}
        self._mocked = MemoryLeaseStore()
        #: The ids of all leases that were made in a mock, and of those that may be alive there.
        self._ids: set[str] = set()
        self._alive: set[str] = set()
        #: Of those that ended with their mock, what nobody has revoked since.
        self.ended: set[str] = set()

    @property
    def outlives_process(self) -> bool:
        """Whether the records of real leases do."""
        return bool(getattr(self.real, "outlives_process", True))

    def insert(self, record: LeaseRecord) -> None:
        """Keep a new record."""
        record = self._begun[record.id] = self._begin(record)
        if not self._answers_for(record.integration):
            self.real.insert(record)
            return
        self._mocked.insert(record)
        self._ids.add(record.id)
        self._alive.add(record.id)

    def update(self, record: LeaseRecord) -> LeaseRecord:
        """Replace a record."""
        begun = self._begun.get(record.id)
        if begun is not None:
            record = attrs.evolve(record, held=begun.held, metadata=begun.metadata)
        updated = self._home(record.id).update(record)
        if not updated.live:
            self._begun.pop(record.id, None)
        return updated

    def get(self, lease_id: str) -> LeaseRecord:
        """Return one record."""
        return self._home(lease_id).get(lease_id)

    def records(self, **filters: Any) -> Iterator[LeaseRecord]:
        """Iterate over the records that match, oldest first."""
        self._settle()
        found = (self._mocked.records(**filters), self.real.records(**filters))
        return heapq.merge(*found, key=lambda record: record.created_at)

    def due(
        self, now: datetime, *, integrations: Collection[str] | None = None, limit: int | None = None
    ) -> Sequence[LeaseRecord]:
        """Return what is due where calls go just now."""
        self._settle()
        if not in_mock() or integrations is None or not any(self._answers_for(name) for name in integrations):
            return self.real.due(now, integrations=integrations, limit=limit)
        return self._mocked.due(now, integrations=integrations, limit=limit)

    def claim(self, lease_id: str, worker: str, until: datetime, now: datetime) -> LeaseRecord | None:
        """Begin a revocation. Raises ``RevocationError`` where a mock would answer for a lease that isn't its own."""
        self._settle()
        self.ended.discard(lease_id)
        if in_mock() and not self.is_mocked(lease_id) and self._answers_for(self.real.get(lease_id).integration):
            msg = (
                f"lease {lease_id} is of the real AWS, for which mock_aws stands just now, so it can't be revoked yet; "
                "revoke it outside of the mock, or leave it to the end of the session"
            )
            raise RevocationError(msg, lease_id=lease_id)
        return self._home(lease_id).claim(lease_id, worker, until, now)

    def count_live(self, name: str) -> int:
        """Return how many leases live."""
        self._settle()
        return self._mocked.count_live(name) + self.real.count_live(name)

    def purge(self, before: datetime, *, limit: int | None = None) -> int:
        """Forget old tombstones."""
        return purge_some(self._here(), before, limit)

    def processes(self, place: str) -> Sequence[str]:
        """Return the processes that live leases depend on where calls go just now."""
        here: Any = self._here()
        found: Sequence[str] = here.processes(place)
        return found

    def of_process(self, process: str, *, limit: int | None = None) -> Sequence[LeaseRecord]:
        """Return the live records of a process."""
        here: Any = self._here()
        found: Sequence[LeaseRecord] = here.of_process(process, limit=limit)
        return found

    def close(self) -> None:
        """Close both."""
        self._alive.clear()
        self._mocked.close()
        self.real.close()

    def __repr__(self) -> str:
        """Show the store of real leases."""
        return repr(self.real)

    def _here(self) -> LeaseStore:
        """Return the store of leases that are made where calls go just now."""
        self._settle()
        return self._mocked if in_mock() else self.real

    def is_mocked(self, lease_id: str) -> bool:
        """Tell whether a lease was made in a mock, active or over."""
        return lease_id in self._ids

    def _answers_for(self, name: str) -> bool:
        """Tell whether the calls of an integration are answered by a mock just now.

        Some go to a server that the mock knows nothing of, and what doesn't say where its calls go doesn't call AWS.
        """
        if not in_mock():
            return False
        try:
            integration = self._find(name)
            return isinstance(integration, CallsService) and "amazonaws.com" in integration.endpoint()
        except Exception:  # There are no credentials or settings to make a client with: the caller will find so.
            return True

    def _home(self, lease_id: str) -> LeaseStore:
        """Return the store that a lease is in."""
        self._settle()
        return self._mocked if self.is_mocked(lease_id) else self.real

    def _settle(self) -> None:
        """Where no mock is active, the users of all that ended are gone."""
        while self._alive and not in_mock():
            with contextlib.suppress(KeyError, StoreError):  # Another thread is at it.
                record = self._mocked.get(self._alive.pop())
                if record.live:
                    self._mocked.update(record.revoked(now=record.created_at))
                    self.ended.add(record.id)
