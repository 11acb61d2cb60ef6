"""The life of a lease, as a table.

    pending ──► active ──► revoking ──► revoked
       │           │        ▲   │ ▲        ▲
       │           │        │   └─┘ again  │
       ├───────────┼────────┘              │
       └───────────┴───────────────────────┘

``pending``   names are recorded, AWS may or may not have been asked: whatever the record names may exist.
``active``    provisioned and handed over; the credential lives.
``revoking``  a revocation was begun (it is claimed by a worker), failed, or left something for later (then it has
              ``ended_at``); the latter two are due again at ``next_attempt_at``.
``revoked``   nothing of it exists any more; the record is a tombstone.

A lease only moves forward. It goes straight to ``revoked`` where nothing of it was made, or where it was deleted while
the store could not be written. Pure.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class LeaseState(StrEnum):
    """Where a lease stands. Members equal their text: ``record.state == "active"``.

    Attributes:
        PENDING: Its names are recorded; whatever they name may exist.
        ACTIVE: It was provisioned and handed over; the credential lives.
        REVOKING: A revocation was begun, failed, or left something for later.
        REVOKED: Nothing of it exists any more; the record is a tombstone.
    """

    PENDING = "pending"
    ACTIVE = "active"
    REVOKING = "revoking"
    REVOKED = "revoked"


#: What each state may become.
TRANSITIONS: Final = MappingProxyType(
    {
        LeaseState.PENDING: frozenset({LeaseState.ACTIVE, LeaseState.REVOKING, LeaseState.REVOKED}),
        LeaseState.ACTIVE: frozenset({LeaseState.REVOKING, LeaseState.REVOKED}),
        LeaseState.REVOKING: frozenset({LeaseState.REVOKING, LeaseState.REVOKED}),
        LeaseState.REVOKED: frozenset[LeaseState](),
    }
)

#: What a record must have in each state, beside what every record has.
REQUIRED: Final = MappingProxyType(
    {
        LeaseState.PENDING: ("handle", "created_at", "owner"),
        LeaseState.ACTIVE: ("handle", "created_at", "owner", "issued_at", "expires_at"),
        LeaseState.REVOKING: ("handle", "created_at", "next_attempt_at"),
        LeaseState.REVOKED: ("created_at", "revoked_at"),
    }
)

#: States in which something of the lease may exist.
LIVE: Final = frozenset({LeaseState.PENDING, LeaseState.ACTIVE, LeaseState.REVOKING})

#: After this many failed revocations a person should look; the attempts go on all the same.
STUCK_AFTER: Final = 5
#: How long a claim keeps other workers away; it lapses by itself.
CLAIM_LENGTH: Final = timedelta(minutes=2)
#: How far ahead a claim can end: of two clocks that AWS answers to, one may be a quarter of an hour ahead of the other.
LONGEST_CLAIM: Final = CLAIM_LENGTH + timedelta(minutes=15)
#: How long a tombstone is kept.
TOMBSTONE_AGE: Final = timedelta(days=7)
#: How old an unfinished issue of an unknown process must be before it is taken for abandoned.
ABANDONED_AFTER: Final = timedelta(minutes=2)


def may_become(old: LeaseState, new: LeaseState) -> bool:
    """Tell whether a lease in one state may go to another."""
    return new in TRANSITIONS[old]
