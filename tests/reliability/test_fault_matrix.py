"""Every call meets every kind of trouble, once and for ever: what comes of it, what it costs, that nothing is left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from botocore.config import Config

from dynsecrets import (
    DynamicSecretConfig,
    DynsecretsError,
    Lease,
    LeaseManager,
    PermissionDenied,
    ProvisionError,
    RevocationError,
)
from dynsecrets.testing import FakeClock
from reliability.places import integration_of
from reliability.skipping import SkippedTime
from reliability.strict import Strictness
from support.accounts import USER_PATH
from support.crash_points import FAULTS
from support.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.accounts import Account
    from support.proxy import Fault, Proxy

ISSUING: Final = ("CreateUser", "PutUserPolicy", "CreateAccessKey")
REVOKING: Final = ("DeleteAccessKey", "DeleteUserPolicy", "DeleteUser")
#: What is tried again, by botocore and, where an answer can't be read, by the library.
TRANSIENT: Final = ("throttle", "500", "refuse", "drop_before", "drop_after", "truncate", "malformed", "timeout")
KINDS: Final = (*TRANSIENT, "ConcurrentModification", "AccessDenied", "NoSuchEntity")
#: What IAM answers where something else is at work on the same user, or was a moment ago, with its status.
PASSING: Final = {"ConcurrentModification": 409, "DeleteConflict": 409}
#: The most HTTP requests, and seconds of pauses between them, that one issue (a rollback included) or revocation takes.
MOST_CALLS: Final = 60
LONGEST_S: Final = 300.0


@attrs.frozen(kw_only=True)
class Bench:
    """An account that is as strict as AWS, a manager on fake time that leases there, and a proxy between the two."""

    iam: Any
    proxy: Proxy
    world: World
    time: SkippedTime
    faults: list[Fault] = attrs.field(factory=list)

    @property
    def manager(self) -> LeaseManager:
        """The manager."""
        return self.world.manager

    def issue(self) -> Lease:
        """Issue a lease."""
        return self.manager.issue(self.world.config())

    def users(self) -> list[str]:
        """Return the names of the leased users that there are."""
        return [user["UserName"] for user in self.iam.list_users(PathPrefix=USER_PATH)["Users"]]

    def keys(self, lease: Lease) -> list[str]:
        """Return the ids of the keys of a leased user."""
        return [key["AccessKeyId"] for key in self.iam.list_access_keys(UserName=lease.username)["AccessKeyMetadata"]]

    def fail(self, action: str, kind: Any, **options: Any) -> None:
        """Begin to make trouble, and to count."""
        self.proxy.clear()
        self.faults.append(self.proxy.fail(action, (kind, PASSING[kind]) if kind in PASSING else kind, **options))
        Strictness(self.iam).rule(self.proxy)

    def assert_bounded(self) -> None:
        """Fail where it took too many calls, or too long."""
        calls = self.proxy.actions("iam")
        assert len(calls) <= MOST_CALLS, calls
        assert self.time.skipped <= LONGEST_S

    def assert_nothing_is_left_when_it_is_over(self) -> None:
        """End the trouble, have another process reap, and fail where anything is left."""
        self.proxy.clear()
        Strictness(self.iam).rule(self.proxy)
        report = self.world.another().reap(integrations=[self.world.integration])

        assert report.failed == []
        assert self.users() == []
        assert [record.state for record in self.manager.records() if record.live] == []


@pytest.fixture
def bench(
    aws: Account,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> Iterator[Bench]:
    """A bench without trouble; time-outs come soon where the test is about them."""
    soon = Config(read_timeout=0.75, retries={"mode": "adaptive", "total_max_attempts": 3})
    integration = integration_of(aws, proxy.url, botocore_config=soon if "timeout" in request.node.name else None)
    time = SkippedTime(monkeypatch, proxy)
    with World(clock=FakeClock(datetime.now(UTC)), integration=integration) as world:
        bench = Bench(iam=aws.client("iam"), proxy=proxy, world=world, time=time)
        yield bench
    record_property(FAULTS, sum(fault.hits for fault in bench.faults))


@pytest.mark.parametrize(("action", "kind"), [*product(ISSUING, KINDS)])
def test_trouble_once_while_issuing(bench: Bench, action: str, kind: str) -> None:
    """What may pass is tried again and the lease works; what is final is raised; nothing but the lease is left."""
    # On a user that was just made, these may mean that a server doesn't know it yet.
    errors = {"AccessDenied": PermissionDenied, "NoSuchEntity": ProvisionError} if action == "CreateUser" else {}
    bench.fail(action, kind)

    if kind in errors:
        with pytest.raises(errors[kind]):
            bench.issue()
    else:
        lease = bench.issue()
        assert bench.keys(lease) == [lease.access_key_id]
        lease.revoke()

    bench.assert_bounded()
    bench.assert_nothing_is_left_when_it_is_over()


@pytest.mark.parametrize(("action", "kind"), [*product(ISSUING, KINDS)])
def test_trouble_for_ever_while_issuing(bench: Bench, action: str, kind: str) -> None:
    """The documented error is raised after a bounded number of calls, and what was made is gone already."""
    bench.fail(action, kind, times=None)

    with pytest.raises(PermissionDenied if kind == "AccessDenied" else ProvisionError) as caught:
        bench.issue()

    assert caught.value.operation == action
    bench.assert_bounded()
    assert bench.users() == []
    bench.assert_nothing_is_left_when_it_is_over()


@pytest.mark.parametrize(("action", "kind"), [*product(REVOKING, KINDS)])
def test_trouble_once_while_revoking(bench: Bench, action: str, kind: str) -> None:
    """What may pass is tried again and the user is gone; a refusal is raised where nothing else was left to try."""
    lease = bench.issue()
    bench.fail(action, kind)

    if (action, kind) == ("DeleteUser", "AccessDenied"):
        with pytest.raises(RevocationError) as caught:
            lease.revoke()
        assert isinstance(caught.value.__cause__, PermissionDenied)
        assert caught.value.__cause__.actions == ("iam:DeleteUser",)
    else:
        lease.revoke()
        assert bench.users() == []

    bench.assert_bounded()
    bench.assert_nothing_is_left_when_it_is_over()


@pytest.mark.parametrize(("action", "kind"), [*product(REVOKING, KINDS)])
def test_trouble_for_ever_while_revoking(bench: Bench, action: str, kind: str) -> None:
    """RevocationError after a bounded number of calls; the record says why, and a later reap revokes."""
    lease = bench.issue()
    bench.fail(action, kind, times=None)

    if (action, kind) == ("DeleteUser", "NoSuchEntity"):
        # AWS may be wrong about a young user; about one that is ten seconds old nobody can know better.
        lease.revoke()
        assert bench.proxy.count("DeleteUser") > 1
        assert bench.time.skipped >= 9
        return
    with pytest.raises(RevocationError):
        lease.revoke()

    record = bench.manager.get(lease.id)
    assert (record.state, record.attempts, bool(record.last_error)) == ("revoking", 1, True)
    bench.assert_bounded()
    bench.assert_nothing_is_left_when_it_is_over()


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_conflict_that_heals_is_borne_at_a_users_end(bench: Bench, times: int) -> None:
    """What hung on the user still seems to for a moment after it is gone; nothing else is blamed for that."""
    lease = bench.issue()
    bench.fail("DeleteUser", "DeleteConflict", times=times)

    lease.revoke()

    assert bench.users() == []
    bench.assert_bounded()
    bench.assert_nothing_is_left_when_it_is_over()


@pytest.mark.parametrize(("action", "times"), [*product((*ISSUING, *REVOKING), (1, 2, 3))])
def test_answers_are_lost_one_after_another(bench: Bench, action: str, times: int) -> None:
    """A call that takes effect each time, and isn't answered until the last: the life of a lease goes on."""
    if action in REVOKING:
        lease = bench.issue()
        bench.fail(action, "drop_after", times=times)
    else:
        bench.fail(action, "drop_after", times=times)
        lease = bench.issue()
        assert bench.keys(lease) == [lease.access_key_id]

    lease.revoke()

    assert bench.users() == []
    bench.assert_bounded()
    bench.assert_nothing_is_left_when_it_is_over()


