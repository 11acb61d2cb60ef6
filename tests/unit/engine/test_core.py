"""What the engine does beside what it is asked for: housekeeping, without anybody waiting, starving or blocking."""

from __future__ import annotations

import gc
import multiprocessing
import threading
import weakref
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import DynamicSecretConfig, InvalidTTL, LeaseManager, MemoryLeaseStore, SQLiteLeaseStore
from dynsecrets.engine import core
from dynsecrets.engine.manager import engine_of
from support.builders import make_record
from support.fakes import PATIENCE_S, FakeIntegration
from support.forking import in_child, needs_fork
from support.processes import wait_until
from support.stubborn import stubborn_world
from support.world import Gate, ThirdPartyStore, World, started

if TYPE_CHECKING:
    from pathlib import Path

    from dynsecrets import LeaseEvent


def _put_overdue(world: World, count: int, *, integration: str = "fake") -> None:
    """Put leases into the store whose process is gone and whose TTL is long over."""
    past = world.clock.now() - timedelta(hours=1)
    for number in range(count):
        thing = f"{integration}-{number}"
        world.store.insert(
            make_record(
                state="active",
                integration=integration,
                handle={"thing": thing},
                created_at=past,
                issued_at=past,
                expires_at=past + timedelta(minutes=1),
            )
        )
        world.integration.live[thing] = "overdue"


def test_a_backlog_is_reaped_in_the_background(world: World) -> None:
    """However much a first reap finds, more than one batch too: all of it is revoked."""
    _put_overdue(world, 250)

    lease = world.issue("1h")
    world.settle()

    assert list(world.integration.live) == [world.store.get(lease.id).handle["thing"]]


def test_a_backlog_keeps_no_expiry_waiting() -> None:
    """While as many are reaped as there may be, a lease is revoked at its TTL."""
    with World(max_workers=4) as world:
        gate = Gate()
        _put_overdue(world, 50)
        world.integration.fail("revoke", *[gate] * 2)
        lease = world.issue("10m")
        gate.until_reached()
        wait_until(lambda: world.integration.count("revoke") == 2, "the share of reaping is taken")

        world.clock.leap(600)
        wait_until(lambda: lease.revoked, "the lease is revoked at its TTL")

        assert world.integration.count("revoke") == 3
        gate.open()
        world.settle()
        assert world.integration.live == {}


def test_one_third_party_that_does_not_answer_keeps_no_other_waiting() -> None:
    """Its leases take some of the workers, and those of another are revoked at their TTL."""
    with World(max_workers=4) as world:
        gate, silent = Gate(), FakeIntegration("silent", clock=world.clock)
        silent.fail("revoke", *[gate] * 8)
        stuck = DynamicSecretConfig("STUCK", silent, wait=None)
        for _ in range(8):
            world.manager.issue(stuck, "10m")
        lease = world.issue("11m")

        world.clock.leap(600)
        gate.until_reached()
        world.clock.leap(60)
        wait_until(lambda: lease.revoked, "the other's lease is revoked")

        gate.open()
        world.settle()
        assert silent.live == {}


def test_closing_waits_for_no_backlog() -> None:
    """What has not begun is left to the next reaper; nothing of it is lost."""
    with World(max_workers=2) as world:
        gate = Gate()
        _put_overdue(world, 60)
        world.integration.fail("revoke", gate)
        world.issue("1h")
        gate.until_reached()

        closing = started(lambda: world.manager.close(revoke=False))
        wait_until(lambda: engine_of(world.manager).scheduler.closed, "it is closing")
        gate.open()
        closing()

        assert len(world.integration.live) > 50
        assert len(world.another().reap(integrations=[world.integration]).revoked) > 50


def test_closing_begins_no_backlog() -> None:
    """Where the background was just looking for what is overdue, it revokes none of it after that."""
    store = ThirdPartyStore()
    with World(store) as world:
        gate = Gate()
        _put_overdue(world, 20)
        store.fail("due", gate)
        world.issue("1h")
        gate.until_reached()

        closing = started(lambda: world.manager.close(revoke=False))
        wait_until(lambda: engine_of(world.manager).scheduler.closed, "it is closing")
        gate.open()
        closing()

        assert len(world.integration.live) == 21


