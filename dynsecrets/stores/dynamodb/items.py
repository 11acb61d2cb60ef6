"""Lease records as items of DynamoDB, and back; the indexes that items stand in. Pure.

An item has the columns of a row (``record_codec``) as its attributes, without those that are empty. The indexes are
sparse: an item stands in one only while it has the attribute that the index starts from. They hold keys alone, so a
write costs something there only if it moves the item; whoever finds a key reads the item itself, which is never out of
date.

Where an index would have all its writers in one place, they are spread over shards: the number after ``#``. Readers
look into all of them.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from zlib import crc32

import attrs

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import StoreError
from dynsecrets.model.lifecycle import TOMBSTONE_AGE, LeaseState
from dynsecrets.stores.record_codec import COLUMNS, RowError, from_row, to_row

if TYPE_CHECKING:
    from dynsecrets.model.record import LeaseRecord

Item: TypeAlias = "dict[str, Any]"


@attrs.frozen
class Index:
    """A global secondary index: its name, the attributes it starts from and is sorted by, and the latter's type."""

    name: str
    start: str
    sort: str
    kind: str


#: Leases that somebody must look at, by integration and time.
DUE: Final = Index("due", "due_queue", "due_at", "N")
#: Leases that are not revoked, by the name of their dynamic secret and age.
LIVE: Final = Index("live", "live_name", "created_at", "N")
#: Leases that depend on a process, by that process and age; and failed revocations, which depend on none.
PROCESS: Final = Index("process", "process_queue", "process_key", "S")
#: Tombstones, by the time of the revocation.
REVOKED: Final = Index("revoked", "revoked_queue", "revoked_at", "N")
INDEXES: Final = (DUE, LIVE, PROCESS, REVOKED)

#: What DynamoDB's own TTL goes by: seconds since 1970. Only tombstones have it.
TTL_ATTRIBUTE: Final = "purge_at"
#: What tells a write from all others, so that it is known again when its answer got lost.
TOKEN: Final = "write_token"  # noqa: S105 - a name.
#: The item that is not a lease: how many shards there are, and the names of all integrations.
SETTINGS_ID: Final = "dynsecrets/settings"

_LONGEST_KEY: Final = 2048  # Bytes of a partition key (DynamoDB developer guide, "Quotas").
_SECOND: Final = 1_000_000
_TOMBSTONE_SECONDS: Final = TOMBSTONE_AGE // timedelta(seconds=1)
_AGE_DIGITS: Final = 18
_YEAR_ONE: Final = 62_135_596_800 * _SECOND  # Microseconds from the first of all dates to 1970.
_BREAK: Final = "\n"  # Between process and age: no process has it.
_BEHIND_BREAK: Final = "\x0b"  # The next character, so what follows the keys of one process, whatever their ages.


def is_key(lease_id: str) -> bool:
    """Tell whether a lease id can be the key of an item."""
    try:
        return 0 < len(lease_id.encode()) <= _LONGEST_KEY and lease_id != SETTINGS_ID
    except UnicodeEncodeError:
        return False


def key_of(lease_id: str) -> Item:
    """Return the key of an item."""
    return {"id": {"S": lease_id}}


def to_item(record: LeaseRecord, *, shards: int, token: str) -> Item:
    """Return the item of a record. Raises ``StoreError`` where it holds what can't be kept."""
    if not is_key(record.id):
        msg = (
            f"lease {safe_repr(record.id)} can't be kept: an id has 1 to {_LONGEST_KEY:,} bytes, and "
            "isn't the store's own"
        )
        raise StoreError(msg, lease_id=record.id)
    values: dict[str, Any] = dict(zip(COLUMNS, to_row(record), strict=True))
    values |= {"id": record.id, "owner": record.owner, "process": None, TOKEN: token}
    shard = _shard(record.id, shards)
    if record.live:
        values[LIVE.start] = ended_queue(record.name) if record.ended else record.name
    if values[DUE.sort] is not None:
        values[DUE.start] = due_queue(record.integration, shard)
    if record.process is not None:
        values[PROCESS.start] = str(_shard(record.process, shards))
        values[PROCESS.sort] = f"{record.process}{_BREAK}{values['created_at'] + _YEAR_ONE:0{_AGE_DIGITS}}"
    elif record.state is LeaseState.REVOKING and values[DUE.sort] is not None and not record.waits:
        # Nobody has claimed it: it failed, and depends on no process. Found apart from all else that is due.
        values[PROCESS.start] = failed_queue(record.integration)
        values[PROCESS.sort] = f"{values[DUE.sort] + _YEAR_ONE:0{_AGE_DIGITS}}"
    if not record.live and values[REVOKED.sort] is not None:
        values[REVOKED.start] = str(shard)
        values[TTL_ATTRIBUTE] = -(-values[REVOKED.sort] // _SECOND) + _TOMBSTONE_SECONDS
    return {name: to_value(value) for name, value in values.items() if value is not None}


def from_item(item: Item) -> LeaseRecord:
    """Return the record of an item; attributes that are not known are left alone. Raises ``RowError``."""
    return from_row(tuple(_plain(item[name]) if name in item else None for name in COLUMNS))


def to_value(value: str | float | set[str]) -> dict[str, Any]:
    """Return a text, truth, whole number or set of texts as DynamoDB spells it."""
    spelt: dict[str, Any] = _codecs()[0].serialize(value)
    return spelt


def due_queue(integration: str, shard: int) -> str:
    """Return where in the index of due work the leases of an integration stand."""
    return f"{integration}#{shard}"


def ended_queue(name: str) -> str:
    """Return where in the index of live leases those stand that don't count any more; no secret is called so."""
    return f"ended#{name}"


def failed_queue(integration: str) -> str:
    """Return where in the index of processes the failed revocations of an integration stand; no shard is called so."""
    return f"failed#{integration}"


def leases_of(process: str) -> str:
    """Return what the keys of a process begin with."""
    return process + _BREAK


def process_of(key: str) -> str:
    """Return the process that a key is of."""
    return key[: -len(_BREAK) - _AGE_DIGITS]


def behind(process: str) -> str:
    """Return what is greater than all keys of a process, and less than those of the next one."""
    return process + _BEHIND_BREAK


def _shard(text: str, shards: int) -> int:
    return crc32(text.encode("utf-8", "surrogatepass")) % shards


def _plain(value: Any) -> Any:
    """Return what DynamoDB spelt."""
    try:
        (_,) = value
        plain = _codecs()[1].deserialize(value)
    except (AttributeError, TypeError, ValueError, ArithmeticError):
        raise RowError("an attribute is of a type that it never has") from None
    if isinstance(plain, Decimal) and plain == plain.to_integral_value():
        return int(plain)
    return plain


@cache
def _codecs() -> tuple[Any, Any]:
    """Return boto3's own, loaded when they are first needed."""
    from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

    return TypeSerializer(), TypeDeserializer()
