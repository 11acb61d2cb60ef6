"""Any history of issues, revocations, crashes, faults, clocks and reapers, against what really lives."""

from __future__ import annotations

import contextlib
import tempfile
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
from reliability.model import FAIL, INTERRUPT, KILL, OK, OVERTAKE, SLOW, Killed, Process, Processes, ThirdParty, Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynsecrets import LeaseRecord, LeaseStore

#: What happens at the steps of one action; most often nothing does.
EVENTS: Final = st.lists(st.sampled_from([OK] * 8 + [FAIL, FAIL, INTERRUPT, SLOW, KILL, KILL, OVERTAKE]), max_size=12)
#: Clocks that differ by so much are taken for the same.
GRACE: Final = timedelta(seconds=6)
#: How far local clocks are off at the most; AWS refuses what is off by more than a quarter of an hour.
FARTHEST_S: Final = 13 * 60


@attrs.frozen
class Handed:
    """A lease that somebody got, and must be able to use until its end."""

    lease: Lease
    thing: str
    process: Process
    held: bool


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
        self.jumps = 0.0

    def make_store(self) -> LeaseStore:
        """Return the store that all processes share."""
        return MemoryLeaseStore()

    @initialize(skew=st.sampled_from([0, 0, 3, -3, 400, -400]))
    def begin(self, skew: int) -> None:
        """Have the third party's clock be off."""
        self.there.skew = timedelta(seconds=skew)

    @rule(
        who=st.integers(0, 9),
        ttl=st.sampled_from(["1m", "10m"]),
        held=st.booleans(),
        events=EVENTS,
    )
    def issue(self, who: int, ttl: str, held: bool, events: list[str]) -> None:
        """Issue a lease."""
        process = self.one(who)
        config = DynamicSecretConfig("AWS_USER", process.integration, wait=None)
        with self.trouble(process, events):
            lease = engine_of(process.manager).issue(config, config.ttl(ttl), wait=None, held=held)
            self.handed.append(Handed(lease, process.integration.made[-1], process, held))

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
            process.manager.reap(integrations=[process.integration], limit=limit)
        if limit is None and not set(events) - {OK}:
            self.assert_reaped()

    @rule(seconds=st.sampled_from([1, 10, 61, 130, 700]), who=st.integers(0, 9), events=EVENTS)
    def wait(self, seconds: int, who: int, events: list[str]) -> None:
        """Let time go by, and all processes do what they have planned; one of them meets trouble."""
        self.clock.leap(seconds)
        troubled = self.one(who)
        for process in list(self.processes.all):
            if not process.dead:
                with self.trouble(process, events if process is troubled else []):
                    self.processes.scheduler(process).run_due()

    @rule(seconds=st.sampled_from([-300, -7, 7, 300]))
    def set_clock(self, seconds: int) -> None:
        """Set the clock of the machine."""
        if abs(self.jumps + seconds + -self.there.skew.total_seconds()) <= FARTHEST_S:
            self.jumps += seconds
            self.clock.jump_wall(seconds)

    @rule(who=st.integers(0, 9))
    def crash(self, who: int) -> None:
        """Kill a process that is doing nothing."""
        self.kill(self.one(who))

    @rule()
    def start(self) -> None:
        """Start a process."""
        if len(self.processes.alive) < 3:
            self.processes.start()

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
        for handed in self.handed:
            over = handed.lease.expires_at - GRACE <= self.there.now()
            if not (over or handed.thing in self.unwanted or (handed.held and handed.process.dead)):
                assert handed.thing in self.there.live

    def teardown(self) -> None:
        """Kill all; whoever comes next leaves what is still wanted, and in the end nothing."""
        try:
            for process in self.processes.all:
                self.kill(process)
            last = self.processes.start()
            last.manager.reap(integrations=[last.integration])
            self.assert_reaped()
            self.clock.leap(3600)
            report = last.manager.reap(integrations=[last.integration])
            assert not report.failed
            assert set(self.there.live) <= self.lost
            assert not [record for record in self.store.records() if record.live]
        finally:
            self.store.close()
            self.patch.undo()

    def one(self, who: int) -> Process:
        """Return a process that lives."""
        living = self.processes.alive
        return living[who % len(living)]

    @contextlib.contextmanager
    def trouble(self, process: Process, events: list[str]) -> Iterator[None]:
        """Have things happen at the next steps of a process; swallow what may come of that."""
        process.events = deque(events)
        try:
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
        self.lost |= closed & set(process.integration.made) & set(self.there.live)

    def assert_reaped(self) -> None:
        """Fail where something lives that nobody has a right to."""
        records = {record.handle["thing"]: record for record in self.store.records() if record.live}
        dead = {str(process.owner) for process in self.processes.all if process.dead}
        for thing, expires_at in self.there.live.items():
            if thing in self.lost or thing not in records or self.is_busy(records[thing]):
                continue
            record = records[thing]
            assert record.state is LeaseState.ACTIVE, "what was not finished, or not revoked, was not tried again"
            assert expires_at + GRACE > self.there.now(), "what is over lives"
            assert not (record.held and record.owner in dead), "what belonged to a dead process lives"

    def is_busy(self, record: LeaseRecord) -> bool:
        """Tell whether a lease is left alone for now: another process seems to be at work on it, or will be."""
        now = self.there.now()
        if record.process in {str(process.owner) for process in self.processes.all if process.dead}:
            return False
        if record.state is LeaseState.PENDING:
            return record.created_at > now - ABANDONED_AFTER - timedelta(seconds=FARTHEST_S)
        if record.is_claimed(now - GRACE):
            return True
        # Planned by a clock that was ahead, and was set back since.
        latest = max(now, self.clock.now()) + LONGEST_BACKOFF
        return record.next_attempt_at is not None and record.next_attempt_at > latest


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
TestInMemory.settings = settings(max_examples=250, stateful_step_count=40)
TestInSQLite = LeasesInSQLite.TestCase
TestInSQLite.settings = settings(max_examples=25, stateful_step_count=30)
