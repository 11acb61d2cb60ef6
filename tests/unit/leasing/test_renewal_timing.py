"""When leases are renewed and how failures are spaced: the arithmetic alone."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsecrets import InvalidConfig, PermissionDenied, ProvisionError, QuotaExceeded, RevocationError, StoreError
from dynsecrets.leasing.renewal_timing import LONGEST_PAUSE, default_overlap, first_pause, renewal_after, retry_after
from dynsecrets.model.ttl import parse_ttl

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
OUTAGE = ProvisionError("no answer")

jitters = st.floats(0, 1)
ttls = st.integers(1, 86_400).map(lambda seconds: timedelta(seconds=seconds))


def refused_revocation() -> RevocationError:
    """Return the error of a revocation that AWS refuses."""
    error = RevocationError("could not be revoked")
    error.__cause__ = PermissionDenied("may not")
    return error


def attempts(ttl: timedelta, jitter: float, error: BaseException = OUTAGE) -> Iterator[timedelta]:
    """Iterate over the moments, counted from a lease's creation, of its renewal and of all attempts after it failed."""
    at = renewal_after(ttl, jitter)
    failures = 0
    while True:
        yield at
        failures += 1
        at += retry_after(failures, ttl, error, jitter)


def count_until(ttl: timedelta, end: timedelta, jitter: float, error: BaseException = OUTAGE) -> int:
    """Return how many attempts there are until a moment."""
    return sum(1 for _ in itertools.takewhile(lambda at: at < end, attempts(ttl, jitter, error)))


@given(ttl=ttls.filter(lambda ttl: ttl >= 5 * SECOND), jitter=jitters)
def test_renewal_is_due_about_two_thirds_in(ttl: timedelta, jitter: float) -> None:
    """A lease is to be replaced between 60 and 70 % of its TTL."""
    share = renewal_after(ttl, jitter) / ttl

    assert 0.6 <= share <= 0.7


def test_what_began_together_parts() -> None:
    """Jitter spreads the renewals of leases that were made at the same moment over a tenth of the TTL."""
    earliest, latest = renewal_after(HOUR, 0.0), renewal_after(HOUR, 1.0)

    assert latest - earliest == HOUR / 10


@given(ttl=ttls.filter(lambda ttl: ttl < 5 * SECOND), jitter=jitters)
def test_leases_of_seconds_are_renewed_in_time(ttl: timedelta, jitter: float) -> None:
    """Services count in whole seconds, so a second and a half is left for a renewal, but for the shortest leases."""
    after = renewal_after(ttl, jitter)

    assert ttl / 2 <= after <= ttl * 0.7
    assert ttl - after >= min(1.5 * SECOND, ttl / 2)


@pytest.mark.parametrize(("ttl", "overlap"), [("20s", 2), ("5m", 30), ("10m", 60), ("24h", 60)])
def test_work_in_flight_gets_a_tenth(ttl: str, overlap: int) -> None:
    """The default overlap is a tenth of the TTL, at most a minute."""
    assert default_overlap(parse_ttl(ttl)) == overlap * SECOND


@given(ttl=ttls, jitter=jitters, failures=st.integers(1, 200))
def test_pauses_double_up_to_minutes(ttl: timedelta, jitter: float, failures: int) -> None:
    """Each pause is twice the one before it, but for jitter, until they are minutes apart."""
    pause = retry_after(failures, ttl, OUTAGE, 0.0)
    following = retry_after(failures + 1, ttl, OUTAGE, 0.0)

    assert following == min(2 * pause, LONGEST_PAUSE)
    assert pause * 0.66 <= retry_after(failures, ttl, OUTAGE, jitter) <= pause


@given(ttl=ttls)
def test_the_first_pause_fits_the_ttl(ttl: timedelta) -> None:
    """It is a sixtieth of the TTL, within bounds: no tight loop, and soon enough for leases of hours."""
    pause = first_pause(ttl)

    assert 0.1 * SECOND <= pause <= 30 * SECOND
    assert pause <= max(ttl / 60, 0.1 * SECOND)


@given(ttl=ttls.filter(lambda ttl: ttl >= 10 * SECOND), jitter=jitters)
def test_a_handful_of_attempts_fits_a_lease(ttl: timedelta, jitter: float) -> None:
    """After a first failure there are at least three more attempts before the lease is over."""
    assert count_until(ttl, ttl, jitter) >= 4


@given(ttl=ttls.filter(lambda ttl: ttl <= HOUR), jitter=jitters)
def test_attempts_grow_with_the_logarithm_of_time(ttl: timedelta, jitter: float) -> None:
    """Ten times as long an outage makes a few attempts more, not ten times as many, until they are minutes apart."""
    begun = renewal_after(ttl, jitter)
    short = first_pause(ttl) * 10

    few, more = (count_until(ttl, begun + length, jitter) for length in (short, min(10 * short, LONGEST_PAUSE)))

    assert more - few <= 4


@given(ttl=ttls, jitter=jitters)
def test_a_days_outage_costs_some_hundred_attempts(ttl: timedelta, jitter: float) -> None:
    """However short the TTL, attempts are at least 200 seconds apart in the end."""
    day = timedelta(days=1)

    assert count_until(ttl, renewal_after(ttl, jitter) + day, jitter) <= 20 + day / timedelta(seconds=200)


@pytest.mark.parametrize("error", [PermissionDenied("may not"), InvalidConfig("no such group"), refused_revocation()])
@given(ttl=ttls, jitter=jitters)
def test_what_cannot_heal_waits_for_minutes_at_once(error: Exception, ttl: timedelta, jitter: float) -> None:
    """A refusal is not hammered: the second attempt is minutes after the first."""
    assert retry_after(1, ttl, error, jitter) >= timedelta(minutes=3)


@pytest.mark.parametrize("error", [OUTAGE, QuotaExceeded("full"), StoreError("locked"), OSError("gone"), SystemExit()])
def test_what_may_heal_is_tried_again_soon(error: BaseException) -> None:
    """Everything else, errors of third parties too, is tried again after a small part of the TTL."""
    assert retry_after(1, HOUR, error, 0.0) == 30 * SECOND


def test_any_number_of_failures_has_a_pause() -> None:
    """Years of failures neither overflow nor end the attempts."""
    assert retry_after(10**9, HOUR, OUTAGE, 0.0) == LONGEST_PAUSE
