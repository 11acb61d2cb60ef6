"""``with lease(...)``: a lease for the block, gone however the block ends."""

from __future__ import annotations

import contextlib
import threading
import traceback
from typing import TYPE_CHECKING, Any

import pytest

import dynsecrets
from dynsecrets import (
    InvalidConfig,
    InvalidTTL,
    Lease,
    NotUsableInTime,
    ProvisionError,
    RevocationError,
    lease,
)
from support.fakes import PATIENCE_S, BlockingClock, until_waiting
from support.forking import in_child, needs_fork
from support.world import Gate, ThirdPartyStore, World, started, together

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynsecrets.leasing.lease_context import LeaseContext

_ERRORS = [ValueError("mine"), KeyboardInterrupt("mine"), SystemExit(3), GeneratorExit("mine"), RevocationError("mine")]


@pytest.fixture(name="block")
def block_fixture(world: World) -> LeaseContext:
    """A context of the world's config."""
    return lease(world.config(), manager=world.manager)


def _leave_with(context: LeaseContext, error: BaseException) -> Lease:
    """Raise an error in the block, see it come out, and return the block's lease."""
    leases: list[Lease] = []

    def block() -> None:
        with context as leased:
            leases.append(leased)
            raise error

    with pytest.raises(type(error)) as caught:
        block()
    assert caught.value is error
    return leases[0]


def test_the_block_has_a_lease_and_then_it_is_gone(world: World, block: LeaseContext) -> None:
    """The lease works in the block, and nothing is left of it after that."""
    with block as leased:
        assert isinstance(leased, Lease)
        assert leased.check()
        assert world.manager.get(leased.id).held

    assert world.integration.live == {}
    assert leased.revoked
    assert world.state(leased.id) == "revoked"


