"""Sweeping finds what no record knows, and deletes nothing that somebody may need."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import DynamicSecretConfig, InvalidConfig, PermissionDenied, Remainder, StoreError, SweepReport
from dynsecrets._internal.messages import safe_repr
from dynsecrets.stores.unreadable import note_unreadable
from support.builders import make_record
from support.world import Gate, ListingIntegration, ThirdPartyStore, World, started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(name="listing")
def listing_fixture() -> Iterator[World]:
    """A world whose third party can list what lives there, and whose store fails when told to."""
    world = World(ThirdPartyStore())
    world.integration = ListingIntegration(clock=world.clock)
    with world:
        yield world


def _orphan(world: World, age_s: float = 3600) -> str:
    """Make a thing that no record knows; return its name."""
    integration = world.integration
    plan = integration.plan(world.config())
    integration.provision(plan, world.config(), timedelta(minutes=30))
    integration.created[plan["thing"]] = world.clock.now() + integration.skew - timedelta(seconds=age_s)
    return str(plan["thing"])


def test_a_dry_run_deletes_nothing(listing: World) -> None:
    """By default it is only told what was found."""
    orphan = _orphan(listing)

    report = listing.manager.sweep_orphans(listing.integration)

    assert report == SweepReport(found=[orphan], deleted=[], failed=[])
    assert set(listing.integration.live) == {orphan}


def test_orphans_are_deleted(listing: World) -> None:
    """Told to, it deletes what no record knows, and leaves what one does."""
    orphans = [_orphan(listing) for _ in range(3)]
    known = listing.issue("24h")
    listing.clock.leap(3600)

    report = listing.manager.sweep_orphans(listing.integration, dry_run=False)

    assert sorted(report.found) == sorted(report.deleted) == sorted(orphans)
    assert report.failed == []
    assert len(listing.integration.live) == 1
    assert known.check()
    assert listing.manager.sweep_orphans(listing.integration) == SweepReport()


def test_what_another_integration_has_leased_is_known(listing: World) -> None:
    """An account may be known by many names: whatever a live record names is nobody's orphan."""
    other = ListingIntegration("other", clock=listing.clock)
    other.live, other.created = listing.integration.live, listing.integration.created
    leased = listing.manager.issue(DynamicSecretConfig("OTHER", other, wait=None), "24h")
    listing.store.insert(make_record(handle={"role": "of another kind"}, integration="postgresql"))
    listing.clock.leap(3600)

    report = listing.manager.sweep_orphans(listing.integration, dry_run=False)

    assert report == SweepReport()
    assert leased.check()


def test_a_lost_store_leaves_orphans(listing: World) -> None:
    """After the store was lost, its leases are orphans."""
    listing.issue()
    listing.store.inner = type(listing.store.inner)()
    listing.clock.leap(601)

    report = listing.another().sweep_orphans(listing.integration, dry_run=False)

    assert len(report.deleted) == 1
    assert listing.integration.live == {}


@pytest.mark.parametrize("skew", [timedelta(0), timedelta(hours=2), timedelta(hours=-2)], ids=str)
def test_what_is_young_is_left_alone(listing: World, skew: timedelta) -> None:
    """What is younger than an issue may take is not touched, by the third party's clock."""
    listing.integration.skew = skew
    old = _orphan(listing, age_s=601)
    young = _orphan(listing, age_s=599)

    report = listing.manager.sweep_orphans(listing.integration, dry_run=False)

    assert report.found == report.deleted == [old]
    assert set(listing.integration.live) == {young}


def test_unfinished_and_failing_leases_are_known(listing: World) -> None:
    """What is being issued or revoked has a record, and is no orphan."""
    gate = Gate()
    listing.integration.fail("provisioned", gate)
    result = started(lambda: listing.issue("24h"))
    gate.until_reached()
    failing = listing.issue("24h")
    listing.integration.fail("revoke", *[PermissionDenied("no")] * 1000)
    with pytest.raises(Exception, match="no"):
        failing.revoke()
    listing.clock.leap(3600)

    report = listing.manager.sweep_orphans(listing.integration, dry_run=False)
    gate.open()

    assert report == SweepReport()
    assert result().is_valid()


