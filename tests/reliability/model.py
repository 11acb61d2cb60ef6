"""Processes of a model: each can fail, be interrupted, be slow, be killed, or be overtaken by another one, at any step.

A step is what a process does to the world outside: a call of the store or of the third party, before and after it took
effect. Everything else is the library's own code, with time that is told to pass and no threads. Processes run on
hosts, whose clocks may be wrong, and whose processes can't be seen from other hosts.
"""

from __future__ import annotations

import contextlib
import secrets
from collections import Counter, deque
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from dynsecrets._internal.concurrency import Call
from dynsecrets.engine.job import Job
from dynsecrets.engine.manager import engine_of
from dynsecrets.engine.process_identity import ProcessIdentity, ProcessState, current_owner
from dynsecrets.errors import StoreError
from dynsecrets.integrations.aws.options import PUBLIC_VALUES, IamUserOptions
from dynsecrets.model.grant import Found, Grant
from dynsecrets.model.integration import Integration
from dynsecrets.model.lifecycle import LeaseState
from support.fakes import START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Future
    from datetime import datetime

    import pytest

    from dynsecrets import DynamicSecretConfig, Lease, LeaseManager, LeaseRecord, LeaseStore
    from dynsecrets.leasing.lease_context import LeaseContext
    from dynsecrets.testing import FakeClock

#: What can happen at a step; who is overtaken was slow. A collection closes a generator in the middle of the step.
OK, FAIL, INTERRUPT, SLOW, KILL, OVERTAKE = "ok", "fail", "interrupt", "slow", "kill", "overtake"
COLLECT: Final = "collect"
#: By these names processes know the one account that there is.
NAMES: Final = ("fake", "second")
#: How many steps there were, by what happened at them.
steps: Final[Counter[str]] = Counter()
#: How long a slow step takes: longer than issues are waited for, and than claims hold.
SLOW_S: Final = 150.0
_ORDER: Final = (LeaseState.PENDING, LeaseState.ACTIVE, LeaseState.REVOKING, LeaseState.REVOKED)


class Killed(BaseException):
    """The process is gone: nothing that it still tries has an effect."""


class Trouble(Exception):
    """What the third party says when it fails."""


@attrs.define(eq=False)
class ThirdParty:
    """What lives, by name, until when; its clock is ``skew`` ahead and never jumps."""

    clock: FakeClock
    skew: timedelta = timedelta(0)
    live: dict[str, datetime] = attrs.field(factory=dict)
    made_at: dict[str, datetime] = attrs.field(factory=dict)
    tokens: set[str] = attrs.field(factory=set)

    def now(self) -> datetime:
        """Return its own time."""
        return START + timedelta(seconds=self.clock.steady()) + self.skew


class HostClock:
    """The clocks of a host: the wall clock may be wrong, and the monotonic one may have stood still."""

    def __init__(self, world: FakeClock) -> None:
        self._world = world
        self.wrong = timedelta(0)
        self.stood_still = 0.0
        #: When it was last set back, in seconds of the true time.
        self.set_back_at = -1.0

    def now(self) -> datetime:
        """Return the wall clock's time."""
        return self._world.now() + self.wrong

    def steady(self) -> float:
        """Return the seconds that the host knows to have gone by."""
        return self._world.steady() - self.stood_still

    def wait(self, condition: Any, seconds: float | None) -> None:
        """Fail: no thread waits in the model."""
        raise AssertionError

    def sleep(self, seconds: float) -> None:
        """Let time go by, for all."""
        self._world.sleep(seconds)

    def set(self, seconds: float) -> None:
        """Set the wall clock."""
        self.wrong += timedelta(seconds=seconds)
        if seconds < 0:
            self.set_back_at = self._world.steady()

    def restore(self, seconds: float) -> None:
        """Have the machine be a snapshot for so long: time goes by, and it knows that by its wall clock alone."""
        self.stood_still += seconds
        self._world.leap(seconds)


@attrs.define(eq=False)
class Block:
    """An open block of a process's one ``lease()`` object, held by a generator: leaving it is closing that."""

    generator: Iterator[Lease]
    lease: Lease
    thing: str


