"""Processes of a model: each can fail, be interrupted, be slow, be killed, or be overtaken by another one, at any step.

A step is what a process does to the world outside: a call of the store or of the third party, before and after it took
effect. Everything else is the library's own code, with time that is told to pass and no threads.
"""

from __future__ import annotations

import contextlib
import secrets
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from dynsecrets._internal.concurrency import Call
from dynsecrets.engine.job import Job
from dynsecrets.engine.manager import engine_of
from dynsecrets.engine.process_identity import ProcessIdentity, ProcessState, current_owner
from dynsecrets.errors import StoreError
from dynsecrets.integrations.aws.options import PUBLIC_VALUES, IamUserOptions
from dynsecrets.model.grant import Grant
from dynsecrets.model.integration import Integration
from dynsecrets.model.lifecycle import LeaseState
from support.fakes import START

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future
    from datetime import datetime

    import pytest

    from dynsecrets import DynamicSecretConfig, LeaseManager, LeaseRecord, LeaseStore
    from dynsecrets.testing import FakeClock

#: What can happen at a step; who is overtaken was slow.
OK, FAIL, INTERRUPT, SLOW, KILL, OVERTAKE = "ok", "fail", "interrupt", "slow", "kill", "overtake"
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
    tokens: set[str] = attrs.field(factory=set)

    def now(self) -> datetime:
        """Return its own time."""
        return START + timedelta(seconds=self.clock.steady()) + self.skew


@attrs.define(eq=False)
class Process:
    """A process: its manager, and what happens at its next steps."""

    owner: ProcessIdentity
    overtake: Callable[[Process], None]
    clock: FakeClock
    manager: LeaseManager = attrs.field(init=False)
    integration: Door = attrs.field(init=False)
    events: deque[str] = attrs.field(factory=deque)
    dead: bool = False

    def step(self, error: Exception) -> None:
        """Do what happens at this step."""
        if self.dead:
            raise Killed
        event = self.events.popleft() if self.events else OK
        if event == FAIL:
            raise error
        if event == INTERRUPT:
            raise KeyboardInterrupt
        if event in (SLOW, OVERTAKE):
            self.clock.leap(SLOW_S)
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

    def __init__(self, process: Process, third_party: ThirdParty) -> None:
        super().__init__("fake")
        self._process = process
        self._there = third_party
        #: What was made by this process, in order.
        self.made: list[str] = []

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
        self.made.append(plan["thing"])
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

    def __init__(self, clock: FakeClock, max_workers: int) -> None:
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
        patch.setattr("dynsecrets.engine.core.Scheduler", InlineScheduler)
        for module in ("reaper", "revoker"):
            patch.setattr(f"dynsecrets.engine.{module}.liveness", self._liveness)

    @property
    def alive(self) -> list[Process]:
        """Those that live; a new one where there is none."""
        living = [process for process in self.all if not process.dead]
        return living or [self.start()]

    def start(self) -> Process:
        """Start a process."""
        from dynsecrets import LeaseManager

        owner = attrs.evolve(self._place, pid=10**9 + len(self.all))
        process = Process(owner, self._overtake, self._clock)
        self._patch.setattr("dynsecrets.engine.state.current_owner", lambda: owner)
        process.integration = Door(process, self._there)
        store: Any = WatchedStore(process, self._store, self._there)
        process.manager = LeaseManager(store, integrations=[process.integration], clock=self._clock)
        self.all.append(process)
        return process

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
        other.manager.reap(integrations=[other.integration])
        other.events = events

    def _liveness(self, text: str, here: ProcessIdentity | None = None) -> ProcessState:
        known = {str(process.owner): process for process in self.all}
        if text not in known:
            return ProcessState.UNKNOWN
        return ProcessState.GONE if known[text].dead else ProcessState.ALIVE
