"""Calls at the same time: their order, their errors, interrupts, forks and the end of the interpreter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import wait
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets._internal.concurrency import (
    Call,
    Errand,
    Fanout,
    Outcome,
    all_or_none,
    past_failures,
    run_all,
    run_aside,
)
from support.fakes import PATIENCE_S
from support.forking import in_child, needs_fork
from support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: Fans out when no thread can be started any more: with a pool that was used before, and with a new one.
AT_EXIT = """
import atexit
from dynsecrets._internal.concurrency import Fanout

def at_exit():
    for fanout in (used, fresh):
        print([outcome.value for outcome in fanout.together([lambda n=n: n for n in range(4)])])

used, fresh = Fanout(2, "used"), Fanout(2, "fresh")
atexit.register(at_exit)
used.together([lambda: 1, lambda: 2])
"""


@pytest.fixture
def fanout() -> Iterator[Fanout]:
    """A fan-out of at most four threads beside the caller's."""
    fanout = Fanout(4, "test-fanout")
    yield fanout
    fanout.close()


def values(outcomes: Sequence[Outcome[Any]]) -> list[Any]:
    """Return what calls returned."""
    return [outcome.value for outcome in outcomes]


def raiser(error: BaseException) -> Callable[[], None]:
    """Return a call that raises."""

    def call() -> None:
        raise error

    return call


@pytest.mark.parametrize("count", [0, 1, 2, 5, 40])
def test_outcomes_are_in_the_order_of_the_calls(fanout: Fanout, count: int) -> None:
    """However many calls there are, more than threads too, each outcome stands where its call stood."""
    outcomes = fanout.together([lambda number=number: number * number for number in range(count)])  # type: ignore[misc]

    assert values(outcomes) == [number * number for number in range(count)]
    assert all(outcome.error is None for outcome in outcomes)


def test_calls_are_made_at_the_same_time(fanout: Fanout) -> None:
    """Each call can wait for all the others, and the first is made in the caller's own thread."""
    barrier = threading.Barrier(5)

    def meet() -> int:
        barrier.wait(PATIENCE_S)
        return threading.get_ident()

    threads = values(fanout.together([meet] * 5))

    assert threads[0] == threading.get_ident()
    assert len(set(threads)) == 5


def test_one_call_needs_no_thread(fanout: Fanout) -> None:
    """A lone call is made here, and no pool is started for it."""
    fanout.together([lambda: None])

    assert fanout._pool is None


def test_errors_are_kept_with_their_calls(fanout: Fanout) -> None:
    """A call that fails stops none of the others; its very exception is its outcome."""
    errors = [ValueError("first"), OSError("second")]

    outcomes = fanout.together([raiser(errors[0]), lambda: None, raiser(errors[1])])

    assert [outcome.error for outcome in outcomes] == [errors[0], None, errors[1]]


def test_threads_share_a_fanout(fanout: Fanout) -> None:
    """Many threads can fan out at once on one small pool, and each gets its own outcomes."""
    results: dict[int, list[Any]] = {}
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait(PATIENCE_S)
        results[number] = values(fanout.together([lambda part=part: (number, part) for part in range(6)]))  # type: ignore[misc]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)

    assert results == {number: [(number, part) for part in range(6)] for number in range(8)}


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_of_a_call_goes_through(fanout: Fanout, place: int, error: type[BaseException]) -> None:
    """What is no ``Exception`` is raised from wherever it came, after all other calls have ended."""
    ended: list[int] = []
    calls: list[Callable[[], object]] = [lambda number=number: ended.append(number) for number in range(3)]  # type: ignore[misc]
    calls[place] = raiser(error())

    with pytest.raises(error):
        fanout.together(calls)

    assert sorted(ended) == [number for number in range(3) if number != place]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent between threads")
def test_an_interrupt_of_the_caller_waits_for_all_calls(fanout: Fanout) -> None:
    """Ctrl-C is raised only when no call runs any more: whoever cleans up then must not race with them."""
    begun, interrupted, over = threading.Event(), threading.Event(), threading.Event()
    main = threading.get_ident()

    def interrupt(number: int, frame: object) -> None:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    def send() -> None:
        assert begun.wait(PATIENCE_S)
        while not interrupted.wait(0.01):
            # Again, since a signal that comes just before the main thread begins to wait doesn't end the wait.
            signal.pthread_kill(main, signal.SIGINT)

    def outlast() -> None:
        begun.set()
        assert interrupted.wait(PATIENCE_S)
        raced.append(over.wait(0.1))

    raced: list[bool] = []
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            fanout.together([lambda: begun.wait(PATIENCE_S), send, outlast])
    finally:
        over.set()
        signal.signal(signal.SIGINT, before)

    assert raced == [False]


def test_it_can_be_used_after_closing(fanout: Fanout) -> None:
    """Closing lets the threads end; the next calls get new ones."""
    fanout.together([int, int])
    fanout.close()
    fanout.close()

    assert values(fanout.together([lambda: 1, lambda: 2])) == [1, 2]


