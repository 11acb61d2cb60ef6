"""The testing kit and the pytest plugin as users meet them. Checked by mypy and pyright, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, assert_type

import pytest
from boto3 import Session

from dynsecrets import (
    DynamicSecretConfig,
    Lease,
    LeaseManager,
    LeaseStore,
    MemoryLeaseStore,
    ProvisionError,
    QuotaExceeded,
    lease,
)
from dynsecrets.testing import Call, FakeClock, LeaseFactory, LeaseStoreContract, MemoryIntegration, MemoryUser

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def dynsecrets_config() -> DynamicSecretConfig:
    """What the project leases."""
    return DynamicSecretConfig("AWS_USER", MemoryIntegration())


@pytest.fixture(scope="module")
def admin(dynsecrets_manager: LeaseManager, dynsecrets_config: DynamicSecretConfig) -> Iterator[Lease]:
    """A lease for a module."""
    with lease(dynsecrets_config, manager=dynsecrets_manager) as creds:
        yield creds


def test_fixtures(
    dynsecrets_lease: LeaseFactory, dynsecrets_user: Lease, dynsecrets_config: DynamicSecretConfig
) -> None:
    """The types of all fixtures have names."""
    assert_type(dynsecrets_lease(dynsecrets_config), Lease)
    assert_type(dynsecrets_lease(dynsecrets_config, ttl="5m", wait=None, metadata={"job": 1}), Lease)
    assert_type(dynsecrets_lease(dynsecrets_config, timedelta(minutes=1), wait=lambda fresh: fresh.check()), Lease)
    assert_type(dynsecrets_user.session(), Session)
    dynsecrets_lease()  # type: ignore[call-arg]
    dynsecrets_lease(dynsecrets_config, 1.5)  # type: ignore[arg-type]
    dynsecrets_lease(dynsecrets_config, wait="soon")  # type: ignore[arg-type]


def test_kit() -> None:
    """The clock and the integration fit the manager."""
    clock = FakeClock()
    aws = MemoryIntegration(clock=clock, usable_after="8s")
    with LeaseManager(MemoryLeaseStore(), clock=clock) as manager:
        creds = manager.issue(DynamicSecretConfig("AWS_USER", aws))
        clock.advance("20m")
        clock.advance(timedelta(minutes=1))
        clock.advance(0.5)
    assert_type(clock.now(), datetime)
    assert_type(clock.steady(), float)
    assert_type(aws.users, dict[str, MemoryUser])
    assert_type(aws.users[creds.username].policy, str | None)
    assert_type(aws.calls, list[Call])
    assert_type(aws.count("provision"), int)
    aws.fail("provision", QuotaExceeded("full"), times=3)
    aws.fail("revoke", times=None, after=True)
    with aws.outage():
        aws.heal()
    aws.fail("delete")  # type: ignore[arg-type]
    aws.fail("revoke", ProvisionError)  # type: ignore[arg-type]
    aws.count("plan")  # type: ignore[arg-type]
    FakeClock("2030-01-01")  # type: ignore[arg-type]
    MemoryIntegration(clock="noon")  # type: ignore[arg-type]


class TestMyStore(LeaseStoreContract):
    """The suite for stores, on one."""

    def make_store(self) -> LeaseStore:
        """Return a store."""
        return MemoryLeaseStore()
