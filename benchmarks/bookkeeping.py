"""How many bytes a live lease takes in a SQLite store."""

from __future__ import annotations

import json
import tempfile
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import subjects
from benchmarks.report import Row
from benchmarks.rounds import Spread
from dynsecrets import LeaseRecord, SQLiteLeaseStore
from dynsecrets.engine.process_identity import current_owner
from dynsecrets.model.timestamps import to_milliseconds

if TYPE_CHECKING:
    from benchmarks.stub import Stub
    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration

NOTE: Final = (
    "Bookkeeping is the size of the file of a SQLite store that holds nothing but active leases, indexes included. "
    "Vault's figure is the one that is known of its storage; it wasn't measured here."
)
#: A file system in memory, where there is one: a hundred thousand durable writes to a disk would take long.
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a new folder of our own is made in it.
_TTL: Final = timedelta(minutes=30)
_VAULTS: Final = 760
_MANY: Final = 100_000
ROWS: Final = (f"Bookkeeping of a live lease, {_MANY:,} in SQLite",)


def measure(stub: Stub, *, quick: bool) -> list[Row]:
    """Fill a store and look at its file."""
    number = 10_000 if quick else _MANY
    integration, config = subjects.aws_config(stub.url(0))
    handles = 0
    folder = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="dynsecrets-bench-", dir=folder) as path:
        file = Path(path) / "leases.db"
        store = SQLiteLeaseStore(file)
        owner = str(current_owner())
        begun = datetime.now(UTC)
        for index in range(number):
            record = _record(begun + timedelta(milliseconds=37 * index), owner, integration.plan(config), integration)
            handles += len(json.dumps(dict(record.handle), separators=(",", ":")))
            store.insert(record)
        assert sum(1 for _ in store.records(state="active")) == number
        store.close()
        size = sum(part.stat().st_size for part in file.parent.iterdir()) / number
    return [
        Row(
            what=f"Bookkeeping of a live lease, {number:,} in SQLite",
            measured=f"{size:.0f} bytes",
            baseline=f"Vault's {_VAULTS} bytes; its handle alone, as JSON: {handles / number:.0f}",
            ratio=Spread.of([size / _VAULTS]),
            target=f"< {_VAULTS} bytes",
            met=size < _VAULTS,
        )
    ]


def _record(now: datetime, owner: str, plan: dict[str, str], integration: AwsIamIntegration) -> LeaseRecord:
    """Return what the store would hold of a lease that the AWS integration provisioned."""
    handle = {name: value for name, value in plan.items() if name != "planned_at"}
    handle |= {"created_at": to_milliseconds(now), "account": "123456789012", "access_key_id": "AKIAIOSFODNN7EXAMPLE"}
    record = LeaseRecord(
        id=str(uuid.uuid4()),
        name="AWS_USER",
        integration=integration.name,
        handle=plan,
        created_at=now,
        owner=owner,
        held=True,
    )
    return record.activated(handle=handle, issued_at=now, expires_at=now + _TTL).next_version()
