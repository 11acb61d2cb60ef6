"""The grammar of times to live: ``"90s"``, ``"30m"``, ``"1h30m"``, whole seconds, or a ``timedelta``.

Pure: no clock is read here. Everything that is not exactly in the grammar is refused, because a TTL that was
silently rounded or replaced by a default is a credential that lives longer than its owner thinks.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final, TypeAlias

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidTTL

#: What a TTL may be given as: whole seconds, a ``timedelta`` of whole seconds, or text such as ``"1h30m"``.
TTL: TypeAlias = "int | str | timedelta"

ACCEPTED: Final = (
    "whole seconds (900), a timedelta of whole seconds, or text of whole numbers with d, h, m, s in falling order and "
    'no blanks ("90s", "30m", "3h", "1d", "1h30m")'
)
#: Nothing is longer than a century: beyond it dates overflow, and nobody means it.
CEILING: Final = timedelta(days=36_500)
_TEXT: Final = re.compile(r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,12})s)?")
_ONE_SECOND: Final = timedelta(seconds=1)


def parse_ttl(given: object, *, what: str = "TTL", minimum: int = 1, maximum: timedelta = CEILING) -> timedelta:
    """Read a TTL.

    ``what`` names the argument in messages; ``minimum`` is in seconds. Returns a ``timedelta`` of whole seconds.
    Raises :class:`~dynsecrets.InvalidTTL`, quoting what was given, for anything else, of whatever type.
    """
    length = _length(given)
    if length is None:
        raise InvalidTTL(f"{what} {safe_repr(given)} is not a TTL: give {ACCEPTED}")
    if length < minimum * _ONE_SECOND:
        least = "one second" if minimum == 1 else f"{minimum} seconds"
        raise InvalidTTL(f"{what} {safe_repr(given)} is too short: at least {least} is accepted, as {ACCEPTED}")
    if length > maximum:
        limit = "" if maximum == CEILING else " (max_ttl)"
        raise InvalidTTL(
            f"{what} {safe_repr(given)} is too long: at most {format_ttl(maximum)}{limit} is accepted; "
            "ask for less or raise max_ttl in the config"
        )
    return length


def format_ttl(length: timedelta) -> str:
    """Spell a length in the grammar, with the largest units first: 5400 seconds are ``"1h30m"``."""
    rest = length // _ONE_SECOND
    parts = []
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, seconds)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _length(given: object) -> timedelta | None:
    """Return the length that was given, or ``None`` where it is not in the grammar."""
    if isinstance(given, timedelta):
        return None if given.microseconds else given
    if isinstance(given, bool):
        return None
    if isinstance(given, int):
        # Checked as an integer first: a timedelta of it may overflow.
        bound = CEILING // _ONE_SECOND + 1
        return timedelta(seconds=max(-1, min(given, bound)))
    if isinstance(given, str):
        match = _TEXT.fullmatch(given)
        if match is None or not given:
            return None
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        return timedelta(seconds=min(total, CEILING // _ONE_SECOND + 1))
    return None
