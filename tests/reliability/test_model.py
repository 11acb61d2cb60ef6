"""Any history of issues, revocations, crashes, faults, clocks and reapers, against what really lives."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections import deque
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import pytest
from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dynsecrets import DynamicSecretConfig, DynsecretsError, Lease, MemoryLeaseStore, SQLiteLeaseStore
from dynsecrets.engine.manager import engine_of
from dynsecrets.model.backoff import LONGEST_BACKOFF
from dynsecrets.model.lifecycle import ABANDONED_AFTER, LeaseState
from dynsecrets.testing import FakeClock
from reliability import model
from reliability.model import (
    COLLECT,
    FAIL,
    INTERRUPT,
    KILL,
    OK,
    OVERTAKE,
    SLOW,
    Block,
    Killed,
    Process,
    Processes,
    ThirdParty,
    Trouble,
)
from support.crash_points import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dynsecrets import LeaseRecord, LeaseStore

#: What happens at the steps of one action; most often nothing does.
EVENTS: Final = st.lists(
    st.sampled_from([OK] * 8 + [FAIL, FAIL, INTERRUPT, SLOW, KILL, KILL, OVERTAKE, COLLECT]), max_size=12
)
#: Clocks that differ by so much are taken for the same.
GRACE: Final = timedelta(seconds=6)
#: How far local clocks are off at the most; AWS refuses what is off by more than a quarter of an hour.
FARTHEST_S: Final = 13 * 60
YEAR_S: Final = 365 * 24 * 3600
#: How long after its end a lease is called valid at the most, where a machine's monotonic clock stood still.
RESTORED: Final = timedelta(minutes=1, seconds=6)


@attrs.frozen
class Handed:
    """A lease that somebody got, and must be able to use until its end."""

    lease: Lease
    thing: str
    process: Process
    held: bool
    #: When, in seconds of the true time.
    at: float


class Leases(RuleBasedStateMachine):
    """Processes on one store, and a third party whose dictionary of what lives is the truth."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.clock = FakeClock()
        self.there = ThirdParty(self.clock)
        self.store = self.make_store()
        self.processes = Processes(self.patch, self.clock, self.store, self.there)
        self.handed: list[Handed] = []
        #: What somebody tried to revoke, whether or not that worked.
        self.unwanted: set[str] = set()
        #: Made by a process whose issue took so long that a reaper had closed its record, and which was then killed, or
        #: interrupted again while it cleaned up. That is more than the library can know of.
        self.lost: set[str] = set()

    def make_store(self) -> LeaseStore:
        """Return the store that all processes share."""
        return MemoryLeaseStore()

    @initialize(skew=st.sampled_from([0, 0, 3, -3, 400, -400]))
    def begin(self, skew: int) -> None:
        """Have the third party's clock be off."""
        self.there.skew = timedelta(seconds=skew)

    @rule(
        who=st.integers(0, 9),
        ttl=st.sampled_from(["1m", "10m", "1h"]),
        held=st.booleans(),
        name=st.integers(0, 1),
        events=EVENTS,
    )
    def issue(self, who: int, ttl: str, held: bool, name: int, events: list[str]) -> None:
        """Issue a lease."""
        process = self.one(who)
        config = DynamicSecretConfig("AWS_USER", process.integrations[name], wait=None)
        with self.trouble(process, events):
            lease = engine_of(process.manager).issue(config, config.ttl(ttl), wait=None, held=held)
            self.hand(process, lease, held=held)

    @rule(who=st.integers(0, 9), times=st.integers(1, 3), events=EVENTS)
    def enter(self, who: int, times: int, events: list[str]) -> None:
        """Enter blocks by the object that all blocks of a process share."""
        process = self.one(who)
        with self.trouble(process, events):
            for _ in range(times):
                self.enter_one(process)

    def enter_one(self, process: Process) -> None:
        """Enter a block."""
        generator = entered(process)
        lease = next(generator)
        process.blocks.append(Block(generator, lease, self.hand(process, lease, held=True)))

    @rule(who=st.integers(0, 9), which=st.integers(0, 9), elsewhere=st.booleans(), events=EVENTS)
    def leave(self, who: int, which: int, elsewhere: bool, events: list[str]) -> None:
        """Leave one of the open blocks, whichever was entered last, in the same thread or another."""
        process = self.one(who)
        if not process.blocks:
            return
        block = process.blocks[which % len(process.blocks)]
        with self.trouble(process, events):
            if elsewhere:
                in_thread(lambda: process.leave(block))
            else:
                process.leave(block)
            assert block.thing not in self.there.live

    @rule(who=st.integers(0, 9), name=st.integers(0, 1), after=st.sampled_from([0, 700]), events=EVENTS)
    def sweep(self, who: int, name: int, after: int, events: list[str]) -> None:
        """Delete what no record knows and is no longer young, looked for by one of the names that the account has."""
        self.clock.leap(after)
        process = self.one(who)
        with self.trouble(process, events):
            process.manager.sweep_orphans(process.integrations[name], dry_run=False)

    @rule(who=st.integers(0, 9), which=st.integers(0, 99), by_id=st.booleans(), events=EVENTS)
    def revoke(self, who: int, which: int, by_id: bool, events: list[str]) -> None:
        """Revoke a lease, by itself in its process, or by its id in any."""
        if not self.handed:
            return
        handed = self.handed[which % len(self.handed)]
        process = self.one(who) if by_id or handed.process.dead else handed.process
        self.unwanted.add(handed.thing)
        with self.trouble(process, events):
            if process is handed.process and not by_id:
                handed.lease.revoke()
            else:
                process.manager.revoke(handed.lease.id)
            # When a call returns the thing is gone, whatever happened on the way.
            assert handed.thing not in self.there.live

    @rule(who=st.integers(0, 9), events=EVENTS, limit=st.sampled_from([None, None, 1]))
    def reap(self, who: int, events: list[str], limit: int | None) -> None:
        """Reap; without trouble on the way nothing is left that should not be."""
        process = self.one(who)
        with self.trouble(process, events):
            process.manager.reap(integrations=process.integrations, limit=limit)
        if limit is None and not set(events) - {OK} and self.goes_right(process):
            self.assert_reaped(process)

    @rule(seconds=st.sampled_from([1, 10, 61, 130, 700]), who=st.integers(0, 9), events=EVENTS)
    def wait(self, seconds: int, who: int, events: list[str]) -> None:
        """Let time go by, and all processes do what they have planned; one of them meets trouble."""
        self.clock.leap(seconds)
        troubled = self.one(who)
        for process in list(self.processes.all):
            if not process.dead:
                with self.trouble(process, events if process is troubled else []):
                    self.processes.scheduler(process).run_due()

    @rule(host=st.integers(0, 2), seconds=st.sampled_from([-YEAR_S, -600, -300, -7, 7, 300, 600, YEAR_S]))
    def set_clock(self, host: int, seconds: int) -> None:
        """Set the clock of a host: that of the first one is never more wrong than AWS bears."""
        clock = self.processes.hosts[host]
        wrong = clock.wrong.total_seconds() + seconds
        if abs(wrong - self.there.skew.total_seconds()) <= (FARTHEST_S if host == 0 else YEAR_S + FARTHEST_S):
            clock.set(seconds)

    @rule(host=st.integers(0, 2), seconds=st.sampled_from([61, 700, 7000]))
    def restore(self, host: int, seconds: int) -> None:
        """Let time go by of which a host's monotonic clock doesn't know, and nobody does what he has planned."""
        self.processes.hosts[host].restore(seconds)

    @rule(who=st.integers(0, 9))
    def crash(self, who: int) -> None:
        """Kill a process that is doing nothing."""
        self.kill(self.one(who))

    @rule(host=st.integers(0, 2))
    def start(self, host: int) -> None:
        """Start a process on a host."""
        if len(self.processes.alive) < 4:
            self.processes.start(host)

    @invariant()
    def what_lives_is_known(self) -> None:
        """Whatever lives is named by a record that is not closed, or is tried again by who could not write one."""
        named = {record.handle["thing"] for record in self.store.records() if record.live}
        for process in self.processes.all:
            if not process.dead:
                entries = engine_of(process.manager).state.leases.all()
                named |= {entry.record.handle["thing"] for entry in entries if entry.late}
        assert set(self.there.live) - self.lost <= named

    @invariant()
    def what_was_handed_out_lives(self) -> None:
        """Nobody's lease is taken away early."""
        unwanted = self.unwanted.union(*(process.unwanted for process in self.processes.all))
        for handed in self.handed:
            over = handed.lease.expires_at - GRACE <= self.there.now()
            if not (over or handed.thing in unwanted or (handed.held and handed.process.dead)):
                assert handed.thing in self.there.live

    @invariant()
    def what_is_over_is_not_called_valid(self) -> None:
        """No process calls a lease valid that is over, unless its clock was set back to hide that."""
        for handed in self.handed:
            clock = handed.process.clock
            if not handed.process.dead and clock.set_back_at < handed.at and handed.lease.is_valid():
                assert self.there.now() < handed.lease.expires_at + RESTORED

    def teardown(self) -> None:
        """Kill all; whoever comes next leaves what is still wanted, and in the end nothing."""
        try:
            for process in self.processes.all:
                self.kill(process)
            last = self.processes.start()
            self.processes.current = last
            last.manager.reap(integrations=last.integrations)
            self.assert_reaped(last)
            self.clock.leap(3600)
            report = last.manager.reap(integrations=last.integrations)
            assert not report.failed
            # What was given up while its process might go on is looked for once more, ten minutes later.
            self.clock.leap(700)
            report = last.manager.reap(integrations=last.integrations)
            assert not report.failed
            left = [record for record in self.store.records() if record.live and not self.is_dated_ahead(record)]
            assert not left, f"at {self.there.now()} there is still {left}"
            ahead = {record.handle["thing"] for record in self.store.records() if self.is_dated_ahead(record)}
            assert set(self.there.live) <= self.lost | ahead
        finally:
            self.store.close()
            self.patch.undo()

    def one(self, who: int) -> Process:
        """Return a process that lives."""
        living = self.processes.alive
        return living[who % len(living)]

    def hand(self, process: Process, lease: Lease, *, held: bool) -> str:
        """Note that somebody got a lease; return the thing that it stands for."""
        thing = process.made[-1]
        self.handed.append(Handed(lease, thing, process, held, self.clock.steady()))
        return thing

    def goes_right(self, process: Process) -> bool:
        """Tell whether the clock of a process is as right as AWS bears: another may find nothing, and harms nobody."""
        return abs((process.clock.now() - self.there.now()).total_seconds()) <= FARTHEST_S

    @contextlib.contextmanager
    def trouble(self, process: Process, events: list[str]) -> Iterator[None]:
        """Have things happen at the next steps of a process; swallow what may come of that."""
        process.events = deque(events)
        try:
            with self.processes.being(process):
                yield
        except (DynsecretsError, Trouble, KeyboardInterrupt, Killed) as error:
            note(f"{type(error).__name__}: {error}")
        finally:
            process.events.clear()
        if process.dead or INTERRUPT in events:
            self.note_lost(process)

    def kill(self, process: Process) -> None:
        """Kill a process."""
        process.dead = True
        self.note_lost(process)

    def note_lost(self, process: Process) -> None:
        """Remember what a process made after its record was closed."""
        closed = {record.handle["thing"] for record in self.store.records() if not record.live}
        self.lost |= closed & set(process.made) & set(self.there.live)

    def assert_reaped(self, reaper: Process) -> None:
        """Fail where something lives that nobody has a right to, as a reaper on one of the hosts can know."""
        records = {record.handle["thing"]: record for record in self.store.records() if record.live}
        gone = {
            str(process.owner)
            for process in self.processes.all
            if process.dead and process.owner.place == reaper.owner.place
        }
        for thing, expires_at in self.there.live.items():
            if thing in self.lost or thing not in records or self.is_busy(records[thing], gone):
                continue
            record = records[thing]
            assert record.state is LeaseState.ACTIVE, f"at {self.there.now()} nobody has gone on with {record}"
            assert expires_at + GRACE > self.there.now(), f"at {self.there.now()} what is over lives: {record}"
            assert not (record.held and record.owner in gone), "what belonged to a dead process lives"

    def is_dated_ahead(self, record: LeaseRecord) -> bool:
        """Tell whether an issue began by a clock that was so far ahead that other hosts don't look at it before.

        That is a process's first issue alone: from then on it knows the time of the third party.
        """
        ahead = record.created_at - self.there.now()
        return record.state is LeaseState.PENDING and ahead > timedelta(seconds=FARTHEST_S)

    def is_busy(self, record: LeaseRecord, gone: set[str]) -> bool:
        """Tell whether a lease is left alone for now: another process seems to be at work on it, or will be."""
        now = self.there.now()
        if record.process in gone:
            return False
        if record.state is LeaseState.PENDING:
            return record.created_at > now - ABANDONED_AFTER - timedelta(seconds=FARTHEST_S)
        if record.is_claimed(now - GRACE):
            return True
        if record.waits and not record.is_due(now - GRACE):
            # Given up while its process might go on, and looked for once more then.
            return True
        # Planned by a clock that was ahead, and was set back since.
        latest = max(now, *(host.now() for host in self.processes.hosts)) + LONGEST_BACKOFF
        return record.next_attempt_at is not None and record.next_attempt_at > latest


def entered(process: Process) -> Iterator[Lease]:
    """Hold a block open that was entered by the object that all share."""
    with process.shared as leased:
        yield leased


def in_thread(work: Callable[[], object]) -> None:
    """Do something in another thread, and wait for it; what it raises is raised here."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


@pytest.fixture(autouse=True)
def counted(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """Say how many steps the processes of a test's histories took."""
    before = model.steps.total()
    yield
    record_property(STEPS, model.steps.total() - before)


class LeasesInSQLite(Leases):
    """The same on a file."""

    def make_store(self) -> LeaseStore:
        """Return a store on a new file."""
        self.folder = tempfile.TemporaryDirectory()
        return SQLiteLeaseStore(Path(self.folder.name) / "leases.db")

    def teardown(self) -> None:
        """Remove the file, too."""
        super().teardown()
        self.folder.cleanup()


TestInMemory = Leases.TestCase
TestInMemory.settings = settings(max_examples=400, stateful_step_count=40)
TestInSQLite = LeasesInSQLite.TestCase
TestInSQLite.settings = settings(max_examples=40, stateful_step_count=30)
