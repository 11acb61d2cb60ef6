"""Calls that other threads make: each is made once, keeps how it ended, and is waited for by whoever needs that.

Three rules, and no more. A worker that needs other workers makes itself what none of them has begun, so that no pool,
however small, waits for itself. What must not be cut in two by an interrupt runs in another thread, where no signal
comes, and the main thread waits on a queue: locks of ``threading`` could be left half-taken by an interrupt. And what
was made for somebody who is gone is undone.
"""

from __future__ import annotations

import _thread
import contextlib
import functools
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, Protocol, TypeVar

import attrs

from dynsecrets._internal.fork_safety import reset_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

K = TypeVar("K")
P = ParamSpec("P")
T = TypeVar("T")

#: A signal that the kernel gave to another thread is heard within this by a main thread that waits.
_GLANCE_S: Final = 0.2


@attrs.frozen
class Outcome(Generic[T]):
    """How a call ended: with a value, or with an error."""

    value: T | None = None
    error: Exception | None = None

    @classmethod
    def of(cls, call: Callable[[], T]) -> Outcome[T]:
        """Make a call and keep how it ended. What is not an ``Exception`` (an interrupt) goes through."""
        try:
            return cls(value=call())
        except Exception as exc:
            return cls(error=exc)


class Call(Generic[T]):
    """A call that is made once at most, by whoever comes to it first: twice could be a lease that nobody has."""

    __slots__ = ("_action", "_claim", "future")

    def __init__(self, action: Callable[[], T]) -> None:
        self.future: Future[T] = Future()
        self._action = action
        self._claim = threading.Lock()

    def __call__(self) -> None:
        """Make the call, unless somebody has begun to, or it was cancelled."""
        if self._claim.acquire(blocking=False) and self.future.set_running_or_notify_cancel():
            _complete(self.future, self._action)

    def skip(self) -> bool:
        """Have the call not begin any more; return whether it had not begun."""
        skipped = self._claim.acquire(blocking=False)
        if skipped:
            self.future.cancel()
            # Or those who wait for it would never be told.
            self.future.set_running_or_notify_cancel()
        return skipped


def _complete(future: Future[T], action: Callable[[], T]) -> None:
    try:
        future.set_result(action())
    except BaseException as exc:  # Raised by the one who asks for the result, an interrupt too.
        future.set_exception(exc)
        del future  # Or the error would hold itself, by way of this frame.


class _Here(threading.local):
    """What the thread is just doing that it can't begin again, if a garbage collection or a signal comes in between."""

    submits: bool = False
    inside: int = 0


_here = _Here()


def hand_over(pool: ThreadPoolExecutor, call: Callable[[], object]) -> bool:
    """Hand a call to a pool; return ``False`` where the caller has to make it.

    That is so where the interpreter shuts down, where no thread can be had (then the pool keeps the call all the same),
    and where the thread was interrupted in the middle of handing over another call: the pool's locks are taken.
    """
    if _here.submits:
        return False
    _here.submits = True
    try:
        pool.submit(call)
    except RuntimeError:
        return False
    finally:
        _here.submits = False
    return True


def noting(call: Callable[P, T]) -> Callable[P, T]:
    """Return a function that notes, while it runs, that its thread may hold locks which others wait for."""

    @functools.wraps(call)
    def noted(*args: P.args, **kwargs: P.kwargs) -> T:
        _here.inside += 1
        try:
            return call(*args, **kwargs)
        finally:
            _here.inside -= 1

    return noted


def interrupts_itself() -> bool:
    """Tell whether the calling code has interrupted such a function: then nobody else may get on before it returns."""
    return _here.submits or _here.inside > 0


class Workers(Protocol):
    """A bounded number of threads that make calls."""

    def submit(self, action: Callable[[], T]) -> Future[T]:
        """Have an action run by a worker, once; a :class:`Call` keeps its own future."""
        ...

    def in_worker(self) -> bool:
        """Tell whether the calling thread is a worker, for which other workers may have to wait."""
        ...


def run_all(workers: Workers, actions: Iterable[Callable[[], T]]) -> list[Future[T]]:
    """Run actions at the same time; return their futures, in their order, when all are done."""
    calls = [Call(action) for action in actions]
    alone = interrupts_itself()
    for call in () if alone else calls:
        workers.submit(call)
    if alone or workers.in_worker():
        for call in calls:
            call()
    futures = [call.future for call in calls]
    wait(futures)
    return futures


def past_failures(workers: Workers, actions: Mapping[K, Callable[[], object]]) -> dict[K, BaseException]:
    """Run actions at the same time, past failures; return the errors of those that failed, in their order.

    After an interrupt the rest is done all the same, but not waited for.
    """

    def lead() -> dict[K, BaseException]:
        errors = [future.exception() for future in run_all(workers, actions.values())]
        return {key: error for key, error in zip(actions, errors, strict=True) if error is not None}

    return run_aside(lead, wait_on=False)


def all_or_none(
    workers: Workers,
    makers: Mapping[K, Callable[[], T]],
    undo: Callable[[T], object],
    give_up: Callable[[], object] = bool,
) -> dict[K, T]:
    """Make things at the same time, all or none; return them by their keys.

    If one can't be made, those that were made are undone, and its error is raised; what could not be undone is a note
    of it. The same after an interrupt, for what is still being made too. A second interrupt doesn't wait for that.
    ``give_up`` is called in both cases, so that what is still being made can end early.
    """
    trouble: list[BaseException] = []

    def make(maker: Callable[[], T]) -> T:
        if trouble:
            # Nothing more is begun.
            raise trouble[0]
        try:
            return maker()
        except BaseException as error:
            fail(error)
            raise

    def fail(error: BaseException) -> None:
        trouble.append(error)
        give_up()

    def take_back(made: Mapping[K, T]) -> list[str]:
        return [str(error) for error in past_failures(workers, {k: partial(undo, made[k]) for k in made}).values()]

    def lead() -> dict[K, T]:
        futures = run_all(workers, [partial(make, maker) for maker in makers.values()])
        made = {key: future.result() for key, future in zip(makers, futures, strict=True) if future.exception() is None}
        if trouble:
            for note in take_back(made):
                trouble[0].add_note(note)
            raise trouble[0]
        return made

    return run_aside(lead, undo=take_back, on_interrupt=fail)


