"""A lease in the hands of the one who asked for it: its values, its time, and that it shows no secret."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsecrets import Lease, RevocationError
from dynsecrets.model.capabilities import AwsSessions
from dynsecrets.model.lease import YOUNG_FOR, is_young
from dynsecrets.model.masking import MASK, MaskedStr
from dynsecrets.model.timestamps import to_milliseconds
from dynsecrets.testing import FakeClock
from support.fakes import START, FakeIntegration, aws_values, make_lease
from support.showing import WAYS, show

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = [
    "AWS_USER_ACCESS_KEY_ID",
    "AWS_USER_ARN",
    "AWS_USER_LEASE_EXPIRATION",
    "AWS_USER_LEASE_ID",
    "AWS_USER_POLICY_NAME",
    "AWS_USER_SECRET_ACCESS_KEY",
    "AWS_USER_USERNAME",
    "AWS_USER_USER_ID",
]
HALF_AN_HOUR = timedelta(minutes=30)


@pytest.fixture
def canary() -> str:
    """A secret that nobody knows; the plugin of the tests watches for it too once it is boxed."""
    return secrets.token_urlsafe(30)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def lease(canary: str, clock: FakeClock) -> Lease:
    """A lease of half an hour."""
    return make_lease(aws_values(canary), clock=clock)


class Sessions(FakeIntegration, AwsSessions):
    """An integration that notes what it was asked to make sessions of."""

    def session(self, values: Mapping[str, str], is_young: Callable[[], bool], **kwargs: Any) -> Any:
        """Return what was asked."""
        return dict(values), is_young, kwargs


class TestValues:
    """The mapping."""

    def test_it_has_exactly_these_keys_in_this_order(self, lease: Lease) -> None:
        """The keys are the eight ``NAME_*`` names, sorted."""
        assert list(lease) == KEYS
        assert len(lease) == len(KEYS)
        assert isinstance(lease, Mapping)

    def test_its_values(self, lease: Lease, canary: str) -> None:
        """Each key has its value, and the expiration is spelled with milliseconds in UTC."""
        assert lease["AWS_USER_ACCESS_KEY_ID"] == "AKIAIOSFODNN7EXAMPLE"
        assert lease["AWS_USER_ARN"].startswith("arn:aws:iam::123456789012:user/dynsecrets/Dynsecrets-Dynamic-")
        assert lease["AWS_USER_LEASE_EXPIRATION"] == "2022-02-15T17:34:54.782Z"
        assert lease["AWS_USER_LEASE_ID"] == lease.id
        assert lease["AWS_USER_SECRET_ACCESS_KEY"] == canary
        with pytest.raises(KeyError):
            lease["AWS_USER_SESSION_TOKEN"]
        with pytest.raises(KeyError):
            lease["ACCESS_KEY_ID"]

    @given(st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
    def test_the_expiration_has_the_documented_form(self, now: datetime) -> None:
        """At any time the expiration is the text of a date that is read back to the millisecond."""
        lease = make_lease(aws_values("s"), clock=FakeClock(now))
        text = lease["AWS_USER_LEASE_EXPIRATION"]

        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
        assert timedelta(0) <= now + HALF_AN_HOUR - datetime.fromisoformat(text) < timedelta(milliseconds=1)

    def test_its_attributes_say_the_same(self, lease: Lease) -> None:
        """What stands in the mapping can be read as attributes, times as aware datetimes."""
        assert lease.name == "AWS_USER"
        assert (lease.id, lease.arn, lease.username) == (
            *(lease["AWS_USER_LEASE_ID"], lease["AWS_USER_ARN"], lease["AWS_USER_USERNAME"]),
        )
        assert (lease.user_id, lease.policy_name) == (lease["AWS_USER_USER_ID"], lease["AWS_USER_POLICY_NAME"])
        assert (lease.access_key_id, lease.secret_access_key) == (
            *(lease["AWS_USER_ACCESS_KEY_ID"], lease["AWS_USER_SECRET_ACCESS_KEY"]),
        )
        assert (lease.issued_at, lease.expires_at) == (START, START + HALF_AN_HOUR)
        assert to_milliseconds(lease.expires_at) == lease["AWS_USER_LEASE_EXPIRATION"]
        assert lease.expires_at.utcoffset() == timedelta(0)

    def test_what_an_integration_does_not_grant_is_no_attribute(self) -> None:
        """A lease of another kind has its own values, and says what it hasn't."""
        lease = make_lease({"TOKEN": "t"})

        assert list(lease) == ["AWS_USER_LEASE_EXPIRATION", "AWS_USER_LEASE_ID", "AWS_USER_TOKEN"]
        assert not hasattr(lease, "arn")
        with pytest.raises(AttributeError, match="the integration 'fake' grants no ACCESS_KEY_ID"):
            lease.aws_env()

    def test_it_compares_like_a_mapping_and_hashes_by_its_id(self, lease: Lease, canary: str, clock: FakeClock) -> None:
        """A lease equals a mapping of the same values, can stand in sets, and differs from another lease."""
        twin = make_lease(aws_values(canary), clock=clock)
        another = make_lease(aws_values(canary + "x"), clock=clock)

        assert lease == dict(lease)
        assert lease == twin
        assert {lease, twin, lease} == {lease}
        assert lease != another

    def test_it_cannot_be_changed(self, lease: Lease) -> None:
        """Neither values nor attributes can be set, and no attribute can be added."""
        thing: Any = lease

        with pytest.raises(TypeError):
            thing["AWS_USER_ARN"] = "x"
        with pytest.raises(TypeError):
            del thing["AWS_USER_ARN"]
        for name in ("id", "expires_at", "revoked", "secret_access_key", "extra"):
            with pytest.raises(AttributeError):
                setattr(thing, name, "x")


