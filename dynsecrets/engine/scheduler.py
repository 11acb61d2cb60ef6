"""One background thread that knows what is due when, and a small pool that does it.

What the pool does for third parties waits in lanes: work that is due goes before work that has time, such as reaping,
and neither that nor a single third party takes all workers. So a backlog, or a third party that doesn't answer, makes
nobody else wait.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dynsecrets._internal.concurrency import Call, hand_over, interrupts_itself, noting, start_aside
from dynsecrets._internal.fork_safety import reset_after_fork
from dynsecrets._internal.log import logger
from dynsecrets.engine.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynsecrets.clock import Clock

T = TypeVar("T")

#: What the names of the worker threads begin with.
_WORKER: Final = "dynsecrets-worker"
#: So many cancelled jobs may stay in the queue in any case.
_FEW: Final = 64
#: The share of the workers that one third party may take, and that work which has time may take.
_FOR_ONE: Final = 0.75
_WITH_TIME: Final = 0.5


_here = threading.local()


def _begin_to_work() -> None:
    _here.works = True


class Scheduler:
    """Runs jobs at their times, in a pool of at most ``max_workers`` daemon-started threads.

    Thread-safe. The thread starts with the first job and is a daemon. A forked child starts with an empty queue: what
    the parent planned is the parent's to do.
    """

    def __init__(self, clock: Clock, max_workers: int) -> None:
        self._clock = clock
        self._max_workers = max_workers
        self._numbers = itertools.count()
        self._closed = False
        self._retired = False
        self._at_rest: Callable[[], object] = int
        self._after_fork()
        reset_after_fork(self._after_fork)
        # A clock that goes by when a test says so waits for the schedulers that live by it.
        watch = getattr(clock, "watch", None)
        if watch is not None:
            watch(self)

    def _after_fork(self) -> None:
        """Start afresh in a forked child."""
        # Taken by itself: the condition's own ``with`` is Python code, which an interrupt may leave between two lines.
        self._lock = threading.RLock()
        self._condition = threading.Condition(self._lock)
        #: Ordered by time, then by age; tuples, so that no code of Python's runs while the heap is out of order.
        self._jobs: list[tuple[float, int, Job]] = []
        self._cancelled = 0
        self._thread: threading.Thread | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._lanes = Lanes(self._max_workers)

    @property
    def closed(self) -> bool:
        """Whether it was closed: nothing is planned any more."""
        return self._closed

    @noting
    def call_at(self, at: float, action: Callable[[], object], key: str | None = None, *, idle: bool = False) -> Job:
        """Schedule ``action`` at ``at``, in seconds of the monotonic clock. What it raises is logged.

        ``key`` names the third party that it is for, if there is one. An ``idle`` job alone keeps nothing alive once
        the scheduler is retired.
        """
        job = Job(at, key, action, idle=idle)
        with self._lock:
            if not self._closed:
                heapq.heappush(self._jobs, (at, next(self._numbers), job))
                self._ensure_thread()
                if self._jobs[0][2] is job:
                    self._condition.notify_all()
        return job

    @noting
    def cancel(self, job: Job) -> None:
        """Cancel a job that has not begun. Its action is let go of at once, its place in the queue a little later."""
        with self._lock:
            if job.action is None:
                return
            job.action = None
            self._cancelled += 1
            if self._cancelled > len(self._jobs) // 2 + _FEW:
                self._jobs = [entry for entry in self._jobs if entry[2].action is not None]
                heapq.heapify(self._jobs)
                self._cancelled = 0

    def retire(self, at_rest: Callable[[], object]) -> None:
        """Let the threads end as soon as only idle jobs are left; they start again with the next job. Never blocks.

        ``at_rest`` is called whenever they end.
        """
        self._at_rest = at_rest
        self._retired = True
        if self._lock.acquire(blocking=False):
            try:
                self._condition.notify_all()
            finally:
                self._lock.release()
        else:
            # The background may have it, and be about to wait for long.
            start_aside(self.wake)

    @noting
    def wake(self) -> None:
        """Check the queue now, in case the clock has gone further than the waiting thread was told."""
        with self._lock:
            self._condition.notify_all()

    @noting
    def jobs(self) -> list[Job]:
        """Return what is planned, in no order."""
        with self._lock:
            return [job for _, _, job in self._jobs if job.action is not None]

    @noting
    def rests(self, now: float, waiting: Callable[[threading.Condition], bool]) -> bool:
        """Return whether nothing is due and the thread waits, which ``waiting`` tells: for clocks of tests."""
        with self._lock:
            due = any(job.action is not None and at <= now for at, _, job in self._jobs)
            return not due and (self._thread is None or waiting(self._condition))

    def submit(self, action: Callable[[], T]) -> Future[T]:
        """Run an action in the pool; in the caller's own thread where no other can be had any more."""
        call = action if isinstance(action, Call) else Call(action)
        pool = self._workers()
        if pool is None or not hand_over(pool, call):
            call()
        return call.future

    def submit_for(self, key: str, action: Callable[[], T], *, has_time: bool) -> Future[T]:
        """Run an action for a third party once it is its turn; never, where the scheduler closes before that."""
        call = action if isinstance(action, Call) else Call(action)
        lanes = self._lanes
        lanes.add(key, call, has_time=has_time)
        self._run_lanes(lanes)
        return call.future

    def in_worker(self) -> bool:
        """Tell whether the calling thread is a worker, of any scheduler, for which other workers may have to wait."""
        # Not by the thread's name: for that, ``threading`` would keep an entry of each thread that it doesn't know.
        return getattr(_here, "works", False)

    def close(self) -> None:
        """Stop the thread and wait for what the pool is doing. What is planned, or waits in a lane, is forgotten."""
        with self._lock:
            self._closed = True
            self._jobs.clear()
            thread, self._thread = self._thread, None
            pool, self._pool = self._pool, None
            self._condition.notify_all()
        self._lanes.clear()
        waits = not (self.in_worker() or interrupts_itself())
        if thread is not None and thread is not threading.current_thread() and not interrupts_itself():
            thread.join()
        if pool is not None:
            # Workers that close can't wait for themselves, nor for each other.
            pool.shutdown(wait=waits)

    @noting
    def _workers(self) -> ThreadPoolExecutor | None:
        """Return the pool; ``None`` once it is closed."""
        with self._lock:
            if self._pool is None and not self._closed:
                self._pool = ThreadPoolExecutor(self._max_workers, _WORKER, initializer=_begin_to_work)
            return self._pool

    def _run_lanes(self, lanes: Lanes) -> None:
        """Hand to the pool what has its turn now."""
        while (turn := lanes.take()) is not None:
            self.submit(partial(self._run_turn, lanes, *turn))

    def _run_turn(self, lanes: Lanes, lane: Lane, key: str, call: Call[Any]) -> None:
        try:
            call()
        finally:
            lanes.end(lane, key)
            self._run_lanes(lanes)

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
                # Before each wait: what was told just before it is heard by nobody who waits.
                if self._closed or condition is not self._condition or self._rest():
                    return
                due = self._next()
                if due is None:
                    continue
            key, action = due
            work = partial(_logged, action)
            if key is None:
                self.submit(work)
            else:
                self.submit_for(key, work, has_time=False)

    @noting
    def _rest(self) -> bool:
        """Let go of the threads where nothing is left to do for anybody. The lock is held."""
        if not self._retired or any(job.action is not None and not job.idle for _, _, job in self._jobs):
            return False
        self._thread = None
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)
        self._at_rest()
        return True

    @noting
    def _next(self) -> tuple[str | None, Callable[[], Any]] | None:
        """Wait for the next job that is due, once; ``None`` to look again."""
        if self._closed:
            return None
        seconds = self._jobs[0][0] - self._clock.steady() if self._jobs else None
        if seconds is not None and seconds <= 0:
            _, _, job = heapq.heappop(self._jobs)
            # It has begun: cancelling it from now on changes nothing.
            action, job.action = job.action, None
            self._cancelled -= action is None
            return None if action is None else (job.key, action)
        self._clock.wait(self._condition, seconds)
        return None


