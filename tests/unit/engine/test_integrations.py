"""Integrations that are not AWS: what they say of themselves holds, and nothing of AWS is asked of them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import (
    DynamicSecretConfig,
    Grant,
    Integration,
    InvalidConfig,
    Lease,
    NotUsableInTime,
    ProvisionError,
    renewing,
)
from dynsecrets.engine.manager import engine_of
from dynsecrets.testing import FakeClock
from support.fakes import START
from support.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

HOUR = timedelta(hours=1)


class Database(Integration):
    """A database: roles with a password on a host that everybody may know."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__("db")
        self.clock = clock
        self.roles: set[str] = set()
        self.asked = 0
        #: What ``provision`` does instead.
        self.instead: Callable[[Mapping[str, str], timedelta], Any] | None = None

    def plan(self, config: DynamicSecretConfig) -> Mapping[str, str]:
        """Name the role and where it will be."""
        return {"role": f"role_{len(self.roles)}", "host": "db.internal"}

    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Make the role."""
        self.roles.add(plan["role"])
        if self.instead is not None:
            return self.instead(plan, ttl)  # type: ignore[no-any-return]
        return self.grant(plan, self.clock.now() + ttl)

    def grant(self, plan: Mapping[str, str], expires_at: Any, **more: Any) -> Grant:
        """Return the grant of a role."""
        values = {"HOST": plan["host"], "PORT": "5432", "USERNAME": plan["role"], "PASSWORD": "pw-of-the-role-itself"}
        return Grant(values, expires_at, {**plan, "port": "5432"}, **more)

    def revoke(self, handle: Mapping[str, str]) -> None:
        """Drop the role."""
        self.roles.discard(handle["role"])

    def is_usable(self, values: Mapping[str, str]) -> bool:
        """Log in."""
        self.asked += 1
        return values["USERNAME"] in self.roles


@pytest.fixture(name="world")
def world_fixture() -> Iterator[World]:
    """A world whose third party is a database."""
    clock = FakeClock()
    with World(clock=clock, integration=Database(clock)) as world:
        yield world


def test_a_public_value_may_stand_in_the_handle(world: World) -> None:
    """A host is no secret: it is stored with the lease, printed as it is, and the password is not."""
    lease = world.issue()

    assert world.store.get(lease.id).handle == {"role": "role_0", "host": "db.internal", "port": "5432"}
    assert "'DB" not in repr(dict(lease))
    shown = repr(dict(lease))
    assert "'db.internal'" in shown
    assert "'5432'" in shown
    assert "pw-of-the-role-itself" not in shown


def test_a_consistent_third_party_is_probed_once(world: World) -> None:
    """Unless an integration says otherwise, one success is believed, of a caller's own probe too."""
    asked: list[Lease] = []

    def probe(lease: Lease) -> bool:
        asked.append(lease)
        return True

    world.manager.issue(world.config(wait="usable"))
    world.manager.issue(world.config(wait=probe))

    assert (world.integration.asked, len(asked)) == (1, 1)


def test_without_a_probe_it_is_taken_to_work(world: World) -> None:
    """An integration that can't tell whether a credential works hands it over, and says that it is valid."""

    class Blind(Database):
        is_usable = None  # type: ignore[assignment]

    blind = Blind(world.clock)

    lease = world.manager.issue(world.config(integration=blind, wait="usable"))

    assert lease.check()


@pytest.mark.parametrize("option", [{"policy": {"Statement": []}}, {"tags": {"team": "data"}}], ids=["policy", "tags"])
def test_what_it_would_not_enforce_is_refused(world: World, option: dict[str, Any]) -> None:
    """A database has no IAM policies and no tags, and nobody is to believe that it had."""
    with pytest.raises(InvalidConfig, match=f"the integration 'db' has no option '{next(iter(option))}'"):
        world.config(**option)


