"""Dates as text."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from hypothesis import given

from dynsecrets.model.timestamps import ceil_to_second, floor_to_millisecond, to_milliseconds, to_seconds
from support.strategies import moments

MOMENT = datetime(2022, 2, 15, 19, 4, 54, 782_999, tzinfo=timezone(timedelta(hours=2)))


def test_moments_are_spelled_in_utc() -> None:
    """A moment of any zone is spelled in UTC, to the millisecond or to the second, rounded down."""
    assert to_milliseconds(MOMENT) == "2022-02-15T17:04:54.782Z"
    assert to_seconds(MOMENT) == "2022-02-15T17:04:54Z"


def test_milliseconds_have_three_digits() -> None:
    """Few milliseconds, and none, are written out."""
    assert to_milliseconds(datetime(2022, 2, 15, 17, 4, 54, 7_000, tzinfo=UTC)) == "2022-02-15T17:04:54.007Z"
    assert to_milliseconds(datetime(2022, 2, 15, 17, 4, 54, tzinfo=UTC)) == "2022-02-15T17:04:54.000Z"


@given(moments)
def test_text_and_moment_agree_to_the_millisecond(moment: datetime) -> None:
    """What is spelled is read back as the last whole millisecond that is not later."""
    text = to_milliseconds(moment)

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert datetime.fromisoformat(text) == floor_to_millisecond(moment.astimezone(UTC))
    assert timedelta(0) <= moment - datetime.fromisoformat(text) < timedelta(milliseconds=1)


@given(moments)
def test_seconds_are_rounded_as_their_names_say(moment: datetime) -> None:
    """Rounding up is never earlier, and by less than a second; what is whole stays."""
    up = ceil_to_second(moment)

    assert up.microsecond == 0
    assert timedelta(0) <= up - moment < timedelta(seconds=1)
    assert ceil_to_second(up) == up
    assert datetime.fromisoformat(to_seconds(up)) == up


def test_rounding_up_where_clocks_were_turned_back() -> None:
    """In the hour that a zone has twice, and in the one that it leaves out, a second later is a second later."""
    zone = ZoneInfo("America/New_York")

    for moment in (datetime(2022, 11, 6, 1, 59, 59, 1, zone, fold=1), datetime(2022, 3, 13, 2, 0, 0, 1, zone, fold=1)):
        assert timedelta(0) < ceil_to_second(moment) - moment < timedelta(seconds=1)