@attrs.define(eq=False)
class Process:
    """A process: its manager, and what happens at its next steps."""

    owner: ProcessIdentity
    overtake: Callable[[Process], None]
    world: FakeClock
    clock: HostClock
    manager: LeaseManager = attrs.field(init=False)
    #: The account, by each of its names.
    integrations: list[Door] = attrs.field(init=False)
    #: One object, by which all blocks of the process are entered.
    shared: LeaseContext = attrs.field(init=False)
    #: What was made by this process, in order.
    made: list[str] = attrs.field(factory=list)
    #: The things that somebody in this process wanted to be gone, by a block that ended.
    unwanted: set[str] = attrs.field(factory=set)
    blocks: list[Block] = attrs.field(factory=list)
    events: deque[str] = attrs.field(factory=deque)
    dead: bool = False

    def leave(self, block: Block) -> None:
        """Leave a block."""
        self.blocks.remove(block)
        self.unwanted.add(block.thing)
        block.generator.close()  # type: ignore[attr-defined]

    def step(self, error: Exception) -> None:
        """Do what happens at this step."""
        if self.dead:
            raise Killed
        event = self.events.popleft() if self.events else OK
        steps[event] += 1
        if event == FAIL:
            raise error
        if event == INTERRUPT:
            raise KeyboardInterrupt
        if event in (SLOW, OVERTAKE):
            self.world.leap(SLOW_S)
        if event == COLLECT and self.blocks:
            # What a finalizer raises goes nowhere, except for what kills.
            with contextlib.suppress(Exception, KeyboardInterrupt):
                self.leave(self.blocks[0])
        if event == OVERTAKE:
            self.overtake(self)
        if event == KILL:
            self.dead = True
            raise Killed


class Door(Integration):
    """A process's way to the third party."""

    options_type = IamUserOptions
    public_values = PUBLIC_VALUES
    probes = 3

    def __init__(self, name: str, process: Process, third_party: ThirdParty) -> None:
        super().__init__(name)
        self._process = process
        self._there = third_party

    def plan(self, config: DynamicSecretConfig) -> dict[str, str]:
        """Choose a name."""
        return {"thing": f"thing-{secrets.token_hex(6)}"}

    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Make the thing."""
        self._process.step(Trouble("not made"))
        issued_at = self._there.now()
        token, expires_at, born = secrets.token_urlsafe(30), issued_at + ttl, self._process.clock.steady()
        self._there.tokens.add(token)
        self._there.live[plan["thing"]] = expires_at
        self._there.made_at[plan["thing"]] = issued_at
        self._process.made.append(plan["thing"])
        self._process.step(Trouble("made, and no answer"))
        age = timedelta(seconds=self._process.clock.steady() - born)
        return Grant({"ACCESS_KEY_ID": "id", "TOKEN": token}, expires_at, {**plan, "key": "id"}, age, issued_at)

    def revoke(self, handle: Mapping[str, str]) -> None:
        """Delete the thing."""
        self._process.step(Trouble("not deleted"))
        self._there.live.pop(handle["thing"], None)
        self._process.step(Trouble("deleted, and no answer"))

    def service_time(self) -> datetime | None:
        """Return the time there."""
        if self._process.dead:
            raise Killed
        return self._there.now()

    def find_all(self) -> Iterator[Found]:
        """List all that lives, by whichever name it was made."""
        self._process.step(Trouble("not listed"))
        for thing in list(self._there.live):
            yield Found(name=thing, handle={"thing": thing}, created_at=self._there.made_at[thing])

    def name_of(self, handle: Mapping[str, str]) -> str:
        """Return a thing's name."""
        return handle["thing"]


class WatchedStore:
    """A process's way to the store. It judges each write: no secret in it, and no way back."""

    outlives_process = True

    def __init__(self, process: Process, store: LeaseStore, third_party: ThirdParty) -> None:
        self._process = process
        self._store = store
        self._there = third_party

    def insert(self, record: LeaseRecord) -> None:
        """Keep a record."""
        self._judge(record)
        self._call("insert", record)

    def update(self, record: LeaseRecord) -> LeaseRecord:
        """Replace a record."""
        self._judge(record)
        before = self._store.get(record.id)
        updated: LeaseRecord = self._call("update", record)
        assert _ORDER.index(before.state) <= _ORDER.index(updated.state)
        assert before.state is not LeaseState.REVOKED, "a tombstone was written over"
        return updated

    def _judge(self, record: LeaseRecord) -> None:
        shown = repr(record)
        assert not [token for token in self._there.tokens if token in shown], "a secret stands in a record"

    def _call(self, method: str, *args: Any, **options: Any) -> Any:
        self._process.step(StoreError(f"made up: not before {method}"))
        result = getattr(self._store, method)(*args, **options)
        self._process.step(StoreError(f"made up: {method} has no answer"))
        return result


def _passing(name: str) -> Callable[..., Any]:
    def method(self: WatchedStore, *args: Any, **options: Any) -> Any:
        return self._call(name, *args, **options)

    return method


for _name in ("get", "records", "due", "claim", "count_live", "purge", "close", "processes", "of_process"):
    setattr(WatchedStore, _name, _passing(_name))


