"""Leases end by the clock of the one who made them, whatever the local clocks say."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import LeaseManager, ReapReport
from dynsecrets.engine.manager import engine_of
from dynsecrets.engine.service_clocks import ServiceClocks
from dynsecrets.model.grant import Grant
from dynsecrets.testing import FakeClock
from support.builders import make_record
from support.fakes import START, FakeIntegration
from support.world import Gate, SkewedIntegration, ThirdPartyStore, World, started

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HOUR_LATER = START + timedelta(hours=1)
_TEN_MINUTES = timedelta(minutes=10)
_DAY = 86_400.0
_TTL_S = 900


@pytest.fixture(params=[_TEN_MINUTES, -_TEN_MINUTES, timedelta(0)], ids=["behind", "ahead", "right"], name="skewed")
def skewed_fixture(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world whose local clock is ten minutes behind the third party's, ahead of it, or right."""
    clock = FakeClock()
    with World(clock=clock, integration=SkewedIntegration(clock=clock, skew=request.param)) as skewed:
        yield skewed


def _reaper(world: World) -> LeaseManager:
    """Return a manager as in a process that has just started: it knows nothing of the third party's clock."""
    return world.another()


def test_a_lease_says_when_the_third_party_ends_it(skewed: World) -> None:
    """Its times are the third party's, and what remains of it doesn't depend on the local clock."""
    lease = skewed.issue(_TTL_S)

    assert lease.expires_at == skewed.integration.service_time() + timedelta(seconds=_TTL_S)
    assert lease.remaining == timedelta(seconds=_TTL_S)
    skewed.clock.leap(_TTL_S - 1)
    assert lease.remaining == timedelta(seconds=1)
    assert lease.is_valid()


def test_the_issuing_process_revokes_in_time(skewed: World) -> None:
    """The process that issued it revokes it at its TTL, not earlier and not later."""
    lease = skewed.issue(_TTL_S)

    skewed.advance(_TTL_S - 1)
    before = skewed.state(lease.id)
    skewed.advance(1)

    assert before == "active"
    assert skewed.state(lease.id) == "revoked"


@pytest.mark.parametrize("limit", [None, 1])
def test_a_fresh_reaper_revokes_in_time(skewed: World, limit: int | None) -> None:
    """So does a process that has never issued: it asks the third party for the time."""
    lease = skewed.issue(_TTL_S)
    skewed.die()

    skewed.clock.leap(_TTL_S - 1)
    early = _reaper(skewed).reap(integrations=[skewed.integration], limit=limit)
    skewed.clock.leap(1)
    late = _reaper(skewed).reap(integrations=[skewed.integration], limit=limit)

    assert early == ReapReport()
    assert late == ReapReport(revoked=[lease.id])


def test_the_reaper_of_a_first_issue_revokes_in_time(skewed: World) -> None:
    """The reaping that a first issue begins keeps the same time."""
    over = skewed.issue(_TTL_S)
    skewed.clock.leap(1)
    young = skewed.issue(_TTL_S)
    skewed.die()
    skewed.clock.leap(_TTL_S - 1)

    skewed.another().issue(skewed.config(name="OTHER"))
    skewed.settle()

    assert (skewed.state(over.id), skewed.state(young.id)) == ("revoked", "active")


def test_the_reaper_that_also_issues_revokes_in_time(skewed: World) -> None:
    """A process that has issued knows the third party's clock and asks for it no more."""
    lease = skewed.issue(_TTL_S)
    skewed.die()
    manager = skewed.another()
    manager.issue(skewed.config(name="OTHER"))
    skewed.settle()
    asked = skewed.integration.asked

    skewed.clock.leap(_TTL_S - 1)
    early = manager.reap(integrations=[skewed.integration])
    skewed.clock.leap(1)
    late = manager.reap(integrations=[skewed.integration])

    assert (early.revoked, late.revoked) == ([], [lease.id])
    assert skewed.integration.asked == asked


def test_an_issue_in_the_making_is_left_alone(skewed: World) -> None:
    """A fresh reaper takes no issue in the making for an abandoned one, though its record has a local time."""
    gate = Gate()
    skewed.integration.fail("provisioned", gate)
    result = started(skewed.issue)
    gate.until_reached()

    report = _reaper(skewed).reap(integrations=[skewed.integration])
    gate.open()

    assert report == ReapReport()
    assert result().is_valid()


def test_an_issue_in_the_making_can_be_revoked_at_once(skewed: World) -> None:
    """With ``abandoned_after="0s"`` it is, whatever the clocks say."""
    gate = Gate()
    skewed.integration.fail("provisioned", gate)
    result = started(skewed.issue)
    gate.until_reached()

    report = _reaper(skewed).reap(integrations=[skewed.integration], abandoned_after="0s")
    gate.open()

    assert len(report.revoked) == 1
    assert isinstance(result(), Exception)
    assert skewed.integration.live == {}


