"""The public surface as users meet it. Checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

from dynsecrets import (
    DynamicSecretConfig,
    Grant,
    Identity,
    Integration,
    JSONLinesAudit,
    Lease,
    LeaseEvent,
    LeaseManager,
    LeasePool,
    LeaseRecord,
    LeaseRenewer,
    LeaseStore,
    MemoryLeaseStore,
    PermissionDenied,
    ReapReport,
    RenewalStatus,
    SQLiteLeaseStore,
    SweepReport,
    lease,
    open_store,
    renewing,
)


class Tokens(Integration):
    """An integration of one's own."""

    def __init__(self) -> None:
        super().__init__("tokens")

    def plan(self, config: DynamicSecretConfig) -> Mapping[str, str]:
        """Name it."""
        return {"token": config.name}

    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Make it."""
        return Grant({"TOKEN": "secret"}, datetime.now().astimezone() + ttl, plan)

    def revoke(self, handle: Mapping[str, str]) -> None:
        """Delete it."""


def configs() -> DynamicSecretConfig:
    """A config takes policies as mappings, JSON and paths, and TTLs in all their forms."""
    aws = Integration.aws_iam(name="aws", region="eu-central-1", path="/dynsecrets/")
    assert_type(aws.verify(), Identity)
    DynamicSecretConfig("A", aws, {"Statement": []}, default_ttl=900, max_ttl=timedelta(hours=1))
    DynamicSecretConfig("B", aws, Path("policy.json"), tags={"team": "data"}, groups=["readers"], wait=None)
    DynamicSecretConfig("C", aws, wait=lambda fresh: fresh.check(), managed_policy_arns=("arn:aws:iam::aws:policy/X",))
    return DynamicSecretConfig("AWS_USER", integration=aws, policy="{}", default_ttl="15m")


def use(creds: Lease) -> None:
    """A lease is a mapping of text to text, with typed attributes."""
    mapping: Mapping[str, str] = creds
    assert_type(creds["AWS_USER_ARN"], str)
    assert_type(creds.env(), dict[str, str])
    assert_type(creds.aws_env(), dict[str, str])
    assert_type(creds.expires_at, datetime)
    assert_type(creds.remaining, timedelta)
    assert_type(creds.expired, bool)
    assert_type(creds.check(), bool)
    assert_type(creds.credential_process(), dict[str, Any])
    creds.session(region_name="eu-west-1")
    creds.revoke()
    del mapping


def blocks(config: DynamicSecretConfig) -> None:
    """``with`` gives a lease; so does the block of a pool; a renewer has the current one."""
    with lease(config, ttl="15m", metadata={"job": 1}) as creds:
        assert_type(creds, Lease)
    with lease(config, timedelta(minutes=5), wait=None), LeasePool(config, 3) as pool, pool.lease() as creds:
        assert_type(creds, Lease)
    with renewing(config, "10m", overlap="0s", on_renew=use, on_error=print) as renewer:
        assert_type(renewer, LeaseRenewer)
        assert_type(renewer.current, Lease)
        assert_type(renewer.status(), RenewalStatus)


async def async_blocks(config: DynamicSecretConfig) -> None:
    """``async with`` gives the same."""
    async with lease(config) as creds:
        assert_type(creds, Lease)
    async with renewing(config) as renewer:
        assert_type(renewer.current, Lease)


@lease(configs())
def decorated(number: int, lease: Lease) -> str:
    """A decorated function keeps its type."""
    return f"{number} {lease.arn}"


def managers(config: DynamicSecretConfig) -> None:
    """A manager's methods take and return what they say."""
    store: LeaseStore = open_store("memory://")
    store = MemoryLeaseStore()
    store = SQLiteLeaseStore(Path("leases.db"))
    audit = JSONLinesAudit("audit.jsonl")

    def listen(event: LeaseEvent) -> None:
        assert_type(event.lease_id, str)

    with LeaseManager(store, integrations=[config.integration], on_event=[audit, listen]) as manager:
        assert_type(manager.issue(config, 60), Lease)
        assert_type(manager.issue_many(config, 3), list[Lease])
        manager.revoke("id", integration=config.integration)
        assert_type(manager.revoke_many(["id"]), ReapReport)
        assert_type(manager.get("id"), LeaseRecord)
        assert_type(manager.records(state="active"), Iterator[LeaseRecord])
        assert_type(manager.reap(integrations=[config.integration], limit=10).revoked, list[str])
        assert_type(manager.sweep_orphans(config.integration), SweepReport)


def errors(error: PermissionDenied) -> None:
    """Errors carry what they are about."""
    assert_type(error.actions, tuple[str, ...])
    assert_type(error.code, str | None)
    assert_type(error.lease_id, str | None)
