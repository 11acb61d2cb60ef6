"""How error messages quote what was given, never a container that may hold a secret, and guess what was meant. Pure."""

from __future__ import annotations

from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 80


def safe_repr(given: object) -> str:
    """Quote an argument: the ``repr`` of text, numbers and lengths, shortened; only the type of anything else."""
    if given is not None and type(given) not in (str, bytes, bool, int, float, timedelta):
        return f"of type {type(given).__name__}"
    try:
        text = repr(given)
    except ValueError:  # Python refuses to spell integers of thousands of digits.
        return "(an integer of thousands of digits)"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return the nearest of the known words as a question, or all of them where none is near."""
    words = list(known)
    alike = {word.lower(): word for word in words}
    near = get_close_matches(given.lower(), alike, n=1)
    if near:
        return f"; did you mean {alike[near[0]]}?"
    return f"; there is {', '.join(words)}" if words else "; there is none"
