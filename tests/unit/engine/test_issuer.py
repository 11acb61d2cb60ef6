"""Issuing leaves either a lease that works or nothing, at whatever point it fails."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import (
    DynsecretsError,
    LeaseNotFound,
    NotUsableInTime,
    PermissionDenied,
    ProvisionError,
    QuotaExceeded,
    RevocationError,
    StoreError,
    VersionConflict,
)
from dynsecrets.engine.manager import engine_of
from dynsecrets.model.grant import Grant
from support.world import Gate, ThirdPartyStore, World, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dynsecrets import Lease, LeaseRecord

_ERRORS: dict[str, Callable[[], BaseException]] = {
    "library": lambda: ProvisionError("boom", code="Boom", operation="Make"),
    "permission": lambda: PermissionDenied("boom", actions=["iam:CreateUser"]),
    "foreign": lambda: RuntimeError("boom"),
    "interrupt": lambda: KeyboardInterrupt("boom"),
    "exit": lambda: SystemExit("boom"),
}


@pytest.fixture(name="frail")
def frail_fixture() -> Iterator[World]:
    """A world whose store fails when told to."""
    with World(ThirdPartyStore()) as frail:
        yield frail


def _fail_wait(frail: World, error: BaseException) -> None:
    """Have the caller's probe raise."""

    def probe(_: Lease) -> bool:
        raise error

    frail.config = lambda **options: World.config(frail, **{"wait": probe, **options})  # type: ignore[method-assign]


#: Where an issue can fail: how to make it so, and what record is left.
_POINTS: dict[str, tuple[Callable[[World, BaseException], object], list[str]]] = {
    "plan": (lambda frail, error: frail.integration.fail("plan", error), []),
    "insert": (lambda frail, error: frail.store.fail("insert", error), []),
    "inserted": (lambda frail, error: frail.store.fail("insert", error, after=True), ["revoked"]),
    "provision": (lambda frail, error: frail.integration.fail("provision", error), ["revoked"]),
    "provisioned": (lambda frail, error: frail.integration.fail("provisioned", error), ["revoked"]),
    "activate": (lambda frail, error: frail.store.fail("update", error), ["revoked"]),
    "activated": (lambda frail, error: frail.store.fail("update", error, after=True), ["revoked"]),
    "usable": (lambda frail, error: frail.integration.fail("is_usable", error), ["revoked"]),
    "probe": (_fail_wait, ["revoked"]),
}


def _fail(frail: World, point: str, error: BaseException) -> None:
    _POINTS[point][0](frail, error)


def _is_translated(point: str, error: BaseException) -> bool:
    """Tell whether an error is one of ``provision`` that isn't the library's own."""
    return point.startswith("provision") and isinstance(error, Exception) and not isinstance(error, DynsecretsError)


def test_the_names_are_durable_before_anything_is_made(world: World) -> None:
    """When the third party is first asked, a pending record with every name is in the store."""
    seen: list[LeaseRecord] = []
    world.integration.fail("provision", lambda: seen.extend(world.store.records()))

    lease = world.issue(metadata={"ticket": "OPS-1"})

    (record,) = seen
    (thing,) = world.integration.live
    assert (record.id, record.state, record.handle) == (lease.id, "pending", {"thing": thing})
    assert record.owner == engine_of(world.manager).state.owner
    assert record.metadata == {"ticket": "OPS-1"}
    assert record.created_at == world.clock.now()


def test_three_writes_a_lease(frail: World) -> None:
    """A life costs the store three writes: pending, active, and the claim that ends in revoked."""
    writes: list[str] = []
    for method in ("insert", "update", "claim"):
        frail.store.fail(method, *[lambda method=method: writes.append(method)] * 9)

    frail.issue().revoke()

    assert writes == ["insert", "update", "claim", "update"]


@pytest.mark.parametrize(
    ("point", "kind"),
    # A library's own error of the usual probe means "not yet".
    [
        each
        for each in itertools.product(_POINTS, _ERRORS)
        if each not in {("usable", "library"), ("usable", "permission")}
    ],
)
def test_a_failed_issue_leaves_nothing(frail: World, point: str, kind: str) -> None:
    """Whatever goes wrong at whatever point: all is deleted, the record says so, and the error itself is raised.

    What ``provision`` raises of its own is the cause of a ``ProvisionError`` that has the lease.
    """
    error = _ERRORS[kind]()
    before = (type(error), error.args)
    translated = _is_translated(point, error)
    _fail(frail, point, error)

    with pytest.raises(ProvisionError if translated else type(error)) as caught:
        frail.manager.issue(frail.config(**({"wait": "usable"} if point == "usable" else {})))

    assert (caught.value.__cause__ if translated else caught.value) is error
    assert (type(error), error.args) == before
    assert not hasattr(error, "__notes__")
    assert frail.integration.live == {}
    assert frail.states() == _POINTS[point][1]
    assert frail.store.count_live("AWS_USER") == 0
    assert engine_of(frail.manager).state.leases.all() == []
    if frail.states() and isinstance(caught.value, DynsecretsError):
        (record,) = frail.store.records()
        assert caught.value.lease_id == record.id
    calls = len(frail.integration.calls)
    frail.advance(7200)
    assert len(frail.integration.calls) == calls


