"""Calls made elsewhere: one in a thread of its own, independent ones at the same time on a small pool of threads."""

from __future__ import annotations

import _thread
import contextlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from dynsecrets._internal.fork_safety import reset_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


@attrs.frozen
class Outcome(Generic[T]):
    """How a call ended: with a value, or with an error."""

    value: T | None = None
    error: Exception | None = None

    @classmethod
    def of(cls, call: Callable[[], T]) -> Outcome[T]:
        """Make a call and keep how it ended. What is no ``Exception`` (an interrupt) goes through."""
        try:
            return cls(value=call())
        except Exception as exc:
            return cls(error=exc)


def start_aside(work: Callable[[], T]) -> Future[T]:
    """Run work in a thread of its own, where no signal handler runs, and return its future.

    Where no thread can be had the work is done here and now. Not by ``threading.Thread``, whose start waits, in a way
    that an interrupt leaves half-done, until the thread runs.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # Raised where the result is asked for.
            future.set_exception(error)

    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:
        run()
    return future


class _Call(Generic[T]):
    """One call, made once at most: by a thread of the pool, by the caller itself, or not at all."""

    def __init__(self, call: Callable[[], T]) -> None:
        self.future: Future[Outcome[T]] = Future()
        self._call = call
        self._claim = threading.Lock()

    def run(self) -> None:
        """Make the call, unless somebody else has begun to or it was skipped."""
        if not self.skip():
            return
        try:
            self.future.set_result(Outcome.of(self._call))
        except BaseException as exc:  # An interrupt; it is raised where the result is asked for.
            self.future.set_exception(exc)

    def skip(self) -> bool:
        """Have the call not begin any more; tell whether it had not begun."""
        return self._claim.acquire(blocking=False)


class Fanout:
    """Runs calls at the same time: one in the caller's own thread, the others in a bounded pool.

    What no thread of the pool has begun when the caller is done with its own call, the caller makes itself: a full
    pool, or one that can't start threads any more, makes calls slower and never lost. Thread-safe; a forked child
    starts a pool of its own.
    """

    def __init__(self, max_workers: int, name: str) -> None:
        self._max_workers = max_workers
        self._name = name
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        reset_after_fork(self._after_fork)

    def together(self, calls: Sequence[Callable[[], T]]) -> list[Outcome[T]]:
        """Make all the calls at the same time and return how each ended, in their order.

        An interrupt leaves the calls that have begun running to their ends, and is raised after that: whoever cleans up
        must not race with calls that still create things. A second interrupt doesn't wait.
        """
        batch = [_Call(call) for call in calls]
        try:
            for call in batch[1:]:
                self._submit(call)
            for call in batch:
                call.run()
            wait(call.future for call in batch)
        except BaseException:
            # Not known from what was submitted: an interrupt may have come between that and its return.
            wait([call.future for call in batch if not call.skip()])
            raise
        return [call.future.result() for call in batch]

    def _after_fork(self) -> None:
        """Forget the parent's threads."""
        self._lock = threading.Lock()
        self._pool = None

    def close(self) -> None:
        """Let the threads end."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def _submit(self, call: _Call[T]) -> None:
        """Hand a call to the pool, if it takes it: while the interpreter shuts down no thread can be had."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._max_workers, self._name)
            pool = self._pool
        with contextlib.suppress(RuntimeError):
            pool.submit(call.run)
