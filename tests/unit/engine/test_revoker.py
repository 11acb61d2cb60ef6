"""Revoking goes on until the lease is gone, bothers no one more than needed, and two at once don't collide."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from dynsecrets import (
    LeaseNotFound,
    PermissionDenied,
    ProvisionError,
    QuotaExceeded,
    RevocationError,
    StoreError,
)
from dynsecrets.engine.manager import engine_of
from dynsecrets.engine.process_identity import current_owner
from dynsecrets.model.lifecycle import CLAIM_LENGTH, STUCK_AFTER
from support.fakes import BlockingClock, UnhurriedClock, until_waiting
from support.world import Gate, ThirdPartyStore, World, started, together

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynsecrets import LeaseRecord

_ALWAYS = 10_000


@pytest.fixture(name="frail")
def frail_fixture() -> Iterator[World]:
    """A world whose store fails when told to."""
    with World(ThirdPartyStore()) as frail:
        yield frail


@pytest.fixture(name="still")
def still_fixture() -> Iterator[World]:
    """A world in which sleeping takes until the test lets time go by."""
    with World(clock=BlockingClock()) as still:
        yield still


def _break(world: World, error: BaseException | None = None) -> None:
    """Have all revocations fail from now on."""
    world.integration.fail("revoke", *[error or OSError("down")] * _ALWAYS)


def _mend(world: World) -> None:
    """Have revocations work again."""
    world.integration._script["revoke"].clear()


def _interrupt(_seconds: float) -> None:
    raise KeyboardInterrupt


def _record(world: World, lease_id: str) -> LeaseRecord:
    record: LeaseRecord = world.store.get(lease_id)
    return record


def test_a_hiccup_is_tried_again_at_once(world: World) -> None:
    """A caller waits for up to three attempts, a second and a half in all; then the lease is gone."""
    lease = world.issue()
    world.integration.fail("revoke", OSError("hiccup"), ProvisionError("hiccup"))

    lease.revoke()

    assert world.integration.count("revoke") == 3
    assert world.integration.live == {}
    assert world.clock.sleeps == [0.5, 1.0]
    assert world.state(lease.id) == "revoked"
    assert world.events.types(lease.id) == ["requested", "issued", "revoked"]


def test_a_caller_does_not_wait_for_ever(world: World) -> None:
    """After three attempts the caller gets a ``RevocationError``, and the record says why."""
    lease = world.issue()
    _break(world)

    with pytest.raises(RevocationError, match=rf"lease {lease.id} could not be revoked: OSError: down") as caught:
        lease.revoke()

    record = _record(world, lease.id)
    assert world.integration.count("revoke") == 3
    assert world.clock.steady() == 1.5
    assert caught.value.lease_id == lease.id
    assert isinstance(caught.value.__cause__, OSError)
    assert (record.state, record.attempts, record.stuck, record.claimed_by) == ("revoking", 1, False, None)
    assert "down" in str(record.last_error)
    assert not lease.revoked
    assert world.events.types(lease.id)[-1] == "revoke_failed"
    assert world.events.events[-1].error == str(caught.value)


def test_what_is_not_allowed_is_not_tried_again_at_once(world: World) -> None:
    """A refusal is raised after one attempt, with what is missing as its cause; the background goes on."""
    lease = world.issue()
    denied = PermissionDenied("not allowed", actions=["iam:DeleteUser"], code="AccessDenied", operation="DeleteUser")
    world.integration.fail("revoke", denied)

    with pytest.raises(RevocationError) as caught:
        lease.revoke()

    assert caught.value.__cause__ is denied
    assert (caught.value.code, caught.value.operation) == ("AccessDenied", "DeleteUser")
    assert world.integration.count("revoke") == 1
    assert world.clock.sleeps == []
    world.advance(60)
    assert world.state(lease.id) == "revoked"


def test_a_revocation_error_of_the_integration_goes_on_as_it_is(world: World) -> None:
    """What is a ``RevocationError`` already isn't wrapped; it gets the lease's id."""
    lease = world.issue()
    error = RevocationError("it has a login profile, which I may not delete")
    _break(world, error)

    with pytest.raises(RevocationError) as caught:
        lease.revoke()

    assert caught.value is error
    assert error.lease_id == lease.id


def test_the_background_goes_on_until_it_is_gone(world: World) -> None:
    """After a failure the attempts go on by themselves; then record, lease and events say that it is revoked."""
    lease = world.issue()
    world.integration.fail("revoke", *[OSError("down")] * 6)
    with pytest.raises(RevocationError):
        lease.revoke()

    world.advance(30)

    assert world.integration.live == {}
    assert world.state(lease.id) == "revoked"
    assert lease.revoked
    assert world.events.types(lease.id)[2:] == ["revoke_failed"] * 4 + ["revoked"]
    assert world.integration.count("revoke") == 7


def test_the_attempts_get_rarer(world: World) -> None:
    """The attempts are spaced from about a second to a minute, shortened by chance by up to half."""
    lease = world.issue("24h")
    world.settle()  # A first issue reaps in the background.
    _break(world)
    with pytest.raises(RevocationError):
        lease.revoke()
    moments = [world.clock.steady()]

    for _ in range(12):
        at = world.clock._next_at()
        assert at is not None
        world.advance(at - world.clock.steady())
        moments.append(world.clock.steady())

    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    for failures, gap in enumerate(gaps):
        longest = min(2**failures, 60)
        assert longest / 2 <= gap <= longest
    assert len(set(gaps)) == len(gaps)


def test_an_hour_of_failures_is_survived(world: World) -> None:
    """After an hour in which nothing could be revoked, it is within a minute of the service's return."""
    leases = world.manager.issue_many(world.config(), 3, "10m")
    _break(world)

    world.advance(3600 + 600)
    tries = world.integration.count("revoke")
    records = [_record(world, lease.id) for lease in leases]
    _mend(world)
    world.advance(60)

    assert all(record.stuck and record.attempts >= STUCK_AFTER for record in records)
    assert tries <= 3 * (3600 / 30 + 10)
    assert world.integration.live == {}
    assert set(world.states()) == {"revoked"}
    assert not any(_record(world, lease.id).stuck for lease in leases)


