"""``leases``, ``revoke`` and ``reap``: ``LeaseManager.records``, ``revoke`` and ``reap``."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dynsecrets._internal.messages import did_you_mean, safe_repr
from dynsecrets.cli.errors import FAILED
from dynsecrets.cli.tables import table
from dynsecrets.errors import DynsecretsError, InvalidConfig
from dynsecrets.model.record import remaining
from dynsecrets.model.timestamps import to_milliseconds
from dynsecrets.model.ttl import format_ttl

if TYPE_CHECKING:
    from dynsecrets.cli.console import Console
    from dynsecrets.model.record import LeaseRecord
    from dynsecrets.project_file import Project

_HEADS = ("ID", "NAME", "STATE", "REMAINING", "USER")


def list_leases(console: Console) -> int:
    """Print the leases, oldest first."""
    with console.project() as project:
        console.progress.say("reading the records of leases ...")
        records = [record for record in project.manager.records() if console.options.all or record.live]
        console.progress.say("")
        now = datetime.now(UTC)
        if console.options.json:
            listed = [as_json(record, now) for record in records]
            console.write(json.dumps(listed, indent=2, ensure_ascii=False) + "\n")
        elif records:
            console.write("\n".join(table(_HEADS, [_row(record, now) for record in records])) + "\n")
        else:
            console.complain("there are no leases")
    return 0


def revoke(console: Console) -> int:
    """Revoke leases by their ids, each whatever becomes of the others."""
    status = 0
    with console.project() as project:
        for lease_id in dict.fromkeys(console.options.ids):
            console.progress.say(f"revoking {lease_id} ...")
            try:
                record = project.manager.get(lease_id)
                if record.live:
                    _check_integration(project, record)
                project.manager.revoke(lease_id)
            except DynsecretsError as error:
                status = FAILED
                console.report(error)
    return status


def reap(console: Console) -> int:
    """Revoke what is overdue, and print how many leases that were."""
    with console.project() as project:
        console.progress.say("revoking what is overdue ...")
        report = project.manager.reap(integrations=project.integrations.values())
        console.progress.say("")
        console.write(
            f"{len(report.revoked)} revoked, {len(report.failed)} failed, {len(report.skipped)} left to others\n"
        )
    return FAILED if report.failed else 0


def as_json(record: LeaseRecord, now: datetime) -> dict[str, Any]:
    """Return a record as ``leases --json`` shows it; times as text, and ``null`` where there is none."""
    return {
        "id": record.id,
        "name": record.name,
        "integration": record.integration,
        "state": str(record.state),
        "stuck": record.stuck,
        "user": record.handle.get("user_name"),
        "remaining_s": None if record.expires_at is None else int(_left(record, now).total_seconds()),
        "created_at": _moment(record.created_at),
        "issued_at": _moment(record.issued_at),
        "expires_at": _moment(record.expires_at),
        "revoked_at": _moment(record.revoked_at),
        "attempts": record.attempts,
        "next_attempt_at": _moment(record.next_attempt_at),
        "last_error": record.last_error,
        "owner": record.owner,
        "metadata": dict(record.metadata),
    }


def _row(record: LeaseRecord, now: datetime) -> tuple[str, ...]:
    left = "" if record.expires_at is None else format_ttl(_left(record, now))
    state = f"{record.state} (stuck)" if record.stuck else str(record.state)
    return record.id, record.name, state, left, record.handle.get("user_name", "")


def _left(record: LeaseRecord, now: datetime) -> timedelta:
    """Return how long a lease still lives, in whole seconds."""
    if record.expires_at is None or not record.live:
        return timedelta(0)
    return timedelta(seconds=remaining(record.expires_at, now) // timedelta(seconds=1))


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else to_milliseconds(moment)


def _check_integration(project: Project, record: LeaseRecord) -> None:
    """Raise ``InvalidConfig`` where the file has no integration to revoke a lease with."""
    if record.integration not in project.integrations:
        near = did_you_mean(record.integration, project.integrations)
        raise InvalidConfig(
            f"lease {record.id} was made with the integration {safe_repr(record.integration)}, which {project.path} "
            f"doesn't have{near}"
        )
