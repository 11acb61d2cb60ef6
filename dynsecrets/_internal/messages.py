"""How an argument is quoted in an error message: short, and never a container that may hold a secret. Pure."""

from __future__ import annotations

from datetime import timedelta

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
