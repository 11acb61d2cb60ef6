"""What holds for renewers whatever happens: two users at most, one thread for all, clocks that jump, forks."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import DynsecretsError, LeaseExpired, PermissionDenied, ProvisionError
from dynsecrets.clock import SystemClock
from dynsecrets.model.lease import values_by_suffix
from support.fakes import FakeIntegration
from support.forking import in_child, needs_fork
from support.renewal import ENDED_S, RENEWED_S, TTL_S, counted_world, outage, renewer_of, until
from support.world import World, together

if TYPE_CHECKING:
    from dynsecrets import Lease, LeaseRenewer

#: Besides the library's own errors, such as a third party's code raises, or a caller's probe.
ERRORS = (ProvisionError, PermissionDenied, RuntimeError, OSError)


def trouble(seed: int, world: World, share: float) -> None:
    """Script thousands of calls of each step, of which some fail."""
    dice = random.Random(seed)
    for step in ("plan", "provision", "provisioned", "revoke", "revoked", "is_usable"):
        errors = [dice.choice(ERRORS)(f"{step} failed") if dice.random() < share else None for _ in range(3000)]
        world.integration.fail(step, *errors)


# Two users at most


@pytest.mark.parametrize("seed", range(8))
def test_never_more_than_two_users(seed: int) -> None:
    """Whichever calls fail, and however, no more than two users of a renewer are ever alive, and none after it."""
    with counted_world(max_workers=4) as world:
        wait: Any = "usable" if seed % 2 else lambda fresh: world.integration.is_usable(values_by_suffix(fresh))
        renewer = renewer_of(world, config={"wait": wait})
        trouble(seed, world, share=0.05 * (1 + seed))

        while True:
            with contextlib.suppress(DynsecretsError, RuntimeError, OSError):
                renewer.__enter__()
                break
        for _ in range(100):
            world.advance(120)
        for script in world.integration._script.values():
            script.clear()
        # The retries of what could not be revoked, and of the renewal, may be minutes away.
        world.advance(301)
        recovered = renewer.current.is_valid()
        renewer.__exit__(None, None, None)
        world.advance(61)

        assert recovered
        assert world.integration.most <= 2
        assert world.integration.live == {}


def test_a_half_made_user_counts() -> None:
    """Where a failed attempt left something that can't be deleted, the next attempt doesn't make a third user."""
    with counted_world() as world, renewer_of(world) as renewer:
        world.integration.fail("provisioned", RuntimeError("a third party's own"))
        recover = outage(world, step="revoke")
        world.advance(TTL_S * 0.9)
        assert len(world.integration.live) == 2
        assert world.integration.most == 2
        recover()
        world.advance(301)

        assert renewer.current.is_valid()
        assert world.integration.most == 2


def test_a_probe_that_raises_counts_too() -> None:
    """The same where a caller's own probe raised, and the lease that it refused can't be revoked."""
    refusing = False

    def probe(fresh: Lease) -> bool:
        if refusing:
            raise ValueError("no good")
        return True

    with counted_world() as world, renewer_of(world, config={"wait": probe}) as renewer:
        refusing = True
        recover = outage(world, step="revoke")
        world.advance(TTL_S * 0.9)
        assert world.integration.most == 2
        recover()
        refusing = False
        world.advance(301)

        assert renewer.current.is_valid()
        assert world.integration.most == 2


def test_others_troubles_are_not_its_own() -> None:
    """A lease of the same config that can't be revoked, and isn't the renewer's, keeps no renewal from being made."""
    with counted_world() as world, renewer_of(world) as renewer:
        stuck = world.issue("24h")
        world.integration.fail("revoke", *[PermissionDenied("may not")] * 3)
        with pytest.raises(DynsecretsError):
            stuck.revoke()
        before = renewer.current
        world.integration.fail("provision", RuntimeError("a third party's own"))
        world.advance(RENEWED_S + 20)

        assert renewer.current is not before


# One thread for all


