"""Real processes that die, and real processes that clean up after them, on one SQLite file."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import DynamicSecretConfig, LeaseManager, LeaseState, SQLiteLeaseStore, lease
from dynsecrets.engine.manager import engine_of
from support.forking import needs_fork, start_child, wait_for_child
from support.processes import wait_until
from support.world import FolderIntegration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = needs_fork


class _Shared:
    """What all processes of a test share: a folder with a store and a third party."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "leases.db"
        self.integration = FolderIntegration(folder)
        self.config = DynamicSecretConfig("AWS_USER", self.integration, wait=None)

    def manager(self) -> LeaseManager:
        """Return a manager of the calling process's own."""
        return LeaseManager(SQLiteLeaseStore(self._path))

    def reap(self, **options: Any) -> list[str]:
        """Reap in this process; return what was revoked."""
        with self.manager() as manager:
            return manager.reap(integrations=[self.integration], **options).revoked

    def states(self) -> list[str]:
        """Return where all leases stand."""
        return [record.state.value for record in SQLiteLeaseStore(self._path).records()]

    def killed(self, work: Callable[[Callable[[], None]], object]) -> None:
        """Do work in a child; have it killed, as by the system, when it calls what it is given."""
        reading, writing = os.pipe()

        def child() -> None:
            def here() -> None:
                os.write(writing, b"!")
                signal.pause()

            work(here)

        pid = start_child(child)
        os.close(writing)
        try:
            assert os.read(reading, 1) == b"!", "the child ended before it was killed"
        finally:
            os.close(reading)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.fixture(name="shared")
def shared_fixture(tmp_path: Path) -> _Shared:
    """A folder that processes share."""
    return _Shared(tmp_path)


def test_a_killed_block_is_cleaned_up_at_once(shared: _Shared) -> None:
    """The lease of a block whose process was killed is revoked by the next reaper, long before its TTL."""

    def work(here: Callable[[], None]) -> None:
        with lease(shared.config, "24h", manager=shared.manager()):
            here()

    shared.killed(work)
    left = len(shared.integration.live())

    revoked = shared.reap()

    assert (left, len(revoked)) == (1, 1)
    assert shared.integration.live() == set()
    assert shared.states() == ["revoked"]