class TestCappedGrants:
    """A third party that grants less, or more, than it was asked for."""

    @pytest.fixture(params=[False, True], ids=["", "issued_at"], autouse=True)
    def _one_hour(self, world: World, request: pytest.FixtureRequest) -> None:
        """Have the third party grant one hour, whatever is asked, with and without its time of issue."""

        def capped(plan: Mapping[str, str], ttl: timedelta) -> Grant:
            now = world.clock.now()
            more = {"issued_at": now} if request.param else {}
            return world.integration.grant(plan, now + HOUR, **more)  # type: ignore[no-any-return]

        world.integration.instead = capped

    def test_an_earlier_end_is_followed(self, world: World) -> None:
        """Of twelve hours asked for and one granted the lease has one; nobody's clock is taken to be slow for it."""
        lease = world.issue("12h")

        assert (lease.remaining, lease.issued_at, lease.expires_at) == (HOUR, START, START + HOUR)
        assert lease["AWS_USER_LEASE_EXPIRATION"] == "2022-02-15T18:04:54.782Z"
        record = world.store.get(lease.id)
        assert (record.issued_at, record.expires_at) == (START, START + HOUR)
        assert engine_of(world.manager).now(world.config()) == world.clock.now()

    def test_it_is_revoked_at_that_end(self, world: World) -> None:
        """The background follows the end that was granted."""
        lease = world.issue("12h")
        world.advance(3599)
        before = world.state(lease.id)
        world.advance(1)

        assert (before, world.state(lease.id), lease.expired) == ("active", "revoked", True)

    def test_renewals_follow_it(self, world: World) -> None:
        """A fresh lease is asked for within the life that was granted, not of the one that was asked for."""
        with renewing(world.config(), "12h", manager=world.manager) as renewer:
            first = renewer.current
            world.advance(0.75 * 3600)

            assert renewer.current is not first
            assert renewer.current.is_valid()

    def test_a_later_end_is_cut(self, world: World) -> None:
        """What is granted beyond the TTL isn't taken: the lease ends when it was asked to."""
        lease = world.issue("10m")
        world.advance(599)
        before = world.state(lease.id)
        world.advance(1)

        assert lease.expires_at == START + timedelta(minutes=10)
        assert (before, world.state(lease.id)) == ("active", "revoked")


def test_a_grant_that_is_over_is_no_lease(world: World) -> None:
    """What was over when it came is refused with the likely reason, and nothing of it is left."""
    world.integration.instead = lambda plan, _: world.integration.grant(plan, world.clock.now() - HOUR)

    with pytest.raises(ProvisionError, match="was over when it came; if its clock isn't this machine's"):
        world.issue()

    assert (world.integration.roles, world.states()) == (set(), ["revoked"])


def test_a_third_partys_clock_is_asked_for_where_grants_do_not_tell(world: World) -> None:
    """An integration that tells the time needs no ``issued_at``: its leases are counted by that clock."""

    class Elsewhere(Database):
        def service_time(self) -> Any:
            return self.clock.now() + 3 * HOUR

    there = Elsewhere(world.clock)
    there.instead = lambda plan, ttl: there.grant(plan, there.service_time() + ttl)

    lease = world.manager.issue(world.config(integration=there), "10m")

    assert (lease.remaining, lease.issued_at) == (timedelta(minutes=10), START + 3 * HOUR)


def test_an_error_of_its_own_is_a_provision_error(world: World) -> None:
    """``ConnectionError`` reaches the caller as the cause of an error of the library, which has the lease."""
    error = ConnectionError("reset by peer")

    def reset(plan: Mapping[str, str], ttl: timedelta) -> Grant:
        raise error

    world.integration.instead = reset

    with pytest.raises(ProvisionError, match="could not be provisioned: ConnectionError: reset by peer") as caught:
        world.issue()

    (record,) = world.store.records()
    assert (caught.value.__cause__, caught.value.lease_id) == (error, record.id)
    assert (world.integration.roles, record.state) == (set(), "revoked")


def test_what_is_not_a_grant_is_refused(world: World) -> None:
    """An integration that forgets to return its grant is told so, and what it made is deleted."""
    world.integration.instead = lambda plan, ttl: None

    with pytest.raises(ProvisionError, match="the integration db returned no Grant but None"):
        world.issue()

    assert world.integration.roles == set()


def test_a_secret_of_its_own_never_works(world: World) -> None:
    """A probe that is never satisfied is not taken for one success."""
    world.integration.is_usable = lambda values: False

    with pytest.raises(NotUsableInTime):
        world.manager.issue(world.config(wait="usable"))
