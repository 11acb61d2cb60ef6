"""``leases``: ``LeaseManager.records``."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from dynsecrets.cli.command import Command
from dynsecrets.cli.errors import one_line
from dynsecrets.model.record import remaining
from dynsecrets.model.timestamps import to_milliseconds
from dynsecrets.model.ttl import format_ttl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dynsecrets.cli.arguments import Parser
    from dynsecrets.cli.console import Console
    from dynsecrets.model.record import LeaseRecord
    from dynsecrets.project_file import Project

_EPILOG: Final = """\
examples:
  dynsecrets leases
  dynsecrets leases --json | jq -r '.[] | select(.stuck) | .id'

STATE is pending, active, revoking or revoked. A revocation that failed often is marked "stuck": have a look."""
_HEADS: Final = ("ID", "NAME", "STATE", "REMAINING", "CREDENTIAL")


def _add_arguments(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="an array of objects, one for each lease")
    parser.add_argument("--all", action="store_true", help="those revoked in the last seven days too")


def _list_leases(console: Console) -> int:
    """Print the leases, oldest first."""
    from dynsecrets.project_file import open_project

    with open_project(console.file, on_event=console.progress) as project:
        console.progress.say("reading the records of leases ...")
        records = [record for record in project.manager.records() if console.options.all or record.live]
        console.progress.say("")
        now = datetime.now(UTC)
        if console.options.json:
            listed = [as_json(record, now, _describe(project, record)) for record in records]
            console.write(json.dumps(listed, indent=2, ensure_ascii=False) + "\n")
        elif records:
            rows = [_row(record, now, _describe(project, record)) for record in records]
            console.write("\n".join(table(_HEADS, rows)) + "\n")
        else:
            console.complain("there are no leases")
    return 0


def as_json(record: LeaseRecord, now: datetime, credential: str) -> dict[str, Any]:
    """Return a record as ``leases --json`` shows it; times as text, and ``null`` where there is none."""
    return {
        "id": record.id,
        "name": record.name,
        "integration": record.integration,
        "state": str(record.state),
        "stuck": record.stuck,
        "credential": credential,
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


def _row(record: LeaseRecord, now: datetime, credential: str) -> tuple[str, ...]:
    left = "" if record.expires_at is None else format_ttl(_left(record, now))
    state = f"{record.state} (stuck)" if record.stuck else str(record.state)
    return record.id, record.name, state, left, credential


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table: columns two blanks apart, and nothing in them that a terminal would obey."""
    cells = [list(heads), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


def _describe(project: Project, record: LeaseRecord) -> str:
    """Return what the integration calls what was leased; where the file doesn't have it, the integration's name."""
    integration = project.integrations.get(record.integration)
    try:
        return f"of {record.integration}" if integration is None else integration.describe(record.handle)
    except Exception as exc:  # Of a damaged record, or of somebody else's class: the others are to be listed.
        return f"of {record.integration} ({type(exc).__name__})"


def _left(record: LeaseRecord, now: datetime) -> timedelta:
    """Return how long a lease still lives, in whole seconds."""
    if record.expires_at is None or not record.live:
        return timedelta(0)
    return timedelta(seconds=remaining(record.expires_at, now) // timedelta(seconds=1))


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else to_milliseconds(moment)


COMMAND: Final = Command(
    description="Lists the leases.",
    epilog=_EPILOG,
    add_arguments=_add_arguments,
    action=_list_leases,
)