@pytest.mark.parametrize("kind", _ERRORS)
@pytest.mark.parametrize("point", ["provisioned", "activate", "activated", "probe"])
def test_a_failed_issue_that_cannot_be_undone_is_undone_later(frail: World, point: str, kind: str) -> None:
    """Where deleting fails too, record and error say that it is pending, and the background does it."""
    error = _ERRORS[kind]()
    _fail(frail, point, error)
    frail.integration.fail("revoke", *[OSError("down")] * 4)

    translated = _is_translated(point, error)
    with pytest.raises(ProvisionError if translated else type(error)) as caught:
        frail.issue()

    assert (caught.value.__cause__ if translated else caught.value) is error
    (record,) = frail.store.records()
    told = f"{caught.value} {''.join(getattr(caught.value, '__notes__', []))}"
    assert "boom" in told
    assert f"cleaning up lease {record.id} is pending" in told
    assert (record.state, record.attempts > 0, len(frail.integration.live)) == ("revoking", True, 1)
    assert "down" in record.last_error
    frail.advance(120)
    assert frail.integration.live == {}
    assert frail.states() == ["revoked"]
    assert engine_of(frail.manager).state.leases.all() == []


def test_an_interrupted_rollback_goes_on_in_the_background(frail: World) -> None:
    """An interrupt of the rollback itself is raised, and the rollback is done later."""
    frail.integration.fail("provisioned", ProvisionError("boom"))
    frail.integration.fail("revoke", KeyboardInterrupt("enough"))

    with pytest.raises(KeyboardInterrupt, match="enough"):
        frail.issue()

    assert frail.states() == ["revoking"]
    frail.advance(60)
    assert frail.integration.live == {}
    assert frail.states() == ["revoked"]


def test_what_an_error_says_was_made_is_what_is_deleted(world: World) -> None:
    """An error with a ``handle`` is believed: that is deleted, not what was planned."""
    deleted: list[Any] = []
    error = ProvisionError("boom")
    error.handle = {"thing": "the-real-name", "more": "than planned"}
    world.integration.fail("provision", error)
    world.integration.revoke = deleted.append

    with pytest.raises(ProvisionError):
        world.issue()

    assert deleted == [error.handle]


def test_a_known_handle_is_kept_until_it_is_deleted(frail: World) -> None:
    """What an error says was made reaches the record, and all attempts later."""
    handles: list[Any] = []

    def refuse(handle: Any) -> None:
        handles.append(dict(handle))
        if len(handles) < 3:
            raise OSError("down")

    error = ProvisionError("boom")
    error.handle = {"thing": "the-real-name"}
    frail.integration.fail("provision", error)
    frail.integration.revoke = refuse

    with pytest.raises(ProvisionError):
        frail.issue()
    frail.advance(60)

    (record,) = frail.store.records()
    assert (record.state, record.handle) == ("revoked", error.handle)
    assert handles == [error.handle] * 3


def test_an_error_that_says_nothing_was_made_asks_for_nothing(world: World) -> None:
    """With an empty ``handle`` nothing is deleted, and the record is closed at once."""
    error = PermissionDenied("boom", actions=["iam:CreateUser"])
    error.handle = {}
    world.integration.fail("provision", error)

    with pytest.raises(PermissionDenied):
        world.issue()

    assert world.integration.count("revoke") == 0
    assert world.states() == ["revoked"]


@pytest.mark.parametrize("handle", ["text", 5, ["thing"]], ids=repr)
def test_a_handle_of_another_kind_is_not_believed(world: World, handle: Any) -> None:
    """An exception of somebody else's may have a ``handle`` that is none; then what was planned is deleted."""
    error = RuntimeError("boom")
    error.handle = handle  # type: ignore[attr-defined]
    world.integration.fail("provisioned", error)

    with pytest.raises(ProvisionError) as caught:
        world.issue()

    assert caught.value.__cause__ is error
    assert world.integration.live == {}
    assert world.states() == ["revoked"]


