"""A request that creates a user has an end by two clocks, whatever happens to one of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from dynsecrets.integrations.aws.request_tracking import SENT_WITHIN, SendDeadline, TooLate
from dynsecrets.model.lifecycle import ABANDONED_AFTER
from dynsecrets.model.timestamps import to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable

_MODULE = "dynsecrets.integrations.aws.request_tracking"


@pytest.fixture
def pass_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """Let time go by, differently on the steady clock and on the wall."""
    passed = {"steady": 0.0, "wall": 0.0}

    class Wall(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(seconds=passed["wall"])

    monkeypatch.setattr(f"{_MODULE}.SYSTEM_CLOCK", SimpleNamespace(steady=lambda: passed["steady"]))
    monkeypatch.setattr(f"{_MODULE}.datetime", Wall)

    def go(steady: float, wall: float) -> None:
        passed["steady"] += steady
        passed["wall"] += wall

    return go


def test_it_comes_well_before_others_may_give_it_up() -> None:
    """Between the last request and the first look of a reaper is time for a connection and an answer."""
    assert timedelta(seconds=25) <= ABANDONED_AFTER - SENT_WITHIN < ABANDONED_AFTER


@pytest.mark.parametrize(("steady", "wall"), [(89, 89), (0, 0), (0, -3600), (89, -3600)])
def test_before_it_requests_are_sent(pass_by: Callable[[float, float], None], steady: float, wall: float) -> None:
    """Within the time nothing is refused, though the wall clock was set back."""
    deadline = SendDeadline(to_milliseconds(datetime.now(UTC)))

    pass_by(steady, wall)

    deadline.check()


@pytest.mark.parametrize(("steady", "wall"), [(91, 91), (91, -3600), (0, 91)])
def test_after_it_none_is_sent(pass_by: Callable[[float, float], None], steady: float, wall: float) -> None:
    """By whichever clock the time is over: others compare by theirs."""
    deadline = SendDeadline(to_milliseconds(datetime.now(UTC)))

    pass_by(steady, wall)

    with pytest.raises(TooLate, match="90 seconds ago"):
        deadline.check()


@pytest.mark.parametrize("planned_at", [None, "", "yesterday"])
def test_a_plan_without_a_time_counts_from_now(pass_by: Callable[[float, float], None], planned_at: str | None) -> None:
    """Where nobody wrote down when it was planned, the time begins with the first request."""
    deadline = SendDeadline(planned_at)
    deadline.check()

    pass_by(91, 91)

    with pytest.raises(TooLate):
        deadline.check()
