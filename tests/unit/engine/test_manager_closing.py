"""What is left of a manager's leases when it is closed, and when its process ends."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import (
    DynsecretsError,
    LeaseManager,
    MemoryLeaseStore,
    PermissionDenied,
    ProvisionError,
    RevocationError,
    SQLiteLeaseStore,
    StoreError,
    lease,
)
from dynsecrets.engine.manager import engine_of
from support.forking import in_child, needs_fork
from support.places import ROOT, TESTS
from support.processes import clean_environment
from support.world import FolderIntegration, Gate, ThirdPartyStore, World, started

if TYPE_CHECKING:
    from pathlib import Path


def _run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that leases from a folder, to its end."""
    beginning = f"""
        import sys
        sys.path[:0] = [{str(TESTS)!r}, {str(ROOT)!r}]
        from dynsecrets import *
        from support.world import FolderIntegration
        integration = FolderIntegration({str(folder)!r})
        config = DynamicSecretConfig("AWS_USER", integration, wait=None)
    """
    program = textwrap.dedent(beginning) + textwrap.dedent(script)
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=clean_environment(XDG_STATE_HOME=str(folder / "state"), HOME=str(folder)),
    )


def test_closing_revokes_what_memory_would_forget(world: World) -> None:
    """With a store in memory, all that the manager issued is revoked when it is closed."""
    leases = world.manager.issue_many(world.config(), 3)

    world.manager.close()

    assert world.integration.live == {}
    assert all(leased.revoked for leased in leases)
    assert world.states() == ["revoked"] * 3


def test_closing_leaves_what_a_file_remembers(tmp_path: Path) -> None:
    """With a store that outlives the process the leases live on, for whoever reaps them."""
    with World(SQLiteLeaseStore(tmp_path / "leases.db")) as world:
        leased = world.issue("10m")

        world.manager.close()
        world.clock.leap(601)

        assert leased.id in [record.id for record in world.store.records(state="active")]
        assert len(world.integration.live) == 1
        assert world.another().reap(integrations=[world.integration]).revoked == [leased.id]


@pytest.mark.parametrize("revoke", [True, False])
def test_the_caller_decides_what_closing_does(tmp_path: Path, revoke: bool) -> None:
    """``close(revoke=…)`` wins over what the store suggests."""
    for store in (SQLiteLeaseStore(tmp_path / "leases.db"), MemoryLeaseStore()):
        with World(store) as world:
            world.issue()

            world.manager.close(revoke=revoke)

            assert (not world.integration.live) is revoke


def test_a_store_that_does_not_say_outlives_the_process() -> None:
    """A third party's store without ``outlives_process`` is taken for a durable one."""
    store = ThirdPartyStore()
    with World(store) as world:
        world.issue()
        try:
            del ThirdPartyStore.outlives_process

            world.manager.close()

            assert len(world.integration.live) == 1
        finally:
            ThirdPartyStore.outlives_process = True


def test_closing_says_what_it_could_not_revoke(world: World) -> None:
    """Leases that can't be revoked are named in a ``RevocationError`` after all others are revoked."""
    leases = world.manager.issue_many(world.config(), 3)
    # The reaper that the first issue has begun tries again what fails.
    world.settle()
    # Refused for good, it is tried only once, so it is one lease whose turn this is.
    world.integration.fail("revoke", None, PermissionDenied("may not"))

    with pytest.raises(RevocationError, match=r"^lease .* could not be revoked: may not") as caught:
        world.manager.close()

    (left,) = [leased for leased in leases if not leased.revoked]
    assert left.id in str(caught.value)
    assert isinstance(caught.value.__cause__, PermissionDenied)
    assert len(world.integration.live) == 1


def test_closing_again_tries_again(world: World) -> None:
    """Closing twice is fine; what could not be revoked the first time is tried again."""
    world.issue()
    world.integration.fail("revoke", *[OSError("down")] * 3)
    with pytest.raises(RevocationError):
        world.manager.close()

    world.manager.close()
    world.manager.close()

    assert world.integration.live == {}
    assert world.integration.count("revoke") == 4


