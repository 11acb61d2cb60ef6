"""Lease records for tests: made by hand, and by hypothesis."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from dynsecrets.model.lifecycle import LeaseState
from dynsecrets.model.record import LeaseRecord
from dynsecrets.testing.store_contract.records import (
    MINUTE,
    NOW,
    OTHER_PROCESS,
    PLACE,
    PROCESS,
    SECOND,
    full_record,
    make_record,
)

__all__ = [
    "MINUTE",
    "NOW",
    "OTHER_PROCESS",
    "PLACE",
    "PROCESS",
    "SECOND",
    "full_record",
    "json_objects",
    "lease_records",
    "make_record",
    "moments",
]


def moments() -> st.SearchStrategy[datetime]:
    """Any moment, in UTC."""
    return st.datetimes(timezones=st.just(UTC))


def json_objects() -> st.SearchStrategy[dict[str, Any]]:
    """Anything that fits a JSON object, and comes back equal."""
    plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    values = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
    return st.dictionaries(st.text(), values, max_size=3)


def lease_records() -> st.SearchStrategy[LeaseRecord]:
    """Any record at all, also such as no lease would have."""
    counts = st.integers(0, 2**63 - 2)
    return st.builds(
        LeaseRecord,
        id=st.uuids().map(str) | st.text(),
        name=st.text(),
        integration=st.text(),
        state=st.sampled_from(LeaseState),
        handle=st.dictionaries(st.text(), st.text(), max_size=3),
        created_at=moments(),
        issued_at=st.none() | moments(),
        expires_at=st.none() | moments(),
        revoked_at=st.none() | moments(),
        ended_at=st.none() | moments(),
        attempts=counts,
        next_attempt_at=st.none() | moments(),
        last_error=st.none() | st.text(),
        stuck=st.booleans(),
        owner=st.text(),
        held=st.booleans(),
        claimed_by=st.none() | st.text(),
        metadata=json_objects(),
        version=counts,
    )
