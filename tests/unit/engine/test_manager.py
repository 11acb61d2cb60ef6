"""What a manager promises about issuing, finding and revoking leases, as its callers see it."""

from __future__ import annotations

import gc
import itertools
import json
import logging
import re
import threading
import uuid
import weakref
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import dynsecrets
from dynsecrets import (
    DynsecretsError,
    InvalidConfig,
    InvalidTTL,
    Lease,
    LeaseManager,
    LeaseNotFound,
    MemoryLeaseStore,
    PermissionDenied,
    ProvisionError,
    QuotaExceeded,
    RevocationError,
    SecretNotAvailable,
    SQLiteLeaseStore,
    StoreError,
)
from dynsecrets._internal.messages import safe_repr
from dynsecrets.engine.manager import engine_of
from support.builders import NOW, make_record
from support.fakes import PATIENCE_S, FakeIntegration
from support.world import Gate, ThirdPartyStore, World, started, together

if TYPE_CHECKING:
    from pathlib import Path


def test_a_lease_works_and_its_record_says_so(world: World) -> None:
    """An issued lease is a mapping of the values, and an active record stands in the store."""
    lease = world.issue("15m")

    record = world.manager.get(lease.id)
    assert list(lease) == sorted(lease)
    assert lease["AWS_USER_ACCESS_KEY_ID"].startswith("key-of-")
    assert (record.state, record.name, record.integration) == ("active", "AWS_USER", "fake")
    assert (record.issued_at, record.expires_at) == (lease.issued_at, lease.expires_at)
    assert lease.expires_at - lease.issued_at == timedelta(minutes=15)
    assert uuid.UUID(lease.id).version == 4


def test_the_record_holds_no_secret_and_says_so(world: World) -> None:
    """A record has the handle, and answers requests for the secret with an error."""
    lease = world.issue()
    record = world.manager.get(lease.id)

    shown = f"{record!r} {record.handle} {record.metadata}"

    assert str.__str__(lease["AWS_USER_TOKEN"]) not in shown
    with pytest.raises(SecretNotAvailable, match="request a new lease"):
        _ = record.secret_access_key
    for ask in (record.env, record.aws_env, record.session):
        with pytest.raises(SecretNotAvailable):
            ask()


def test_no_secret_is_anywhere_but_in_the_lease(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Events, logs, records, the store's files, representations and errors hold no value of the token."""
    caplog.set_level(logging.DEBUG)
    audit = dynsecrets.JSONLinesAudit(tmp_path / "audit.jsonl")
    with World(SQLiteLeaseStore(tmp_path / "leases.db")) as world:
        manager = world.another(on_event=[audit, world.events])
        world.integration.fail("provisioned", None, ProvisionError("made, but not well"))
        lease = manager.issue(world.config(), metadata={"ticket": "OPS-1"})
        secret = str.__str__(lease["AWS_USER_TOKEN"])
        with pytest.raises(ProvisionError) as failed:
            manager.issue(world.config())
        world.integration.fail("revoke", *[OSError("down")] * 3)
        with pytest.raises(RevocationError) as refused:
            manager.revoke(lease)

        shown = [repr(world.events.events), caplog.text, *map(repr, manager.records()), repr(manager), repr(lease)]
        shown += [str(failed.value), repr(refused.value), repr(refused.value.__cause__), str(capsys.readouterr())]
        shown += [json.dumps([event.as_dict() for event in world.events.events])]
        files = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert (tmp_path / "audit.jsonl").stat().st_size > 0
    assert b"OPS-1" in files
    assert secret.encode() not in files
    assert all(secret not in text for text in shown)


def test_metadata_is_kept_with_the_record(world: World) -> None:
    """What JSON can hold is kept, and is a copy: changing it later changes no record."""
    metadata: dict[str, Any] = {"ticket": "OPS-1", "tags": ["a", {"b": None}], "n": 1.5}

    lease = world.issue(metadata=metadata)
    metadata["tags"].append("later")

    assert world.manager.get(lease.id).metadata == {"ticket": "OPS-1", "tags": ["a", {"b": None}], "n": 1.5}


def _deep() -> dict[str, Any]:
    """Return a mapping nested deeper than JSON's encoder goes."""
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"deeper": deep}
    return deep


