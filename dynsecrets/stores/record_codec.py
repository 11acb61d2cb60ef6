"""Lease records as rows of columns, and back; DynamoDB's items have the same. Pure.

Times are whole microseconds since 1970. A lease id that is a UUID takes 16 bytes instead of 36, and the owner is left
out where it is the process that the row is found by anyway: both stand in an index too, so they count twice.

``due_at`` is what due work is found by. A claim has it negative: so claims stand together, before all else, and those
that end later than a claim can are found without reading what is due later.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dynsecrets.errors import StoreError
from dynsecrets.model.lifecycle import LeaseState
from dynsecrets.model.record import LeaseRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

Row: TypeAlias = "tuple[Any, ...]"

#: The columns, in the order of :func:`to_row` and :func:`from_row`.
COLUMNS: Final = (
    "id",
    "name",
    "integration",
    "state",
    "handle",
    "metadata",
    "created_at",
    "issued_at",
    "expires_at",
    "revoked_at",
    "ended_at",
    "next_attempt_at",
    "due_at",
    "attempts",
    "stuck",
    "held",
    "last_error",
    "owner",
    "process",
    "claimed_by",
    "version",
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_UUID_LENGTH: Final = 36
_UUID_BYTES: Final = 16
_encode: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_decode: Final = json.JSONDecoder().decode


class RowError(Exception):
    """A row that is not a lease record; the message says what is wrong with it."""


def to_microseconds(moment: datetime) -> int:
    """Return a moment as whole microseconds since 1970. Raises ``TypeError`` where it says no zone."""
    return (moment - _EPOCH) // _MICROSECOND


def to_key(lease_id: str) -> bytes | str:
    """Return what stands in the column of ids: 16 bytes for a UUID as it is commonly spelt, else the text."""
    if len(lease_id) == _UUID_LENGTH:
        try:
            key = bytes.fromhex(lease_id.replace("-", ""))
        except ValueError:
            return lease_id
        # Upper-case letters and dashes in other places would come back as something else.
        if len(key) == _UUID_BYTES and _spell(key) == lease_id:
            return key
    return lease_id


def from_key(key: object) -> str:
    """Return the lease id that a key stands for; whatever is not a key is spelt for a log."""
    if isinstance(key, bytes) and len(key) == _UUID_BYTES:
        return _spell(key)
    return key if isinstance(key, str) else repr(key)


def is_text(value: object) -> bool:
    """Tell whether a value from a text column is text, and can be looked for."""
    try:
        _text(value)
    except (TypeError, ValueError):
        return False
    return True


def to_row(record: LeaseRecord) -> Row:
    """Return the columns of a record. Raises ``StoreError`` where it holds what can't be kept."""
    process, owner, last_error = record.process, record.owner, record.last_error
    try:
        created_at = (record.created_at - _EPOCH) // _MICROSECOND
        expires_at = _maybe_microseconds(record.expires_at)
        next_attempt_at = _maybe_microseconds(record.next_attempt_at)
        return (
            to_key(record.id),
            record.name,
            record.integration,
            record.state.value,
            _encode(dict(record.handle)),
            _encode(dict(record.metadata)) if record.metadata else None,
            created_at,
            _maybe_microseconds(record.issued_at),
            expires_at,
            _maybe_microseconds(record.revoked_at),
            _maybe_microseconds(record.ended_at),
            next_attempt_at,
            _due_at(record, created_at, expires_at, next_attempt_at),
            record.attempts,
            record.stuck,
            record.held,
            # Messages of the system may hold bytes that were no text; that must not keep a failure from being recorded.
            last_error and last_error.encode("utf-8", "backslashreplace").decode(),
            None if owner == process else owner,
            process,
            record.claimed_by,
            record.version,
        )
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"lease {record.id} can't be kept: its times must have a zone, its metadata must fit JSON ({error})"
        raise StoreError(msg, lease_id=record.id) from error


def from_row(row: Row) -> LeaseRecord:
    """Return the record that a row holds. Raises ``RowError``, whatever is wrong."""
    (
        key,
        name,
        integration,
        state,
        handle,
        metadata,
        created_at,
        issued_at,
        expires_at,
        revoked_at,
        ended_at,
        next_attempt_at,
        _due_at,
        attempts,
        stuck,
        held,
        last_error,
        owner,
        process,
        claimed_by,
        version,
    ) = row
    try:
        return LeaseRecord(
            id=_spell(key) if type(key) is bytes and len(key) == _UUID_BYTES else _text(key),
            name=_text(name),
            integration=_text(integration),
            state=LeaseState(state),
            handle=_mapping(handle),
            metadata={} if metadata is None else _mapping(metadata),
            created_at=_moment(created_at),
            issued_at=_maybe_moment(issued_at),
            expires_at=_maybe_moment(expires_at),
            revoked_at=_maybe_moment(revoked_at),
            ended_at=_maybe_moment(ended_at),
            next_attempt_at=_maybe_moment(next_attempt_at),
            attempts=_number(attempts),
            stuck=bool(_number(stuck)),
            held=bool(_number(held)),
            last_error=_maybe_text(last_error),
            owner=_text(process if owner is None else owner),
            claimed_by=_maybe_text(claimed_by),
            version=_number(version),
        )
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RowError(str(error)) from error


def _due_at(record: LeaseRecord, created_at: int, expires_at: int | None, next_attempt_at: int | None) -> int | None:
    """Return ``record.due_at`` from what its times are in microseconds; negative for a claim."""
    state = record.state
    if state is LeaseState.PENDING:
        return created_at
    if state is LeaseState.ACTIVE:
        return expires_at
    if state is LeaseState.REVOKED or next_attempt_at is None:
        return None
    return next_attempt_at if record.claimed_by is None else -next_attempt_at


def _spell(key: bytes) -> str:
    text = key.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _maybe_microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def _number(number: object) -> int:
    if not isinstance(number, int):
        raise TypeError("a number is something else")
    return number


def _moment(microseconds: object) -> datetime:
    return _EPOCH + timedelta(microseconds=_number(microseconds))


def _maybe_moment(microseconds: object) -> datetime | None:
    return None if microseconds is None else _moment(microseconds)


def _mapping(text: object) -> Mapping[str, Any]:
    mapping = _decode(_text(text))
    if type(mapping) is not dict:
        raise TypeError("a JSON object is something else")
    return mapping


def _text(text: object) -> str:
    """Return what is text. Raises ``TypeError``, or ``ValueError`` where bytes of it were none."""
    if type(text) is not str:
        raise TypeError("a text is something else")
    if not text.isascii():
        text.encode()
    return text


def _maybe_text(text: object) -> str | None:
    return None if text is None else _text(text)
