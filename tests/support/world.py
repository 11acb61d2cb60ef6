"""A manager in a world of its own for tests: fake time, a third party in memory, and stores that fail when told to."""

from __future__ import annotations

import secrets
import threading
from collections import defaultdict, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from dynsecrets import DynamicSecretConfig, LeaseManager, MemoryLeaseStore
from dynsecrets.engine.manager import engine_of
from dynsecrets.model.grant import Found, Grant
from dynsecrets.model.integration import Integration
from dynsecrets.testing import FakeClock
from support.fakes import PATIENCE_S, FakeIntegration

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from datetime import datetime, timedelta

    from dynsecrets import Lease, LeaseEvent, LeaseRecord, LeaseStore
    from dynsecrets.clock import Clock


class Recorder:
    """A listener that keeps events."""

    def __init__(self) -> None:
        self.events: list[LeaseEvent] = []

    def __call__(self, event: LeaseEvent) -> None:
        """Keep one event."""
        self.events.append(event)

    def types(self, lease_id: str | None = None) -> list[str]:
        """Return the types of what happened, to one lease or to all."""
        return [event.type for event in self.events if lease_id in (None, event.lease_id)]


class World:
    """A clock, a third party, a store and a manager; more managers on the same store with :meth:`another`."""

    def __init__(
        self,
        store: LeaseStore | None = None,
        *,
        clock: FakeClock | None = None,
        integration: Integration | None = None,
        **options: Any,
    ) -> None:
        self.clock = clock or FakeClock()
        self.integration: Any = integration or FakeIntegration(clock=self.clock)
        self.store: Any = MemoryLeaseStore() if store is None else store
        self.events = Recorder()
        self._managers: list[LeaseManager] = []
        self.manager = self.another(**{"integrations": (), **options})

    def another(self, **options: Any) -> LeaseManager:
        """Return one more manager, which knows the integration unless told otherwise."""
        settings: dict[str, Any] = {"integrations": [self.integration], "on_event": self.events, "clock": self.clock}
        # Unless a test is about it: what it finds at some moment in the background is not what the test has asked for.
        settings["housekeeping"] = None
        manager = LeaseManager(**{"store": self.store, **settings, **options})
        self._managers.append(manager)
        return manager

    def config(self, **options: Any) -> DynamicSecretConfig:
        """Return a config of the integration that waits for nothing unless told otherwise."""
        return DynamicSecretConfig(**{"name": "AWS_USER", "integration": self.integration, "wait": None, **options})

    def issue(self, ttl: Any = None, **options: Any) -> Lease:
        """Issue one lease."""
        return self.manager.issue(self.config(), ttl, **options)

    def state(self, lease_id: str) -> str:
        """Return where a lease stands."""
        return str(self.store.get(lease_id).state.value)

    def states(self) -> list[str]:
        """Return where all leases stand, the oldest first."""
        return [record.state.value for record in self.store.records()]

    def settle(self) -> None:
        """Return once the background of all managers has nothing left to do at this moment."""
        self.clock.settle()

    def advance(self, seconds: float) -> None:
        """Let time go by, with everything done at its own moment."""
        self.clock.advance(seconds)

    def die(self) -> None:
        """Have the first manager forget what it has planned, as if its process had ended."""
        # What a first issue reaps in the background is of before that.
        self.settle()
        scheduler = engine_of(self._managers[0]).scheduler
        with scheduler._condition:
            scheduler._jobs.clear()
        engine_of(self._managers[0]).state.forget()

    def close(self) -> None:
        """Stop the background of all managers."""
        for manager in self._managers:
            manager.close(revoke=False)

    def __enter__(self) -> Self:
        """Return the world."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


@pytest.fixture(name="world")
def world_fixture() -> Iterator[World]:
    """A world with a memory store."""
    with World() as world:
        yield world


class ThirdPartyStore:
    """Somebody's own store, on top of a memory store: only what the protocol asks for, and it fails when told to.

    ``fail("update", error)`` has the next call of a method fail, ``after=True`` once it has done its work; a callable
    is called instead. ``reads`` counts the records handed out.
    """

    outlives_process = True

    def __init__(self) -> None:
        self.inner = MemoryLeaseStore()
        self.reads = 0
        self._script: defaultdict[tuple[str, bool], deque[Any]] = defaultdict(deque)

    def fail(self, method: str, *errors: Any, after: bool = False) -> None:
        """Script the next calls of a method."""
        self._script[method, after].extend(errors)

    def insert(self, record: LeaseRecord) -> None:
        """Keep a record."""
        self._call("insert", record)

    def update(self, record: LeaseRecord) -> LeaseRecord:
        """Replace a record."""
        updated: LeaseRecord = self._call("update", record)
        return updated

    def get(self, lease_id: str) -> LeaseRecord:
        """Return a record."""
        record: LeaseRecord = self._call("get", lease_id)
        return record

    def records(self, **filters: Any) -> Iterator[LeaseRecord]:
        """Iterate over records."""
        return iter(self._counted(self._call("records", **filters)))

    def due(
        self, now: datetime, *, integrations: Collection[str] | None = None, limit: int | None = None
    ) -> list[LeaseRecord]:
        """Return what is due."""
        return self._counted(self._call("due", now, integrations=integrations, limit=limit))

    def claim(self, lease_id: str, worker: str, until: datetime, now: datetime) -> LeaseRecord | None:
        """Claim a lease."""
        record: LeaseRecord | None = self._call("claim", lease_id, worker, until, now)
        return record

    def count_live(self, name: str) -> int:
        """Count live leases."""
        return int(self._call("count_live", name))

    def purge(self, before: datetime, **options: Any) -> int:
        """Forget tombstones."""
        return int(self._call("purge", before, **options))

    def close(self) -> None:
        """Close it."""
        self.inner.close()

    def _counted(self, records: Iterable[LeaseRecord]) -> list[LeaseRecord]:
        found = list(records)
        self.reads += len(found)
        return found

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        self._play(method, after=False)
        result = getattr(self.inner, method)(*args, **kwargs)
        self._play(method, after=True)
        return result

    def _play(self, method: str, *, after: bool) -> None:
        script = self._script[method, after]
        scripted = script.popleft() if script else None
        if isinstance(scripted, BaseException):
            raise scripted
        if scripted is not None:
            scripted()


class IndexedStore(ThirdPartyStore):
    """The same with an index of processes."""

    def processes(self, place: str) -> list[str]:
        """Return the processes of a place."""
        return self.inner.processes(place)

    def of_process(self, process: str, *, limit: int | None = None) -> list[LeaseRecord]:
        """Return what depends on a process."""
        return self._counted(self.inner.of_process(process, limit=limit))


class SkewedIntegration(FakeIntegration):
    """A third party whose clock is not the local one, and can be asked for the time."""

    asked = 0

    def service_time(self) -> datetime | None:
        """Return the time there."""
        self.asked += 1
        return self._clock.now() + self.skew


class ListingIntegration(SkewedIntegration):
    """A third party that can be asked for all that lives there."""

    def __init__(self, name: str = "fake", *, clock: Clock, **options: Any) -> None:
        super().__init__(name, clock=clock, **options)
        self.created: dict[str, datetime] = {}

    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Make the thing, and note when."""
        self.created[plan["thing"]] = self._clock.now() + self.skew
        return super().provision(plan, config, ttl)

    def find_all(self) -> Iterator[Found]:
        """Iterate over all things."""
        for name in list(self.live):
            yield Found(name=name, handle={"thing": name}, created_at=self.created[name])

    def name_of(self, handle: Mapping[str, str]) -> str:
        """Return the thing's name."""
        return handle["thing"]