def run_aside(
    work: Callable[[], T],
    *,
    undo: Callable[[T], Iterable[str]] = lambda _: (),
    on_interrupt: Callable[[BaseException], object] = lambda _: None,
    wait_on: bool = True,
) -> T:
    """Run work that an interrupt must not cut in two: in a thread of its own if this is the main one.

    An interrupt is given to ``on_interrupt``, so that the work can end early; it is raised when the work has ended, and
    is undone if it succeeded. Without ``wait_on`` it is raised at once, and the work goes on.
    """
    if threading.get_ident() != threading.main_thread().ident or interrupts_itself():
        return work()
    kept, done = _start_aside(work)
    try:
        _await(kept, done)
        error = kept[0].future.exception()
        if error is None:
            return kept[0].future.result()
    except BaseException as interrupt:
        on_interrupt(interrupt)
        if not wait_on:
            raise
        _await(kept, done)
        if kept[0].future.exception() is None:
            _await(*_start_aside(partial(_undo, undo, kept[0].future.result(), interrupt)))
        raise
    raise error


def start_aside(work: Callable[[], T]) -> Future[T]:
    """Run work in a thread of its own, where no signal handler runs, and return its future.

    Where no thread can be had the work is done here and now.
    """
    call = Call(work)
    try:
        # Not by threading.Thread, whose start an interrupt can leave half-done.
        _thread.start_new_thread(call, ())
    except RuntimeError:  # There are too many, or the interpreter shuts down.
        call()
    return call.future


def _start_aside(work: Callable[[], T]) -> tuple[list[Call[T]], SimpleQueue[None]]:
    """Start work in another thread; return where it is kept once it is done, and what tells of that."""
    kept: list[Call[T]] = []
    done: SimpleQueue[None] = SimpleQueue()
    call = Call(work)

    def run() -> None:
        call()
        kept.append(call)
        done.put(None)

    start_aside(run)
    return kept, done


def _await(kept: Sequence[object], done: SimpleQueue[None]) -> None:
    """Wait until work is kept. An interrupt may come between any two lines, so the list decides, and not the queue."""
    while not kept:
        with contextlib.suppress(Empty):
            done.get(timeout=_GLANCE_S)


def _undo(undo: Callable[[T], Iterable[str]], value: T, interrupt: BaseException) -> None:
    for note in undo(value):
        interrupt.add_note(note)


class Errand(Generic[T]):
    """Work for somebody who may be gone when it is done; then what it made is undone, in its own thread."""

    def __init__(self, work: Callable[[], T], undo: Callable[[T], object]) -> None:
        self._work = work
        self._undo = undo
        # Whoever takes it first decides: the one who is done, or the one who is gone.
        self._token = threading.Lock()
        self._made: list[T] = []

    def run(self) -> T:
        """Do the work."""
        result = self._work()
        self._made.append(result)
        if not self._token.acquire(blocking=False):
            self._undo(result)
        return result

    def leave(self) -> bool:
        """Say that nobody takes the result; return ``True`` where it is there already, and has to be undone."""
        return not self._token.acquire(blocking=False)

    def undo(self) -> None:
        """Undo what was done before somebody was gone."""
        for result in self._made:
            self._undo(result)


class Fanout:
    """Runs calls at the same time: one in the caller's own thread, the others in a bounded pool.

    What no thread of the pool has begun when the caller is done with its own call, the caller makes itself: a full
    pool, or one that can't start threads any more, makes calls slower and never lost. Thread-safe; a forked child
    starts a pool of its own.
    """

    def __init__(self, max_workers: int, name: str) -> None:
        self._max_workers = max_workers
        self._name = name
        self._lock = threading.RLock()
        self._pool: ThreadPoolExecutor | None = None
        reset_after_fork(self._after_fork)

    def together(self, calls: Sequence[Callable[[], T]]) -> list[Outcome[T]]:
        """Make all the calls at the same time and return how each ended, in their order.

        An interrupt leaves the calls that have begun running to their ends, and is raised after that: whoever cleans up
        must not race with calls that still create things. A second interrupt doesn't wait.
        """
        batch = [Call(partial(Outcome.of, call)) for call in calls]
        try:
            for call in batch[1:]:
                self._submit(call)
            for call in batch:
                call()
            wait(call.future for call in batch)
        except BaseException:
            # Not known from what was submitted: an interrupt may have come between that and its return.
            wait([call.future for call in batch if not call.skip()])
            raise
        return [call.future.result() for call in batch]

    def _after_fork(self) -> None:
        """Forget the parent's threads."""
        self._lock = threading.RLock()
        self._pool = None

    def close(self) -> None:
        """Let the threads end."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def _submit(self, call: Callable[[], Any]) -> None:
        """Hand a call to the pool, if it takes it: while the interpreter shuts down no thread can be had."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._max_workers, self._name)
            pool = self._pool
        # Where that fails, the caller makes the call itself.
        hand_over(pool, call)
