"""The bookkeeping of a manager: its store, the leases that it holds in memory, and what it tells the world."""

from __future__ import annotations

import itertools
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import attrs

from dynsecrets._internal.fork_safety import reset_after_fork
from dynsecrets._internal.log import logger
from dynsecrets._internal.messages import safe_repr
from dynsecrets.engine.process_identity import actor, current_owner
from dynsecrets.errors import InvalidConfig, LeaseNotFound, VersionConflict
from dynsecrets.model.capabilities import TellsTime
from dynsecrets.model.events import LeaseEvent
from dynsecrets.model.record import WORKER_SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from dynsecrets.clock import Clock
    from dynsecrets.engine.scheduler import Job
    from dynsecrets.model.integration import Integration
    from dynsecrets.model.lease import Lease
    from dynsecrets.model.record import LeaseRecord
    from dynsecrets.stores.base import LeaseStore

_WRITE_TRIES = 5
#: For all managers of the process: two workers of one name would not keep each other away.
_numbers = itertools.count(1)
#: Clocks that differ by less are taken for the same: dates of services have whole seconds, and answers take time.
SAME_TIME = timedelta(seconds=5)
_SEEN_FOR_S = 3600.0


@attrs.frozen
class _Seen:
    """What a third party's clock showed, and the local steady clock at that moment."""

    moment: datetime
    steady: float


def _no_lease() -> None:
    """Stand for the lease of a record whose lease is nobody's any more."""


@attrs.define(eq=False)
class LiveLease:
    """A live lease that this process issued, or is to delete: there may be no ``Lease`` of it (any more)."""

    record: LeaseRecord
    integration: Integration
    lease: Callable[[], Lease | None] = _no_lease
    #: What ends it at its TTL, and the next attempt where a revocation failed.
    job: Job | None = None
    retry: Job | None = None
    #: Whether it could not be rolled back, and no record says so: then a closed record proves nothing.
    late: bool = False


