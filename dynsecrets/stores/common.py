"""What all stores decide alike, in the same words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig, LeaseNotFound, StoreError, VersionConflict
from dynsecrets.model.lifecycle import LeaseState

if TYPE_CHECKING:
    from datetime import datetime

    from dynsecrets.model.record import LeaseRecord

#: How often a store that reads, decides and writes decides again where somebody else was faster.
CLAIM_TRIES: Final = 10


def claimed(record: LeaseRecord, worker: str, until: datetime, now: datetime) -> LeaseRecord | None:
    """Return a stored record as it stands once ``worker`` claimed it, or ``None`` where it may not.

    It may not where another worker's claim holds at ``now``, and where the lease is revoked.
    """
    if record.state is LeaseState.REVOKED or (record.claimed_by != worker and record.is_claimed(now)):
        return None
    return record.claimed(worker=worker, until=until).next_version()


def is_due(record: LeaseRecord, now: datetime) -> bool:
    """Return whether somebody must look at a lease by ``now``: when it is due, or once its claim can't be one."""
    due_at = record.due_at
    if due_at is None:
        return False
    claimed = record.state is LeaseState.REVOKING and record.claimed_by is not None
    return due_at <= now or (claimed and not record.is_claimed(now))


def check_state(state: LeaseState | str | None) -> LeaseState | None:
    """Return the state to look for. Raises ``InvalidConfig`` where there is no such state."""
    if state is None:
        return None
    try:
        return LeaseState(state)
    except ValueError:
        known = ", ".join(LeaseState)
        raise InvalidConfig(f"there is no state {safe_repr(state)}: give one of {known}, or None for all") from None


def check_times(record: LeaseRecord) -> None:
    """Raise ``StoreError`` where a time of a new record says no zone: it can't be compared with the others."""
    moments = (
        record.created_at,
        record.issued_at,
        record.expires_at,
        record.revoked_at,
        record.ended_at,
        record.next_attempt_at,
    )
    if any(moment is not None and moment.tzinfo is None for moment in moments):
        msg = f"lease {record.id} has a time without a zone: give aware datetimes, like datetime.now(UTC)"
        raise StoreError(msg, lease_id=record.id)


def not_found(lease_id: str) -> LeaseNotFound:
    """Return the error for a lease that the store doesn't know."""
    shown = safe_repr(lease_id)
    return LeaseNotFound(f"the store has no record of lease {shown}", lease_id=lease_id)


def conflict(record: LeaseRecord) -> VersionConflict:
    """Return the error for a record that isn't the stored one's successor."""
    msg = f"lease {record.id} was changed since version {record.version} of it was read; read it again"
    return VersionConflict(msg, lease_id=record.id)


def changes_too_fast(lease_id: str) -> StoreError:
    """Return the error for a record that others have changed each time before it could be claimed."""
    return StoreError(f"the record of lease {safe_repr(lease_id)} changes too fast to be claimed", lease_id=lease_id)


def taken(lease_id: str) -> StoreError:
    """Return the error for a new record whose id isn't new."""
    return StoreError(f"the store has a record of lease {safe_repr(lease_id)} already", lease_id=lease_id)