def test_a_lease_is_stuck_after_several_failures(world: World) -> None:
    """After five failures in a row the record says that a person should look; the attempts go on."""
    lease = world.issue()
    _break(world, PermissionDenied("no"))
    seen = []

    for _ in range(STUCK_AFTER):
        with pytest.raises(RevocationError):
            lease.revoke()
        seen.append(_record(world, lease.id).stuck)

    assert seen == [False] * (STUCK_AFTER - 1) + [True]
    _mend(world)
    world.advance(60)
    assert (world.state(lease.id), _record(world, lease.id).stuck) == ("revoked", False)


def test_however_many_try_there_is_one_plan(world: World) -> None:
    """Callers and reapers that fail again and again don't multiply what the background tries."""
    lease = world.issue("24h")
    _break(world)
    for _ in range(20):
        with pytest.raises(RevocationError):
            lease.revoke()
        assert world.manager.reap(integrations=[world.integration]).failed == [lease.id]
    world.settle()
    before = world.integration.count("revoke")

    world.advance(600)

    assert world.integration.count("revoke") - before <= 600 / 30 + 1


def test_the_ttl_adds_no_second_plan(world: World) -> None:
    """Where a lease expires while its revocation is being tried, there is one plan afterwards too."""
    lease = world.issue("60s")
    _break(world)
    with pytest.raises(RevocationError):
        lease.revoke()
    world.advance(600)
    before = world.integration.count("revoke")

    world.advance(600)

    assert world.integration.count("revoke") - before <= 600 / 30 + 1
    assert world.events.types(lease.id).count("expired") <= 1


def test_attempts_get_rarer_though_the_store_is_down_too(frail: World) -> None:
    """Where neither the third party nor the store can be reached, the attempts are spaced all the same."""
    lease = frail.issue("24h")
    _break(frail)
    for method in ("claim", "update"):
        frail.store.fail(method, *[StoreError("down")] * _ALWAYS)
    with pytest.raises(RevocationError):
        lease.revoke()

    frail.advance(3600)
    tries = frail.integration.count("revoke")
    _mend(frail)
    frail.advance(60)

    assert tries <= 3600 / 30 + 10
    assert frail.integration.live == {}
    assert lease.revoked


