"""The background thread: what runs when, what is forgotten, and what happens at the end and in a forked child."""

from __future__ import annotations

import gc
import logging
import os
import queue
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsecrets.clock import SYSTEM_CLOCK
from dynsecrets.engine.scheduler import _FEW, Scheduler
from dynsecrets.testing import FakeClock
from support.fakes import PATIENCE_S, until_waiting
from support.forking import in_child, needs_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Plans and submits when no thread can be started any more, and leaves a job behind that is never due.
AT_EXIT = """
import atexit
from dynsecrets.clock import SYSTEM_CLOCK
from dynsecrets.engine.scheduler import Scheduler

def at_exit():
    for scheduler in (used, fresh):
        scheduler.call_at(SYSTEM_CLOCK.steady(), int)
        print(scheduler.submit(lambda: "done").result())
        scheduler.close()

used, fresh = Scheduler(SYSTEM_CLOCK, 2), Scheduler(SYSTEM_CLOCK, 2)
used.call_at(SYSTEM_CLOCK.steady() + 3600, int)
used.submit(int).result()
atexit.register(at_exit)
"""


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def scheduler(clock: FakeClock) -> Iterator[Scheduler]:
    """A scheduler with one worker, so that jobs run one after the other."""
    scheduler = Scheduler(clock, 1)
    yield scheduler
    scheduler.close()


class Ran:
    """What has run, in its order."""

    def __init__(self) -> None:
        self._names: queue.Queue[object] = queue.Queue()

    def job(self, name: object) -> Callable[[], None]:
        """Return an action that notes its name."""
        return lambda: self._names.put(name)

    def next(self, count: int = 1) -> list[object]:
        """Return the names of the next jobs, when they have run."""
        return [self._names.get(timeout=PATIENCE_S) for _ in range(count)]

    def nothing(self) -> bool:
        """Tell whether nothing more has run."""
        return self._names.empty()


@pytest.fixture
def ran() -> Ran:
    """What has run."""
    return Ran()


def threads() -> list[threading.Thread]:
    """Return all schedulers' threads; asked for in forked children, where there are none of other tests."""
    return [thread for thread in threading.enumerate() if thread.name == "dynsecrets-clock"]


class TestTimes:
    """When jobs run."""

    def test_jobs_run_in_the_order_of_their_times(self, scheduler: Scheduler, clock: FakeClock, ran: Ran) -> None:
        """Jobs run by their times, not in the order in which they were planned."""
        for at in (30, 10, 20):
            scheduler.call_at(at, ran.job(at))

        clock.leap(100)

        assert ran.next(3) == [10, 20, 30]

    def test_jobs_of_one_time_run_in_the_order_of_their_planning(
        self, scheduler: Scheduler, clock: FakeClock, ran: Ran
    ) -> None:
        """Of jobs at the same time the one planned first runs first."""
        for number in range(20):
            scheduler.call_at(5, ran.job(number))

        clock.leap(5)

        assert ran.next(20) == list(range(20))

    def test_no_job_runs_before_its_time(self, scheduler: Scheduler, clock: FakeClock, ran: Ran) -> None:
        """A job runs when its time has come, not a moment before."""
        scheduler.call_at(10, ran.job("job"))
        until_waiting(clock)
        clock.leap(9.999)
        until_waiting(clock)
        early = not ran.nothing()
        clock.leap(0.001)

        assert not early
        assert ran.next() == ["job"]

    def test_what_is_overdue_runs_at_once(self, scheduler: Scheduler, clock: FakeClock, ran: Ran) -> None:
        """A time that has passed is now."""
        clock.leap(100)
        scheduler.call_at(1, ran.job("job"))

        assert ran.next() == ["job"]

    def test_an_earlier_job_wakes_the_thread(self, scheduler: Scheduler, clock: FakeClock, ran: Ran) -> None:
        """A thread that waits for a late job learns of one that is due before it."""
        scheduler.call_at(3_600, ran.job("late"))
        until_waiting(clock)
        scheduler.call_at(5, ran.job("early"))
        clock.leap(5)

        assert ran.next() == ["early"]
        assert ran.nothing()

    def test_jobs_can_plan_jobs(self, scheduler: Scheduler, clock: FakeClock, ran: Ran) -> None:
        """A job may plan the next one; no lock is held while it runs."""
        scheduler.call_at(1, lambda: scheduler.call_at(2, ran.job("second")))
        clock.leap(2)

        assert ran.next() == ["second"]

    def test_a_jumping_wall_clock_changes_nothing(self, scheduler: Scheduler, clock: FakeClock, ran: Ran) -> None:
        """Jobs follow the steady clock."""
        scheduler.call_at(10, ran.job("job"))
        until_waiting(clock)
        clock.jump_wall(100_000)
        until_waiting(clock)

        assert ran.nothing()

    def test_it_can_be_woken(self, scheduler: Scheduler, clock: FakeClock, ran: Ran) -> None:
        """A clock that went further than it let the waiting thread know is read again when asked to."""
        scheduler.call_at(10, ran.job("job"))
        until_waiting(clock)
        clock._steady = 10
        scheduler.wake()

        assert ran.next() == ["job"]

    def test_on_the_systems_clock(self, ran: Ran) -> None:
        """With the machine's own clock a job runs when its time has really come."""
        scheduler = Scheduler(SYSTEM_CLOCK, 1)
        at = SYSTEM_CLOCK.steady() + 0.02

        def note() -> None:
            ran.job(SYSTEM_CLOCK.steady() >= at)()

        scheduler.call_at(at, note)

        assert ran.next() == [True]
        scheduler.close()

    @settings(max_examples=25)
    @given(st.lists(st.tuples(st.integers(1, 50), st.booleans()), max_size=30))
    def test_any_plan(self, plan: list[tuple[int, bool]]) -> None:
        """Of any plan exactly the jobs that were not cancelled run, in the order of their times and planning."""
        clock, ran = FakeClock(), Ran()
        scheduler = Scheduler(clock, 1)
        jobs = [scheduler.call_at(at, ran.job((at, number))) for number, (at, _) in enumerate(plan)]
        for job, (_, cancelled) in zip(jobs, plan, strict=True):
            if cancelled:
                scheduler.cancel(job)
        expected = sorted((at, number) for number, (at, cancelled) in enumerate(plan) if not cancelled)

        clock.leap(50)
        happened = ran.next(len(expected))
        scheduler.close()

        assert happened == expected
        assert ran.nothing()


