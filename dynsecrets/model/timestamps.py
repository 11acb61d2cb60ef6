"""Dates as text: aware UTC ``datetime`` objects in, RFC 3339 out. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_SECOND = timedelta(seconds=1)


def to_milliseconds(moment: datetime) -> str:
    """Spell a moment like ``2022-02-15T17:04:54.782Z``."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def to_seconds(moment: datetime) -> str:
    """Spell a moment like ``2022-02-15T17:04:54Z``, leaving out what is below a second."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def floor_to_millisecond(moment: datetime) -> datetime:
    """Return the last whole millisecond that is not later."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def ceil_to_second(moment: datetime) -> datetime:
    """Return the first whole second that is not earlier, in UTC: elsewhere a second later may be an hour later."""
    utc = moment.astimezone(UTC)
    return utc if not utc.microsecond else utc.replace(microsecond=0) + _SECOND