def test_failures_are_spaced_by_the_same_clock(skewed: World) -> None:
    """A revocation that failed is retried within a minute, by this process and by a fresh one."""
    lease = skewed.issue(_TTL_S)
    skewed.settle()  # A first issue reaps in the background.
    skewed.integration.fail("revoke", *[OSError("down")] * 3)
    with pytest.raises(Exception, match="down"):
        lease.revoke()
    record = skewed.store.get(lease.id)
    there = skewed.integration.service_time()

    assert timedelta(0) <= record.next_attempt_at - there <= timedelta(minutes=1)
    assert _reaper(skewed).reap(integrations=[skewed.integration]).revoked == [lease.id]


def _put_overdue(world: World) -> None:
    """Put a lease into the store that is overdue by any clock."""
    long_ago = world.clock.now() - timedelta(days=1)
    world.store.insert(
        make_record(
            integration=world.integration.name,
            state="active",
            handle={"thing": "whatever"},
            created_at=long_ago,
            issued_at=long_ago,
            expires_at=long_ago,
        )
    )


def test_the_time_is_asked_for_only_where_it_matters(skewed: World) -> None:
    """A reaper asks for the time where something could be due, and once an hour at most."""
    manager = _reaper(skewed)
    manager.reap(integrations=[skewed.integration])
    asked = [skewed.integration.asked]

    for _ in range(4):
        _put_overdue(skewed)
        manager.reap(integrations=[skewed.integration])
        asked.append(skewed.integration.asked)
        skewed.clock.leap(1200)

    assert asked == [0, 1, 1, 1, 2]


@pytest.mark.parametrize("answer", [OSError("no network"), None, KeyError("Date")], ids=repr)
def test_where_the_time_cannot_be_had_what_lives_is_left_alone(
    world: World, caplog: pytest.LogCaptureFixture, answer: Exception | None
) -> None:
    """A third party that doesn't tell the time goes by the local clock; one that can't be asked may go by another."""

    def service_time() -> None:
        if answer is not None:
            raise answer

    world.integration.service_time = service_time
    lease = world.issue(_TTL_S)
    world.die()
    world.clock.leap(_TTL_S)

    report = _reaper(world).reap(integrations=[world.integration])

    assert (report.revoked, report.failed) == (([], [lease.id]) if answer else ([lease.id], []))
    assert ("could not be read" in caplog.text) is (answer is not None)
    world.integration.service_time = world.clock.now
    _reaper(world).reap(integrations=[world.integration])
    assert world.state(lease.id) == "revoked"


@pytest.mark.parametrize("jump", [_DAY, -_DAY, 601.0, -601.0], ids="{:+}".format)
def test_a_wall_clock_that_jumps_changes_nothing(jump: float) -> None:
    """Where the local clock is set forward or back while leases live, they end when they would have."""
    with World() as world:
        lease = world.issue(_TTL_S)
        world.clock.leap(100)
        world.clock.jump_wall(jump)

        remaining = lease.remaining
        world.advance(_TTL_S - 101)
        before = (lease.is_valid(), world.state(lease.id))
        world.advance(1)

        # Ahead, it may be a machine that was restored from a snapshot: the lease is given up, and not revoked.
        assert remaining == timedelta(seconds=max(_TTL_S - 100 - max(jump, 0), 0))
        assert before == (jump < 0, "active")
        assert world.state(lease.id) == "revoked"


@pytest.mark.parametrize("jump", [_DAY, -_DAY], ids="{:+}".format)
def test_a_jump_makes_no_reaper_err(jump: float) -> None:
    """A manager that has issued reaps by the third party's clock, after a jump of the local one too."""
    clock = FakeClock()
    integration = _Elsewhere(clock)
    with World(clock=clock, integration=integration) as world:
        world.manager.issue(world.config(name="OTHER"), "24h")
        dead = world.another()
        lease = dead.issue(world.config(), _TTL_S)
        dead.close(revoke=False)
        clock.jump_wall(jump)

        clock.leap(_TTL_S - 1)
        early = world.manager.reap(integrations=[integration])
        clock.leap(1)
        late = world.manager.reap(integrations=[integration])

        assert early == ReapReport()
        assert late == ReapReport(revoked=[lease.id])