class TestCancelling:
    """Jobs that are not to run."""

    def test_a_cancelled_job_does_not_run(self, scheduler: Scheduler, clock: FakeClock, ran: Ran) -> None:
        """What is cancelled is passed over, the rest runs; cancelling twice is fine."""
        cancelled = scheduler.call_at(1, ran.job("cancelled"))
        scheduler.call_at(2, ran.job("kept"))
        scheduler.cancel(cancelled)
        scheduler.cancel(cancelled)

        clock.leap(5)

        assert ran.next() == ["kept"]

    def test_a_job_that_ran_can_be_cancelled(self, scheduler: Scheduler, clock: FakeClock, ran: Ran) -> None:
        """Cancelling what has run changes nothing."""
        job = scheduler.call_at(1, ran.job("first"))
        clock.leap(1)
        ran.next()
        scheduler.cancel(job)
        scheduler.call_at(1, ran.job("second"))

        assert ran.next() == ["second"]

    def test_a_cancelled_action_is_let_go_of(self, scheduler: Scheduler) -> None:
        """What a cancelled job held is free at once, though its time is far off."""

        class Held:
            def __call__(self) -> None:
                """Do nothing."""

        held = Held()
        there = weakref.ref(held)
        scheduler.cancel(scheduler.call_at(3_600, held))
        del held
        gc.collect()

        assert there() is None

    def test_many_cancelled_jobs_do_not_fill_the_queue(self, scheduler: Scheduler, clock: FakeClock, ran: Ran) -> None:
        """A service that leases and revokes for days keeps no more than a few times what is planned."""
        scheduler.call_at(20_000, ran.job("kept"))
        longest = 0
        for number in range(10_000):
            scheduler.cancel(scheduler.call_at(10_000 + number, ran.job("cancelled")))
            longest = max(longest, len(scheduler._jobs))

        clock.leap(30_000)

        assert longest <= 2 * _FEW + 3
        assert ran.next() == ["kept"]
        assert ran.nothing()