def test_closing_deletes_what_a_failed_issue_left(world: World) -> None:
    """An issue that failed and could not be rolled back is cleaned up when a manager in memory is closed."""
    world.integration.fail("provisioned", ProvisionError("half made"))
    world.integration.fail("revoke", OSError("down"))
    with pytest.raises(ProvisionError):
        world.issue()

    world.manager.close()

    assert world.integration.live == {}
    assert world.states() == ["revoked"]


def test_closing_names_what_a_failed_issue_left(world: World) -> None:
    """Where such a half-made lease still can't be deleted, closing says so."""
    world.integration.fail("provisioned", ProvisionError("half made"))
    world.integration.fail("revoke", *[OSError("down")] * 4)
    with pytest.raises(ProvisionError) as failed:
        world.issue()

    with pytest.raises(RevocationError, match=str(failed.value.lease_id)):
        world.manager.close()


def test_a_lease_in_the_making_is_caught_by_closing(world: World) -> None:
    """What is being issued while its manager is closed for good is revoked, and its caller gets an error."""
    gate = Gate()
    world.integration.fail("provisioned", gate)
    result = started(world.issue)
    gate.until_reached()

    world.manager.close()
    gate.open()
    outcome = result()

    assert isinstance(outcome, DynsecretsError)
    assert "closed" in str(outcome)
    assert world.integration.live == {}
    assert world.states() == ["revoked"]


def test_a_lease_in_the_making_survives_a_durable_close(tmp_path: Path) -> None:
    """Where closing revokes nothing, what is being issued meanwhile is handed over."""
    with World(SQLiteLeaseStore(tmp_path / "leases.db")) as world:
        gate = Gate()
        world.integration.fail("provisioned", gate)
        result = started(world.issue)
        gate.until_reached()

        world.manager.close()
        gate.open()

        assert result().is_valid()


def test_leaving_the_block_closes(world: World) -> None:
    """A manager is a context manager, which closes."""
    with world.another() as manager:
        leased = manager.issue(world.config())

    assert leased.revoked
    with pytest.raises(DynsecretsError, match="closed"):
        manager.issue(world.config())


def test_leaving_the_block_says_what_could_not_be_revoked(world: World) -> None:
    """Where the block ended well, an error of closing is raised."""
    world.integration.fail("revoke", *[OSError("down")] * 3)

    with pytest.raises(RevocationError), world.another() as manager:
        manager.issue(world.config())


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt("mine")], ids=repr)
def test_leaving_the_block_masks_no_error(world: World, error: BaseException) -> None:
    """The block's own error goes on, with a note of what could not be revoked."""
    world.integration.fail("revoke", *[OSError("down")] * 3)

    def block() -> None:
        with world.another() as manager:
            manager.issue(world.config())
            raise error

    with pytest.raises(type(error)) as caught:
        block()

    assert caught.value is error
    assert any("could not be revoked" in note for note in error.__notes__)


