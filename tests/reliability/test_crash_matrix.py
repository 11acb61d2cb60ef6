"""A process is killed at every point of a lease's life; whoever reaps next leaves nothing behind."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from dynsecrets import LeaseManager, ReapReport
from dynsecrets.testing import FakeClock
from reliability.strict import Strictness
from support.accounts import USER_PATH
from support.crash_points import POINTS
from support.forking import needs_fork
from support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reliability.conftest import Crasher
    from reliability.places import Place
    from support.accounts import Account
    from support.moto_server import MotoServer

pytestmark = needs_fork

SIGKILLED = -9


def both(*what: str) -> set[str]:
    """Return the points before and after each of some calls or writes, for the first time."""
    return {f"{when} {name} #1" for name in what for when in ("before", "after")}


ISSUE = both("insert", "CreateUser", "PutUserPolicy", "CreateAccessKey", "update")
REVOKE = both("claim", "DeleteAccessKey", "DeleteUserPolicy", "DeleteUser", "update")
THOROUGH = both("ListAccessKeys", "ListUserPolicies")


@attrs.frozen(kw_only=True)
class Scenario:
    """Something that a process does, the trouble that it meets, and the points that it passes at least."""

    name: str
    points: set[str]
    trouble: tuple[tuple[str, str], ...] = ()
    stores: tuple[str, ...] = ("sqlite",)
    #: Whether somebody has to come again a while later: to reap what was left for then, or to sweep what no record has.
    later: bool = False
    sweeps: bool = False

    def __str__(self) -> str:
        """Name it for a test's id."""
        return "-".join([self.name, *(f"{action}-{kind}" for action, kind in self.trouble)])


CANARY = ("CreateUser", "PutUserPolicy", "CreateAccessKey", "DeleteAccessKey", "DeleteUserPolicy", "DeleteUser")
#: What is left for later, or is too young to be an orphan, is looked at again after this.
LATER_S = 11 * 60
IN_VAIN = ("issue_in_vain",)
BOTH = ("sqlite", "dynamodb")
SCENARIOS = [
    Scenario(name="issue", points=ISSUE | both("GetCallerIdentity")),
    Scenario(name="issue_at_once", points=ISSUE, stores=("dynamodb",)),
    Scenario(name="leave", points=REVOKE, stores=BOTH),
    Scenario(name="reap", points=REVOKE, stores=BOTH),
    Scenario(name="renew", points=ISSUE | REVOKE | {"after DeleteUser #2"}, stores=BOTH),
    Scenario(name="revoke_by_id", points=REVOKE),
    Scenario(name="leave_thoroughly", points=REVOKE | THOROUGH | {"before DeleteAccessKey #2", "after DeleteUser #2"}),
    Scenario(
        name="issue_in_vain",
        trouble=(("PutUserPolicy", "AccessDenied"),),
        points=ISSUE | REVOKE - both("claim", "DeleteUserPolicy"),
    ),
    Scenario(
        name="issue_in_vain",
        trouble=(("CreateAccessKey", "AccessDenied"),),
        points=ISSUE | REVOKE - both("claim", "DeleteAccessKey"),
    ),
    Scenario(name="issue_at_once", trouble=(("CreateUser", "drop_after"),), points=ISSUE | {"after CreateUser #2"}),
    Scenario(
        name="issue_at_once",
        trouble=(("CreateAccessKey", "drop_after"),),
        points=ISSUE | both("ListAccessKeys", "DeleteAccessKey"),
    ),
    Scenario(name="leave", trouble=(("DeleteUser", "drop_after"),), points=REVOKE | {"after DeleteUser #2"}),
    Scenario(name="leave", trouble=(("DeleteUser", "AccessDenied"),), points=REVOKE),
    # What was left for later, what housekeeping forgets, and a user that no record ever knows.
    Scenario(
        name="reap_late",
        points=THOROUGH | both("claim", "DeleteUser", "update"),
        stores=BOTH,
        later=True,
    ),
    Scenario(name="purge", points=both("purge") | {"before purge #2", "after purge #2"}, stores=BOTH),
    Scenario(
        name="verify",
        points=both(*CANARY, "GetCallerIdentity") | {"before DeleteAccessKey #2", "after DeleteUserPolicy #2"},
        sweeps=True,
    ),
]


@pytest.fixture
def troubled(moto_server: MotoServer) -> Iterator[Proxy]:
    """A second proxy: the doomed process meets trouble there, and whoever reaps doesn't."""
    with Proxy(moto_server.url) as proxy:
        yield proxy


def reap_as_another(place: Place, **options: Any) -> tuple[ReapReport, list[str]]:
    """Reap as a process would that has nothing but the store; return its report, and the leases that still live."""
    with closing(place.open_store()) as store, LeaseManager(store) as manager:
        report = manager.reap(integrations=[place.integration()], **options)
        return report, [record.id for record in store.records() if record.live]


