"""Options: an integration says what its dynamic secrets may choose, and nobody else has to know."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from dynsecrets import DynamicSecretConfig, Grant, Integration, InvalidConfig, InvalidTTL, SecretOptions

if TYPE_CHECKING:
    from collections.abc import Mapping


def _refuse(given: Any) -> Any:
    if given == "wrong":
        raise ValueError("scope can't be wrong")
    return given


def _tuple(given: Any) -> tuple[str, ...]:
    return tuple(given)


@attrs.frozen(kw_only=True)
class DatabaseOptions(SecretOptions):
    """Options of a made-up database."""

    scope: str = attrs.field(default="read", converter=_refuse)
    limit: int = attrs.field(default=5, validator=attrs.validators.instance_of(int))
    groups: tuple[str, ...] = attrs.field(default=(), converter=_tuple)
    member_of: str


class Plain(Integration):
    """An integration whose secrets have no options."""

    def plan(self, config: DynamicSecretConfig) -> Mapping[str, str]:
        """Name it."""
        return {"name": config.name}

    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Make nothing."""
        raise NotImplementedError

    def revoke(self, handle: Mapping[str, str]) -> None:
        """Delete nothing."""


class Database(Plain):
    """An integration with options of its own."""

    options_type = DatabaseOptions


class Bounded(Plain):
    """An integration whose third party leases from a quarter of an hour to twelve hours."""

    shortest_ttl = timedelta(minutes=15)
    longest_ttl = timedelta(hours=12)


PLAIN = Plain("plain")
DATABASE = Database("db")


def make(integration: Integration = DATABASE, **arguments: Any) -> DynamicSecretConfig:
    """Return a config."""
    given = {"member_of": "readers"} if integration is DATABASE else {}
    return DynamicSecretConfig("DB", integration, **{**given, **arguments})


def test_options_go_to_the_integrations_own_class() -> None:
    """What is given beside the general arguments is an option, checked by its field; the rest has its default."""
    config = make(scope="write", groups=["a"])

    assert config.options == DatabaseOptions(scope="write", groups=("a",), member_of="readers")
    assert config.groups == ("a",)


def test_without_options_the_signatures_defaults_are_read() -> None:
    """A config of an integration that knows no policy has none."""
    config = make(PLAIN)

    assert config.options == SecretOptions()
    assert (config.policy, config.expiry_guard, config.managed_policy_arns, config.groups) == (None, True, (), ())
    assert (config.permissions_boundary, dict(config.tags)) == (None, {})


@pytest.mark.parametrize(
    "option",
    [
        {"policy": {"Version": "2012-10-17", "Statement": []}},
        {"policy": ""},
        {"expiry_guard": False},
        {"expiry_guard": 1},
        {"managed_policy_arns": ["arn:aws:iam::aws:policy/ReadOnlyAccess"]},
        {"groups": ["readers"]},
        {"permissions_boundary": "arn:aws:iam::aws:policy/ReadOnlyAccess"},
        {"tags": {"team": "data"}},
        {"tags": None},
        {"groups": None},
    ],
    ids=str,
)
def test_what_nobody_would_enforce_is_refused(option: dict[str, Any]) -> None:
    """An integration that knows no policies, tags and so on takes none; the message names the option."""
    with pytest.raises(InvalidConfig) as caught:
        make(PLAIN, **option)

    assert f"the integration 'plain' has no option '{next(iter(option))}'" in str(caught.value)
    assert str(caught.value).endswith("it takes no options")


@pytest.mark.parametrize(
    "option", [{"tags": {}}, {"groups": []}, {"managed_policy_arns": ()}, {"policy": None}], ids=str
)
def test_what_asks_for_nothing_is_taken(option: dict[str, Any]) -> None:
    """A default may be spelled out anywhere."""
    assert make(PLAIN, **option) == make(PLAIN)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (
            {"scop": "x"},
            "has no option 'scop'; did you mean scope?; it takes the options groups, limit, member_of, scope",
        ),
        ({"max_activ": 3}, "has no option 'max_activ'; did you mean max_active?; it takes the options groups, limit,"),
        ({"policy": {}}, "has no option 'policy'; it takes the options groups,"),
        ({"zzz": 3}, "has no option 'zzz'; it takes the options groups, limit, member_of, scope"),
        ({"scope": "wrong"}, "an option of the integration 'db' is not accepted: scope can't be wrong"),
        ({"limit": "many"}, "an option of the integration 'db' is not accepted: 'limit' must be <class 'int'>"),
        ({"groups": 5}, "an option of the integration 'db' is not accepted: 'int' object is not iterable"),
    ],
)
def test_a_wrong_option_is_an_invalid_config(given: dict[str, Any], why: str) -> None:
    """An unknown option is named with the nearest one and all there are; what a field raises is passed on."""
    with pytest.raises(InvalidConfig) as caught:
        make(**given)

    assert why in str(caught.value)


def test_an_option_that_must_be_given() -> None:
    """A field without a default has to be given."""
    with pytest.raises(InvalidConfig, match="the integration 'db' needs the option member_of; it takes"):
        DynamicSecretConfig("DB", DATABASE)


def test_options_tell_configs_apart() -> None:
    """Equal options make equal configs, others don't, and hashes agree."""
    assert make(scope="write") == make(scope="write")
    assert hash(make(scope="write")) == hash(make(scope="write"))
    assert make(scope="write") != make()


def test_a_config_evolves_with_its_options() -> None:
    """``attrs.evolve`` keeps the options, changes one, and takes one back."""
    config = make(scope="write", groups=["a"])
    evolve: Any = attrs.evolve

    assert evolve(config, max_active=2).options == config.options
    assert evolve(config, scope="read").options == DatabaseOptions(member_of="readers", groups=("a",))
    assert evolve(config, groups=()).groups == ()


class TestLimits:
    """The third party's own limits of a credential's life."""

    INTEGRATION = Bounded("bounded")

    def test_defaults_stay_within_them(self) -> None:
        """What isn't given is as long as it may be."""
        config = make(self.INTEGRATION)

        assert (config.default_ttl, config.max_ttl) == (timedelta(minutes=30), timedelta(hours=12))

    @pytest.mark.parametrize(
        ("given", "why"),
        [
            ({"max_ttl": "13h"}, "max_ttl '13h' is too long: at most 12h is what the integration 'bounded' can serve"),
            ({"max_ttl": "5m"}, "max_ttl '5m' is too short: at least 15m is what the integration"),
            ({"default_ttl": "14m"}, "default_ttl '14m' is too short: at least 15m is what the integration"),
        ],
    )
    def test_a_config_beyond_them_is_refused(self, given: dict[str, Any], why: str) -> None:
        """``InvalidTTL`` says which argument, and that the limit is the integration's."""
        with pytest.raises(InvalidTTL) as caught:
            make(self.INTEGRATION, **given)

        assert why in str(caught.value)

    def test_a_lease_beyond_them_is_refused(self) -> None:
        """The TTL of a lease is checked too."""
        with pytest.raises(InvalidTTL, match="TTL '14m' is too short: at least 15m"):
            make(self.INTEGRATION).ttl("14m")