class EngineState:
    """What the parts of a manager share. Thread-safe; a forked child starts with empty books on the same store."""

    def __init__(
        self,
        store: LeaseStore,
        clock: Clock,
        integrations: Iterable[Integration],
        on_event: Iterable[Callable[[LeaseEvent], object]],
    ) -> None:
        self.store = store
        self.clock = clock
        self._on_event = tuple(on_event)
        self._integrations = {integration.name: integration for integration in integrations}
        self._reaped: dict[str, Integration] = {}
        self._begin()
        reset_after_fork(self._after_fork)

    def _after_fork(self) -> None:
        """Start with empty books: what the parent issued is the parent's to revoke."""
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, LiveLease] = {}
        self._seen: dict[str, _Seen] = {}
        self.owner: str = str(current_owner())

    def new_worker(self) -> str:
        """Return a name for one revocation, which tells it from all others, of this process too."""
        return f"{self.owner}{WORKER_SEPARATOR}{next(_numbers)}"

    def know(self, integration: Integration) -> None:
        """Know an integration by its name from now on."""
        with self._lock:
            self._integrations[integration.name] = integration

    def use(self, integration: Integration) -> bool:
        """Know an integration that leases are issued with; tell whether it is the first time."""
        self.know(integration)
        with self._lock:
            before = self._reaped.get(integration.name)
            self._reaped[integration.name] = integration
            return before is not integration

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

    def now(self, integration: str) -> datetime:
        """Return the time by the clock of an integration's third party, where it has been seen; else by the local one.

        What is written into records is read by other machines, and leases are over by the third party's clock. Where
        the two clocks differ by no more than seconds the local one is used: it is finer.
        """
        wall, steady = self.clock.now(), self.clock.steady()
        with self._lock:
            seen = self._seen.get(integration)
        if seen is None:
            return wall
        there = seen.moment + timedelta(seconds=steady - seen.steady)
        return wall if abs(there - wall) <= SAME_TIME else there

    def see_time(self, integration: str, moment: datetime, steady: float) -> None:
        """Remember what a third party's clock showed when ``clock.steady()`` read ``steady``."""
        with self._lock:
            self._seen[integration] = _Seen(moment, steady)

    def ask_time(self, integration: Integration) -> None:
        """See to it that a third party's clock was seen within the hour. Where it can't be, the local clock counts."""
        steady = self.clock.steady()
        with self._lock:
            seen = self._seen.get(integration.name)
        if not isinstance(integration, TellsTime) or (seen is not None and steady - seen.steady < _SEEN_FOR_S):
            return
        try:
            moment = integration.service_time()
            if moment is None:
                return
            # What is no aware datetime is found out here, and not wherever the time is needed.
            logger.debug("The clock of %s is ahead by %s", integration.name, moment - self.clock.now())
        except Exception as error:
            logger.warning("The clock of %s could not be read: %s", integration.name, error)
            return
        self.see_time(integration.name, moment, self.clock.steady())

    def add(self, entry: LiveLease) -> None:
        """Remember a lease that was issued."""
        with self._lock:
            self._entries[entry.record.id] = entry

    def ensure(self, record: LeaseRecord, integration: Integration) -> LiveLease:
        """Return the entry of a lease that is to be deleted; where there is none, of its record."""
        with self._lock:
            return self._entries.setdefault(record.id, LiveLease(record, integration))

    def entry(self, lease_id: str) -> LiveLease | None:
        """Return a lease that this process issued and has not revoked yet."""
        with self._lock:
            return self._entries.get(lease_id)

    def entries(self) -> list[LiveLease]:
        """Return all of them."""
        with self._lock:
            return list(self._entries.values())

    def remove(self, lease_id: str) -> LiveLease | None:
        """Forget a lease that is revoked, and tell its ``Lease``."""
        with self._lock:
            entry = self._entries.pop(lease_id, None)
        if entry is not None:
            lease = entry.lease()
            if lease is not None:
                lease._mark_revoked()  # noqa: SLF001 - the manager's to call.
        return entry

    def write(self, record: LeaseRecord, change: Callable[[LeaseRecord], LeaseRecord]) -> LeaseRecord:
        """Store a change of a record; where it was changed meanwhile, of what it is now. Raises ``StoreError``."""
        for _ in range(_WRITE_TRIES):
            try:
                return self.store.update(change(record))
            except VersionConflict:
                record = self.store.get(record.id)
                if not record.live:
                    return record
        msg = f"the record of lease {record.id} changes too fast to be written"
        raise VersionConflict(msg, lease_id=record.id)

    def emit(self, kind: str, record: LeaseRecord, error: BaseException | None = None) -> None:
        """Tell all listeners of a step; what they raise is logged and harms nothing."""
        log = logger.warning if error is not None else logger.info
        why = "" if error is None else f" ({error})"
        log("Lease %s of %s: %s%s", record.id, record.name, kind, why, extra={"event": kind})
        if not self._on_event:
            return
        event = LeaseEvent(
            type=kind,
            lease_id=record.id,
            name=record.name,
            integration=record.integration,
            actor=actor(),
            time=self.now(record.integration),
            expires_at=record.expires_at,
            error=None if error is None else str(error),
        )
        for listener in self._on_event:
            try:
                listener(event)
            except Exception:
                logger.exception("A listener failed on the event %s of lease %s", kind, record.id)


def find(store: LeaseStore, lease_id: object) -> LeaseRecord:
    """Return a record by a lease's id; raise ``LeaseNotFound`` for whatever is none."""
    if not isinstance(lease_id, str) or not lease_id:
        raise LeaseNotFound(f"{safe_repr(lease_id)} is no lease id; give a Lease or its id, a UUID4 as text")
    return store.get(lease_id)


def check_metadata(metadata: Mapping[str, object] | None) -> dict[str, object]:
    """Return what a caller wants kept with a lease, as plain JSON. Raises ``InvalidConfig``."""
    import json

    if metadata is None:
        return {}
    try:
        plain = json.loads(json.dumps(dict(metadata), allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        plain = None
    if plain is None or plain != dict(metadata):
        raise InvalidConfig("metadata must be a mapping of text to what JSON can hold (text, numbers, lists, mappings)")
    return dict(plain)
