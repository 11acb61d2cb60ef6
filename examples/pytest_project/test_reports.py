"""Tests that run as leased users."""

# ruff: noqa: S101 - tests assert.

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import reports

if TYPE_CHECKING:
    from dynsecrets import DynamicSecretConfig, Lease
    from dynsecrets.testing import LeaseFactory


def test_adds_up(dynsecrets_user: Lease) -> None:
    """The policy is enough to read a report."""
    s3 = dynsecrets_user.session().client("s3")

    assert reports.total(s3, "2026.csv") == 42


def test_a_report_that_is_missing(dynsecrets_user: Lease) -> None:
    """What isn't there is an error of S3's."""
    s3 = dynsecrets_user.session().client("s3")

    with pytest.raises(s3.exceptions.ClientError):
        reports.total(s3, "1999.csv")


@pytest.mark.parametrize("number", range(3))
def test_nobody_shares_a_user(
    dynsecrets_user: Lease, dynsecrets_lease: LeaseFactory, dynsecrets_config: DynamicSecretConfig, number: int
) -> None:
    """Each lease is another user, with a TTL of its own."""
    other = dynsecrets_lease(dynsecrets_config, ttl="5m", metadata={"number": number})

    assert other.username != dynsecrets_user.username
    assert other.remaining <= timedelta(minutes=5)