def test_a_store_that_stays_down_masks_no_error(frail: World) -> None:
    """Where the record can't be closed either, the first error is raised; it is closed once the store takes it."""
    error = StoreError("down")
    frail.store.fail("update", error, *[StoreError("still down")] * 10)

    with pytest.raises(StoreError) as caught:
        frail.issue()

    assert caught.value is error
    assert frail.integration.live == {}
    assert frail.states() == ["pending"]
    frail.advance(600)
    assert frail.states() == ["revoked"]
    assert frail.integration.count("revoke") == 1
    assert frail.states() == ["revoked"]


def test_issues_in_vain_do_not_pile_up_while_a_store_is_down(frail: World) -> None:
    """Where nothing was written or made, nothing is planned for when the store is back."""
    frail.store.fail("insert", StoreError("down"))
    frail.store.fail("update", *[StoreError("down")] * 10)

    with pytest.raises(StoreError):
        frail.issue()

    assert [job for job in engine_of(frail.manager).scheduler.jobs() if not job.idle] == []


def test_a_record_that_vanishes_masks_no_error(frail: World) -> None:
    """Where the record is lost while a lease is issued, the first error is raised, and all is deleted."""
    error = ProvisionError("boom")

    def lose() -> None:
        frail.store.inner = type(frail.store.inner)()
        raise error

    frail.integration.fail("provisioned", lose)

    with pytest.raises(ProvisionError) as caught:
        frail.issue()

    assert caught.value is error
    assert frail.integration.live == {}


def test_a_record_that_vanishes_stops_no_attempt(frail: World) -> None:
    """Where the record is lost and deleting fails too, the background goes on all the same."""

    def lose() -> None:
        frail.store.inner = type(frail.store.inner)()
        raise ProvisionError("boom")

    frail.integration.fail("provisioned", lose)
    frail.integration.fail("revoke", *[OSError("down")] * 3)

    with pytest.raises(ProvisionError, match="cleaning up"):
        frail.issue()

    frail.advance(120)
    assert frail.integration.live == {}


def test_a_lease_revoked_in_the_making_is_not_handed_over(world: World) -> None:
    """Where somebody revokes a pending lease meanwhile, what was made is deleted and the issue fails."""
    gate = Gate()
    world.integration.fail("provision", gate)
    result = started(world.issue)
    gate.until_reached()
    (record,) = world.store.records()

    world.another().revoke(record.id)
    gate.open()
    outcome = result()

    assert isinstance(outcome, VersionConflict)
    assert world.integration.live == {}
    assert world.states() == ["revoked"]


def test_a_failed_issue_is_told(world: World) -> None:
    """The events say that an issue failed, and why."""
    world.integration.fail("provision", ProvisionError("the region is on fire"))

    with pytest.raises(ProvisionError):
        world.issue()

    assert world.events.types() == ["requested", "issue_failed"]
    assert world.events.events[-1].error == "the region is on fire"


def test_an_interrupt_of_a_listener_leaves_nothing(world: World) -> None:
    """An interrupt that comes while listeners are told of the request leaves nothing behind."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    manager = world.another(on_event=interrupted)

    with pytest.raises(KeyboardInterrupt):
        manager.issue(world.config())

    assert world.integration.live == {}
    assert world.integration.count("provision") == 0


def test_over_the_cap_nothing_is_written(world: World) -> None:
    """Where the cap is reached before, there is not even a record."""
    world.manager.issue(world.config(max_active=1))

    with pytest.raises(QuotaExceeded):
        world.manager.issue(world.config(max_active=1))

    assert world.states() == ["active"]


def test_a_grant_with_its_secret_in_the_handle_is_refused(world: World) -> None:
    """A third party's integration that would put the secret into the store is stopped, and what it made deleted."""

    def provision(plan: Any, config: Any, ttl: timedelta) -> Grant:
        world.integration.live[plan["thing"]] = {}
        return Grant({"TOKEN": "the-secret-itself"}, world.clock.now() + ttl, {**plan, "t": "the-secret-itself"})

    world.integration.provision = provision

    with pytest.raises(DynsecretsError, match="handles are stored") as caught:
        world.issue()

    assert "the-secret-itself" not in str(caught.value)
    assert world.integration.live == {}


def test_usable_means_three_times_in_a_row(world: World) -> None:
    """The lease is handed over once the third party has said yes three times without a no between."""
    world.integration.answers.extend([False, True, True, False, True, True, True])

    lease = world.manager.issue(world.config(wait="usable"))

    assert world.integration.count("is_usable") == 7
    assert lease.is_valid()
    assert world.events.types() == ["requested", "issued", "usable"]


