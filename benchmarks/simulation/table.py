"""The table of DynamoDB: what a lease's life writes, and how much of that meets in one place.

The items are the store's own, made by its own code; what a write costs is counted by DynamoDB's rules: one unit for
each kilobyte of an item, and one for each entry that is put into an index or taken out, a move being both (Developer
Guide, "Using global secondary indexes", on write capacity).
"""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from dynsecrets.model.naming import random_suffix
from dynsecrets.model.record import LeaseRecord
from dynsecrets.stores.dynamodb.items import INDEXES, to_item

if TYPE_CHECKING:
    import random

#: Write units a second of one partition (Developer Guide, "Best practices for designing partition keys").
PARTITION: Final = 1_000
#: Write units a second that a new on-demand table takes at once (Developer Guide, "Initial throughput").
NEW_TABLE: Final = 4_000
_UNIT: Final = 1024
_NOW: Final = datetime(2022, 2, 15, 17, 4, 54, tzinfo=UTC)


def life(rng: random.Random, *, shards: int, ttl: float, held: bool = True) -> list[dict[str, Any]]:
    """Return the items that a store writes for one lease, from the first to the tombstone."""
    owner = f"host-{rng.randrange(100)}|{uuid.UUID(int=rng.getrandbits(128))}|4026531836|{rng.randrange(9999)}|123456"
    names = {
        "user_name": f"Dynsecrets-Dynamic-{random_suffix()}",
        "policy_name": f"dynsecrets-policy-{random_suffix()}",
    }
    pending = LeaseRecord(
        id=str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        name="AWS_USER",
        integration="aws",
        handle={**names, "path": "/dynsecrets/", "planned_at": "2022-02-15T17:04:54.782Z"},
        created_at=_NOW,
        owner=owner,
        held=held,
    )
    handle = {**names, "path": "/dynsecrets/", "account": "123456789012", "access_key_id": "AKIAIOSFODNN7EXAMPLE"}
    ends = _NOW + timedelta(seconds=ttl)
    active = pending.activated(handle=handle, issued_at=_NOW, expires_at=ends).next_version()
    claimed = active.claimed(worker=f"{owner}#1", until=ends + timedelta(minutes=2)).next_version()
    revoked = claimed.revoked(now=ends + timedelta(seconds=1)).next_version()
    return [to_item(record, shards=shards, token="0" * 16) for record in (pending, active, claimed, revoked)]


def units(items: list[dict[str, Any]]) -> tuple[int, Counter[tuple[str, str]]]:
    """Return the write units of a life: those of the table itself, and those of each place of each index."""
    table = 0
    places: Counter[tuple[str, str]] = Counter()
    before: dict[str, Any] = {}
    for item in items:
        table += -(-max(_size(before), _size(item)) // _UNIT)
        for index in INDEXES:
            old, new = _entry(before, index.start, index.sort), _entry(item, index.start, index.sort)
            if old != new:
                for entry in (old, new):
                    if entry is not None:
                        places[index.name, entry[0]] += 1
        before = item
    return table, places


def busiest(rng: random.Random, *, shards: int, ttl: float, lives: int) -> tuple[float, dict[str, float]]:
    """Return the write units of a lease, on the average, and of each index those that meet in its busiest place."""
    total = 0
    places: Counter[tuple[str, str]] = Counter()
    for _ in range(lives):
        table, of_indexes = units(life(rng, shards=shards, ttl=ttl))
        total += table + of_indexes.total()
        places += of_indexes
    busy = {index.name: max(count for (name, _), count in places.items() if name == index.name) for index in INDEXES}
    return total / lives, {name: count / lives for name, count in busy.items()}


def _entry(item: dict[str, Any], start: str, sort: str) -> tuple[str, str] | None:
    if start not in item or sort not in item:
        return None
    return item[start]["S"], next(iter(item[sort].values()))


def _size(item: dict[str, Any]) -> int:
    """Return about how many bytes an item has: names, and values as text."""
    return sum(len(name) + len(str(next(iter(value.values())))) for name, value in item.items())
