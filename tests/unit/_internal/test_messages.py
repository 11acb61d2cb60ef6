"""How messages quote what they were given."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given

from dynsecrets._internal.messages import did_you_mean, safe_repr
from support.strategies import HUGE, garbage


@pytest.mark.parametrize(
    ("given_value", "quoted"),
    [
        ("30 m", "'30 m'"),
        (b"30m", "b'30m'"),
        (0, "0"),
        (True, "True"),
        (None, "None"),
        (1.5, "1.5"),
        (float("nan"), "nan"),
        (timedelta(seconds=1.5), "datetime.timedelta(seconds=1, microseconds=500000)"),
        ("\ud800", "'\\ud800'"),
        ({"password": "hunter2"}, "of type dict"),
        (["hunter2"], "of type list"),
        (object(), "of type object"),
        (int, "of type type"),
        (HUGE, "(an integer of thousands of digits)"),
        ("x" * 500, f"'{'x' * 76}..."),
    ],
    ids=lambda value: safe_repr(value)[:30],
)
def test_values_are_quoted_and_containers_are_not(given_value: object, quoted: str) -> None:
    """Text, numbers and lengths are quoted, shortened where they are long; of all else only the type is named."""
    assert safe_repr(given_value) == quoted


@given(garbage)
def test_any_object_can_be_quoted(given_value: object) -> None:
    """A quotation is short text that can be written anywhere."""
    quoted = safe_repr(given_value)

    assert len(quoted) <= 80
    assert quoted.encode()


@pytest.mark.parametrize(
    ("given_word", "known", "says"),
    [
        ("regoin", ["region", "profile"], "; did you mean region?"),
        ("JSON", ["json", "yaml"], "; did you mean json?"),
        ("xyzzy", ["region", "profile"], "; there is region, profile"),
        ("xyzzy", [], "; there is none"),
    ],
)
def test_the_nearest_known_word_is_offered(given_word: str, known: list[str], says: str) -> None:
    """A word that is near is asked for, in whatever case; else all known ones are listed."""
    assert did_you_mean(given_word, known) == says