class FolderIntegration(Integration):
    """A third party that many processes share: a thing is a file, and each deletion is a line of a log."""

    public_values = frozenset({"ACCESS_KEY_ID"})

    def __init__(self, folder: str | os.PathLike[str], name: str = "folder") -> None:
        super().__init__(name)
        self._things = Path(folder) / "things"
        self._log = Path(folder) / "deletions"
        self._things.mkdir(exist_ok=True, parents=True)

    def live(self) -> set[str]:
        """Return the names of what lives."""
        return {path.name for path in self._things.iterdir()}

    def deletions(self) -> list[str]:
        """Return the names of what was deleted, once for each call."""
        return self._log.read_text().split() if self._log.exists() else []

    def plan(self, config: DynamicSecretConfig) -> dict[str, str]:
        """Choose a name."""
        return {"thing": f"thing-{secrets.token_hex(6)}"}

    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Make the file."""
        from datetime import UTC, datetime

        (self._things / plan["thing"]).touch()
        values = {"ACCESS_KEY_ID": f"key-of-{plan['thing']}", "TOKEN": secrets.token_urlsafe(30)}
        return Grant(values, datetime.now(UTC) + ttl, plan)

    def revoke(self, handle: Mapping[str, str]) -> None:
        """Delete the file, and note it."""
        with self._log.open("a") as log:
            log.write(f"{handle['thing']}\n")
        (self._things / handle["thing"]).unlink(missing_ok=True)


def together(*works: Callable[[], Any]) -> list[Any]:
    """Do different work in threads that start together; return what each got or raised."""
    barrier = threading.Barrier(len(works))
    results: list[Any] = [None] * len(works)

    def run(index: int, work: Callable[[], Any]) -> None:
        barrier.wait(PATIENCE_S)
        try:
            results[index] = work()
        except BaseException as error:  # The test looks at it, whatever it is.
            results[index] = error

    threads = [threading.Thread(target=run, args=(index, work), daemon=True) for index, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "a thread of the test hangs"
    return results


def started(work: Callable[[], Any]) -> Callable[[], Any]:
    """Begin work in a thread; return what waits for its end and hands over the result, or the error."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # As above.
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join() -> Any:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "a thread of the test hangs"
        return results[0]

    return join


class Gate:
    """A place where a call stops until the test lets it go on: give the gate itself to ``fail``."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    def __call__(self) -> None:
        """Stop here."""
        self._reached.set()
        assert self._opened.wait(PATIENCE_S), "nobody opened the gate"

    def until_reached(self) -> None:
        """Return once a call stands at the gate."""
        assert self._reached.wait(PATIENCE_S), "nobody came to the gate"

    def open(self) -> None:
        """Let the call, and all that come later, go on."""
        self._opened.set()