@pytest.mark.parametrize(
    "metadata", [{"when": NOW}, {1: "a"}, {"x": (1, 2)}, {"x": float("nan")}, {"x": {1}}, "text", 5, [1]], ids=repr
)
def test_metadata_that_json_cannot_hold_is_refused(world: World, metadata: Any) -> None:
    """Metadata that would not come back as it went in is an error before anything is called."""
    with pytest.raises(InvalidConfig, match="metadata must be"):
        world.issue(metadata=metadata)

    assert world.integration.calls == []


def test_bottomless_metadata_is_refused(world: World) -> None:
    """Metadata too deep for JSON is refused like any other that doesn't fit."""
    deep = _deep()

    try:
        with pytest.raises(InvalidConfig, match="metadata must be"):
            world.issue(metadata=deep)
    finally:
        # Taken apart by hand: freeing it at once would be as deep.
        while deep:
            deep = deep["deeper"]
    assert world.integration.calls == []


@pytest.mark.parametrize("ttl", [0, -1, "30", "1.5h", True, 1.5, "25h", "", object()], ids=safe_repr)
def test_a_ttl_that_is_none_is_refused_before_anything_is_called(world: World, ttl: Any) -> None:
    """A wrong TTL is an ``InvalidTTL``, and nobody was asked for anything."""
    with pytest.raises(InvalidTTL):
        world.issue(ttl)

    assert world.integration.calls == []
    assert world.states() == []


@pytest.mark.parametrize("config", [None, "AWS_USER", {}], ids=repr)
def test_what_is_no_config_is_refused(world: World, config: Any) -> None:
    """Issuing something else than a config is an ``InvalidConfig``."""
    for issue in (world.manager.issue, lambda it: world.manager.issue_many(it, 2)):
        with pytest.raises(InvalidConfig, match="must be a DynamicSecretConfig"):
            issue(config)