@pytest.mark.parametrize(("nth", "kind"), [*product((1, 2, 3), ("throttle", "500", "refuse", "drop_after"))])
def test_aws_goes_away_in_the_middle_of_issuing(bench: Bench, nth: int, kind: str) -> None:
    """Not even the rollback gets through: the error says that it is pending, and whoever reaps later does it."""
    bench.fail("*", kind, nth=nth, times=None)

    with pytest.raises(ProvisionError, match="is pending" if nth > 1 or kind != "throttle" else None):
        bench.issue()

    bench.assert_bounded()
    bench.assert_nothing_is_left_when_it_is_over()


@pytest.mark.parametrize(("nth", "kind"), [*product((1, 2, 3), ("throttle", "500", "refuse", "drop_after"))])
def test_aws_goes_away_in_the_middle_of_revoking(bench: Bench, nth: int, kind: str) -> None:
    """Whatever was done before, the rest is done by whoever reaps later."""
    lease = bench.issue()
    bench.fail("*", kind, nth=nth, times=None)

    with pytest.raises(RevocationError):
        lease.revoke()

    bench.assert_bounded()
    bench.assert_nothing_is_left_when_it_is_over()


@pytest.mark.parametrize("kind", ["throttle", "500", "refuse"])
def test_an_hour_of_trouble_costs_few_calls_and_ends_within_a_minute(bench: Bench, kind: str) -> None:
    """A lease that can't be revoked for an hour is tried about once a minute, and gone within one when AWS is back."""
    lease = bench.issue()
    bench.fail("*", kind, times=None)

    bench.world.advance(lease.remaining.total_seconds() + 3600)
    tried = bench.manager.get(lease.id)
    calls = len(bench.proxy.actions("iam"))
    bench.proxy.clear()
    bench.world.advance(61)

    assert tried.stuck
    assert 55 <= tried.attempts <= 130
    assert calls <= tried.attempts * 10, "each attempt is two calls at once, each tried five times by botocore"
    assert bench.users() == []
    assert bench.manager.get(lease.id).state == "revoked"