def test_two_at_once_delete_once(still: World) -> None:
    """While one revokes, another one waits until the lease is gone, and deletes nothing itself."""
    lease = still.issue()
    gate = Gate()
    still.integration.fail("revoke", gate)
    first = started(lease.revoke)
    gate.until_reached()

    second = started(lambda: still.another().revoke(lease.id))
    until_waiting(still.clock, 2)
    still.clock.leap(30)
    until_waiting(still.clock, 2)
    gate.open()
    assert first() is None
    still.clock.leap(1)

    assert second() is None
    assert still.integration.count("revoke") == 1
    assert still.integration.live == {}


def test_who_waits_takes_over_when_the_first_one_fails(still: World) -> None:
    """Where the first one gives up, whoever waited deletes the lease."""
    lease = still.issue()
    gate = Gate()

    def refused() -> None:
        gate()
        raise PermissionDenied("not with these credentials")

    still.integration.fail("revoke", refused)
    first = started(lease.revoke)
    gate.until_reached()
    second = started(lambda: still.another().revoke(lease.id))
    until_waiting(still.clock, 2)

    gate.open()
    failure = first()
    still.clock.leap(1)

    assert isinstance(failure, RevocationError)
    assert second() is None
    assert still.integration.live == {}
    assert still.integration.count("revoke") == 2


def test_many_threads_delete_once() -> None:
    """However many threads and managers revoke a lease at the same moment, the third party is asked once."""
    with World(clock=UnhurriedClock()) as world:
        managers = [world.manager, *(world.another() for _ in range(3))]
        for count in range(1, 11):
            lease = world.issue()

            results = together(
                *[lambda manager=manager, lease=lease: manager.revoke(lease.id) for manager in managers * 2]
            )

            assert results == [None] * 8
            assert world.integration.count("revoke") == count


def test_each_revocation_has_a_worker_of_its_own(world: World) -> None:
    """Workers of all managers of a process have different names, or they would not keep each other away."""
    other = world.another()

    workers = [engine_of(manager).state.new_worker() for manager in [world.manager, other] * 5]

    assert len(set(workers)) == 10
    assert all(worker.startswith(f"{engine_of(world.manager).state.owner}#") for worker in workers)


def test_a_claim_lapses(world: World) -> None:
    """The claim of a worker that never comes back is waited for, and not longer than it holds."""
    lease = world.issue()
    now = world.clock.now()
    world.store.claim(lease.id, "another host|boot|1|2|3#1", now + CLAIM_LENGTH, now)

    lease.revoke()

    waited = timedelta(seconds=world.clock.steady())
    assert CLAIM_LENGTH <= waited <= CLAIM_LENGTH + timedelta(seconds=2)
    assert world.integration.live == {}
    assert world.state(lease.id) == "revoked"


def test_a_claim_of_a_slow_worker_is_taken_over(still: World) -> None:
    """A worker that takes longer than its claim loses it; both end well, and the lease is gone."""
    lease = still.issue()
    gate = Gate()
    still.integration.fail("revoke", gate)
    slow = started(lease.revoke)
    gate.until_reached()

    still.clock.leap(CLAIM_LENGTH.total_seconds() + 1)
    still.another().revoke(lease.id)
    gate.open()

    assert slow() is None
    assert still.state(lease.id) == "revoked"
    assert still.integration.live == {}


def test_a_slow_worker_ends_no_claim_but_its_own(still: World) -> None:
    """A worker whose attempt fails after another one has taken over leaves that one's claim; the failure is counted."""
    lease = still.issue()
    first, second = Gate(), Gate()

    def fail() -> None:
        first()
        raise PermissionDenied("too slow")

    still.integration.fail("revoke", fail, second)
    slow = started(lease.revoke)
    first.until_reached()
    still.clock.leap(CLAIM_LENGTH.total_seconds() + 1)
    taken = started(lambda: still.another().revoke(lease.id))
    second.until_reached()
    claimed = _record(still, lease.id)

    first.open()
    assert isinstance(slow(), RevocationError)
    after = _record(still, lease.id)

    assert (after.claimed_by, after.next_attempt_at) == (claimed.claimed_by, claimed.next_attempt_at)
    assert "too slow" in str(after.last_error)
    second.open()
    assert taken() is None
    assert still.state(lease.id) == "revoked"


