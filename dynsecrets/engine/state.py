"""What the parts of an engine share: its store, its live leases, the time, and what it tells the world."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any, Final, cast

from dynsecrets._internal.concurrency import noting
from dynsecrets._internal.fork_safety import reset_after_fork
from dynsecrets._internal.log import logger
from dynsecrets._internal.messages import safe_repr
from dynsecrets.engine.lease_registry import LeaseRegistry
from dynsecrets.engine.process_identity import actor, current_owner
from dynsecrets.engine.service_clocks import ServiceClocks
from dynsecrets.errors import LeaseNotFound, VersionConflict
from dynsecrets.model.events import LeaseEvent
from dynsecrets.model.record import WORKER_SEPARATOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from dynsecrets.clock import Clock
    from dynsecrets.model.integration import Integration
    from dynsecrets.model.record import LeaseRecord
    from dynsecrets.stores.base import LeaseStore

_WRITE_TRIES: Final = 5
#: What engines ask stores, some of which not every store can be asked.
_METHODS: Final = (
    *("insert", "update", "get", "records", "due", "claim", "count_live", "purge"),
    *("processes", "of_process", "failed"),
)
#: For all engines of the process: two workers of one name would not keep each other away.
_numbers = itertools.count(1)
#: The ids of the leases that this process is just issuing, by whichever engine: nobody else has to finish these.
_issuing: set[str] = set()


class EngineState:
    """Thread-safe; a forked child starts with no live leases on the same store."""

    def __init__(
        self,
        store: LeaseStore,
        clock: Clock,
        integrations: Iterable[Integration],
        on_event: Iterable[Callable[[LeaseEvent], object]],
    ) -> None:
        self.store: LeaseStore = _noting(store)
        self.spans_hosts: bool = bool(getattr(store, "spans_hosts", False))
        self.clock = clock
        self.leases: LeaseRegistry = LeaseRegistry(integrations)
        self.clocks: ServiceClocks = ServiceClocks(clock)
        self.owner: str = str(current_owner())
        self._on_event = tuple(on_event)
        reset_after_fork(self.forget)

    def forget(self) -> None:
        """Start anew in a forked child: what the parent issued is the parent's to revoke."""
        self.leases.forget()
        self.clocks.forget()
        self.owner = str(current_owner())
        _issuing.clear()

    def begin_issue(self, lease_id: str) -> None:
        """Note that this process is just issuing a lease."""
        _issuing.add(lease_id)

    def end_issue(self, lease_id: str) -> None:
        """Note that it is not any more, however that ended."""
        _issuing.discard(lease_id)

    def is_issuing(self, lease_id: str) -> bool:
        """Tell whether this process is just issuing a lease."""
        return lease_id in _issuing

    def new_worker(self) -> str:
        """Return a name for one revocation, which tells it from all others, of this process too."""
        return f"{self.owner}{WORKER_SEPARATOR}{next(_numbers)}"

    def now(self, integration: str) -> datetime:
        """Return the time by the clock of an integration's third party."""
        return self.clocks.now(integration)

    def find(self, lease_id: object) -> LeaseRecord:
        """Return a record by a lease's id. Raises ``LeaseNotFound``, for what is not an id too."""
        if not isinstance(lease_id, str) or not lease_id:
            raise LeaseNotFound(f"{safe_repr(lease_id)} is not a lease id; give a Lease or its id, a UUID4 as text")
        return self.store.get(lease_id)

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
        """Emit an event to all listeners; what they raise is logged and harms nothing."""
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


class _NotingStore:
    """A store whose calls are noted, with those methods of it that engines use."""


def _noting(store: LeaseStore) -> LeaseStore:
    """Return a store whose calls note that their thread may hold its locks, for as long as they last."""
    noted = _NotingStore()
    for name in _METHODS:
        if hasattr(store, name):
            setattr(noted, name, noting(_late(store, name)))
    return cast("LeaseStore", noted)


def _late(store: LeaseStore, name: str) -> Callable[..., Any]:
    """Return a function that calls a method which is looked up at each call."""
    method = getattr(store, name)

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(store, name)(*args, **kwargs)

    return call