@pytest.mark.parametrize("wait", ["yes", 3, False], ids=repr)
def test_a_wait_that_is_none_is_refused(world: World, wait: Any) -> None:
    """A wrong ``wait`` is refused before anything is called."""
    with pytest.raises(InvalidConfig):
        world.issue(wait=wait)

    assert world.integration.calls == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_workers": 0}, "max_workers 0"),
        ({"max_workers": True}, "max_workers True"),
        ({"max_workers": "4"}, "max_workers '4'"),
        ({"clock": object()}, "clock must have"),
        ({"integrations": FakeIntegration()}, "must be a list"),
        ({"integrations": ["aws"]}, "Integration objects"),
        ({"integrations": 5}, "must be a list"),
        ({"on_event": ["not callable"]}, "on_event takes callables"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_manager_refuses_wrong_arguments(options: dict[str, Any], words: str) -> None:
    """Wrong arguments are ``InvalidConfig``, with what was given."""
    with pytest.raises(InvalidConfig, match=re.escape(words)):
        LeaseManager(MemoryLeaseStore(), **options)


def test_one_listener_needs_no_list(world: World) -> None:
    """``on_event`` takes one callable as well as many."""
    seen: list[str] = []
    manager = world.another(on_event=lambda event: seen.append(event.type))

    manager.issue(world.config())

    assert seen == ["requested", "issued"]


def test_records_are_filtered(world: World) -> None:
    """Records can be asked for by state, name and integration; all of them come oldest first."""
    first, second = world.issue(), world.manager.issue(world.config(name="OTHER"))
    first.revoke()

    def ids(**filters: Any) -> list[str]:
        return [record.id for record in world.manager.records(**filters)]

    assert ids() == [first.id, second.id]
    assert ids(state="revoked") == ids(name="AWS_USER") == [first.id]
    assert ids(state=dynsecrets.LeaseState.ACTIVE) == ids(name="OTHER") == [second.id]
    assert ids(integration="fake") == [first.id, second.id]
    assert ids(integration="aws") == ids(state="pending") == []


def test_a_state_that_is_none_is_refused(world: World) -> None:
    """Asking for records of an unknown state names the states there are."""
    with pytest.raises(InvalidConfig, match="'done' is not accepted; give one of pending, active, revoking, revoked"):
        world.manager.records(state="done")


@pytest.mark.parametrize("lease_id", ["", "unknown", None, 5, b"x"], ids=repr)
def test_an_unknown_lease_is_not_found(world: World, lease_id: Any) -> None:
    """Getting or revoking what the store doesn't know is a ``LeaseNotFound``, which is a ``LookupError``."""
    for ask in (world.manager.get, world.manager.revoke):
        with pytest.raises(LeaseNotFound) as caught:
            ask(lease_id)
        assert isinstance(caught.value, LookupError)


@pytest.mark.parametrize("how", ["lease", "record", "id"])
def test_a_lease_is_revoked_by_whatever_names_it(world: World, how: str) -> None:
    """A manager revokes by lease, by record and by id; the lease knows it then."""
    lease = world.issue()
    named: Any = {"lease": lease, "record": world.manager.get(lease.id), "id": lease.id}[how]

    world.manager.revoke(named)

    assert world.integration.live == {}
    assert world.state(lease.id) == "revoked"
    assert lease.revoked
    assert not lease.is_valid()
    assert not lease.check()


def test_revoking_twice_is_fine_and_asks_once(world: World) -> None:
    """Revoking again does nothing, by whatever way; the integration is called once."""
    lease = world.issue()
    other = world.another()

    lease.revoke()
    lease.revoke()
    world.manager.revoke(lease)
    world.manager.revoke(lease.id)
    other.revoke(lease)

    assert world.integration.count("revoke") == 1
    assert world.events.types(lease.id).count("revoked") == 1


@pytest.mark.parametrize("named", ["lease", "id"])
def test_another_manager_on_the_same_store_revokes(tmp_path: Path, named: str) -> None:
    """A second manager with a store of its own on the same file revokes what the first one issued; both know it."""
    with World(SQLiteLeaseStore(tmp_path / "leases.db")) as world:
        lease = world.issue()
        other = world.another(store=SQLiteLeaseStore(tmp_path / "leases.db"))

        other.revoke(lease if named == "lease" else lease.id)
        lease.revoke()

        assert world.integration.count("revoke") == 1
        assert lease.revoked
        assert world.manager.get(lease.id).state == "revoked"


def test_an_integration_that_is_not_known_is_named(world: World) -> None:
    """Revoking by id without the integration names it and what to do; handing it over works."""
    lease = world.issue()
    stranger = world.another(integrations=[FakeIntegration("other")])

    with pytest.raises(InvalidConfig, match=r"integration 'fake'.*knows other.*integration="):
        stranger.revoke(lease.id)

    stranger.revoke(lease.id, integration=world.integration)
    assert world.integration.live == {}


def test_integrations_that_were_used_are_known(world: World) -> None:
    """A manager knows the integrations that it has issued or reaped with."""
    lease = world.issue()
    issuing, reaping = (world.another(integrations=[]) for _ in range(2))

    issuing.issue(world.config(name="OTHER"))
    reaping.reap(integrations=[world.integration])
    issuing.revoke(lease.id)
    reaping.revoke(lease.id)

    assert world.state(lease.id) == "revoked"


def test_many_are_issued_at_once(world: World) -> None:
    """``issue_many`` gives so many different leases."""
    leases = world.manager.issue_many(world.config(), 5, "10m")

    assert len({lease.id for lease in leases}) == len({lease["AWS_USER_TOKEN"] for lease in leases}) == 5
    assert all(isinstance(lease, Lease) and lease.is_valid() for lease in leases)
    assert len(world.integration.live) == 5


def test_none_is_a_number_of_leases_too(world: World) -> None:
    """``issue_many`` of none is an empty list, though the TTL is checked."""
    assert world.manager.issue_many(world.config(), 0) == []
    with pytest.raises(InvalidTTL):
        world.manager.issue_many(world.config(), 0, "forever")

    assert world.integration.calls == []


@pytest.mark.parametrize("n", [-1, True, 1.0, "2", None], ids=repr)
def test_a_number_of_leases_that_is_none_is_refused(world: World, n: Any) -> None:
    """A wrong ``n`` is refused before anything is called."""
    with pytest.raises(InvalidConfig, match="whole number of leases"):
        world.manager.issue_many(world.config(), n)

    assert world.integration.calls == []


def test_all_or_nothing(world: World) -> None:
    """If one of many can't be had its error is raised, and those that were made are revoked."""
    error = ProvisionError("no more")
    world.integration.fail("provision", None, None, error)

    with pytest.raises(ProvisionError) as caught:
        world.manager.issue_many(world.config(), 6)

    assert caught.value is error
    assert world.integration.live == {}
    assert set(world.states()) == {"revoked"}


def test_after_one_failure_no_more_are_begun() -> None:
    """Once one of many has failed, those that have not begun are not."""
    with World(max_workers=1) as world:
        world.integration.fail("provision", PermissionDenied("no"))

        with pytest.raises(PermissionDenied):
            world.manager.issue_many(world.config(), 50)

        assert world.integration.count("provision") == 1
        assert world.integration.live == {}


def test_withdrawing_a_batch_that_fails_is_told(world: World) -> None:
    """Where those that were made can't be revoked either, the error has a note of each, and the background goes on."""
    both = threading.Barrier(2)
    # A first issue reaps in the background, and would meet failures that are meant for the batch.
    world.issue().revoke()
    world.settle()

    def failing() -> None:
        both.wait(PATIENCE_S)
        raise ProvisionError("no more")

    world.integration.fail("provision", lambda: both.wait(PATIENCE_S), failing)
    world.integration.fail("revoke", *[PermissionDenied("not now")] * 2)

    with pytest.raises(ProvisionError) as caught:
        world.manager.issue_many(world.config(), 2)

    assert "could not be revoked" in "".join(caught.value.__notes__) + str(caught.value)
    world.advance(120)
    assert world.integration.live == {}
    assert world.states() == ["revoked"] * 3


def test_no_more_than_max_workers_work_at_once() -> None:
    """However many are asked for, no more than ``max_workers`` are provisioned at the same time."""
    with World(max_workers=3) as world:
        lock, full = threading.Lock(), threading.Barrier(3)
        now, most = 0, 0

        def busy() -> None:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            full.wait(PATIENCE_S)
            with lock:
                now -= 1

        world.integration.fail("provision", *[busy] * 9)

        world.manager.issue_many(world.config(), 9)

        assert most == 3


def test_an_interrupt_withdraws_a_batch(world: World) -> None:
    """An interrupt in one of the issues leaves none of the others behind."""
    world.integration.fail("provisioned", None, KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        world.manager.issue_many(world.config(), 4)

    assert world.integration.live == {}


def test_max_active_is_a_cap_on_live_leases(world: World) -> None:
    """Over the cap nothing is provisioned; a revoked lease makes room; another name has its own cap."""
    capped = world.config(max_active=2)
    first, _ = world.manager.issue(capped), world.manager.issue(capped)

    with pytest.raises(QuotaExceeded, match="AWS_USER has 2 live leases, and its max_active is 2"):
        world.manager.issue(capped)

    assert world.integration.count("provision") == 2
    assert world.manager.issue(world.config(name="OTHER", max_active=1)).is_valid()
    first.revoke()
    assert world.manager.issue(capped).is_valid()


def test_what_another_process_issued_counts(world: World) -> None:
    """The cap counts the leases in the store, pending ones and such as can't be revoked too."""
    world.store.insert(make_record(state="pending", integration="gone"))
    world.store.insert(make_record(state="revoking", integration="gone"))
    world.store.insert(make_record(state="revoked", integration="gone"))

    with pytest.raises(QuotaExceeded):
        world.manager.issue(world.config(max_active=2))

    assert world.manager.issue(world.config(max_active=3)).is_valid()


def test_threads_together_never_exceed_the_cap() -> None:
    """Threads that ask at the same moment get no more than the cap allows, and nothing more is ever provisioned."""
    store = ThirdPartyStore()
    with World(store, max_workers=16) as world:
        capped = world.config(max_active=3)
        # All of them count before any of them is written down.
        counted = threading.Barrier(8)
        store.fail("count_live", *[counted.wait] * 8, after=True)

        results = together(*[lambda: world.manager.issue(capped)] * 8)

        leases = [result for result in results if isinstance(result, Lease)]
        refused = [result for result in results if isinstance(result, QuotaExceeded)]
        assert len(leases) <= 3
        assert len(leases) + len(refused) == 8
        assert world.integration.count("provision") == len(leases)
        assert world.store.count_live("AWS_USER") == len(leases)


def test_a_life_is_told_in_events(world: World) -> None:
    """Each step is an event, in order, with who did it to which lease and when."""
    lease = world.manager.issue(world.config(wait="usable"), "10m")
    world.clock.leap(1)
    lease.revoke()

    assert world.events.types() == ["requested", "issued", "usable", "revoked"]
    for event in world.events.events:
        assert (event.lease_id, event.name, event.integration) == (lease.id, "AWS_USER", "fake")
        assert re.fullmatch(r".+@.+/\d+", event.actor)
        assert event.error is None
        assert event.time.tzinfo is UTC
    requested, issued, *_, revoked = world.events.events
    assert (requested.expires_at, issued.expires_at) == (None, lease.expires_at)
    assert revoked.time - requested.time == timedelta(seconds=1)


def test_an_event_cannot_be_changed(world: World) -> None:
    """A listener can't change what the next one gets."""
    world.issue()

    with pytest.raises(AttributeError):
        world.events.events[0].lease_id = "another"  # type: ignore[misc]


def test_listeners_that_fail_harm_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """What a listener raises is logged, and neither the lease nor the other listeners notice."""

    def broken(_: object) -> None:
        raise RuntimeError("the audit is full")

    manager = world.another(on_event=[broken, world.events])

    manager.issue(world.config()).revoke()

    assert world.events.types() == ["requested", "issued", "revoked"]
    assert caplog.text.count("A listener failed") == 3


def test_a_listener_may_use_the_manager(world: World) -> None:
    """Listeners are called while no lock is held: they can ask the manager, and issue leases of their own."""
    seen: list[str] = []

    def curious(event: dynsecrets.LeaseEvent) -> None:
        seen.append(str(manager.get(event.lease_id).state))
        if event.type == "issued" and event.name == "AWS_USER":
            manager.issue(world.config(name="OTHER")).revoke()

    manager = world.another(on_event=curious)

    manager.issue(world.config()).revoke()

    assert seen == ["pending", "active", "pending", "active", "revoked", "revoked"]


def test_a_lease_ends_at_its_ttl(world: World) -> None:
    """At the TTL the lease is revoked by the background, and the events say that it expired."""
    lease = world.issue("10m")

    world.advance(599)
    before = (lease.is_valid(), world.state(lease.id))
    world.advance(1)

    assert before == (True, "active")
    assert world.integration.live == {}
    assert world.state(lease.id) == "revoked"
    assert lease.revoked
    assert world.events.types() == ["requested", "issued", "expired", "revoked"]


def test_a_revoked_lease_does_not_expire(world: World) -> None:
    """A lease that was revoked before its TTL is left alone at its TTL."""
    lease = world.issue("10m")

    lease.revoke()
    world.advance(3600)

    assert world.events.types() == ["requested", "issued", "revoked"]
    assert world.integration.count("revoke") == 1


def test_a_lease_that_nobody_keeps_ends_all_the_same(world: World) -> None:
    """The manager doesn't need the ``Lease`` object to revoke it, nor does it keep it alive."""
    lease = world.issue("10m")
    lease_id, kept = lease.id, weakref.ref(lease)
    del lease
    gc.collect()

    assert engine_of(world.manager).state.leases.get(lease_id) is not None
    assert kept() is None
    world.advance(600)
    assert world.state(lease_id) == "revoked"


def test_many_are_revoked_past_failures(world: World) -> None:
    """``revoke_many`` goes on past failures and reports each lease once."""
    leases = world.manager.issue_many(world.config(), 4)
    leases[0].revoke()
    world.integration.fail("revoke", PermissionDenied("not that one"))

    report = world.manager.revoke_many([*leases, leases[1].id, "unknown", world.manager.get(leases[2].id)])

    assert sorted(report.revoked + report.failed) == sorted(lease.id for lease in leases[1:])
    assert len(report.failed) == 1
    assert sorted(report.skipped) == sorted([leases[0].id, "unknown"])
    assert world.state(report.failed[0]) == "revoking"


def test_many_are_revoked_though_the_store_is_down() -> None:
    """``revoke_many`` of what this manager issued needs no store."""
    store = ThirdPartyStore()
    with World(store) as world:
        lease = world.issue()
        for method in ("get", "claim", "update"):
            store.fail(method, *[StoreError("down")] * 20)

        report = world.manager.revoke_many([lease])

        assert report.revoked == [lease.id]
        assert world.integration.live == {}


def test_the_first_issue_reaps_in_the_background(world: World) -> None:
    """A manager that first issues with an integration revokes what is overdue there; once, and whether it knew it."""
    overdue = [world.issue("10s").id, world.issue("10s").id]
    world.die()
    world.clock.leap(11)

    manager = world.another(integrations=[world.integration])
    manager.issue(world.config())
    world.settle()

    assert [world.state(lease_id) for lease_id in overdue] == ["revoked", "revoked"]
    assert world.events.types(overdue[0])[-2:] == ["revoked", "reaped"]
    assert len(world.integration.live) == 1


def test_the_first_issue_does_not_wait_for_reaping(world: World) -> None:
    """What is overdue is revoked beside the first issue: it neither delays nor fails that."""
    world.issue("10s")
    world.die()
    world.clock.leap(11)
    gate = Gate()
    world.integration.fail("revoke", gate)

    lease = world.another().issue(world.config())

    gate.until_reached()
    assert lease.is_valid()
    gate.open()
    world.settle()
    assert len(world.integration.live) == 1


def test_a_store_that_cannot_be_reaped_fails_no_issue(caplog: pytest.LogCaptureFixture) -> None:
    """Where the background can't look for overdue leases, that is logged and the lease is had."""
    store = ThirdPartyStore()
    store.fail("due", StoreError("the index is being built"))
    with World(store) as world:
        lease = world.issue()
        world.settle()

        assert lease.is_valid()
        assert "the index is being built" in caplog.text


def test_a_closed_manager_issues_nothing(world: World) -> None:
    """After ``close`` issuing is an error that says what to do; looking and revoking go on."""
    lease = world.issue()
    world.manager.close(revoke=False)

    with pytest.raises(DynsecretsError, match="closed"):
        world.issue()

    assert world.manager.get(lease.id).state == "active"
    lease.revoke()
    assert world.integration.live == {}


def test_threads_may_share_a_manager(world: World) -> None:
    """Threads that issue and revoke at the same time get leases of their own, and leave nothing behind."""

    def work() -> list[str]:
        leases = [world.issue() for _ in range(10)]
        for lease in leases:
            lease.revoke()
        return [lease.id for lease in leases]

    results = together(*[work] * 8)

    ids = list(itertools.chain.from_iterable(results))
    assert len(set(ids)) == 80
    assert world.integration.live == {}
    assert set(world.states()) == {"revoked"}
    assert world.integration.count("revoke") == 80
    world.settle()
    assert engine_of(world.manager).state.leases.all() == []


def test_a_manager_shows_its_store(world: World) -> None:
    """The representation of a manager names its store, and ``store`` is it."""
    assert repr(world.manager) == "LeaseManager(MemoryLeaseStore(0))"
    assert world.manager.store is world.store


def test_events_have_the_time_of_their_step(world: World) -> None:
    """Events are told by an aware clock, also while a step takes long."""
    gate = Gate()
    world.integration.fail("provision", gate)
    result = started(world.issue)
    gate.until_reached()

    world.clock.leap(5)
    gate.open()
    result()

    requested, issued = (event.time for event in world.events.events)
    assert issued - requested == timedelta(seconds=5)
    assert isinstance(requested, datetime)