def test_a_store_that_fails_to_close_masks_no_error(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Nor does an error of closing the manager's own store."""
    monkeypatch.setenv("DYNSECRETS_STORE", "memory://")
    manager = LeaseManager(clock=world.clock)

    def broken() -> None:
        raise OSError("disk gone")

    monkeypatch.setattr(manager.store, "close", broken)

    with pytest.raises(ValueError, match="mine") as caught, manager:
        raise ValueError("mine")

    assert caught.value.__notes__ == ["disk gone"]


def test_a_store_that_was_given_stays_open(world: World) -> None:
    """Closing a manager closes no store that was handed to it."""
    leased = world.issue()

    world.manager.close()

    assert world.store.get(leased.id).state == "revoked"


def test_a_store_of_its_own_is_closed(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Closing a manager closes the store that it opened itself."""
    monkeypatch.setenv("DYNSECRETS_STORE", "memory://")
    manager = LeaseManager(clock=world.clock)
    manager.issue(world.config())

    manager.close()

    assert world.integration.live == {}
    with pytest.raises(StoreError, match="closed"):
        manager.get("anything")


def test_closing_ends_the_background(world: World) -> None:
    """After ``close`` nothing more is done at any time."""
    world.issue("10m")

    world.manager.close(revoke=False)
    world.clock.leap(3600)
    world.settle()

    assert len(world.integration.live) == 1
    assert engine_of(world.manager).scheduler._thread is None


def test_closing_waits_for_what_is_going_on(world: World) -> None:
    """A revocation that has begun in the background is finished before ``close`` returns."""
    world.issue("10m")
    gate = Gate()
    world.integration.fail("revoke", gate)
    world.clock.leap(600)
    gate.until_reached()

    closing = started(lambda: world.manager.close(revoke=False))
    gate.open()
    closing()

    assert world.states() == ["revoked"]


@pytest.mark.parametrize("ending", ["pass", "raise SystemExit(3)", "raise RuntimeError('oops')"])
def test_a_process_in_memory_revokes_when_it_ends(tmp_path: Path, ending: str) -> None:
    """With a store in memory, the leases of a process are revoked when it ends, however it does by itself."""
    done = _run(f"LeaseManager(MemoryLeaseStore()).issue_many(config, 3)\n{ending}", tmp_path)

    integration = FolderIntegration(tmp_path)
    assert done.returncode == {"pass": 0, "raise SystemExit(3)": 3}.get(ending, 1)
    assert integration.live() == set()
    assert len(integration.deletions()) == 3


def test_a_process_in_memory_says_what_it_could_not_revoke(tmp_path: Path) -> None:
    """What could not be revoked at the end is logged, and the process ends all the same."""
    script = """
        import logging
        logging.basicConfig(level=logging.ERROR)
        LeaseManager(MemoryLeaseStore()).issue(config)
        def refuse(handle): raise PermissionDenied("may not")
        integration.revoke = refuse
    """

    done = _run(script, tmp_path)

    assert done.returncode == 0
    assert "Leases were not revoked at exit" in done.stderr


def test_a_process_with_a_file_leaves_its_leases(tmp_path: Path) -> None:
    """With the default store leases outlive their process: the next one finds and revokes them."""
    script = "print(LeaseManager().issue(config, '{}').id)"
    first = _run(script.format("10m"), tmp_path).stdout.strip()
    assert len(FolderIntegration(tmp_path).live()) == 1

    script = f"""
        manager = LeaseManager(integrations=[integration])
        manager.revoke({first!r})
        print(manager.get({first!r}).state)
    """
    second = _run(script, tmp_path)

    assert second.stdout.strip() == "revoked"
    assert FolderIntegration(tmp_path).live() == set()


@needs_fork
def test_a_forked_child_revokes_nothing_of_its_parent(world: World) -> None:
    """Closing the manager in a forked child touches no lease of the parent; the child's own it revokes."""
    leased = world.issue()

    def child() -> tuple[bool, int, list[str]]:
        own = world.manager.issue(world.config())
        world.manager.close()
        return own.revoked, world.integration.count("revoke"), sorted(world.states())

    assert in_child(child) == (True, 1, ["active", "revoked"])
    assert leased.is_valid()
    assert world.state(leased.id) == "active"


@needs_fork
def test_forking_while_locks_are_held_is_safe(world: World) -> None:
    """A child forked while other threads of the parent stand in the manager can issue and revoke."""
    context = lease(world.config(), manager=world.manager)
    engine = engine_of(world.manager)
    locks: list[Any] = [engine.state.leases._lock, engine.state.clocks._lock, engine.scheduler._condition]
    locks.append(context._open._lock)

    def child() -> bool:
        with context as leased:
            return leased.is_valid()

    with contextlib.ExitStack() as held:
        for lock in locks:
            held.enter_context(lock)
        worked = in_child(child)

    assert worked