def test_no_call_is_made_twice(fanout: Fanout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that the pool kept though it could not start a thread is not made again when it can."""
    made: list[str] = []

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        fanout.together([lambda: made.append("a"), lambda: made.append("b")])
    fanout.together([lambda: made.append("c"), lambda: made.append("d")])
    assert fanout._pool is not None
    fanout._pool.shutdown()

    assert sorted(made) == ["a", "b", "c", "d"]


def test_calls_that_fan_out_themselves(fanout: Fanout) -> None:
    """However deep calls fan out, no full pool waits for itself."""

    def spread(depth: int) -> int:
        return sum(values(fanout.together([lambda: spread(depth - 1)] * 4))) if depth else 1

    assert spread(4) == 256


def test_calls_without_a_thread_are_made_here(fanout: Fanout) -> None:
    """Where the pool takes nothing any more the calls are made one after the other."""
    fanout.together([int, int])
    assert fanout._pool is not None
    fanout._pool.shutdown()

    assert values(fanout.together([threading.get_ident] * 3)) == [threading.get_ident()] * 3


@needs_fork
def test_a_forked_child_has_threads_of_its_own(fanout: Fanout) -> None:
    """A child can fan out though the parent's threads are not there, nor free its lock, and the parent can go on."""
    fanout.together([int, int])

    with fanout._lock:
        in_the_child = in_child(lambda: values(fanout.together([os.getpid] * 3)))

    assert len(set(in_the_child)) == 1
    assert in_the_child[0] != os.getpid()
    assert values(fanout.together([os.getpid] * 3)) == [os.getpid()] * 3


def test_it_works_while_the_interpreter_ends() -> None:
    """In a function of ``atexit``, when no thread can be had any more, the calls are made all the same."""
    done = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True, check=False, timeout=120)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["[0, 1, 2, 3]", "[0, 1, 2, 3]"]


class Pool:
    """Workers of a test's own: some threads, or none that ever begins anything."""

    def __init__(self, *, works: bool = True, worker: bool = False) -> None:
        self.calls: list[Any] = []
        self._works = works
        self._worker = worker

    def submit(self, action: Any) -> Any:
        """Run an action in a thread of its own, or keep it."""
        self.calls.append(action)
        if self._works:
            threading.Thread(target=action, daemon=True).start()

    def in_worker(self) -> bool:
        """Tell what the test says."""
        return self._worker


def test_a_call_is_made_once() -> None:
    """Whoever comes first makes it; those who come later find it done."""
    made: list[int] = []
    call = Call(lambda: made.append(1))

    call()
    call()

    assert (made, call.skip(), call.future.done()) == ([1], False, True)


def test_a_skipped_call_is_never_made_and_nobody_waits_for_it() -> None:
    """What was skipped before it began is cancelled, for those too who wait for it already."""
    made: list[int] = []
    call = Call(lambda: made.append(1))

    assert call.skip()
    call()

    assert made == []
    assert wait([call.future], PATIENCE_S).done == {call.future}
    assert call.future.cancelled()


def test_a_worker_makes_what_no_other_worker_has_begun() -> None:
    """Where the others have no time, or wait like this one, it needs nobody."""
    futures = run_all(Pool(works=False, worker=True), [lambda: 1, lambda: 2])

    assert [future.result(0) for future in futures] == [1, 2]


def test_failures_are_kept_by_their_keys() -> None:
    """All are done, and what failed is told with its error, in the order of what was asked for."""
    error, other = ValueError("first"), OSError("second")
    done: list[int] = []

    failed = past_failures(Pool(), {"a": raiser(error), "b": lambda: done.append(1), "c": raiser(other)})

    assert (list(failed.items()), done) == ([("a", error), ("c", other)], [1])


def test_all_or_none_gives_all() -> None:
    """Where nothing fails, everything is returned by its key, in order."""
    undone: list[int] = []

    made = all_or_none(Pool(), {name: partial(int, name) for name in "321"}, undone.append)

    assert (list(made.items()), undone) == ([("3", 3), ("2", 2), ("1", 1)], [])


def test_all_or_none_undoes_what_was_made() -> None:
    """The first error is raised; what can't be undone is a note of it."""
    met = threading.Barrier(3, timeout=PATIENCE_S)
    undone: list[int] = []

    def make(number: int) -> int:
        met.wait()
        if number == 2:
            wait_until(lambda: met.n_waiting == 0, "the others are past the barrier")
            raise ValueError("no more")
        return number

    def undo(number: int) -> None:
        undone.append(number)
        raise OSError(f"can't undo {number}")

    with pytest.raises(ValueError, match="no more") as caught:
        all_or_none(Pool(), {number: partial(make, number) for number in range(3)}, undo)

    assert sorted(undone) == [0, 1]
    assert sorted(caught.value.__notes__) == ["can't undo 0", "can't undo 1"]


def test_work_aside_raises_its_own_error() -> None:
    """An error of the work is raised as it is, and is not taken for an interrupt."""
    interrupts: list[BaseException] = []

    with pytest.raises(SystemExit, match="mine"):
        run_aside(raiser(SystemExit("mine")), on_interrupt=interrupts.append)

    assert interrupts == []


def test_work_for_somebody_gone_is_undone_where_it_was_done() -> None:
    """Whoever leaves before the end has it undone by the worker; after the end, it is told to undo it."""
    undone: list[str] = []
    early = Errand(lambda: "early", undone.append)
    late = Errand(lambda: "late", undone.append)

    assert not early.leave()
    early.run()
    late.run()

    assert undone == ["early"]
    assert late.leave()
    late.undo()
    assert undone == ["early", "late"]