def test_what_is_issued_while_it_lists_is_known(listing: World) -> None:
    """Records are read after the list: what is issued in between is no orphan."""
    find_all = listing.integration.find_all

    def slowly() -> Iterator[Any]:
        found = list(find_all())
        listing.issue("24h")
        listing.clock.leap(3600)
        yield from [*found, *find_all()]

    listing.integration.find_all = slowly

    assert listing.manager.sweep_orphans(listing.integration, dry_run=False) == SweepReport()
    assert len(listing.integration.live) == 1


def test_one_that_cannot_be_deleted_stops_no_other(listing: World) -> None:
    """What can't be deleted is reported as failed, all others are deleted."""
    orphans = [_orphan(listing) for _ in range(4)]
    listing.integration.fail("revoke", None, PermissionDenied("not that one"))

    report = listing.manager.sweep_orphans(listing.integration, dry_run=False)

    assert sorted(report.deleted + report.failed) == sorted(report.found) == sorted(orphans)
    assert set(listing.integration.live) == set(report.failed)
    assert len(report.failed) == 1


@pytest.mark.parametrize("ended", [True, False])
def test_what_ends_later_is_deleted_only_once_it_ended(listing: World, ended: bool) -> None:
    """An orphan that the third party can't end now lives on, so it is not told of as deleted."""
    orphan = _orphan(listing)
    listing.integration.remainders.append(Remainder(ended, listing.clock.now() + timedelta(hours=1)))

    report = listing.manager.sweep_orphans(listing.integration, dry_run=False)

    assert (report.deleted, report.failed) == (([orphan], []) if ended else ([], [orphan]))


def _refuse(error: Exception) -> Callable[[], Any]:
    def refusing() -> Any:
        raise error

    return refusing


def test_a_list_that_is_refused_deletes_nothing(listing: World) -> None:
    """Where the third party may not be asked, that is the error."""
    _orphan(listing)
    listing.integration.find_all = _refuse(PermissionDenied("iam:ListUsers", actions=["iam:ListUsers"]))

    with pytest.raises(PermissionDenied, match="iam:ListUsers"):
        listing.manager.sweep_orphans(listing.integration, dry_run=False)

    assert len(listing.integration.live) == 1


def test_a_store_that_cannot_be_read_deletes_nothing(listing: World) -> None:
    """Where it can't be told what is known, nothing is deleted."""
    _orphan(listing)
    listing.store.fail("records", StoreError("down"))

    with pytest.raises(StoreError, match="down"):
        listing.manager.sweep_orphans(listing.integration, dry_run=False)

    assert len(listing.integration.live) == 1


def test_records_that_cannot_be_read_stop_it(listing: World) -> None:
    """Users of records that can't be read look like orphans: a dry run names the records, and nothing is deleted."""
    orphan = _orphan(listing)
    listing.store.fail("records", *[lambda: note_unreadable("lease-1")] * 2)

    report = listing.manager.sweep_orphans(listing.integration)
    with pytest.raises(StoreError, match="lease-1 can't be read"):
        listing.manager.sweep_orphans(listing.integration, dry_run=False)

    assert report == SweepReport(found=[orphan], unreadable=["lease-1"])
    assert set(listing.integration.live) == {orphan}
    assert listing.manager.sweep_orphans(listing.integration, dry_run=False).deleted == [orphan]


def test_an_integration_that_cannot_list_says_so(world: World) -> None:
    """An integration without a list can't be swept."""
    with pytest.raises(NotImplementedError, match="can't list"):
        world.manager.sweep_orphans(world.integration)


@pytest.mark.parametrize("integration", [None, "aws", object()], ids=safe_repr)
def test_what_is_no_integration_is_refused(world: World, integration: Any) -> None:
    """Sweeping something else is an ``InvalidConfig``."""
    with pytest.raises(InvalidConfig, match="Integration objects"):
        world.manager.sweep_orphans(integration)
