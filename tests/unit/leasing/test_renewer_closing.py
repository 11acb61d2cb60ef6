"""How a renewer begins and ends: with nothing left behind, whatever is under way."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import (
    DynsecretsError,
    LeaseExpired,
    PermissionDenied,
    ProvisionError,
    RevocationError,
    lease,
)
from dynsecrets.model.lease import values_by_suffix
from support.fakes import PATIENCE_S
from support.renewal import RENEWED_S, TTL_S, outage, renewer_of, until
from support.world import Gate, World, started, together

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynsecrets import Lease


def test_a_lease_that_cannot_be_had_is_no_block(world: World) -> None:
    """Entering raises what leasing met, nothing is left or goes on, and entering again works."""
    error = ProvisionError("no answer")
    world.integration.fail("provision", error)
    renewer = renewer_of(world)

    with pytest.raises(ProvisionError) as caught, renewer:
        pytest.fail("the block must not begin")

    assert caught.value is error
    world.advance(10 * TTL_S)
    assert world.integration.count("provision") == 1
    with renewer:
        assert renewer.current.is_valid()


@pytest.mark.parametrize("step", ["plan", "provision", "provisioned", "is_usable"])
def test_an_interrupted_beginning_leaves_nothing(world: World, step: str) -> None:
    """Ctrl-C while entering is raised, after all that was made is deleted."""
    world.integration.fail(step, KeyboardInterrupt())
    renewer = renewer_of(world, config={"wait": "usable"})

    with pytest.raises(KeyboardInterrupt):
        renewer.__enter__()

    assert world.integration.live == {}
    assert "closed" in repr(renewer)
    world.advance(TTL_S)
    assert world.integration.count("provision") == (step != "plan")


def test_a_rollback_that_failed_is_the_managers_to_finish(world: World) -> None:
    """Entering doesn't try again what was half-made and could not be deleted; the background does."""
    world.integration.fail("provisioned", ProvisionError("no answer"))
    world.integration.fail("revoke", ProvisionError("no answer"))

    with pytest.raises(ProvisionError, match="pending"):
        renewer_of(world).__enter__()

    assert world.integration.count("revoke") == 1
    world.advance(2)
    assert world.integration.live == {}


def test_leaving_while_a_renewal_is_under_way(world: World) -> None:
    """Leaving waits for the attempt, and revokes the lease that it still got."""
    gate = Gate()
    renewed: list[Lease] = []
    renewer = renewer_of(world, on_renew=renewed.append)
    renewer.__enter__()
    world.integration.fail("provisioned", gate)
    world.clock.leap(RENEWED_S)
    gate.until_reached()

    leaving = started(lambda: renewer.__exit__(None, None, None))
    until(lambda: "closed" in repr(renewer))
    gate.open()
    leaving()

    assert world.integration.live == {}
    assert world.states() == ["revoked", "revoked"]
    assert renewed == []
    world.advance(10 * TTL_S)
    assert world.integration.count("provision") == 2


def test_leaving_while_a_renewal_fails(world: World) -> None:
    """An attempt that fails while the block is left isn't followed by another one, and nobody is told."""
    gate = Gate()
    errors: list[BaseException] = []
    renewer = renewer_of(world, on_error=errors.append)
    renewer.__enter__()

    def fail() -> None:
        gate()
        raise ProvisionError("no answer")

    world.integration.fail("provision", fail)
    world.clock.leap(RENEWED_S)
    gate.until_reached()
    leaving = started(lambda: renewer.__exit__(None, None, None))
    until(lambda: "closed" in repr(renewer))
    gate.open()
    leaving()
    world.advance(10 * TTL_S)

    assert world.integration.count("provision") == 2
    assert world.integration.live == {}
    assert errors == []


def test_leaving_during_the_overlap_revokes_both(world: World) -> None:
    """The old lease need not wait for its overlap when the block is over."""
    with renewer_of(world, overlap="5m") as renewer:
        old = renewer.current
        world.advance(RENEWED_S)
        assert len(world.integration.live) == 2

    assert world.integration.live == {}
    assert old.revoked


def test_a_callback_may_leave_the_block(world: World) -> None:
    """``on_renew`` and ``on_error`` can close the renewer that calls them, without waiting for themselves."""
    renewers: list[Any] = []
    renewers.append(renewer_of(world, on_renew=lambda _: renewers[0].__exit__(None, None, None)))
    renewers.append(renewer_of(world, on_error=lambda _: renewers[1].__exit__(None, None, None)))
    for renewer in renewers:
        renewer.__enter__()
    world.clock.leap(RENEWED_S)
    until(lambda: "closed" in repr(renewers[0]))
    world.settle()
    outage(world)
    world.advance(2 * TTL_S)

    assert "closed" in repr(renewers[1])
    assert world.integration.live == {}


def test_leaving_waits_for_a_callback(world: World) -> None:
    """Nothing is called back once the block is left."""
    gate = Gate()
    renewer = renewer_of(world, on_renew=lambda _: gate())
    renewer.__enter__()
    world.clock.leap(RENEWED_S)
    gate.until_reached()
    left: list[bool] = []

    def leave() -> None:
        renewer.__exit__(None, None, None)
        left.append(True)

    leaving = started(leave)
    until(lambda: "closed" in repr(renewer))
    before = list(left)
    gate.open()
    leaving()

    assert (before, left) == ([], [True])


