"""What a process knows without asking the store: its live leases, and the integrations that they are made with."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import attrs

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig
from dynsecrets.model.lease_status import LeaseStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dynsecrets.engine.job import Job
    from dynsecrets.model.integration import Integration
    from dynsecrets.model.record import LeaseRecord


@attrs.define(eq=False)
class LiveLease:
    """A live lease that this process issued, or is to delete: there may be no ``Lease`` of it (any more)."""

    record: LeaseRecord
    integration: Integration
    #: What its ``Lease`` shows; the lease itself isn't kept alive.
    status: LeaseStatus = attrs.field(factory=LeaseStatus)
    #: What ends it at its TTL, and the next attempt where a revocation failed.
    job: Job | None = None
    retry: Job | None = None
    #: Whether it could not be rolled back, and no record says so: then a closed record proves nothing.
    late: bool = False


class LeaseRegistry:
    """Live leases by their ids, integrations by their names. Thread-safe."""

    def __init__(self, integrations: Iterable[Integration]) -> None:
        self._integrations = {integration.name: integration for integration in integrations}
        self.forget()

    def forget(self) -> None:
        """Have no live leases, under a lock that nobody holds: in a forked child they are the parent's.

        The child's own first use of an integration is its first: the parent's background isn't there.
        """
        self._lock = threading.RLock()
        self._used: dict[str, Integration] = {}
        self._leases: dict[str, LiveLease] = {}

    def register(self, integration: Integration) -> None:
        """Register an integration by its name."""
        with self._lock:
            self._integrations[integration.name] = integration

    def use(self, integration: Integration) -> tuple[bool, bool]:
        """Register an integration to issue with; return whether it is new here, and whether its name is."""
        with self._lock:
            self._integrations[integration.name] = integration
            before = self._used.get(integration.name)
            self._used[integration.name] = integration
            return before is not integration, before is None

    def integrations(self) -> dict[str, Integration]:
        """Return all that are registered, by their names."""
        with self._lock:
            return dict(self._integrations)

    def integration(self, name: str) -> Integration:
        """Return an integration by name. Raises ``InvalidConfig``."""
        with self._lock:
            found = self._integrations.get(name)
            names = sorted(self._integrations)
        if found is None:
            known = ", ".join(names) or "none"
            raise InvalidConfig(
                f"the lease was made with the integration {safe_repr(name)}, which this manager doesn't know "
                f"(it knows {known}); pass it as integration=, or to LeaseManager(integrations=[...])"
            )
        return found

    def add(self, live: LiveLease) -> None:
        """Register a lease that was issued."""
        with self._lock:
            self._leases[live.record.id] = live

    def ensure(self, record: LeaseRecord, integration: Integration) -> LiveLease:
        """Return the entry of a lease that is to be deleted; where there is none, a new one of its record."""
        with self._lock:
            return self._leases.setdefault(record.id, LiveLease(record, integration))

    def get(self, lease_id: str) -> LiveLease | None:
        """Return a lease that this process issued, or is to delete, and has not revoked yet."""
        with self._lock:
            return self._leases.get(lease_id)

    def all(self) -> list[LiveLease]:
        """Return all of them."""
        with self._lock:
            return list(self._leases.values())

    def remove(self, lease_id: str, *, revoked: bool = True) -> LiveLease | None:
        """Forget a lease that is revoked, or released, and note that in its status."""
        with self._lock:
            live = self._leases.pop(lease_id, None)
        if live is not None:
            live.status.revoked, live.status.released = revoked, not revoked
        return live