def sweep_as_another(place: Place) -> tuple[ReapReport, list[str]]:
    """Sweep as a process would that has nothing but the store; return what failed, and the leases that still live."""
    with closing(place.open_store()) as store, LeaseManager(store) as manager:
        report = manager.sweep_orphans(place.integration(), dry_run=False)
        return ReapReport(failed=report.failed), [record.id for record in store.records() if record.live]


@pytest.mark.parametrize(
    ("scenario", "kind_of_store"),
    [(scenario, store) for scenario in SCENARIOS for store in scenario.stores],
    ids=str,
    indirect=["kind_of_store"],
)
def test_the_next_reap_leaves_nothing_wherever_a_process_is_killed(
    crasher: Crasher,
    aws: Account,
    proxy: Proxy,
    troubled: Proxy,
    new_place: Callable[..., Place],
    monkeypatch: pytest.MonkeyPatch,
    scenario: Scenario,
    record_property: Callable[[str, object], None],
) -> None:
    """Killed before or after any call or write, a process leaves no user, key or policy once somebody has reaped."""
    iam = aws.client("iam")
    strictness = Strictness(iam)
    # A sweep leaves what is young alone, and the proxy's later time makes users no older.
    monkeypatch.setattr("dynsecrets.engine.orphans.YOUNGEST", timedelta(minutes=-1))

    def play(kill_at: str | None) -> tuple[Place, list[str] | None, int]:
        troubled.clear()
        for action, kind in scenario.trouble:
            # Refused for good: a refusal of a user without an ARN may mean that it isn't known yet.
            message = (
                f"not authorized to perform: iam:{action} on resource: arn:…" if scenario.name in IN_VAIN else None
            )
            troubled.fail(action, kind, message=message)  # type: ignore[arg-type]  # It is one of the kinds.
        strictness.rule(troubled)
        place = new_place()
        ended = crasher.play(scenario.name, attrs.evolve(place, url=troubled.url), kill_at)
        return place, ended.points, ended.exit

    def users_with_keys() -> list[str]:
        users = [user["UserName"] for user in iam.list_users(PathPrefix=USER_PATH)["Users"]]
        return [user for user in users if iam.list_access_keys(UserName=user)["AccessKeyMetadata"]]

    def left_behind(place: Place) -> list[str]:
        report, live = reap_as_another(place)
        if scenario.later or scenario.sweeps:
            assert [
                user for user in users_with_keys() if not iam.list_user_policies(UserName=user)["PolicyNames"]
            ] == []
            proxy.date_offset_s += LATER_S
            report, live = (sweep_as_another if scenario.sweeps else reap_as_another)(place)
            proxy.date_offset_s = 0
        users = [user["UserName"] for user in iam.list_users(PathPrefix=USER_PATH)["Users"]]
        return [*users, *live, *report.failed, *report.skipped]

    place, points, status = play(None)
    assert status == 0
    assert points is not None
    assert scenario.points <= set(points), "the scenario doesn't pass all that it should"
    assert left_behind(place) == []

    for point in points:
        place, told, status = play(point)
        # How often it looks again at a user that may not be gone yet depends on time; all else is passed every time.
        if status != 0 or point in scenario.points or point.endswith("#1"):
            assert (told, status) == (None, SIGKILLED), f"it was not killed {point}"
        assert left_behind(place) == [], f"something is left of a process that was killed {point}"
    record_property(POINTS, len(points))


def test_a_lease_that_outlives_its_process_is_reaped_at_its_ttl(
    crasher: Crasher, aws: Account, proxy: Proxy, new_place: Callable[..., Place]
) -> None:
    """A lease of issue(), unlike that of a block, is left alone while it lives, though its process is gone."""
    place = new_place()
    ended = crasher.play("issue_and_leave", place)
    assert ended.exit == 0

    before, _ = reap_as_another(place)
    users = aws.users()
    proxy.date_offset_s = 11 * 60
    after, live = reap_as_another(place)

    assert (before.revoked, len(users)) == ([], 1)
    assert len(after.revoked) == 1
    assert (aws.users(), live) == ([], [])


def test_a_lease_whose_revoker_was_killed_is_revoked_by_its_id_without_waiting(
    crasher: Crasher, aws: Account, new_place: Callable[..., Place]
) -> None:
    """The claim of a process that is gone keeps nobody away: who is asked to revoke takes it over."""
    place = new_place()
    crasher.play("leave", place, "after claim #1")
    clock = FakeClock(datetime.now(UTC))

    with closing(place.open_store()) as store, LeaseManager(store, clock=clock) as manager:
        (record,) = store.records()
        manager.revoke(record.id, integration=place.integration())

    assert clock.sleeps == []
    assert aws.users() == []