def test_an_interrupted_wait_leaves_the_others_claim(world: World) -> None:
    """Whoever is interrupted while another worker revokes doesn't have a third one begin."""
    lease = world.issue()
    now = world.clock.now()
    claimed = world.store.claim(lease.id, "another host|boot|1|2|3#1", now + CLAIM_LENGTH, now)
    world.clock.sleep = _interrupt  # type: ignore[method-assign,assignment]  # Whoever waits is interrupted.

    with pytest.raises(KeyboardInterrupt):
        lease.revoke()

    record = _record(world, lease.id)
    assert (record.claimed_by, record.next_attempt_at) == (claimed.claimed_by, claimed.next_attempt_at)


def test_what_could_not_be_written_is_written_later(frail: World) -> None:
    """A revocation that the store could not note is noted once it can, with growing pauses, and not done again."""
    lease = frail.issue("24h")
    frail.store.fail("update", *[StoreError("down")] * 6)

    lease.revoke()
    before = frail.states()
    frail.advance(1)
    tried = 6 - len(frail.store._script["update", False])
    frail.advance(600)

    assert before == ["revoking"]
    assert 1 < tried < 5
    assert frail.states() == ["revoked"]
    assert frail.integration.count("revoke") == 1
    assert frail.events.types(lease.id) == ["requested", "issued", "revoked"]


def test_what_has_no_record_any_more_is_not_written_later(frail: World) -> None:
    """Where the record is gone by the time that the store works again, there is nothing left to do."""
    lease = frail.issue("24h")
    frail.store.fail("update", StoreError("down"), LeaseNotFound("gone"))

    lease.revoke()
    frail.advance(300)

    assert [job for job in engine_of(frail.manager).scheduler.jobs() if not job.idle] == []
    assert frail.states() == ["revoking"]


def test_a_store_that_is_down_stops_no_revocation(frail: World) -> None:
    """Where nothing can be claimed or written, the lease is deleted all the same, and this process knows it."""
    lease = frail.issue("10m")
    for method in ("claim", "get", "update"):
        frail.store.fail(method, *[StoreError("down")] * 20)

    lease.revoke()

    assert frail.integration.live == {}
    assert lease.revoked
    frail.die()
    frail.store._script.clear()
    frail.clock.leap(601)
    assert frail.another().reap(integrations=[frail.integration]).revoked == [lease.id]
    assert frail.state(lease.id) == "revoked"


def test_a_record_that_is_lost_stops_no_revocation(frail: World) -> None:
    """Where the record is gone, a lease that this process issued is deleted all the same."""
    lease = frail.issue()
    frail.store.inner = type(frail.store.inner)()

    lease.revoke()

    assert frail.integration.live == {}
    assert lease.revoked


def test_a_record_that_is_lost_stops_no_attempt(frail: World) -> None:
    """Where the record is gone and deleting fails, it is a ``RevocationError``, and the background goes on."""
    lease = frail.issue()
    frail.store.inner = type(frail.store.inner)()
    frail.integration.fail("revoke", *[OSError("down")] * 5)

    with pytest.raises(RevocationError):
        lease.revoke()

    frail.advance(60)
    assert frail.integration.live == {}


def test_a_lease_that_somebody_else_revoked_is_let_go_of(world: World) -> None:
    """At its TTL a lease that another process revoked is not deleted again."""
    lease = world.issue("10m")
    world.another().revoke(lease.id)

    world.advance(600)

    assert world.integration.count("revoke") == 1
    assert lease.revoked
    assert engine_of(world.manager).state.leases.all() == []


def test_an_interrupted_revocation_goes_on_in_the_background(world: World) -> None:
    """An interrupt is raised at once, and the background finishes what it interrupted."""
    lease = world.issue()
    world.integration.fail("revoke", KeyboardInterrupt("enough"))

    with pytest.raises(KeyboardInterrupt, match="enough"):
        lease.revoke()

    assert world.state(lease.id) == "revoking"
    world.advance(60)
    assert world.integration.live == {}
    assert world.state(lease.id) == "revoked"


def test_an_interrupt_after_the_deletion_is_found_out(world: World) -> None:
    """Where the interrupt came after the deletion, the background finds it gone and says so."""
    lease = world.issue()
    world.integration.fail("revoked", KeyboardInterrupt("enough"))

    with pytest.raises(KeyboardInterrupt):
        lease.revoke()
    world.advance(60)

    assert world.state(lease.id) == "revoked"
    assert lease.revoked