class TestForms:
    """The credential in the forms that others take."""

    def test_env_is_a_plain_dict_of_plain_text(self, lease: Lease, canary: str) -> None:
        """``env`` has the ``NAME_*`` values in the same order, in types that anything can take, and is one's own."""
        env = lease.env()

        assert list(env) == KEYS
        assert env["AWS_USER_SECRET_ACCESS_KEY"] == canary
        assert type(env) is dict
        assert {type(value) for value in env.values()} == {str}
        env.clear()
        assert list(lease) == KEYS

    def test_aws_env_has_the_names_of_the_sdks(self, lease: Lease, canary: str) -> None:
        """``aws_env`` has the two names that every SDK reads, in plain text."""
        env = lease.aws_env()

        assert env == {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": canary}
        assert {type(value) for value in env.values()} == {str}

    def test_a_session_token_is_passed_on(self, canary: str) -> None:
        """Where there is a session token it stands in each form."""
        lease = make_lease({**aws_values("s"), "SESSION_TOKEN": canary})

        assert lease.aws_env()["AWS_SESSION_TOKEN"] == canary
        assert lease.credential_process()["SessionToken"] == canary

    def test_credential_process_speaks_awss_protocol(self, lease: Lease, canary: str) -> None:
        """``credential_process`` is the version 1 answer, with the end of the lease, and can be written as JSON."""
        answer = json.loads(json.dumps(lease.credential_process()))

        assert answer == {
            "Version": 1,
            "AccessKeyId": "AKIAIOSFODNN7EXAMPLE",
            "SecretAccessKey": canary,
            "Expiration": "2022-02-15T17:34:54.782Z",
        }

    def test_a_session_is_made_by_the_integration(self, canary: str, clock: FakeClock) -> None:
        """The integration gets the values by suffix, a way to ask whether the lease is young, and the arguments."""
        lease = make_lease(aws_values(canary), clock=clock, integration=Sessions(clock=clock))
        session: Any = lease.session(region_name="eu-central-1")
        values, asked, kwargs = session
        young = [asked()]
        for seconds in (YOUNG_FOR.total_seconds() - 1, 1):
            clock.leap(seconds)
            young.append(asked())

        assert values.items() >= aws_values(canary).items()
        assert kwargs == {"region_name": "eu-central-1"}
        assert young == [True, True, False]

    def test_a_revoked_lease_is_not_young(self, lease: Lease) -> None:
        """Nobody asks again for a key that was deleted."""
        before = is_young(lease)
        lease.revoke()

        assert (before, is_young(lease)) == (True, False)

    def test_other_integrations_have_no_session(self, lease: Lease) -> None:
        """What isn't AWS makes no boto3 session, and says so."""
        with pytest.raises(NotImplementedError, match="'fake' doesn't make AWS credentials"):
            lease.session()


class TestTime:
    """How long a lease lives."""

    def test_what_remains_follows_the_steady_clock(self, lease: Lease, clock: FakeClock) -> None:
        """``remaining`` shrinks as time goes by, and never below nothing."""
        remaining = []
        for _ in range(4):
            remaining.append(lease.remaining)
            clock.leap(600)

        assert remaining == [timedelta(minutes=minutes) for minutes in (30, 20, 10, 0)]
        assert lease.remaining == timedelta(0)

    def test_a_machine_restored_from_a_snapshot_has_dead_leases(self, lease: Lease, clock: FakeClock) -> None:
        """There the wall clock is ahead, and the monotonic one has stood still; once it is right, so is the lease."""
        clock.jump_wall(1_200)
        early = lease.remaining
        clock.jump_wall(600)
        late = lease.remaining, lease.expired, lease.is_valid()
        clock.jump_wall(-1_800)

        assert early == timedelta(minutes=10)
        assert late == (timedelta(0), True, False)
        assert lease.is_valid()

    @pytest.mark.parametrize("jump", [-86_400, -1_801, 60])
    def test_a_jump_of_the_wall_clock_changes_nothing(self, lease: Lease, clock: FakeClock, jump: float) -> None:
        """Whoever sets the machine's clock back, or a little forward, makes no lease shorter or longer."""
        clock.jump_wall(jump)
        clock.leap(60)

        assert lease.remaining == timedelta(minutes=29)
        assert not lease.expired
        assert lease.is_valid()
        assert lease.issued_at == START

    def test_it_expires_at_its_end(self, lease: Lease, clock: FakeClock) -> None:
        """At its end, and not before, a lease is expired and not valid any more."""
        clock.leap(1_799.999)
        before = lease.expired, lease.is_valid()
        clock.leap(0.001)

        assert before == (False, True)
        assert (lease.expired, lease.is_valid()) == (True, False)
        assert not lease.revoked

    def test_time_before_it_was_handed_over_counts(self, canary: str) -> None:
        """The TTL is counted from the service's answer, not from when the lease object was made."""
        clock = FakeClock()
        clock.leap(100)
        lease = make_lease(aws_values(canary), clock=clock)
        lease._anchor -= 40

        assert lease.remaining == HALF_AN_HOUR - timedelta(seconds=40)

    def test_revoking(self, lease: Lease) -> None:
        """A revoked lease says so, is not valid, and can be revoked again; its values can still be read."""
        lease.revoke()
        lease.revoke()

        assert lease.revoked
        assert not lease.is_valid()
        assert not lease.expired
        assert list(lease) == KEYS

    def test_a_revocation_that_fails_is_raised(self, canary: str) -> None:
        """An error of the manager reaches the caller, and the lease doesn't claim to be revoked."""

        def fail(lease: Lease) -> None:
            raise RevocationError("no network", lease_id=lease.id)

        lease = make_lease(aws_values(canary), revoke=fail)

        with pytest.raises(RevocationError):
            lease.revoke()
        assert not lease.revoked

    def test_validity_asks_nobody(self, canary: str, clock: FakeClock) -> None:
        """``is_valid`` is a question of clock and state; ``check`` asks the integration with the leased values."""
        integration = FakeIntegration(clock=clock)
        integration.answers.extend([True, False])
        lease = make_lease(aws_values(canary), clock=clock, integration=integration)

        valid, asked_before = lease.is_valid(), integration.count("is_usable")

        assert (valid, asked_before) == (True, 0)
        assert [lease.check(), lease.check()] == [True, False]
        assert integration.count("is_usable") == 2

    @pytest.mark.parametrize("end", ["revoke", "expire"])
    def test_what_is_over_is_not_asked_about(self, canary: str, clock: FakeClock, end: str) -> None:
        """``check`` of a lease that was revoked or has expired is ``False`` without a call."""
        integration = FakeIntegration(clock=clock)
        lease = make_lease(aws_values(canary), clock=clock, integration=integration)
        if end == "revoke":
            lease.revoke()
        else:
            clock.leap(3_600)

        assert not lease.check()
        assert integration.calls == []


class TestSecrecy:
    """The secret is in the lease's hands and shows nowhere."""

    @pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
    def test_a_lease_shows_no_secret(self, lease: Lease, canary: str, way: Callable[[Any], str]) -> None:
        """In none of the ways to show an object does a lease show its secret."""
        assert canary not in show(way, lease)

    @pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
    def test_another_integrations_lease_shows_no_secret(self, canary: str, way: Callable[[Any], str]) -> None:
        """Whatever value of a grant is not known to be a name counts as a secret."""
        assert canary not in show(way, make_lease({"TOKEN": canary, "ACCESS_KEY_ID": "key"}))

    def test_its_repr_says_who_and_until_when(self, lease: Lease, clock: FakeClock) -> None:
        """The repr is worth logging: name, id, user, end and state."""
        who = f"AWS_USER {lease.id} Dynsecrets-Dynamic-aB3dE6gH9jK2m until 2022-02-15T17:34:54.782Z"
        states = [repr(lease)]
        clock.leap(3_600)
        states.append(str(lease))
        lease.revoke()
        states.append(f"{lease:>0}")

        assert states == [f"<Lease {who}, {state}>" for state in ("valid", "expired", "revoked")]

    def test_its_repr_shows_no_user_that_is_a_secret(self, canary: str) -> None:
        """An integration may say that even its users' names are nobody's business."""

        class Discreet(FakeIntegration):
            public_values: frozenset[str] = frozenset()

        lease = make_lease({"USERNAME": canary}, integration=Discreet())

        assert canary not in f"{lease!r} {lease} {dict(lease)}"

    def test_views_and_copies_of_it_are_masked(self, lease: Lease, canary: str) -> None:
        """What is commonly made of a mapping to look at it is masked too, and the names can be read."""
        for view in (dict(lease), list(lease.values()), {**lease}, sorted(lease.items())):
            assert canary not in repr(view)
            assert MASK in repr(view)
            assert "AKIAIOSFODNN7EXAMPLE" in repr(view)
        assert canary not in f"{lease.values()} {lease.items()} {lease.keys()}"

    def test_the_secret_itself_prints_masked(self, lease: Lease) -> None:
        """The attribute is text with a masked repr."""
        assert type(lease.secret_access_key) is MaskedStr
        assert repr(lease.secret_access_key) == repr(MASK)

    def test_a_lease_as_the_argument_of_a_log_call(
        self, lease: Lease, canary: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A lone mapping is special to logging; a lease is logged as its repr all the same."""
        with caplog.at_level(logging.INFO):
            logging.getLogger("somebody").info("got %s", lease)

        assert caplog.messages == [f"got {lease!r}"]
        assert canary not in caplog.text

    @pytest.mark.parametrize("move", [copy.copy, copy.deepcopy, pickle.dumps, lambda lease: pickle.dumps([lease], 0)])
    def test_it_cannot_be_pickled_or_copied(self, lease: Lease, move: Callable[[object], object]) -> None:
        """Pickling and copying raise with the reason and what to do instead."""
        with pytest.raises(TypeError, match="it belongs to the one that asked for it; let each process request"):
            move(lease)


FAILING_TESTS = """
import dataclasses
import os
from datetime import timedelta

import attrs
import pytest

from support.fakes import aws_values, make_lease

LEASE = make_lease(aws_values(os.environ["TEST_CANARY"]))
OTHER = make_lease(aws_values(os.environ["TEST_CANARY"][::-1]), ttl=timedelta(minutes=5))
TOKEN = make_lease({"TOKEN": os.environ["TEST_CANARY"]})
PLAIN = {key: "x" for key in LEASE}

@attrs.define
class Holder:
    thing: object

@dataclasses.dataclass
class Data:
    thing: object

RIGHTS = [
    OTHER, TOKEN, dict(OTHER), PLAIN, {}, {"a": 1}, None, "text", [1], {**LEASE, "AWS_USER_ARN": "x"},
]

@pytest.mark.parametrize("right", RIGHTS, ids=range(len(RIGHTS)))
class TestEqual:
    def test_plain(self, right): assert LEASE == right
    def test_turned(self, right): assert right == LEASE
    def test_in_a_list(self, right): assert [LEASE, 1] == [right, 1]
    def test_in_a_dict(self, right): assert {"key": LEASE} == {"key": right}
    def test_in_attrs(self, right): assert Holder(LEASE) == Holder(right)
    def test_in_a_dataclass(self, right): assert Data(LEASE) == Data(right)
    def test_as_a_dict(self, right): assert dict(LEASE) == right
    def test_items(self, right): assert list(LEASE.items()) == right
    def test_values(self, right): assert list(LEASE.values()) == right

@pytest.mark.parametrize("number", range(9))
def test_other_questions(number):
    assert [
        lambda: LEASE != LEASE, lambda: not LEASE, lambda: LEASE is None, lambda: "x" in LEASE,
        lambda: LEASE in [OTHER],
        lambda: LEASE.items() <= OTHER.items(), lambda: set(LEASE.values()) == set(), lambda: LEASE.revoked,
        lambda: LEASE.keys() == OTHER.values(),
    ][number]()

def test_message(): assert False, LEASE
def test_message_text(): assert False, f"{LEASE} {[LEASE]}"
def test_raise(): raise ValueError(LEASE)
def test_output():
    print(LEASE, dict(LEASE))
    raise KeyError(LEASE)
"""


@pytest.mark.parametrize("options", [("-vv", "-l"), ("-rA", "--tb=native")])
def test_failed_assertions_explain_themselves_without_the_secret(
    pytester: pytest.Pytester, canary: str, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """Whatever a lease is compared with, however it is held, and however much pytest is to say, no secret is said."""
    monkeypatch.setenv("TEST_CANARY", canary)
    pytester.makepyfile(test_inner=FAILING_TESTS)

    result = pytester.runpytest_inprocess(
        *options, "-p", "no:cacheprovider", "-p", "no:asyncio", "--junitxml=report.xml"
    )

    shown = result.stdout.str() + result.stderr.str() + (pytester.path / "report.xml").read_text(encoding="utf-8")
    assert result.parseoutcomes() == {"failed": 10 * 9 + 9 + 4}
    assert "AKIAIOSFODNN7EXAMPLE" in shown
    for secret in (canary, canary[::-1]):
        assert secret not in shown
        assert secret[:20] not in shown
