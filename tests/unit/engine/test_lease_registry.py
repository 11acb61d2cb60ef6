"""What a process knows without asking its store: live leases by their ids, integrations by their names."""

from __future__ import annotations

import pytest

from dynsecrets import InvalidConfig
from dynsecrets.engine.lease_registry import LeaseRegistry, LiveLease
from dynsecrets.model.lease_status import LeaseStatus
from support.builders import make_record
from support.fakes import FakeIntegration, make_lease


@pytest.fixture(name="registry")
def registry_fixture() -> LeaseRegistry:
    """A registry that knows one integration."""
    return LeaseRegistry([FakeIntegration("known")])


def test_integrations_are_known_by_name(registry: LeaseRegistry) -> None:
    """An integration that was given or used is found; another one is an error that names what is known."""
    registry.register(FakeIntegration("used"))

    assert registry.integration("known").name == "known"
    assert registry.integration("used").name == "used"
    with pytest.raises(InvalidConfig, match=r"'other', which this manager doesn't know \(it knows known, used\)"):
        registry.integration("other")


def test_knowing_none_is_said() -> None:
    """A registry that knows nothing says so."""
    with pytest.raises(InvalidConfig, match="it knows none"):
        LeaseRegistry([]).integration("other")


def test_the_first_use_of_a_name_is_told(registry: LeaseRegistry) -> None:
    """An integration made anew for each request is no other one to reap with; but it has to be prepared."""
    given, new = registry.integration("known"), FakeIntegration("known")

    used = [registry.use(one) for one in (given, given, new, new)]

    assert used == [(True, True), (False, False), (True, False), (False, False)]
    assert registry.integration("known") is new


def test_leases_are_remembered_until_they_are_gone(registry: LeaseRegistry) -> None:
    """An entry is found until it is removed, and then its lease knows that it is revoked."""
    status = LeaseStatus()
    lease = make_lease({"TOKEN": "a-token-of-no-use"}, status=status)
    entry = LiveLease(make_record(id=lease.id), FakeIntegration("known"), status)
    registry.add(entry)

    found = (registry.get(lease.id), registry.all())
    removed = registry.remove(lease.id)

    assert found == (entry, [entry])
    assert removed is entry
    assert lease.revoked
    assert (registry.get(lease.id), registry.all(), registry.remove(lease.id)) == (None, [], None)


def test_there_is_one_entry_for_a_lease(registry: LeaseRegistry) -> None:
    """What is to be deleted has an entry too; where there is one, it stays."""
    record = make_record()
    mine, other = FakeIntegration("known"), FakeIntegration("known")

    first = registry.ensure(record, mine)

    assert registry.ensure(record, other) is first
    assert first.integration is mine
