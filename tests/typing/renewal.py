"""Renewers and pools as users meet them. Checked by mypy and pyright, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from datetime import datetime
from typing import assert_type

from boto3 import Session

from dynsecrets import DynamicSecretConfig, Lease, LeaseManager, LeasePool, LeaseRenewer, RenewalStatus, renewing


def use(creds: Lease) -> None:
    """Take a fresh lease."""


def renewers(config: DynamicSecretConfig, manager: LeaseManager) -> None:
    """A renewer has the current lease."""
    with renewing(config, "10m", manager=manager, overlap="0s", on_renew=use, on_error=print) as renewer:
        assert_type(renewer, LeaseRenewer)
        assert_type(renewer.current, Lease)
        assert_type(renewer.session(), Session)
        assert_type(renewer.status(), RenewalStatus)
        assert_type(renewer.status().expires_at, datetime | None)
        assert_type(renewer.status().failures, int)


def pools(config: DynamicSecretConfig) -> None:
    """A pool's block gives a lease."""
    with LeasePool(config, 3, "10m") as pool, pool.lease() as creds:
        assert_type(pool, LeasePool)
        assert_type(pool.ready, int)
        assert_type(creds, Lease)


async def async_blocks(config: DynamicSecretConfig) -> None:
    """``async with`` gives the same."""
    async with renewing(config) as renewer:
        assert_type(renewer, LeaseRenewer)
        assert_type(renewer.current, Lease)
    async with LeasePool(config, 2) as pool, pool.lease() as creds:
        assert_type(creds, Lease)


def mistakes(config: DynamicSecretConfig) -> None:
    """What can't work is a type error."""
    renewing(config, overlap=0.5)  # type: ignore[arg-type]
    renewing(config, on_renew=lambda: None)  # type: ignore[arg-type, misc]
    LeasePool(config)  # type: ignore[call-arg]
    LeasePool(config, "3")  # type: ignore[arg-type]
    with renewing(config) as renewer:
        renewer.current = None  # type: ignore[misc, assignment]