def test_thousands_share_one_thread() -> None:
    """Two thousand renewers add one thread to the manager's pool, and all are renewed, each at its own moment."""
    renewals = 2000
    with counted_world(max_workers=4) as world, contextlib.ExitStack() as stack:
        before = threading.active_count()
        renewers = [stack.enter_context(renewer_of(world, "1h")) for _ in range(renewals)]
        first = [renewer.current.id for renewer in renewers]
        due = sorted(renewer._next_at or 0.0 for renewer in renewers)
        del world.integration.asked_at[:]

        world.clock.leap(0.6 * 3600 - 1)
        for _ in range(362):
            world.clock.leap(1)
            world.settle()

        assert threading.active_count() - before <= 4 + 1
        asked = sorted(world.integration.asked_at)
        assert len(asked) == renewals
        assert all(0 <= late - moment <= 1 for late, moment in zip(asked, due, strict=True))
        assert not {renewer.current.id for renewer in renewers} & set(first)


def test_nothing_is_done_while_nothing_is_due() -> None:
    """Two thousand renewers that wait use no measurable CPU."""
    integration: Any = FakeIntegration()
    clock: Any = SystemClock()
    with World(clock=clock, integration=integration) as world, contextlib.ExitStack() as stack:
        for _ in range(2000):
            stack.enter_context(renewer_of(world, "10h"))
        spent, begun = time.process_time(), time.perf_counter()

        threading.Event().wait(0.5)

        assert (time.process_time() - spent) / (time.perf_counter() - begun) < 0.02


# Clocks


def test_a_machine_restored_from_a_snapshot_renews(world: World) -> None:
    """Where the wall clock is far ahead the lease may be dead: another one is made at once, and then all goes on."""
    with renewer_of(world) as renewer:
        before = renewer.current
        world.clock.jump_wall(86_400)
        with pytest.raises(LeaseExpired):
            _ = renewer.current
        world.settle()

        assert renewer.current is not before
        assert renewer.current.is_valid()


@pytest.mark.parametrize("jump", [-86_400, 60])
def test_the_wall_clock_may_jump(world: World, jump: int) -> None:
    """A wall clock that is set back, or a little forward, neither delays a renewal nor brings it forward."""
    with renewer_of(world) as renewer:
        before = renewer.current
        world.clock.jump_wall(jump)
        world.advance(0.6 * TTL_S - 1)
        assert renewer.current is before
        assert before.is_valid()
        world.advance(0.1 * TTL_S + 1)

        assert renewer.current is not before


def test_a_machine_that_slept_renews_when_it_is_asked(world: World) -> None:
    """After sleep the background may wait on; asking for the lease wakes it, also where the lease still lives."""
    with renewer_of(world) as renewer:
        before = renewer.current
        world.settle()
        # Time goes by, and nobody who waits for it is told.
        world.clock._steady += RENEWED_S

        assert renewer.current is before
        until(lambda: renewer.current is not before)


def test_a_machine_that_slept_too_long_has_a_lease_soon(world: World) -> None:
    """Where the lease ended during the sleep the first question raises, and a fresh lease comes at once."""
    with renewer_of(world) as renewer:
        world.settle()
        world.clock._steady += 10 * TTL_S

        with pytest.raises(LeaseExpired, match="could not be renewed yet"):
            _ = renewer.current
        world.settle()

        assert renewer.current.is_valid()
        world.advance(ENDED_S)
        assert len(world.integration.live) == 1


# Forks


@needs_fork
def test_a_forked_child_leases_its_own(world: World) -> None:
    """In a child the parent's lease serves at first, then one of its own; the parent's goes on as it was."""

    def child() -> tuple[bool, bool, list[str]]:
        with renewer_of(world) as other:
            first = renewer.current
            world.settle()
            mine = renewer.current
            assert other.current is not mine
        renewer.__exit__(None, None, None)
        return first.id == parents.id, mine.id == parents.id, sorted(world.states())

    with renewer_of(world) as renewer:
        parents = renewer.current
        world.settle()

        assert in_child(child) == (True, False, ["active", "revoked", "revoked"])
        assert parents.is_valid()
        assert renewer.current is parents
        world.advance(RENEWED_S)
        assert renewer.current is not parents


