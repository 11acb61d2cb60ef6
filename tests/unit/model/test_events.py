"""The events of a lease's life."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from dynsecrets import LeaseEvent
from dynsecrets.model.events import EVENT_TYPES
from support.fakes import make_event

TIME = datetime(2022, 2, 15, 18, 4, 54, 782_123, tzinfo=timezone(timedelta(hours=1)))


def test_an_event_can_be_written_as_json() -> None:
    """As a ``dict`` an event has its times as text in UTC, and leaves out what isn't known."""
    assert make_event(time=TIME).as_dict() == {
        "time": "2022-02-15T17:04:54.782Z",
        "type": "issued",
        "lease_id": "id-1",
        "name": "AWS_USER",
        "integration": "aws",
        "actor": "ann@host/1",
    }


def test_what_is_known_is_written() -> None:
    """The lease's end and the error stand in it where there are any."""
    event = make_event(type="revoke_failed", expires_at=datetime(2022, 2, 15, 17, 34, tzinfo=UTC), error="no network")

    written = json.loads(json.dumps(event.as_dict()))

    assert written["expires_at"] == "2022-02-15T17:34:00.000Z"
    assert written["error"] == "no network"
    assert written["type"] in EVENT_TYPES


def test_an_event_is_frozen_and_holds_no_more_than_names_and_times() -> None:
    """An event can't be changed, and has no field that could hold a credential."""
    event: Any = make_event()

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.error = "x"
    assert {field.name for field in attrs.fields(LeaseEvent)} == {
        *("type", "lease_id", "name", "integration", "actor", "time", "expires_at", "error"),
    }


def test_the_documented_steps_are_told() -> None:
    """Each step of the documentation is an event type, once."""
    documented = {"requested", "issued", "usable", "renewed", "revoked", "revoke_failed", "expired", "reaped"}

    assert documented <= set(EVENT_TYPES)
    assert len(set(EVENT_TYPES)) == len(EVENT_TYPES)
