"""Times to live: every accepted form, every refused one, and what the refusals say."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidTTL
from dynsecrets.model.ttl import CEILING, format_ttl, parse_ttl
from support.strategies import HUGE, garbage, ttl_texts, wild_text

ACCEPTED = {
    "90s": 90,
    "30m": 1_800,
    "3h": 10_800,
    "1d": 86_400,
    "1h30m": 5_400,
    "1d2h3m4s": 93_784,
    "0h5m": 300,
    "007m": 420,
    "1000000s": 1_000_000,
    "36500d": 36_500 * 86_400,
    1: 1,
    900: 900,
    timedelta(minutes=15): 900,
    timedelta(seconds=1): 1,
}
TOO_SHORT = [0, -1, -HUGE, "0s", "0d0h0m0s", timedelta(0), timedelta(days=-1), timedelta.min]
TOO_LONG = [36_500 * 86_400 + 1, HUGE, "36501d", "999999999d", "999999999999s", timedelta(days=36_501)]
UNREADABLE = [
    *("", " ", "30", "1.5h", "30m ", " 30m", "30 m", "1h 30m", "30M", "m", "30m1h", "1h1h", "1m30", "+5m", "-5m"),
    *(
        "1e3s",
        "P1D",
        "30min",
        "1w",
        "30m\n",
        "30m\0",
        "٣m",
        "\uff13m",
        "\ud800m",
        "1_000s",
        "9" * 5_000 + "s",
        "1h,30m",
    ),
    *(1.0, 1.5, float("nan"), float("inf"), -0.0, True, False, None, b"30m", bytearray(b"30m"), 1j, Ellipsis, int),
    *(Decimal(5), Fraction(5), timedelta(seconds=1.5), timedelta(microseconds=1), timedelta.max, [30], {"m": 30}, {30}),
]


@pytest.mark.parametrize(("given_ttl", "seconds"), ACCEPTED.items())
def test_every_form_is_read(given_ttl: object, seconds: int) -> None:
    """Whole seconds, lengths of whole seconds and text in the grammar give their length."""
    length = parse_ttl(given_ttl)

    assert length == timedelta(seconds=seconds)


@pytest.mark.parametrize("given_ttl", [*TOO_SHORT, *TOO_LONG, *UNREADABLE], ids=safe_repr)
def test_everything_else_is_refused(given_ttl: object) -> None:
    """Whatever is not in the grammar raises ``InvalidTTL``, which is a ``ValueError`` and quotes what was given."""
    with pytest.raises(InvalidTTL) as caught:
        parse_ttl(given_ttl)

    assert isinstance(caught.value, ValueError)
    assert f"TTL {safe_repr(given_ttl)} is " in str(caught.value)


@pytest.mark.parametrize("given_ttl", [*TOO_SHORT, *UNREADABLE], ids=safe_repr)
def test_refusals_say_what_is_accepted(given_ttl: object) -> None:
    """The error lists each accepted form."""
    with pytest.raises(InvalidTTL, match=r'whole seconds \(900\), a timedelta .*"90s", "30m", "3h", "1d", "1h30m"'):
        parse_ttl(given_ttl)


@pytest.mark.parametrize("given_ttl", TOO_LONG, ids=safe_repr)
def test_lengths_over_a_century_are_refused(given_ttl: object) -> None:
    """A length that dates can't be counted with is refused with the longest accepted one."""
    with pytest.raises(InvalidTTL, match="is too long: at most 36500d is accepted"):
        parse_ttl(given_ttl)


def test_a_maximum_is_named_as_max_ttl() -> None:
    """A length over the config's maximum is refused with that maximum and what to do."""
    with pytest.raises(InvalidTTL, match=r"^ttl '2h' is too long: at most 1h30m \(max_ttl\) is accepted; ask for less"):
        parse_ttl("2h", what="ttl", maximum=timedelta(minutes=90))


def test_the_maximum_itself_is_accepted() -> None:
    """The bound is part of what it bounds."""
    assert parse_ttl("90m", maximum=timedelta(minutes=90)) == timedelta(minutes=90)


def test_the_minimum_can_be_chosen() -> None:
    """With a minimum of zero "0s" is a length; with another minimum, what is shorter is refused with it."""
    assert parse_ttl("0s", minimum=0) == timedelta(0)
    with pytest.raises(InvalidTTL, match="at least 30 seconds is accepted"):
        parse_ttl("29s", minimum=30)


@given(ttl_texts())
def test_text_is_the_sum_of_its_parts(text_and_length: tuple[str, int]) -> None:
    """Text in the grammar is as long as its parts together, however it is spelled."""
    text, seconds = text_and_length

    assert parse_ttl(text) == parse_ttl(seconds) == parse_ttl(timedelta(seconds=seconds)) == timedelta(seconds=seconds)


@given(st.integers(1, CEILING // timedelta(seconds=1)))
def test_what_is_formatted_is_read_back(seconds: int) -> None:
    """Every length in whole seconds survives being spelled and read."""
    length = timedelta(seconds=seconds)

    assert parse_ttl(format_ttl(length)) == length


@pytest.mark.parametrize(
    ("seconds", "text"),
    {0: "0s", 1: "1s", 59: "59s", 60: "1m", 5_400: "1h30m", 86_400: "1d", 90_061: "1d1h1m1s"}.items(),
)
def test_lengths_are_spelled_with_the_largest_units_first(seconds: int, text: str) -> None:
    """A length is spelled without units that it doesn't need."""
    assert format_ttl(timedelta(seconds=seconds)) == text


@given(garbage | wild_text | st.from_regex(r"[0-9dhms .+-]{1,12}", fullmatch=True))
def test_nothing_but_invalid_ttl_is_raised(given_ttl: object) -> None:
    """Any object is a TTL of at least a second and at most a century, or ``InvalidTTL``."""
    try:
        length = parse_ttl(given_ttl)
    except InvalidTTL:
        return

    assert timedelta(seconds=1) <= length <= CEILING
    assert not length.microseconds
    assert type(given_ttl) in (int, str, timedelta)