class TestWork:
    """What the pool does."""

    def test_what_a_job_raises_is_logged(
        self, scheduler: Scheduler, clock: FakeClock, ran: Ran, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A job that fails is logged with its error, and the next one runs."""

        def fail() -> None:
            raise ValueError("it failed")

        scheduler.call_at(1, fail)
        scheduler.call_at(2, ran.job("next"))
        clock.leap(2)

        assert ran.next() == ["next"]
        (record,) = [record for record in caplog.records if record.name == "dynsecrets"]
        assert (record.levelno, record.getMessage()) == (logging.ERROR, "A background job failed")
        assert record.exc_info is not None
        assert str(record.exc_info[1]) == "it failed"

    def test_jobs_run_at_the_same_time(self, clock: FakeClock) -> None:
        """As many jobs as there are workers run together; a slow one holds up nobody."""
        scheduler, barrier = Scheduler(clock, 3), threading.Barrier(4)
        for _ in range(3):
            scheduler.call_at(1, lambda: barrier.wait(PATIENCE_S))
        clock.leap(1)

        barrier.wait(PATIENCE_S)

        scheduler.close()

    def test_submitted_work_has_a_result_or_an_error(self, scheduler: Scheduler) -> None:
        """Work for the pool is answered by a future."""
        assert scheduler.submit(lambda: 42).result(PATIENCE_S) == 42
        assert isinstance(scheduler.submit(lambda: 1 // 0).exception(PATIENCE_S), ZeroDivisionError)

    def test_what_no_thread_can_be_had_for_is_done_once(
        self, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where no thread can be started the caller does it, and a thread that is free later doesn't do it again."""
        scheduler = Scheduler(clock, 2)
        busy, gate = threading.Event(), threading.Event()

        def occupy() -> None:
            busy.set()
            gate.wait(PATIENCE_S)

        scheduler.submit(occupy)
        assert busy.wait(PATIENCE_S)
        ran: list[int] = []

        def refuse(_thread: threading.Thread) -> None:
            raise RuntimeError

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            scheduler.submit(lambda: ran.append(threading.get_ident()))
        gate.set()
        scheduler.close()

        assert ran == [threading.get_ident()]


class TestThread:
    """The one thread."""

    def test_it_starts_with_the_first_job(self, clock: FakeClock) -> None:
        """A scheduler without jobs has no thread; with jobs it has one, a daemon; after closing it has none."""
        scheduler = Scheduler(clock, 1)
        scheduler.submit(int).result(PATIENCE_S)
        before = scheduler._thread
        scheduler.call_at(1, int)
        first = scheduler._thread
        scheduler.call_at(2, int)
        running = scheduler._thread
        scheduler.close()

        assert before is None
        assert running is first
        assert running is not None
        assert running.daemon
        assert running.name == "dynsecrets-clock"
        assert not running.is_alive()
        assert scheduler._thread is None

    def test_closing_forgets_what_is_planned(self, scheduler: Scheduler, clock: FakeClock, ran: Ran) -> None:
        """After closing, planned jobs never run, and new ones are not taken; closing twice is fine."""
        scheduler.call_at(1, ran.job("planned"))
        running = scheduler._thread
        scheduler.close()
        scheduler.close()
        scheduler.call_at(0, ran.job("late"))
        clock.leap(10)

        assert running is not None
        assert not running.is_alive()
        assert scheduler._thread is None
        assert ran.nothing()

    def test_closing_waits_for_what_runs(self, scheduler: Scheduler, clock: FakeClock) -> None:
        """A job that has begun is over when ``close`` returns."""
        begun, go_on = threading.Event(), threading.Event()
        ended: list[str] = []

        def work() -> None:
            begun.set()
            go_on.wait(PATIENCE_S)
            ended.append("work")

        def close() -> None:
            scheduler.close()
            ended.append("close")

        scheduler.call_at(0, work)
        begun.wait(PATIENCE_S)
        closer = threading.Thread(target=close)
        closer.start()
        go_on.set()
        closer.join(PATIENCE_S)

        assert ended == ["work", "close"]

    def test_a_job_can_close_its_scheduler(self, scheduler: Scheduler, clock: FakeClock) -> None:
        """A job that closes the scheduler that runs it waits for the others, not for itself."""
        errors: queue.Queue[BaseException | None] = queue.Queue()

        def close() -> None:
            try:
                scheduler.close()
            except BaseException as error:  # The test is to see it, whatever it is.
                errors.put(error)
            else:
                errors.put(None)

        scheduler.call_at(0, close)

        assert errors.get(timeout=PATIENCE_S) is None

    def test_work_after_closing_is_done_by_the_caller(self, scheduler: Scheduler) -> None:
        """A closed scheduler still does what it is asked to, in the caller's thread, and keeps errors in the future."""
        scheduler.close()

        assert scheduler.submit(threading.get_ident).result() == threading.get_ident()
        assert isinstance(scheduler.submit(lambda: 1 // 0).exception(), ZeroDivisionError)

    def test_it_works_while_the_interpreter_ends(self) -> None:
        """At the end of the interpreter nothing hangs or prints, and work is done by the caller."""
        done = subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True, check=False, timeout=120)

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.split() == ["done", "done"]


@needs_fork
class TestFork:
    """A forked child."""

    def test_it_begins_with_an_empty_queue_and_works(self, scheduler: Scheduler, clock: FakeClock, ran: Ran) -> None:
        """What the parent planned is the parent's; the child's own jobs run in the child."""
        scheduler.call_at(5, ran.job("the parent's"))
        scheduler.submit(int).result(PATIENCE_S)
        until_waiting(clock)

        def child() -> Any:
            planned, running = len(scheduler._jobs), threads()
            of_child = Ran()
            scheduler.call_at(0, of_child.job(os.getpid()))
            (pid,) = of_child.next()
            work = scheduler.submit(lambda: "done").result(PATIENCE_S)
            scheduler.close()
            return planned, running, pid != os.getppid(), work

        in_the_child = in_child(child)
        clock.leap(5)

        assert in_the_child == (0, [], True, "done")
        assert ran.next() == ["the parent's"]

    def test_no_lock_of_the_parent_is_left_behind(self, scheduler: Scheduler) -> None:
        """A child that was forked while the parent planned can plan all the same."""
        with scheduler._condition:
            at = in_child(lambda: scheduler.call_at(7, int).at)

        assert at == 7

    def test_a_closed_scheduler_stays_closed(self, scheduler: Scheduler, clock: FakeClock) -> None:
        """A child of a process that had closed it takes no jobs either."""
        scheduler.close()

        def child() -> int:
            scheduler.call_at(0, int)
            return len(scheduler._jobs) + len(threads())

        assert in_child(child) == 0
