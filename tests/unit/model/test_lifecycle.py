"""The table of a lease's life."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise, product

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsecrets.model.backoff import revocation_delay
from dynsecrets.model.lifecycle import LIVE, REQUIRED, TRANSITIONS, LeaseState, may_become
from dynsecrets.model.record import LeaseRecord

ORDER = [LeaseState.PENDING, LeaseState.ACTIVE, LeaseState.REVOKING, LeaseState.REVOKED]
ALLOWED = {
    ("pending", "active"),
    ("pending", "revoking"),
    ("pending", "revoked"),
    ("active", "revoking"),
    ("active", "revoked"),
    ("revoking", "revoking"),
    ("revoking", "revoked"),
}


@pytest.mark.parametrize(("old", "new"), [*product(ORDER, ORDER)], ids=str)
def test_every_pair_of_states(old: LeaseState, new: LeaseState) -> None:
    """A lease goes forward, or begins a revocation once more; nothing else is allowed."""
    assert may_become(old, new) == ((old.value, new.value) in ALLOWED)


def test_a_lease_never_goes_back() -> None:
    """No transition leads to an earlier state, and a tombstone stays one."""
    assert all(ORDER.index(new) >= ORDER.index(old) for old, targets in TRANSITIONS.items() for new in targets)
    assert not TRANSITIONS[LeaseState.REVOKED]


def test_every_live_state_can_end() -> None:
    """From wherever something of a lease may exist it can be revoked, and can be said to be."""
    assert {*ORDER} - LIVE == {LeaseState.REVOKED}
    for state in LIVE:
        assert may_become(state, LeaseState.REVOKED)
        assert may_become(state, LeaseState.REVOKING)


def test_every_state_is_in_each_table() -> None:
    """The tables have a row for each state, and require what records have."""
    fields = {field.name for field in attrs.fields(LeaseRecord)}

    assert set(TRANSITIONS) == set(REQUIRED) == set(LeaseState) == set(ORDER)
    assert {name for names in REQUIRED.values() for name in names} <= fields


def test_whatever_may_exist_can_be_cleaned_up() -> None:
    """A record always has what revoking needs while something of the lease may exist."""
    assert all("handle" in REQUIRED[state] for state in LIVE)


@pytest.mark.parametrize("state", ORDER, ids=str)
def test_states_are_their_text(state: LeaseState) -> None:
    """A state equals its text, prints as it and is made from it."""
    assert state == state.value == str(state) == f"{state}"
    assert LeaseState(state.value) is state


@given(st.integers(-5, 10**9), st.floats(0, 1))
def test_pauses_stay_within_half_a_second_and_a_minute(failures: int, jitter: float) -> None:
    """However often it failed, the next attempt is soon, and never at once."""
    assert timedelta(seconds=0.5) <= revocation_delay(failures, jitter) <= timedelta(minutes=1)


def test_pauses_double_up_to_a_minute() -> None:
    """Without jitter the pauses are 1, 2, 4 … seconds, then a minute for ever."""
    pauses = [revocation_delay(failures, 0.0) / timedelta(seconds=1) for failures in range(1, 12)]

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]


@given(st.lists(st.floats(0, 1), min_size=2))
def test_jitter_shortens_by_up_to_half(jitters: list[float]) -> None:
    """The more jitter, the shorter the pause, down to its half."""
    pauses = [revocation_delay(4, jitter) for jitter in sorted(jitters)]

    assert all(earlier >= later for earlier, later in pairwise(pauses))
    assert revocation_delay(4, 1.0) == revocation_delay(4, 0.0) / 2
    assert (revocation_delay(4, -3.0), revocation_delay(4, 7.0)) == (revocation_delay(4, 0.0), revocation_delay(4, 1.0))