def test_a_no_is_followed_by_growing_pauses(world: World) -> None:
    """Between noes it is waited, longer each time, up to a second."""
    world.integration.answers.extend([False] * 8)

    world.manager.issue(world.config(wait="usable"))

    assert world.clock.sleeps == pytest.approx([0.1, 0.2, 0.4, 0.8, 1, 1, 1, 1])


def test_no_wait_asks_nobody(world: World) -> None:
    """With ``wait=None`` the lease is handed over at once."""
    world.manager.issue(world.config(wait=None))

    assert world.integration.count("is_usable") == 0


def test_a_callers_own_probe_is_asked(world: World) -> None:
    """A callable gets the lease and is asked the same way: three times in a row."""
    answers = iter([False, 1, True, "yes", False])
    seen: list[Lease] = []

    def probe(lease: Lease) -> Any:
        seen.append(lease)
        return next(answers)

    lease = world.manager.issue(world.config(wait=probe))

    assert seen == [lease] * 4
    assert world.integration.count("is_usable") == 0


@pytest.mark.parametrize(
    ("configured", "given", "asked"), [("usable", None, 0), (None, "usable", 3), (lambda _: False, "usable", 3)]
)
def test_a_call_can_wait_otherwise(world: World, configured: Any, given: Any, asked: int) -> None:
    """``wait`` of the call wins over the config's."""
    world.manager.issue(world.config(wait=configured), wait=given)

    assert world.integration.count("is_usable") == asked


@pytest.mark.parametrize("kind", ["usable", "probe"])
def test_what_does_not_work_in_time_is_revoked(world: World, kind: str) -> None:
    """After ``wait_timeout`` the lease is revoked and the error says what to do."""
    world.integration.answers.extend([False] * 1000)
    wait: Any = "usable" if kind == "usable" else lambda _: False

    with pytest.raises(NotUsableInTime, match=r"did not work within 10s.*wait_timeout") as caught:
        world.manager.issue(world.config(wait=wait, wait_timeout="10s"))

    assert world.clock.steady() == pytest.approx(10)
    assert world.integration.live == {}
    (record,) = world.store.records()
    assert (record.state, record.id) == ("revoked", caught.value.lease_id)


def test_a_lease_that_is_over_is_waited_for_no_longer(world: World) -> None:
    """The lease's own end bounds the wait too."""
    world.integration.answers.extend([False] * 1000)

    with pytest.raises(NotUsableInTime, match="within 5s"):
        world.manager.issue(world.config(wait="usable"), "5s")

    assert world.clock.steady() == pytest.approx(5)
    world.settle()
    assert world.integration.live == {}
    assert world.states() == ["revoked"]


def test_trouble_of_the_usual_probe_means_not_yet(world: World) -> None:
    """Where the third party can't be asked it is asked again; if that stays so, it is the cause of the error."""
    trouble = ProvisionError("throttled")
    world.integration.fail("is_usable", trouble, trouble)
    assert world.manager.issue(world.config(wait="usable")).is_valid()
    world.integration.fail("is_usable", *[trouble] * 1000)

    with pytest.raises(NotUsableInTime) as caught:
        world.manager.issue(world.config(wait="usable"))

    assert caught.value.__cause__ is trouble


def test_a_revocation_that_fails_after_the_wait_is_told(world: World) -> None:
    """Where a lease neither works nor can be revoked, the error says that cleaning up is pending."""
    world.integration.fail("revoke", *[OSError("down")] * 3)

    with pytest.raises(NotUsableInTime, match=r"cleaning up lease .* is pending"):
        world.manager.issue(world.config(wait=lambda _: False))

    assert world.states() == ["revoking"]
    world.advance(60)
    assert world.integration.live == {}


def test_issuing_counts_the_ttl_from_the_call(world: World) -> None:
    """A slow third party never makes a lease live longer than was asked for."""
    world.integration.fail("provision", lambda: world.clock.leap(7))

    lease = world.issue("60s")

    assert lease.remaining <= timedelta(seconds=60)
    world.advance(60 - 7)
    assert world.state(lease.id) == "revoked"


def test_a_second_manager_sees_no_unfinished_issue_as_overdue(world: World) -> None:
    """An issue in the making is left alone by reapers, of the same process too."""
    gate = Gate()
    world.integration.fail("provisioned", gate)
    result = started(world.issue)
    gate.until_reached()

    report = world.another().reap(integrations=[world.integration])
    gate.open()

    assert report.revoked == report.failed == report.skipped == []
    assert result().is_valid()


