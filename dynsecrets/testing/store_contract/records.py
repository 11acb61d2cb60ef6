"""Lease records to test stores with. Pure."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from dynsecrets.model.lifecycle import LeaseState
from dynsecrets.model.record import LeaseRecord

#: When these records live. Ahead of the real time: a store may forget old tombstones by a clock of its own.
NOW: Final = datetime(2040, 2, 15, 17, 4, 54, 782_123, tzinfo=UTC)
SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
#: A process as records name it, and one more in the same place.
PLACE: Final = "host|boot|4026531836|"
PROCESS: Final = f"{PLACE}41|1001"
OTHER_PROCESS: Final = f"{PLACE}42|1002"


def make_record(**overrides: Any) -> LeaseRecord:
    """Return a record with an id of its own, ``pending`` unless told otherwise, with what its state requires."""
    state = LeaseState(overrides.get("state", LeaseState.PENDING))
    fields: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "name": "AWS_USER",
        "integration": "aws",
        "handle": {"user_name": "Dynsecrets-Dynamic-abcdefghijklm", "policy_name": "dynsecrets-policy-abcdefghijklm"},
        "created_at": NOW,
        "owner": PROCESS,
    }
    if state is not LeaseState.PENDING:
        fields |= {"issued_at": NOW, "expires_at": NOW + 30 * MINUTE}
    if state is LeaseState.REVOKING:
        fields["next_attempt_at"] = NOW + MINUTE
    if state is LeaseState.REVOKED:
        fields["revoked_at"] = NOW + MINUTE
    return LeaseRecord(**fields | overrides)


def full_record() -> LeaseRecord:
    """Return a record in which every field has a value that is easily lost on the way."""
    return make_record(
        name="AWS_USER_2",
        integration="aws-eu.1",
        state=LeaseState.REVOKING,
        handle={"user_name": "Ünï☃𝄞", "note": 'it\'s "quoted"\\\n\t', "empty": ""},
        created_at=NOW.replace(microsecond=1),
        issued_at=NOW.replace(microsecond=999_999),
        expires_at=NOW.replace(microsecond=0) + MINUTE,
        ended_at=NOW.replace(microsecond=100_001) + MINUTE,
        next_attempt_at=NOW.replace(microsecond=100) + MINUTE,
        attempts=7,
        last_error="AccessDenied: «nicht erlaubt» ☃\n",
        stuck=True,
        held=True,
        claimed_by=f"{OTHER_PROCESS}#3",
        metadata={"ticket": "OPS-1", "nested": {"list": [1, 2.5, None, True, "é𝄞"], "big": 2**53}, "": {}},
        version=12,
    )
