"""Managers, records and errors as users meet them. Checked by mypy and pyright, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, assert_type

from dynsecrets import (
    DynamicSecretConfig,
    Integration,
    JSONLinesAudit,
    Lease,
    LeaseEvent,
    LeaseManager,
    LeaseRecord,
    LeaseState,
    LeaseStore,
    MemoryLeaseStore,
    PermissionDenied,
    ReapReport,
    SweepReport,
)


def managers(config: DynamicSecretConfig) -> None:
    """A manager's methods take and return what they say."""
    audit = JSONLinesAudit("audit.jsonl")

    def listen(event: LeaseEvent) -> None:
        assert_type(event.lease_id, str)
        assert_type(event.time, datetime)

    LeaseManager(on_event=listen)
    with LeaseManager(MemoryLeaseStore(), integrations=[config.integration], on_event=[audit, listen]) as manager:
        assert_type(manager, LeaseManager)
        assert_type(manager.store, LeaseStore)
        assert_type(manager.issue(config, 60), Lease)
        assert_type(manager.issue_many(config, 3), list[Lease])
        manager.revoke("id", integration=config.integration)
        manager.revoke(manager.issue(config))
        assert_type(manager.revoke_many(["id", manager.get("id")]), ReapReport)
        assert_type(manager.records(state="active"), Iterator[LeaseRecord])
        assert_type(manager.reap(integrations=[config.integration], limit=10).revoked, list[str])
        assert_type(manager.sweep_orphans(config.integration), SweepReport)
        manager.close(revoke=True)


def records(record: LeaseRecord) -> None:
    """A record has what a lease's bookkeeping needs, and is not a lease."""
    assert_type(record.id, str)
    assert_type(record.state, LeaseState)
    assert_type(record.expires_at, datetime | None)
    assert_type(record.metadata, Mapping[str, Any])
    assert_type(record.live, bool)


def errors(error: PermissionDenied) -> None:
    """Errors carry what they are about."""
    assert_type(error.actions, tuple[str, ...])
    assert_type(error.code, str | None)
    assert_type(error.lease_id, str | None)


def mistakes(manager: LeaseManager, config: DynamicSecretConfig, aws: Integration, record: LeaseRecord) -> None:
    """What can't work is a type error."""
    manager.issue(config, ttl=1.5)  # type: ignore[arg-type]
    manager.issue(aws)  # type: ignore[arg-type]
    manager.issue_many(config)  # type: ignore[call-arg]
    manager.reap()  # type: ignore[call-arg]
    manager.reap(integrations=aws)  # type: ignore[arg-type]
    LeaseManager("sqlite:///leases.db")  # type: ignore[arg-type]
    record.version = 2  # type: ignore[misc]