def test_no_two_leases_are_alike(world: World) -> None:
    """Ids, names and secrets are new for each lease."""
    leases = [world.issue() for _ in range(50)]

    for key in ("AWS_USER_LEASE_ID", "AWS_USER_ACCESS_KEY_ID", "AWS_USER_TOKEN"):
        assert all(one[key] != other[key] for one, other in itertools.combinations(leases, 2))


def test_errors_of_the_store_have_the_lease(frail: World) -> None:
    """An issue that the store failed tells which lease it was."""
    frail.store.fail("update", StoreError("down"))

    with pytest.raises(StoreError) as caught:
        frail.issue()

    with pytest.raises(LeaseNotFound):
        frail.manager.get("not that one")
    assert frail.manager.get(str(caught.value.lease_id)).state == "revoked"


@pytest.mark.parametrize("error", [ValueError("theirs"), KeyboardInterrupt()], ids=["theirs", "interrupt"])
@pytest.mark.parametrize("step", ["provisioned", "wait"])
def test_every_error_has_the_lease(world: World, step: str, error: BaseException) -> None:
    """An error of somebody else's, and an interrupt, tell which lease they are of: a renewer asks what may be left."""

    def fail(_: object) -> bool:
        raise error

    world.integration.fail("revoke", *[OSError("down")] * 3)
    if step != "wait":
        world.integration.fail(step, error)

    expected = ProvisionError if _is_translated(step, error) else type(error)
    with pytest.raises(expected) as caught:
        world.manager.issue(world.config(wait=fail))

    (record,) = world.store.records()
    assert record.state == "revoking"
    assert caught.value.lease_id == record.id  # type: ignore[attr-defined]
    assert engine_of(world.manager).possibly_leaked(caught.value) == [record.id]
    world.advance(60)
    assert engine_of(world.manager).possibly_leaked(caught.value) == []


@pytest.mark.parametrize("step", ["provisioned", "wait"])
def test_an_interrupt_of_cleaning_up_has_the_lease(world: World, step: str) -> None:
    """An interrupt that comes while what failed is deleted again tells which lease it is of, too."""

    def fail(_: object) -> bool:
        raise ValueError

    world.integration.fail("revoke", KeyboardInterrupt())
    if step != "wait":
        world.integration.fail(step, ProvisionError("boom"))

    with pytest.raises(KeyboardInterrupt) as caught:
        world.manager.issue(world.config(wait=fail))

    (record,) = world.store.records()
    assert engine_of(world.manager).possibly_leaked(caught.value) == [record.id]
    world.advance(60)
    assert world.integration.live == {}


def test_what_a_late_rollback_leaves_is_known_by_its_new_record(world: World) -> None:
    """Where somebody else has closed the record meanwhile, the error names the record that stands for what is left."""

    def late() -> None:
        (record,) = world.store.records()
        world.store.update(record.revoked(now=world.clock.now()))
        raise ProvisionError("late")

    world.integration.fail("provisioned", late)
    world.integration.fail("revoke", OSError("down"))

    with pytest.raises(ProvisionError) as caught:
        world.issue()

    assert world.state(str(caught.value.lease_id)) == "revoking"
    assert engine_of(world.manager).possibly_leaked(caught.value) == [caught.value.lease_id]


def test_an_error_without_attributes_goes_on_as_it_is(world: World) -> None:
    """An error that takes no attributes is raised all the same, and nothing is left."""

    class Closed(BaseException):
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    world.integration.fail("provisioned", Closed("closed"))

    with pytest.raises(Closed):
        world.issue()

    assert world.states() == ["revoked"]


def test_a_wait_in_vain_is_told(world: World) -> None:
    """The events say that a lease which never worked was not handed over, and that it is gone."""
    with pytest.raises(NotUsableInTime):
        world.manager.issue(world.config(wait=lambda _: False))

    assert world.events.types() == ["requested", "issued", "issue_failed", "revoked"]


def test_a_rollback_that_is_refused_is_a_revocation_to_come(frail: World) -> None:
    """A rollback that the third party refuses says why, in the error and in the record, and revoking says it again."""
    frail.integration.fail("provisioned", ProvisionError("boom"))
    frail.integration.fail("revoke", *[PermissionDenied("not allowed: iam:DeleteUser", actions=["iam:DeleteUser"])] * 2)

    with pytest.raises(ProvisionError, match="iam:DeleteUser") as caught:
        frail.issue()

    lease_id = str(caught.value.lease_id)
    assert "iam:DeleteUser" in str(frail.manager.get(lease_id).last_error)
    with pytest.raises(RevocationError) as refused:
        frail.manager.revoke(lease_id)
    assert isinstance(refused.value.__cause__, PermissionDenied)