def test_issuing_against_a_throttled_aws_is_no_storm(bench: Bench) -> None:
    """Each request of a caller costs a bounded number of calls and leaves nothing, a crash loop's too."""
    bench.fail("*", "throttle", times=None)

    for _ in range(20):
        with pytest.raises(DynsecretsError):
            bench.issue()

    assert bench.proxy.count("CreateUser") <= 20 * 5
    assert set(bench.proxy.actions("iam")) == {"CreateUser"}
    assert {record.state for record in bench.manager.records()} == {"revoked"}


def test_one_server_that_knows_a_user_outweighs_one_that_does_not(aws: Account, proxy: Proxy) -> None:
    """A half-made user on which nothing hangs is deleted though one of two listings says that there is none."""
    integration = integration_of(aws, proxy.url)
    integration.settles_after = integration.plan_settles_after = timedelta(0)
    plan = integration.plan(DynamicSecretConfig("AWS_USER", integration))
    aws.client("iam").create_user(UserName=plan["user_name"], Path=plan["path"])
    proxy.fail("ListUserPolicies", "NoSuchEntity")

    integration.revoke(plan)

    assert aws.users() == []


def test_a_third_lost_key_does_not_stay_either(bench: Bench) -> None:
    """The key that is made after two lost ones were cleared away may be lost as well; just the last one stays."""
    bench.proxy.fail("CreateAccessKey", "drop_after", nth=1, times=2)
    bench.proxy.fail("CreateAccessKey", "drop_after", nth=2, times=1)

    lease = bench.issue()

    assert bench.keys(lease) == [lease.access_key_id]