def test_what_was_revoked_with_another_integration_is_retried_with_its_own(world: World) -> None:
    """An integration handed to ``revoke`` that fails doesn't take the place of the lease's own."""
    lease = world.issue()

    class Wrong(type(world.integration)):  # type: ignore[misc]
        def revoke(self, handle: Any) -> None:
            raise PermissionDenied("not mine")

    with pytest.raises(RevocationError):
        world.manager.revoke(lease, integration=Wrong())

    world.advance(60)
    assert world.integration.live == {}


def test_an_old_view_of_a_record_takes_nothing_back(world: World) -> None:
    """A failed attempt made on an old copy of the record keeps the handle that the record has by now."""
    lease = world.issue()
    now = _record(world, lease.id)
    old = attrs.evolve(now, handle={"thing": now.handle["thing"]}, version=1)
    _break(world)

    engine_of(world.manager).revoker.reap(old, world.integration)

    assert _record(world, lease.id).handle == now.handle


def test_a_lease_that_cannot_be_revoked_counts_as_live(world: World) -> None:
    """A lease whose revocation fails still counts against ``max_active``: it lives."""
    config = world.config(max_active=1)
    lease = world.manager.issue(config)
    _break(world)
    with pytest.raises(RevocationError):
        lease.revoke()

    with pytest.raises(QuotaExceeded):
        world.manager.issue(config)


def test_a_slow_revocation_does_not_hold_up_others(world: World) -> None:
    """While one revocation hangs, other leases expire in time."""
    slow, other = world.issue("10s"), world.issue("20s")
    gate = Gate()
    world.integration.fail("revoke", gate)
    world.clock.leap(10)
    gate.until_reached()

    world.clock.leap(10)
    gone = together(other.revoke)

    assert gone == [None]
    assert world.state(other.id) == "revoked"
    gate.open()
    world.settle()
    assert world.state(slow.id) == "revoked"


def test_an_error_that_has_no_words_is_recorded_by_its_kind(world: World) -> None:
    """An exception without a message leaves its type in the record."""
    world.integration.fail("provisioned", ProvisionError("boom"))
    world.integration.fail("revoke", TimeoutError())

    with pytest.raises(ProvisionError) as caught:
        world.issue()

    assert _record(world, str(caught.value.lease_id)).last_error == "TimeoutError"


def test_a_revocation_by_id_of_what_is_gone_from_the_store(world: World) -> None:
    """A stranger can't revoke what the store has forgotten: it says so."""
    lease = world.issue()
    lease.revoke()
    world.store.purge(world.clock.now() + timedelta(days=1))

    with pytest.raises(LeaseNotFound):
        world.another().revoke(lease.id)
    lease.revoke()


def test_a_lease_that_its_manager_forgot_is_revoked_by_its_record(world: World) -> None:
    """Where the manager knows nothing of a lease any more, as in a forked child, the record says what is to be done."""
    first, second = world.issue(), world.issue()
    world.die()
    world.another().revoke(second.id)

    for lease in (first, second, first):
        lease.revoke()

    assert first.revoked
    assert second.revoked
    assert world.integration.live == {}
    assert world.integration.count("revoke") == 2


def test_a_failure_after_somebody_elses_success_plans_nothing(still: World) -> None:
    """Where a slow attempt fails after another worker has deleted the lease, that's the end of it."""
    lease = still.issue()
    gate = Gate()

    def refused() -> None:
        gate()
        raise PermissionDenied("not with these credentials")

    still.integration.fail("revoke", refused)
    slow = started(lease.revoke)
    gate.until_reached()
    still.clock.leap(CLAIM_LENGTH.total_seconds() + 1)
    still.another().revoke(lease.id)

    gate.open()
    slow()

    assert still.state(lease.id) == "revoked"
    assert lease.revoked
    assert engine_of(still.manager).state.leases.all() == []
    assert "revoke_failed" not in still.events.types(lease.id)


def test_a_claim_of_a_dead_process_is_not_waited_for(world: World) -> None:
    """The claim of a process of this host that is gone for certain holds nobody up."""
    lease = world.issue()
    # The first issue's own reaper takes such claims off, too.
    world.settle()
    now = world.clock.now()
    dead = attrs.evolve(current_owner(), started="1")
    world.store.claim(lease.id, f"{dead}#1", now + CLAIM_LENGTH, now)

    lease.revoke()

    assert world.clock.steady() == 0
    assert world.integration.live == {}
    assert world.state(lease.id) == "revoked"