class Lane:
    """Calls that wait for their turn, by their third parties, and how many of them run."""

    def __init__(self, most: int) -> None:
        self.most: int = most
        self.running: int = 0
        self.waiting: dict[str, deque[Call[Any]]] = {}


class Lanes:
    """What waits for a worker: first what is due, then what has time. Thread-safe."""

    def __init__(self, workers: int) -> None:
        self._lock = threading.RLock()
        self._for_one = max(int(workers * _FOR_ONE), 1)
        self._running: Counter[str] = Counter()
        self._due = Lane(workers)
        self._with_time = Lane(max(int(workers * _WITH_TIME), 1))

    @noting
    def add(self, key: str, call: Call[Any], *, has_time: bool) -> None:
        """Have a call wait for its turn."""
        lane = self._with_time if has_time else self._due
        with self._lock:
            lane.waiting.setdefault(key, deque()).append(call)

    @noting
    def take(self) -> tuple[Lane, str, Call[Any]] | None:
        """Return a call whose turn it is, with its lane and its third party; ``None`` where there is none just now."""
        with self._lock:
            for lane in (self._due, self._with_time):
                for key in list(lane.waiting) if lane.running < lane.most else ():
                    if self._running[key] < self._for_one:
                        return self._begin(lane, key)
        return None

    @noting
    def end(self, lane: Lane, key: str) -> None:
        """Note that a call has ended."""
        with self._lock:
            lane.running -= 1
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]

    def clear(self) -> None:
        """Skip all that waits."""
        with self._lock:
            calls = [call for lane in (self._due, self._with_time) for calls in lane.waiting.values() for call in calls]
            self._due.waiting.clear()
            self._with_time.waiting.clear()
        for call in calls:
            call.skip()

    def _begin(self, lane: Lane, key: str) -> tuple[Lane, str, Call[Any]]:
        # The next turn is another third party's, if one waits.
        waiting = lane.waiting.pop(key)
        call = waiting.popleft()
        if waiting:
            lane.waiting[key] = waiting
        lane.running += 1
        self._running[key] += 1
        return lane, key, call


def _logged(action: Callable[[], object]) -> None:
    """Run an action of the background; nobody else would see what it raises."""
    try:
        action()
    except Exception:
        logger.exception("A background job failed")