class _Elsewhere(SkewedIntegration):
    """A third party on whose clock no local jump has any effect."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self._epoch = clock.now()
        self._steady = clock.steady

    def service_time(self) -> datetime:
        """Return the time there."""
        self.asked += 1
        return self._epoch + timedelta(seconds=self._steady())

    def provision(self, plan: Mapping[str, str], config: Any, ttl: timedelta) -> Grant:
        """Grant by the clock there."""
        grant = super().provision(plan, config, ttl)
        values = {suffix: secret.reveal() for suffix, secret in grant.values.items()}
        return Grant(values, self.service_time() + ttl, grant.handle, issued_at=self.service_time())


def test_a_machine_that_slept_revokes_when_it_wakes() -> None:
    """What became due while the machine was suspended is done at once when it goes on, and all of it."""
    with World() as world:
        leases = [world.issue(ttl) for ttl in ("10m", "1h", "3h", "24h")]
        world.settle()

        world.clock.leap(8 * 3600)
        world.settle()

        assert [lease.revoked for lease in leases] == [True, True, True, False]
        assert [lease.expired for lease in leases] == [True, True, True, False]
        assert leases[0].remaining == timedelta(0)


def test_clocks_that_differ_by_seconds_are_the_same() -> None:
    """The date of an answer has whole seconds; the finer local clock is believed where it is about right."""
    clock = FakeClock()
    with World(clock=clock, integration=SkewedIntegration(clock=clock, skew=timedelta(seconds=3))) as world:
        world.issue(_TTL_S)

        assert engine_of(world.manager).state.now("fake") == clock.now()


def test_the_third_partys_clock_goes_on_while_it_is_not_asked(skewed: World) -> None:
    """Between two looks at it, it is counted on by the clock that never jumps."""
    skewed.issue(_TTL_S)
    books = engine_of(skewed.manager).state
    skewed.clock.leap(1234)

    assert books.now("fake") == skewed.integration.service_time()
    skewed.clock.jump_wall(-_DAY)
    assert abs(books.now("fake") - (skewed.integration.service_time() + timedelta(days=1))) < timedelta(seconds=1)


def test_a_grant_that_tells_its_age_is_counted_from_there(world: World) -> None:
    """Where the third party says how long ago it began to count, that is when the TTL began."""
    provision = world.integration.provision

    def slowly(plan: Any, config: Any, ttl: timedelta) -> Grant:
        world.clock.leap(5)
        grant = provision(plan, config, ttl)
        world.clock.leap(2)
        values = {suffix: secret.reveal() for suffix, secret in grant.values.items()}
        return Grant(values, grant.expires_at, grant.handle, timedelta(seconds=2), grant.issued_at)

    world.integration.provision = slowly
    lease = world.issue("60s")

    assert lease.remaining == timedelta(seconds=58)
    world.advance(57)
    assert world.state(lease.id) == "active"
    world.advance(1)
    assert world.state(lease.id) == "revoked"


@pytest.fixture(name="clock")
def clock_fixture() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture(name="clocks")
def clocks_fixture(clock: FakeClock) -> ServiceClocks:
    """The clocks of third parties, none of them seen yet."""
    return ServiceClocks(clock)


def test_the_time_there_is_counted_on(clocks: ServiceClocks, clock: FakeClock) -> None:
    """Once a third party's clock was seen, its time is known without asking again."""
    before = clocks.now("known")
    clocks.see("known", _HOUR_LATER, clock.steady())
    clock.leap(10)

    assert before == START
    assert clocks.now("known") == _HOUR_LATER + timedelta(seconds=10)
    assert clocks.now("other") == START + timedelta(seconds=10)


@pytest.mark.parametrize("off", [-6.0, -5.0, -0.5, 0.0, 0.5, 5.0, 6.0])
def test_clocks_about_right_are_taken_for_right(clocks: ServiceClocks, clock: FakeClock, off: float) -> None:
    """Where the clocks differ by five seconds at most the local one counts, else the third party's."""
    there = START + timedelta(seconds=off)
    clocks.see("known", there, clock.steady())

    assert clocks.now("known") == (START if abs(off) <= 5 else there)


def test_the_time_is_asked_for_once_an_hour(clocks: ServiceClocks, clock: FakeClock) -> None:
    """The third party is asked for its time when an hour has passed."""
    asked: list[int] = []
    integration: Any = FakeIntegration("known")

    def service_time() -> datetime:
        asked.append(1)
        return clock.now() + timedelta(hours=1)

    integration.service_time = service_time
    for seconds in (0, 3599, 1, 3599):
        clock.leap(seconds)
        clocks.ask(integration)

    assert len(asked) == 2


@pytest.mark.parametrize("answer", [datetime(2022, 1, 1), "2022-01-01", 5], ids=repr)  # noqa: DTZ001 - it is the point.
def test_a_time_that_is_none_is_not_believed(
    clocks: ServiceClocks, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """An integration that answers with something else than an aware time stops nobody."""
    integration: Any = FakeIntegration("known")
    integration.service_time = lambda: answer

    clocks.ask(integration)

    assert clocks.now("known") == START
    assert "could not be read" in caplog.text


@pytest.mark.parametrize("spans", [True, False])
def test_a_store_of_many_hosts_is_told_the_third_partys_time(spans: bool) -> None:
    """Else others tear down the healthy issues of a host whose clock is minutes behind, as long abandoned."""
    clock, store = FakeClock(), ThirdPartyStore()
    store.spans_hosts = spans  # type: ignore[attr-defined]
    with World(
        clock=clock, integration=SkewedIntegration(clock=clock, skew=timedelta(minutes=3)), store=store
    ) as world:
        written: list[timedelta] = []
        world.integration.fail("provision", lambda: written.extend(r.created_at - clock.now() for r in store.records()))

        world.issue("1h")

    assert written == [timedelta(minutes=3 if spans else 0)]