class InlineScheduler:
    """A scheduler without threads: what is submitted runs at once, what is planned when it is told to."""

    closed = False

    def __init__(self, clock: HostClock, max_workers: int) -> None:
        self._clock = clock
        self._jobs: list[Job] = []

    def call_at(self, at: float, action: Callable[[], object], key: str | None = None, *, idle: bool = False) -> Job:
        """Plan an action."""
        job = Job(at, key, action, idle=idle)
        self._jobs.append(job)
        return job

    def cancel(self, job: Job) -> None:
        """Forget an action."""
        job.action = None

    def submit(self, action: Callable[[], Any]) -> Future[Any]:
        """Do something now."""
        call = action if isinstance(action, Call) else Call(action)
        call()
        error = call.future.exception()
        if error is not None and not isinstance(error, Exception):
            raise error  # The process has died.
        return call.future

    def submit_for(self, key: str, action: Callable[[], Any], *, has_time: bool) -> Future[Any]:
        """Do something now."""
        return self.submit(action)

    def in_worker(self) -> bool:
        """Say that nobody else does what was submitted."""
        return False

    def close(self) -> None:
        """Forget what was planned."""
        self._jobs.clear()

    def retire(self, at_rest: Callable[[], object]) -> None:
        """End no threads: there are none."""

    def run_due(self) -> None:
        """Do what was planned for now or before."""
        while due := [job for job in self._jobs if job.action is not None and job.at <= self._clock.steady()]:
            job = min(due, key=lambda job: job.at)
            action, job.action = job.action, None
            assert action is not None
            with contextlib.suppress(Exception):  # A background job's error is logged, and that is all.
                action()
        self._jobs = [job for job in self._jobs if job.action is not None]


class Processes:
    """All processes that there ever were, on one store."""

    def __init__(self, patch: pytest.MonkeyPatch, clock: FakeClock, store: LeaseStore, third_party: ThirdParty) -> None:
        self.all: list[Process] = []
        self._patch = patch
        self._clock = clock
        self._store = store
        self._there = third_party
        self._place = current_owner()
        #: The first host's clock is never more wrong than AWS bears.
        self.hosts = [HostClock(clock) for _ in range(3)]
        #: The one that is doing something; there are no threads.
        self.current: Process | None = None
        patch.setattr("dynsecrets.engine.core.Scheduler", InlineScheduler)
        for module in ("reaper", "revoker"):
            patch.setattr(f"dynsecrets.engine.{module}.liveness", self._liveness)
        patch.setattr("dynsecrets.engine.reaper.current_owner", self._here)

    @property
    def alive(self) -> list[Process]:
        """Those that live; a new one where there is none."""
        living = [process for process in self.all if not process.dead]
        return living or [self.start()]

    def start(self, host: int = 0) -> Process:
        """Start a process on a host."""
        from dynsecrets import DynamicSecretConfig, LeaseManager, lease

        clock = self.hosts[host]
        owner = attrs.evolve(self._place, host=f"host-{host}", pid=10**9 + len(self.all))
        process = Process(owner, self._overtake, self._clock, clock)
        self._patch.setattr("dynsecrets.engine.state.current_owner", lambda: owner)
        process.integrations = [Door(name, process, self._there) for name in NAMES]
        store: Any = WatchedStore(process, self._store, self._there)
        process.manager = LeaseManager(store, integrations=process.integrations, clock=clock)
        config = DynamicSecretConfig("AWS_USER", process.integrations[0], wait=None)
        process.shared = lease(config, "1h", manager=process.manager)
        self.all.append(process)
        return process

    @contextlib.contextmanager
    def being(self, process: Process) -> Iterator[None]:
        """Have a process be the one that is doing something, and sees its host."""
        before, self.current = self.current, process
        try:
            yield
        finally:
            self.current = before

    def scheduler(self, process: Process) -> InlineScheduler:
        """Return a process's scheduler."""
        scheduler = engine_of(process.manager).scheduler
        assert isinstance(scheduler, InlineScheduler)
        return scheduler

    def _overtake(self, overtaken: Process) -> None:
        """Have another process reap just now, without any trouble of its own."""
        others = [process for process in self.all if not process.dead and process is not overtaken]
        other = others[0] if others else self.start()
        events, other.events = other.events, deque()
        with self.being(other):
            other.manager.reap(integrations=other.integrations)
        other.events = events

    def _here(self) -> ProcessIdentity:
        return self._place if self.current is None else self.current.owner

    def _liveness(self, text: str, here: ProcessIdentity | None = None) -> ProcessState:
        known = {str(process.owner): process for process in self.all}
        if text not in known or not text.startswith((here or self._here()).place):
            return ProcessState.UNKNOWN
        return ProcessState.GONE if known[text].dead else ProcessState.ALIVE
