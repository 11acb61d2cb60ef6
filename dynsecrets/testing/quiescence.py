"""Knowing when a manager's background has nothing left to do: what makes a fake clock's time deterministic."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from dynsecrets.engine.scheduler import Scheduler


class Watch:
    """Counts what a scheduler hands to its pool, and what of that is done. Thread-safe."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self._lock = threading.Lock()
        self._submitted = 0
        self._done = 0
        self._original = scheduler.submit
        scheduler.submit = self._submit  # type: ignore[method-assign]  # The clock is told of each job, for tests alone.

    def idle(self, now: float, waiting: Callable[[threading.Condition], bool]) -> bool:
        """Tell whether it rests: nothing runs, nothing is due, and its thread waits for the clock."""
        before = self._counts()
        rests = self.scheduler.rests(now, waiting)
        return rests and before[0] == before[1] and self._counts() == before

    def next_at(self) -> float | None:
        """Return when the next job is due, by the clock's :meth:`~FakeClock.steady`."""
        return min((job.at for job in self.scheduler.jobs()), default=None)

    def _submit(self, action: Callable[[], Any]) -> Future[Any]:
        with self._lock:
            self._submitted += 1
        future = self._original(action)
        # Not in the action: one that is cancelled never begins, and is done all the same.
        future.add_done_callback(self._count)
        return future

    def _count(self, _: Future[Any]) -> None:
        with self._lock:
            self._done += 1

    def _counts(self) -> tuple[int, int]:
        with self._lock:
            return self._submitted, self._done