def test_what_cannot_be_revoked_at_the_end_is_named(world: World) -> None:
    """Leaving raises ``RevocationError`` with the ids, after it tried all; the background goes on."""
    renewer = renewer_of(world, overlap="5m")
    renewer.__enter__()
    world.advance(RENEWED_S)
    ids = {record.id for record in world.store.records(state="active")}
    recover = outage(world, step="revoke")

    with pytest.raises(RevocationError, match="2 leases could not be revoked") as caught:
        renewer.__exit__(None, None, None)

    assert all(lease_id in str(caught.value) for lease_id in ids)
    recover()
    world.advance(61)
    assert world.integration.live == {}


def test_an_error_of_the_block_is_not_masked(world: World) -> None:
    """Where revoking fails too, the block's own error is raised, with a note."""
    mine = ValueError("mine")

    renewer = renewer_of(world)
    renewer.__enter__()
    world.integration.fail("revoke", PermissionDenied("may not"))

    renewer.__exit__(ValueError, mine, None)

    assert any("could not be revoked" in note for note in mine.__notes__)


def test_an_interrupt_while_leaving_hands_over_to_the_background(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who presses Ctrl-C a second time goes at once; the leases are revoked all the same."""
    gate = Gate()
    renewer = renewer_of(world)
    renewer.__enter__()
    world.integration.fail("provisioned", gate)
    world.clock.leap(RENEWED_S)
    gate.until_reached()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(renewer._idle, "wait_for", interrupted)
    with pytest.raises(KeyboardInterrupt):
        renewer.__exit__(None, None, None)
    gate.open()
    world.settle()

    assert world.integration.live == {}


def test_debts_of_an_earlier_block_are_settled_first(world: World) -> None:
    """Where a block left something alive, the next one revokes that before it leases."""
    renewer = renewer_of(world)
    renewer.__enter__()
    world.integration.fail("revoke", PermissionDenied("may not"))
    with pytest.raises(RevocationError):
        renewer.__exit__(None, None, None)
    assert len(world.integration.live) == 1

    with renewer:
        assert len(world.integration.live) == 1


def test_one_worker_is_enough() -> None:
    """With a pool of one thread renewals, failures, revocations and closing get along."""
    with World(max_workers=1) as world, lease(world.config(), "2h", manager=world.manager):
        with renewer_of(world) as one, renewer_of(world) as other:
            world.integration.fail("provision", ProvisionError("no answer"))
            world.integration.fail("revoke", None, ProvisionError("no answer"))
            for _ in range(60):
                world.advance(60)
                assert one.current.is_valid()
                assert other.current.is_valid()
        assert len(world.integration.live) == 1


def test_a_closed_manager_is_the_end_of_renewal(world: World) -> None:
    """Once the manager is closed ``current`` says why there is no lease, and leaving the block is fine."""
    with renewer_of(world) as renewer:
        world.manager.close()

        with pytest.raises(LeaseExpired, match="LeaseManager was closed"):
            _ = renewer.current

    assert world.integration.live == {}


def test_a_manager_closed_during_a_renewal_leaves_nothing(world: World) -> None:
    """Closing the manager waits for the attempt, and revokes what it got."""
    gate = Gate()
    with renewer_of(world) as renewer:
        world.integration.fail("provisioned", gate)
        world.clock.leap(RENEWED_S)
        gate.until_reached()
        closing = started(world.manager.close)
        until(lambda: renewer._engine.closed)
        gate.open()
        closing()

        assert world.integration.live == {}
    assert world.integration.live == {}


def test_a_closed_manager_issues_no_first_lease(world: World) -> None:
    """Entering a renewer of a closed manager raises and leaves nothing."""
    world.manager.close()

    with pytest.raises(DynsecretsError, match="closed"):
        renewer_of(world).__enter__()

    assert world.integration.live == {}


def test_many_threads_read_while_it_renews(world: World) -> None:
    """``current`` and ``status()`` can be read from any thread at any time; a lease is always of one piece."""
    begun, over = threading.Barrier(4), False

    def turns() -> Iterator[None]:
        """Take turns until the renewals are over, one of them before the first renewal and one after the last."""
        yield
        begun.wait(PATIENCE_S)
        while not over:
            yield
        yield

    def read() -> int:
        seen = set()
        for _ in turns():
            current = renewer.current
            values = values_by_suffix(current)
            assert values["ACCESS_KEY_ID"] == current["AWS_USER_ACCESS_KEY_ID"]
            assert renewer.status().failures == 0
            seen.add(current.id)
        return len(seen)

    def renew() -> None:
        nonlocal over
        try:
            begun.wait(PATIENCE_S)
            for _ in range(20):
                world.advance(RENEWED_S)
        finally:
            over = True

    with renewer_of(world) as renewer:
        *counts, _ = together(read, read, read, renew)

    assert min(counts) >= 2
    assert world.integration.live == {}


def test_closing_while_it_is_entered(world: World) -> None:
    """A renewer that another thread closes while it is entered is not entered, and leaves nothing."""
    gate = Gate()
    world.integration.fail("provisioned", gate)
    renewer = renewer_of(world)
    entering = started(renewer.__enter__)
    gate.until_reached()

    renewer.__exit__(None, None, None)
    gate.open()
    error = entering()

    assert isinstance(error, DynsecretsError)
    assert "closed while it was opened" in str(error)
    assert world.integration.live == {}


def test_an_interrupt_while_revoking_leaves_the_rest_to_the_background(world: World) -> None:
    """Ctrl-C in the middle of the end is raised at once; what was left then is revoked all the same."""
    renewer = renewer_of(world, overlap="5m")
    renewer.__enter__()
    world.advance(RENEWED_S)
    assert len(world.integration.live) == 2
    world.integration.fail("revoke", KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        renewer.__exit__(None, None, None)
    world.advance(2)

    assert world.integration.live == {}