def test_an_issued_lease_outlives_its_killed_process(shared: _Shared) -> None:
    """A lease that was issued to outlive the call lives on up to its TTL."""

    def work(here: Callable[[], None]) -> None:
        shared.manager().issue(shared.config, "24h")
        here()

    shared.killed(work)

    assert shared.reap() == []
    assert shared.states() == ["active"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_killed_while_issuing_leaves_nothing(shared: _Shared, moment: str) -> None:
    """Whether the third party had done its work or not: the next reaper leaves nothing behind."""

    def work(here: Callable[[], None]) -> None:
        provision = shared.integration.provision

        def stopping(*args: Any) -> Any:
            grant = provision(*args) if moment == "after" else None
            here()
            return grant

        shared.integration.provision = stopping  # type: ignore[assignment,method-assign]
        shared.manager().issue(shared.config)

    shared.killed(work)
    before = (shared.states(), len(shared.integration.live()))

    revoked = shared.reap()

    assert before == (["pending"], 1 if moment == "after" else 0)
    assert len(revoked) == 1
    assert shared.integration.live() == set()
    assert shared.states() == ["revoked"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_killed_while_revoking_is_finished_for(shared: _Shared, moment: str) -> None:
    """The claim of a killed process doesn't hold up the next reaper, whatever it had done."""

    def work(here: Callable[[], None]) -> None:
        revoke = shared.integration.revoke

        def stopping(handle: Any) -> None:
            if moment == "after":
                revoke(handle)
            here()

        leased = shared.manager().issue(shared.config)
        shared.integration.revoke = stopping  # type: ignore[method-assign]
        leased.revoke()

    shared.killed(work)
    before = shared.states()

    revoked = shared.reap()

    assert before == ["revoking"]
    assert len(revoked) == 1
    assert shared.integration.live() == set()
    assert shared.states() == ["revoked"]


def test_a_process_killed_while_waiting_leaves_a_lease_that_ends(shared: _Shared) -> None:
    """A block killed while it waits for its lease to work is cleaned up at once, too."""

    def work(here: Callable[[], None]) -> None:
        def probe(_: object) -> bool:
            here()
            return True

        with lease(shared.config, manager=shared.manager(), wait=probe):
            pass

    shared.killed(work)

    assert len(shared.reap()) == 1
    assert shared.integration.live() == set()


def test_the_next_issue_cleans_up_by_itself(shared: _Shared) -> None:
    """Nobody has to call ``reap``: the next process that issues revokes what a killed one left."""

    def work(here: Callable[[], None]) -> None:
        with lease(shared.config, "24h", manager=shared.manager()):
            here()

    shared.killed(work)

    with shared.manager() as manager:
        manager.issue(shared.config)
        # A manager that closes begins nothing more of it.
        wait_until(lambda: sorted(shared.states()) == ["active", "revoked"], "what was left is revoked")

    assert len(shared.integration.live()) == 1


def test_a_living_process_keeps_its_leases(shared: _Shared) -> None:
    """While a process lives, no other one takes its blocks' leases away."""
    telling, told = os.pipe()
    ending, end = os.pipe()

    def child() -> None:
        with lease(shared.config, manager=shared.manager()) as leased:
            os.write(told, b"!")
            os.read(ending, 1)
            assert leased.is_valid()

    pid = start_child(child)
    os.read(telling, 1)
    try:
        revoked = shared.reap(abandoned_after="0s")
        live = len(shared.integration.live())
    finally:
        os.write(end, b"!")
        wait_for_child(pid)
        for handle in (telling, told, ending, end):
            os.close(handle)

    assert (revoked, live) == ([], 1)
    assert shared.states() == ["revoked"]


def test_many_processes_share_a_file(shared: _Shared) -> None:
    """Six processes lease thirty times each and die; three reapers at once delete each of these exactly once."""

    def issuer() -> None:
        manager = shared.manager()
        stack = ExitStack()
        for _ in range(30):
            stack.enter_context(lease(shared.config, "24h", manager=manager))
        os.write(tell, b"!")
        os.read(wait, 1)
        os._exit(0)  # As if killed: no block ends.

    def reaper() -> None:
        os.write(tell, b"!")
        os.read(wait, 1)
        shared.reap()

    told, tell = os.pipe()
    wait, go = os.pipe()

    def run(work: Callable[[], None], times: int) -> None:
        """Run processes that go on together once all of them are ready."""
        pids = [start_child(work) for _ in range(times)]
        for _ in pids:
            os.read(told, 1)
        os.write(go, b"!" * times)
        for pid in pids:
            wait_for_child(pid)

    run(issuer, 6)
    things = shared.integration.live()
    run(reaper, 3)
    for handle in (told, tell, wait, go):
        os.close(handle)

    assert len(things) == 180
    assert Counter(shared.integration.deletions()) == dict.fromkeys(things, 1)
    assert shared.integration.live() == set()
    assert Counter(shared.states()) == {"revoked": 180}


def test_a_forked_child_that_leaves_the_block_revokes_nothing(shared: _Shared) -> None:
    """The child of a fork inside a block leaves its parent's lease alone, and gets leases of its own."""
    manager = shared.manager()

    def child() -> None:
        context.__exit__(None, None, None)
        assert len(shared.integration.live()) == 1
        with context as own:
            assert own.id != leased.id
            assert manager.get(own.id).owner != manager.get(leased.id).owner
            assert len(shared.integration.live()) == 2
        assert manager.get(own.id).state == LeaseState.REVOKED

    context = lease(shared.config, manager=manager)
    with context as leased:
        wait_for_child(start_child(child))

        assert leased.is_valid()
        assert manager.get(leased.id).state == LeaseState.ACTIVE
    manager.close()

    assert shared.states() == ["revoked", "revoked"]


def test_a_forked_child_can_revoke_when_told_to(shared: _Shared) -> None:
    """What a child revokes by name is revoked, and its parent finds out."""
    manager = shared.manager()
    first, second = (manager.issue(shared.config) for _ in range(2))

    def child() -> None:
        first.revoke()
        manager.revoke(second.id)
        first.revoke()

    wait_for_child(start_child(child))
    first.revoke()
    second.revoke()
    manager.close()

    assert len(shared.integration.deletions()) == 2
    assert first.revoked
    assert second.revoked


def test_a_forked_child_does_not_end_what_its_parent_planned(shared: _Shared) -> None:
    """The TTL of the parent's leases is the parent's to keep: the child has no plans."""
    manager = shared.manager()
    leased = manager.issue(shared.config, "1h")

    def child() -> None:
        assert engine_of(manager).state.leases.all() == []
        assert [job for job in engine_of(manager).scheduler.jobs() if not job.idle] == []

    wait_for_child(start_child(child))

    assert leased.remaining > timedelta(minutes=59)
    manager.close(revoke=True)
    assert shared.integration.live() == set()
