"""Hypothesis strategies that several test modules share: garbage, times to live, moments, and policy documents."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from hypothesis import assume
from hypothesis import strategies as st

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

#: Python refuses to spell it, so that careless messages about it fail.
HUGE: Final = 10**5000
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))

#: Text of any kind, with lone surrogates, control characters and NULs in it.
wild_text: Final = st.text(st.characters(), max_size=40)

#: Made when it is drawn: hypothesis itself fails to print it as part of a strategy.
_huge: Final = st.sampled_from([1, -1]).map(lambda sign: sign * HUGE)
_scalars: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    _huge,
    st.sampled_from([2**63, -(2**63) - 1]),
    st.floats(),
    wild_text,
    st.binary(max_size=20),
    st.timedeltas(),
    st.sampled_from([object(), object, Ellipsis, Decimal("NaN"), 1j, range(3), timedelta.max, timedelta.min]),
)
_keys: Final = st.one_of(
    wild_text, st.integers(), st.none(), st.booleans(), st.binary(max_size=5), st.tuples(wild_text)
)

#: Objects of any kind that may be given in the place of any argument.
garbage: Final[SearchStrategy[Any]] = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(_keys, inner, max_size=4),
        st.frozensets(_keys, max_size=3),
    ),
    max_leaves=12,
)

#: Aware moments of this and the next century, in any whole-minute offset.
moments: Final[SearchStrategy[datetime]] = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001  # hypothesis adds the zone.
    datetime(2199, 1, 1),  # noqa: DTZ001
    timezones=st.one_of(st.just(UTC), st.timezones()),
)


#: How often a unit stands in a TTL: not at all, or once with a count.
_counts: Final = st.lists(st.integers(0, 5_000), max_size=1)


@st.composite
def ttl_texts(draw: st.DrawFn) -> tuple[str, int]:
    """Draw a TTL in the grammar as text, and its length in seconds."""
    parts = [(f"{count}{unit}", count * seconds) for unit, seconds in _UNITS for count in draw(_counts)]
    length = sum(seconds for _, seconds in parts)
    assume(length > 0)
    return "".join(text for text, _ in parts), length


_word: Final = st.text(string.ascii_letters + string.digits, min_size=1, max_size=12)
_actions: Final = st.one_of(st.just("*"), st.builds("{}:{}".format, _word, _word | st.just("*")))
_resources: Final = st.one_of(st.just("*"), st.builds("arn:aws:s3:::{}/*".format, wild_text.filter(bool)))
_operators: Final = st.sampled_from(
    ["StringEquals", "stringlike", "ForAnyValue:StringLikeIfExists", "DateGreaterThan", "Null", "ArnNotLike", "Bool"]
)
_condition_values: Final = st.one_of(wild_text, st.booleans(), st.integers(), st.lists(wild_text, max_size=3))


def _one_or_many(texts: SearchStrategy[str]) -> SearchStrategy[Any]:
    """Return a strategy for a text or a list of at least one."""
    return texts | st.lists(texts, min_size=1, max_size=3)


@st.composite
def _statements(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid statement without Sid."""
    statement: dict[str, Any] = {
        "Effect": draw(st.sampled_from(["Allow", "Deny"])),
        draw(st.sampled_from(["Action", "NotAction"])): draw(_one_or_many(_actions)),
        draw(st.sampled_from(["Resource", "NotResource"])): draw(_one_or_many(_resources)),
    }
    if draw(st.booleans()):
        keys = st.dictionaries(wild_text.filter(bool), _condition_values, max_size=2)
        statement["Condition"] = draw(st.dictionaries(_operators, keys, max_size=2))
    return statement


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid policy document, of which the size is not known."""
    document: dict[str, Any] = {}
    if draw(st.booleans()):
        document["Version"] = draw(st.sampled_from(["2012-10-17", "2008-10-17"]))
    if draw(st.booleans()):
        document["Id"] = draw(wild_text)
    document["Statement"] = draw(_statements() | st.lists(_statements(), min_size=1, max_size=3))
    return document


@st.composite
def damaged_policies(draw: st.DrawFn) -> Any:
    """Draw a policy document in which one part, at whatever depth, has become garbage, gone, or moved to a new key."""
    document = draw(policies())
    place: Any = document
    while True:
        key: Any = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or draw(st.integers(0, 3)) == 0:
            break
        place = place[key]
    damage = draw(st.sampled_from(["replace", "remove", "add"]))
    if damage == "replace":
        place[key] = draw(garbage)
    elif damage == "remove":
        del place[key]
    elif isinstance(place, dict):
        place[draw(_keys)] = draw(garbage)
    else:
        place.append(draw(garbage))
    return document
