"""One background thread that knows what is due when, and a small pool that does it."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from dynsecrets._internal.fork_safety import reset_after_fork
from dynsecrets._internal.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynsecrets.clock import Clock

T = TypeVar("T")

#: So many cancelled jobs may stay in the queue in any case.
_FEW: Final = 64


class Job:
    """Something to do at a time; ``action`` is ``None`` once it is cancelled."""

    __slots__ = ("action", "at", "number")

    def __init__(self, at: float, number: int, action: Callable[[], object] | None) -> None:
        self.at: float = at
        self.number: int = number
        self.action: Callable[[], object] | None = action

    def __lt__(self, other: Job) -> bool:
        """Order by time, then by age."""
        return (self.at, self.number) < (other.at, other.number)


class Scheduler:
    """Runs jobs at their times, in a pool of at most ``max_workers`` daemon-started threads.

    Thread-safe. The thread starts with the first job and is a daemon. A forked child starts with an empty queue: what
    the parent planned is the parent's to do.
    """

    def __init__(self, clock: Clock, max_workers: int) -> None:
        self._clock = clock
        self._max_workers = max_workers
        self._numbers = itertools.count()
        # Taken by itself: the condition's own ``with`` is Python code, which an interrupt may leave between two lines.
        self._lock = threading.RLock()
        self._condition = threading.Condition(self._lock)
        self._jobs: list[Job] = []
        self._cancelled = 0
        self._thread: threading.Thread | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False
        reset_after_fork(self._after_fork)
        # A clock that goes by when a test says so waits for the schedulers that live by it.
        watch = getattr(clock, "watch", None)
        if watch is not None:
            watch(self)

    @property
    def closed(self) -> bool:
        """Whether it was closed: nothing is planned any more."""
        return self._closed

    def call_at(self, at: float, action: Callable[[], object]) -> Job:
        """Have an action run when ``clock.steady()`` reaches ``at``. What it raises is logged."""
        job = Job(at, next(self._numbers), action)
        with self._lock:
            if not self._closed:
                heapq.heappush(self._jobs, job)
                self._ensure_thread()
                if self._jobs[0] is job:
                    self._condition.notify_all()
        return job

    def cancel(self, job: Job) -> None:
        """Forget a job that has not begun. Its action is let go of at once, its place in the queue a little later."""
        with self._lock:
            if job.action is None:
                return
            job.action = None
            self._cancelled += 1
            if self._cancelled > len(self._jobs) // 2 + _FEW:
                self._jobs = [kept for kept in self._jobs if kept.action is not None]
                heapq.heapify(self._jobs)
                self._cancelled = 0

    def wake(self) -> None:
        """Look at the queue now, in case the clock has gone further than the waiting thread was told."""
        with self._lock:
            self._condition.notify_all()

    def submit(self, action: Callable[[], T]) -> Future[T]:
        """Run an action in the pool; in the caller's own thread where no other can be had any more."""
        with self._lock:
            if self._pool is None and not self._closed:
                self._pool = ThreadPoolExecutor(self._max_workers, "dynsecrets-worker")
            pool = self._pool
        call = _Once(action)
        try:
            if pool is not None:
                pool.submit(call)
                return call.future
        except RuntimeError:
            # The interpreter shuts down; or no thread can be had, and the pool keeps what it was given all the same.
            pass
        call()
        return call.future

    def close(self) -> None:
        """Stop the thread and wait for what the pool is doing. What is planned is forgotten."""
        with self._lock:
            self._closed = True
            self._jobs.clear()
            thread, self._thread = self._thread, None
            pool, self._pool = self._pool, None
            self._condition.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if pool is not None:
            # A job that closes its own scheduler can't wait for itself.
            with contextlib.suppress(RuntimeError):
                pool.shutdown(wait=True)

    def _after_fork(self) -> None:
        """Start afresh in a forked child."""
        self._lock = threading.RLock()
        self._condition = threading.Condition(self._lock)
        self._jobs = []
        self._cancelled = 0
        self._thread = None
        self._pool = None

    def _ensure_thread(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="dynsecrets-clock", daemon=True)
            # While the interpreter shuts down no thread can be had; whoever comes later finds the records.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        condition = self._condition
        while True:
            with condition:
                action = self._next_action()
                if action is None:
                    if self._closed or condition is not self._condition:
                        return
                    continue
            self.submit(partial(_logged, action))

    def _next_action(self) -> Callable[[], Any] | None:
        """Wait for the next job that is due, once; ``None`` to look again."""
        if self._closed:
            return None
        seconds = self._jobs[0].at - self._clock.steady() if self._jobs else None
        if seconds is not None and seconds <= 0:
            job = heapq.heappop(self._jobs)
            # It has begun: cancelling it from now on changes nothing.
            action, job.action = job.action, None
            return action
        self._clock.wait(self._condition, seconds)
        return None


class _Once(Generic[T]):
    """An action that the first who comes to it runs, if it is not cancelled: twice could be a lease that nobody has."""

    def __init__(self, action: Callable[[], T]) -> None:
        self.future: Future[T] = Future()
        self._action = action
        self._turns = itertools.count()

    def __call__(self) -> None:
        if next(self._turns) == 0 and self.future.set_running_or_notify_cancel():
            _complete(self.future, self._action)


def _complete(future: Future[T], action: Callable[[], T]) -> None:
    try:
        future.set_result(action())
    except BaseException as exc:  # Raised by the one who asks for the result.
        future.set_exception(exc)
        del future  # Or the error would hold itself, by way of this frame.


def _logged(action: Callable[[], object]) -> None:
    """Run an action of the background; nobody else would see what it raises."""
    try:
        action()
    except Exception:
        logger.exception("A background job failed")