def test_housekeeping_goes_on() -> None:
    """A manager that has leased reaps what others leave, and forgets old tombstones, at about its interval."""
    with World(ThirdPartyStore(), housekeeping="10m", keep_revoked="1h") as world:
        world.issue("1h").revoke()
        _put_overdue(world, 3)

        world.advance(11 * 60)
        assert world.integration.live == {}
        assert len(world.states()) == 4

        world.advance(3600 + 11 * 60)
        assert world.states() == []


@needs_fork
def test_housekeeping_begins_in_a_forked_child() -> None:
    """A server that leases before it forks its workers: each of these keeps house from its own first lease on."""
    with World(housekeeping="10m") as world:
        world.issue("1h")
        world.settle()

        def child() -> int:
            world.manager.issue(world.config(), "1h")
            return sum(job.idle for job in engine_of(world.manager).scheduler.jobs())

        assert in_child(child) == 1


def test_housekeeping_can_be_left_out() -> None:
    """Then others' leases are reaped at the first issue, and when somebody asks for it."""
    with World(housekeeping=None) as world:
        world.issue("1h").revoke()
        world.settle()
        _put_overdue(world, 1)

        world.advance(7200)

        assert len(world.integration.live) == 1


@pytest.mark.parametrize("given", ["soon", 0, -1, True])
def test_the_interval_is_a_ttl(given: Any) -> None:
    """So is how long tombstones are kept, which may be no time at all."""
    with pytest.raises(InvalidTTL, match="housekeeping"):
        LeaseManager(MemoryLeaseStore(), housekeeping=given)
    LeaseManager(MemoryLeaseStore(), keep_revoked=0)


def test_managers_part() -> None:
    """Those that began at the same moment don't keep house at the same moment."""
    with World() as world:
        managers = [world.another(housekeeping="10m") for _ in range(8)]
        for manager in managers:
            manager.issue(world.config(), "1h")
        world.settle()

        times = {job.at for manager in managers for job in engine_of(manager).scheduler.jobs() if job.idle}

    assert len(times) == 8
    assert all(540 <= at <= 660 for at in times)


def test_a_fresh_integration_for_each_request_reaps_once(world: World) -> None:
    """Integrations of one name are one to the background, however often they are made anew."""
    for _ in range(5):
        world.manager.issue(DynamicSecretConfig("AWS_USER", FakeIntegration(clock=world.clock), wait=None), "1h")
        world.settle()
        _put_overdue(world, 1)

    assert [state for state in world.states() if state == "revoked"] == []


def test_a_lease_that_cannot_be_revoked_is_tried_by_one_process_at_a_time() -> None:
    """Of twenty that have met it, one makes each attempt, when the record says that it is due."""
    with stubborn_world(store=ThirdPartyStore(), housekeeping=None) as world:
        world.integration.refusals = 10**6
        _put_overdue(world, 1)
        managers = [world.another(housekeeping=None) for _ in range(20)]
        for manager in managers:
            assert manager.reap(integrations=[world.integration]).failed
        (record,) = world.store.records()

        world.advance(3600)

        tried = world.store.get(record.id).attempts - record.attempts
        assert 60 <= tried <= 3600 / 30 + 5


def test_managers_that_are_dropped_leave_no_threads(tmp_path: Path) -> None:
    """Without ``close()`` too: their threads end when they have nothing left to do."""
    integration = FakeIntegration()
    config = DynamicSecretConfig("AWS_USER", integration, wait=None)
    before = _threads()
    for number in range(20):
        store = SQLiteLeaseStore(tmp_path / "leases.db") if number % 2 else MemoryLeaseStore()
        manager = LeaseManager(store)
        manager.issue_many(config, 2)[0].revoke()
        for lease in list(manager.records(state="active")):
            manager.revoke(lease.id)
        del manager, store
        gc.collect()

    wait_until(lambda: _threads() <= before, "all threads have ended", timeout_s=15)
    assert integration.live == {}


