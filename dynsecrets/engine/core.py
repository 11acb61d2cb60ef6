"""What renewers and pools use of a manager, beside what everyone may."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from dynsecrets.errors import LeaseNotFound

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from datetime import datetime

    from dynsecrets.engine.manager import LeaseManager
    from dynsecrets.engine.scheduler import Job, Scheduler
    from dynsecrets.engine.state import EngineState
    from dynsecrets.model.config import DynamicSecretConfig
    from dynsecrets.model.integration import Integration
    from dynsecrets.model.lease import Lease

T = TypeVar("T")

#: What the names of the threads of a manager's pool begin with.
_WORKER: Final = "dynsecrets-worker"


class Engine:
    """A manager's leasing and its timetable, for helpers that lease on their own. Thread-safe."""

    def __init__(self, manager: LeaseManager, books: EngineState, scheduler: Scheduler) -> None:
        self._manager = manager
        self._books = books
        self._scheduler = scheduler

    @property
    def closed(self) -> bool:
        """Whether the manager is closed: nothing is leased, and nothing runs in the background, any more."""
        return self._manager._closed  # noqa: SLF001 - the manager's own helper.

    @property
    def workers(self) -> int:
        """How many threads the manager's pool has at most."""
        return self._scheduler._max_workers  # noqa: SLF001 - as above.

    def integration(self, name: str) -> Integration:
        """Return an integration that the manager was given or has used. Raises ``InvalidConfig``."""
        return self._books.integration(name)

    def issue_held(self, config: DynamicSecretConfig, ttl: timedelta) -> Lease:
        """Issue a lease that ends with this process, if not before."""
        return self._manager._issue(config, ttl, wait=config.wait, metadata=None, held=True)  # noqa: SLF001 - as above.

    def possibly_leaked(self, error: BaseException) -> list[str]:
        """Return the ids of what a failed :meth:`issue_held` may have left alive: each error names its lease."""
        lease_id = getattr(error, "lease_id", None)
        return [] if lease_id is None or self._books.entry(lease_id) is None else [lease_id]

    def revoke_by_id(self, lease_id: str, config: DynamicSecretConfig) -> None:
        """Revoke a lease; one that the store never knew is fine."""
        try:
            self._manager.revoke(lease_id, integration=config.integration)
        except LeaseNotFound:
            return

    def submit(self, action: Callable[[], T]) -> Future[T]:
        """Run an action in the manager's pool."""
        return self._scheduler.submit(action)

    def in_worker(self) -> bool:
        """Tell whether the calling thread is one of a manager's pool, for which others of it may have to wait."""
        return threading.current_thread().name.startswith(_WORKER)

    def call_at(self, at: float, action: Callable[[], object]) -> Job:
        """Have an action run at a moment of the steady clock."""
        return self._scheduler.call_at(at, action)

    def call_after(self, pause: timedelta, action: Callable[[], object]) -> Job:
        """Have an action run after a while."""
        return self._scheduler.call_at(self.steady() + pause.total_seconds(), action)

    def cancel(self, job: Job | None) -> None:
        """Forget a planned action, if there is one."""
        if job is not None:
            self._scheduler.cancel(job)

    def wake(self) -> None:
        """Have the timetable looked at now: the machine may have slept."""
        self._scheduler.wake()

    def steady(self) -> float:
        """Return the steady clock's seconds."""
        return self._books.clock.steady()

    def now(self, config: DynamicSecretConfig) -> datetime:
        """Return the time by the clock of the config's third party."""
        return self._books.now(config.integration.name)

    def time_at(self, config: DynamicSecretConfig, at: float) -> datetime:
        """Return a moment of the steady clock as a date, by the clock of the config's third party."""
        return self.now(config) + timedelta(seconds=at - self.steady())

    def emit(self, kind: str, lease: Lease) -> None:
        """Tell the manager's listeners of a step of a lease."""
        entry = self._books.entry(lease.id)
        if entry is not None:
            self._books.emit(kind, entry.record)