def test_the_call_has_its_say(world: World) -> None:
    """TTL, wait and metadata reach the lease; without them the config's defaults do."""
    with lease(world.config(), "15m", manager=world.manager, wait="usable", metadata={"job": "nightly"}) as leased:
        assert leased.remaining.total_seconds() == 15 * 60
        assert world.manager.get(leased.id).metadata == {"job": "nightly"}
    assert world.integration.count("is_usable") == 3

    with lease(world.config(default_ttl="7m"), None, manager=world.manager) as leased:
        assert leased.remaining.total_seconds() == 7 * 60
    assert world.integration.count("is_usable") == 3


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"config": "AWS_USER"}, InvalidConfig, "takes a DynamicSecretConfig"),
        ({"ttl": "soon"}, InvalidTTL, "'soon'"),
        ({"ttl": "25h"}, InvalidTTL, "too long"),
        ({"wait": "maybe"}, InvalidConfig, "wait"),
        ({"manager": "default"}, InvalidConfig, "must be a LeaseManager"),
    ],
)
def test_wrong_arguments_are_refused_at_once(
    world: World, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    """``lease(...)`` itself raises, before any block is entered."""
    with pytest.raises(error, match=words):
        lease(**{"config": world.config(), "manager": world.manager, **arguments})

    assert world.integration.calls == []


@pytest.mark.parametrize("error", _ERRORS, ids=repr)
def test_however_the_block_ends_the_lease_is_gone(world: World, block: LeaseContext, error: BaseException) -> None:
    """Errors and interrupts of the block go on as they are, after the lease was revoked."""
    _leave_with(block, error)

    assert world.integration.live == {}
    assert not hasattr(error, "__notes__")


@pytest.mark.parametrize("error", [type(each)("mine") for each in _ERRORS], ids=repr)
def test_an_error_of_the_block_is_not_masked(world: World, block: LeaseContext, error: BaseException) -> None:
    """Where the revocation fails too, the block's own error goes on, with a note of the other one."""
    world.integration.fail("revoke", *[OSError("down")] * 3)

    leased = _leave_with(block, error)

    (note,) = error.__notes__
    assert leased.id in note
    assert "could not be revoked" in note
    assert world.state(leased.id) == "revoking"
    world.advance(60)
    assert world.integration.live == {}


def test_an_error_of_the_block_is_not_masked_by_a_foreign_store() -> None:
    """Whatever a third party's store raises, the block's own error goes on."""
    with World(ThirdPartyStore()) as world:
        error = ValueError("mine")
        block = lease(world.config(), manager=world.manager)

        def enter() -> None:
            with block:
                world.store.fail("claim", *[ZeroDivisionError("odd")] * 3)
                raise error

        with pytest.raises(ValueError, match="mine") as caught:
            enter()

        assert caught.value is error
        assert "odd" in error.__notes__[0]


def test_a_block_that_ended_well_tells_of_a_failed_revocation(world: World, block: LeaseContext) -> None:
    """Where the block itself succeeded, leaving raises ``RevocationError``, and the background goes on."""
    world.integration.fail("revoke", *[OSError("down")] * 3)

    with pytest.raises(RevocationError) as caught, block as leased:
        pass

    record = world.manager.get(leased.id)
    assert caught.value.lease_id == leased.id
    assert (record.state, record.attempts) == ("revoking", 1)
    world.advance(60)
    assert world.state(leased.id) == "revoked"


def test_no_secret_is_in_the_traceback(world: World, block: LeaseContext) -> None:
    """Neither the error nor its note and traceback show the block's token."""
    world.integration.fail("revoke", *[OSError("down")] * 3)
    error = ValueError("mine")

    leased = _leave_with(block, error)

    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert str.__str__(leased["AWS_USER_TOKEN"]) not in shown


def test_a_block_that_cannot_be_entered_leaves_nothing(world: World, block: LeaseContext) -> None:
    """Where no lease can be had, the block isn't entered, and its next try starts afresh."""
    world.integration.fail("provisioned", ProvisionError("no"))
    entered = False

    with pytest.raises(ProvisionError), block:
        entered = True

    assert not entered
    assert world.integration.live == {}
    with block as leased:
        assert leased.is_valid()
    assert world.integration.live == {}


def test_a_lease_that_does_not_work_never_enters_the_block(world: World) -> None:
    """A probe that never agrees fails the entry, and the lease is revoked."""
    with pytest.raises(NotUsableInTime), lease(world.config(), manager=world.manager, wait=lambda _: False):
        pytest.fail("the block was entered")

    assert world.integration.live == {}


def test_a_block_can_revoke_its_lease_itself(world: World, block: LeaseContext) -> None:
    """A lease that was revoked in the block is not revoked again."""
    with block as leased:
        leased.revoke()

    assert world.integration.count("revoke") == 1


def test_a_block_that_takes_too_long_loses_its_lease(world: World) -> None:
    """At the TTL the lease is revoked while the block goes on; leaving it later is fine."""
    with lease(world.config(), "10m", manager=world.manager) as leased:
        world.advance(600)

        assert world.integration.live == {}
        assert leased.revoked
        assert leased.expired
        assert not leased.is_valid()

    assert world.events.types(leased.id) == ["requested", "issued", "expired", "revoked"]
    assert world.integration.count("revoke") == 1


def test_nested_entries_are_different_leases(world: World, block: LeaseContext) -> None:
    """Each entry of one object is a lease of its own, left in reverse order."""
    with block as outer:
        with block as inner:
            assert outer.id != inner.id
            assert outer["AWS_USER_TOKEN"] != inner["AWS_USER_TOKEN"]
        assert (outer.revoked, inner.revoked) == (False, True)
        with block as again:
            assert again.id not in (outer.id, inner.id)
        assert outer.is_valid()

    assert outer.revoked
    assert world.integration.live == {}


def test_threads_share_one_object(world: World, block: LeaseContext) -> None:
    """Threads that are in a block of one object at the same time each have and revoke their own lease."""
    inside, first_left = threading.Barrier(4), threading.Barrier(4)

    def work(patient: bool) -> tuple[str, bool]:
        with block as leased:
            inside.wait(PATIENCE_S)
            if patient:
                first_left.wait(PATIENCE_S)
            as_expected = leased.is_valid() and leased.check()
        if not patient:
            first_left.wait(PATIENCE_S)
        return leased.id, as_expected and leased.revoked

    results = together(*[lambda patient=patient: work(patient) for patient in (True, True, False, False)])

    assert len({lease_id for lease_id, _ in results}) == 4
    assert all(valid for _, valid in results)
    assert world.integration.live == {}


def test_a_block_can_be_left_in_another_thread(world: World, block: LeaseContext) -> None:
    """Where a block is entered in one thread and left in another, its lease is revoked all the same."""
    leased = block.__enter__()

    assert started(lambda: block.__exit__(None, None, None))() is None

    assert leased.revoked
    assert world.integration.live == {}


def test_a_block_that_was_not_entered_cannot_be_left(block: LeaseContext) -> None:
    """Leaving more often than entering is an error, which says so."""
    with block:
        pass

    with pytest.raises(RuntimeError, match="left more often"):
        block.__exit__(None, None, None)


def test_an_exit_stack_leaves_all(world: World, block: LeaseContext) -> None:
    """Contexts work in an ``ExitStack``, and one that can't be revoked keeps none of the others."""
    world.integration.fail("revoke", *[OSError("down")] * 3)
    stack = contextlib.ExitStack()
    leases = [stack.enter_context(block) for _ in range(3)]

    with pytest.raises(RevocationError):
        stack.close()

    assert [leased.revoked for leased in leases] == [True, True, False]


def test_a_generator_that_is_closed_revokes(world: World, block: LeaseContext) -> None:
    """A block in a generator ends when the generator is closed."""

    def work() -> Iterator[Lease]:
        with block as leased:
            yield leased

    generator = work()
    leased = next(generator)
    generator.close()  # type: ignore[attr-defined]

    assert leased.revoked
    assert world.integration.live == {}


def test_an_interrupt_while_leaving_does_not_lose_the_lease(world: World, block: LeaseContext) -> None:
    """An interrupt that comes while the lease is revoked goes on, and so does the revocation, in the background."""
    world.integration.fail("revoke", KeyboardInterrupt("enough"))

    with pytest.raises(KeyboardInterrupt, match="enough"), block:
        pass

    world.advance(60)
    assert world.integration.live == {}
    assert world.states() == ["revoked"]


def test_a_block_ends_while_its_lease_expires(world: World) -> None:
    """Where the TTL and the end of the block meet, the lease is deleted once and leaving is fine."""
    with World(clock=BlockingClock()) as still:
        gate = Gate()
        still.integration.fail("revoke", gate)
        context = lease(still.config(), "10m", manager=still.manager)
        context.__enter__()
        still.clock.leap(600)
        gate.until_reached()

        leaving = started(lambda: context.__exit__(None, None, None))
        until_waiting(still.clock, 2)
        gate.open()
        still.settle()
        still.clock.leap(1)
        # It was entered in another thread, so it is found there.
        assert leaving() is None

        assert still.integration.count("revoke") == 1
        assert still.integration.live == {}


def test_the_default_manager_is_used(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Without a manager the default one issues, and only when the block is entered."""
    asked: list[int] = []

    def default() -> dynsecrets.LeaseManager:
        asked.append(1)
        return world.manager

    monkeypatch.setattr("dynsecrets.engine.manager.default_manager", default)
    context = lease(world.config())
    before = list(asked)

    with context as leased:
        assert world.manager.get(leased.id).state == "active"

    assert (before, asked) == ([], [1])


@needs_fork
def test_a_child_that_leaves_the_block_revokes_nothing(world: World, block: LeaseContext) -> None:
    """A forked child that falls out of its parent's block leaves the lease alone."""

    def child() -> tuple[int, bool]:
        block.__exit__(None, None, None)
        return world.integration.count("revoke"), leased.is_valid()

    with block as leased:
        assert in_child(child) == (0, True)
        assert leased.check()

    assert leased.revoked


@needs_fork
def test_a_child_has_leases_of_its_own(world: World, block: LeaseContext) -> None:
    """In a forked child the same object leases and revokes for the child, and the parent's block goes on."""

    def child() -> tuple[bool, list[str]]:
        with block as own:
            different = own.id != leased.id
        return different and own.revoked, world.states()

    with block as leased:
        assert in_child(child) == (True, ["active", "revoked"])

    assert world.states() == ["revoked"]


@needs_fork
def test_a_child_that_dies_of_an_error_revokes_nothing(world: World, block: LeaseContext) -> None:
    """An error that runs through the child's copy of the block goes on, and touches nothing."""

    def child() -> int:
        block.__exit__(ValueError, ValueError("mine"), None)
        return len([method for method, _ in world.integration.calls if method == "revoke"])

    with block:
        assert in_child(child) == 0


def test_the_function_stays_the_function() -> None:
    """``dynsecrets.lease`` is the function, whatever modules were imported."""
    assert dynsecrets.lease is lease
    assert callable(lease)