@needs_fork
def test_a_child_that_inherits_what_is_over_leases_at_once(world: World) -> None:
    """Where the parent's lease is over before a child first asks, it waits for its own; if that fails, it says why."""

    def in_vain() -> int:
        world.clock.leap(ENDED_S * 10)
        world.integration.fail("provision", ProvisionError("no answer"))
        with pytest.raises(LeaseExpired, match="no answer"):
            _ = renewer.current
        return renewer.status().failures

    def own() -> tuple[bool, bool]:
        world.clock.leap(ENDED_S * 10)
        mine = renewer.current
        return mine.id == parents.id, mine.is_valid()

    with renewer_of(world) as renewer:
        parents = renewer.current
        world.settle()

        assert in_child(own) == (False, True)
        assert in_child(in_vain) == 1


@needs_fork
def test_a_child_that_waits_can_be_interrupted(world: World) -> None:
    """An interrupt of a child that waits for a lease of its own reaches the child, and the attempts go on."""

    def child() -> tuple[int, bool]:
        world.clock.leap(ENDED_S * 10)
        world.integration.fail("provision", KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            _ = renewer.current
        failures = renewer.status().failures
        world.advance(ENDED_S)
        return failures, renewer.current.is_valid()

    with renewer_of(world) as renewer:
        world.settle()

        assert in_child(child) == (1, True)


@needs_fork
def test_a_child_that_leaves_the_block_revokes_nothing(world: World) -> None:
    """A child that never used the renewer and leaves the block calls nobody."""

    def child() -> int:
        renewer.__exit__(None, None, None)
        return int(world.integration.count("revoke"))

    with renewer_of(world) as renewer:
        world.settle()
        assert in_child(child) == 0
        assert renewer.current.is_valid()


@needs_fork
def test_a_child_renews_on_its_own(world: World) -> None:
    """A child's own lease is renewed in the child, where failures and plans begin anew."""

    def child() -> tuple[Any, ...]:
        status = renewer.status()
        _ = renewer.current
        world.settle()
        first = renewer.current
        world.advance(RENEWED_S)
        second = renewer.current
        world.advance(ENDED_S)
        return status.failures, status.next_renewal_at, first.id != second.id, first.revoked, second.is_valid()

    with renewer_of(world) as renewer:
        world.integration.fail("provision", ProvisionError("no answer"))
        world.clock.leap(RENEWED_S)
        world.settle()
        assert renewer.status().failures == 1

        assert in_child(child) == (0, None, True, True, True)


@needs_fork
def test_forking_while_locks_are_held_is_safe(world: World) -> None:
    """A child forked while other threads stand in the renewer can use and leave it."""

    def child() -> bool:
        valid = renewer.current.is_valid()
        world.settle()
        renewer.__exit__(None, None, None)
        return valid

    with renewer_of(world) as renewer:
        world.settle()
        with renewer._lock, renewer._ledger._lock:
            worked = in_child(child)

        assert worked


# Closing while others work


def test_closing_races_with_renewals() -> None:
    """However closing and renewing meet, nothing is left alive and nobody waits for ever."""
    for _ in range(60):
        with counted_world(max_workers=2) as world:
            renewers: list[LeaseRenewer] = [renewer_of(world) for _ in range(3)]
            for renewer in renewers:
                renewer.__enter__()

            results = together(
                lambda world=world: world.clock.leap(RENEWED_S),  # type: ignore[misc]
                *(lambda one=one: one.__exit__(None, None, None) for one in renewers),
            )
            world.settle()

            assert results == [None] * 4
            assert world.integration.live == {}


def test_a_manager_that_closes_races_with_renewals() -> None:
    """The same where the manager is closed first."""
    for _ in range(30):
        with counted_world(max_workers=2) as world:
            renewer = renewer_of(world)
            renewer.__enter__()

            results = together(
                lambda world=world: world.clock.leap(RENEWED_S),  # type: ignore[misc]
                world.manager.close,
                lambda renewer=renewer: renewer.__exit__(None, None, None),  # type: ignore[misc]
            )

            assert results == [None] * 3
            assert world.integration.live == {}