def test_an_application_that_listens_to_its_own_manager_is_dropped(tmp_path: Path) -> None:
    """Who has a manager and listens to it is kept alive by neither, once its leases are gone."""
    before = _threads()

    class Application:
        """What listens."""

        def __init__(self) -> None:
            self.manager = LeaseManager(SQLiteLeaseStore(tmp_path / "leases.db"), on_event=self.listen)

        def listen(self, event: LeaseEvent) -> None:
            """Hear of an event."""

    application = Application()
    application.manager.issue(DynamicSecretConfig("AWS_USER", FakeIntegration(), wait=None)).revoke()
    dropped = weakref.ref(application)
    del application

    wait_until(lambda: gc.collect() >= 0 and dropped() is None, "it is let go of")
    wait_until(lambda: _threads() <= before, "all threads have ended")


def _threads() -> set[threading.Thread]:
    return {
        thread for thread in threading.enumerate() if thread.name.startswith(("dynsecrets-clock", "dynsecrets-worker"))
    }


def test_a_dropped_manager_still_ends_its_leases() -> None:
    """What it has issued is revoked at its TTL, while the process lives."""
    with World() as world:
        lease = world.another().issue(world.config(), "10m")
        world._managers.pop()
        gc.collect()

        world.advance(601)

        assert lease.revoked
        assert world.integration.live == {}


def test_what_a_dropped_manager_is_just_issuing_is_revoked_at_exit() -> None:
    """A pool goes on with the manager's engine: what it makes in memory is nobody else's to find."""
    with World(MemoryLeaseStore()) as world:
        gate = Gate()
        world.integration.fail("provision", gate)
        engine = engine_of(world.manager)
        issuing = started(lambda: engine.issue(world.config(), timedelta(hours=1)))
        gate.until_reached()
        engine.retirement()()
        wait_until(lambda: engine.scheduler._thread is None, "the background has ended")
        gate.open()
        lease = issuing()

        core._close_all()

        assert lease.revoked


class _Reentrant:
    """A listener that uses the manager again, from wherever it is told of something."""

    def __init__(self, method: str) -> None:
        self.world: World | None = None
        self.errors: list[BaseException] = []
        self._method = method

    def __call__(self, event: LeaseEvent) -> None:
        """Do it."""
        world = self.world
        if world is None or event.type not in ("expired", "reaped"):
            return
        try:
            if self._method == "reap":
                world.manager.reap(integrations=[world.integration])
            elif self._method == "revoke_many":
                world.manager.revoke_many([record.id for record in world.manager.records(state="active")])
            elif self._method == "issue_many":
                world.manager.issue_many(world.config(), 2, "1h")
            else:
                world.manager.close(revoke=True)
        except Exception as error:
            self.errors.append(error)


@pytest.mark.parametrize("method", ["reap", "revoke_many", "issue_many", "close"])
def test_listeners_may_use_the_manager(method: str) -> None:
    """Forty leases that expire together, each with a listener that waits for workers: all are revoked."""
    listener = _Reentrant(method)
    with World(on_event=listener, max_workers=4) as world:
        for lease in world.manager.issue_many(world.config(), 40, "10m"):
            assert lease.is_valid()
        listener.world = world

        world.clock.leap(600)
        wait_until(lambda: not _expired(world), "all that expired is revoked")

    assert all("closed" in str(error) for error in listener.errors)


def _expired(world: World) -> list[Any]:
    return [
        record
        for record in world.store.records()
        if record.live and record.expires_at is not None and record.expires_at <= world.clock.now()
    ]


def _lease_in_child(told: Any, folder: str) -> None:
    """Lease on a memory store, and end without a word, as children of multiprocessing do."""
    from pathlib import Path

    class Marking(FakeIntegration):
        def revoke(self, handle: Any) -> None:
            super().revoke(handle)
            Path(folder, "revoked").touch()

    manager = LeaseManager(MemoryLeaseStore())
    manager.issue(DynamicSecretConfig("AWS_USER", Marking(), wait=None), "1h")
    told.send("leased")


@needs_fork
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_children_of_multiprocessing_revoke_at_their_end(tmp_path: Path, method: str) -> None:
    """They skip ``atexit``; what only they know of is revoked all the same."""
    context: Any = multiprocessing.get_context(method)
    here, there = context.Pipe()
    child = context.Process(target=_lease_in_child, args=(there, str(tmp_path)))

    child.start()
    told = here.recv() if here.poll(PATIENCE_S * 3) else None
    child.join(PATIENCE_S * 3)

    assert (told, child.exitcode) == ("leased", 0)
    assert (tmp_path / "revoked").exists()
