"""What is known of the effects of a call, and until when a request that creates a user may be sent: by two clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from dynsecrets.integrations.aws.request_tracking import SENT_WITHIN, RequestTracker, SendDeadline, TooLate
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


def answer(tracker: RequestTracker, status: int | Exception) -> None:
    """Have a request sent, and answered."""
    tracker._on_sending()
    if isinstance(status, Exception):
        tracker._on_answer(exception=status)
    else:
        tracker._on_answer(response_dict={"status_code": status})


@pytest.mark.parametrize(
    ("answers", "unclear", "may_have_worked"),
    [
        ([], False, False),
        ([403], False, False),
        ([200], False, True),
        ([500, 409], True, True),
        ([302], True, True),
        ([ReadTimeoutError(endpoint_url="here"), 404], True, True),
        ([EndpointConnectionError(endpoint_url="here")], False, False),
        ([TooLate()], False, False),
    ],
)
def test_only_refusals_and_what_never_left_prove_that_nothing_happened(
    answers: list[int | Exception], unclear: bool, may_have_worked: bool
) -> None:
    """A success counts as one, whatever is raised after it."""
    tracker = RequestTracker()
    tracker.begin()

    for status in answers:
        answer(tracker, status)

    assert (tracker.unclear, tracker.may_have_worked) == (unclear, may_have_worked)


def test_each_call_is_counted_by_itself() -> None:
    """What the last call of a thread did says nothing of this one."""
    tracker = RequestTracker()
    answer(tracker, 500)
    answer(tracker, 200)

    tracker.begin()

    assert not tracker.may_have_worked
