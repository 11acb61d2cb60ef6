"""Configs: what is accepted, what is refused before anything is called, and what equal ones are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsecrets import DynamicSecretConfig, Integration, InvalidConfig, InvalidTTL
from dynsecrets._internal.messages import safe_repr
from dynsecrets.integrations.aws.options import IamUserOptions
from dynsecrets.integrations.aws.policy_document import SIZE_LIMIT, PolicyDocument, render, size
from dynsecrets.model.config import check_wait
from support.aws_documents import DOCUMENTS
from support.fakes import FakeIntegration
from support.strategies import damaged_policies, garbage, policies, ttl_texts, wild_text

if TYPE_CHECKING:
    from pathlib import Path

POLICY = DOCUMENTS["objects of one bucket"]
ARNS = ["arn:aws:iam::aws:policy/ReadOnlyAccess", "arn:aws:iam::123456789012:policy/own"]


class Untouchable(Integration):
    """An integration that must not be asked for anything."""

    options_type = IamUserOptions

    def plan(self, config: object) -> NoReturn:
        """Fail."""
        pytest.fail("the integration was called")

    provision = revoke = is_usable = session = verify = required_policy = plan  # type: ignore[assignment]


INTEGRATION = Untouchable("untouchable")


def make(**arguments: Any) -> DynamicSecretConfig:
    """Return a config with some arguments."""
    return DynamicSecretConfig(**{"name": "AWS_USER", "integration": INTEGRATION, **arguments})


def probe(lease: object) -> bool:
    """Say that a lease works."""
    return True


class TestDefaults:
    """A config of a name and an integration alone."""

    def test_the_defaults(self) -> None:
        """What isn't given is as documented."""
        config = DynamicSecretConfig("AWS_USER", INTEGRATION)

        assert config.policy is None
        assert config.default_ttl == timedelta(minutes=30)
        assert config.max_ttl == timedelta(hours=24)
        assert config.expiry_guard is True
        assert (config.managed_policy_arns, config.groups, config.permissions_boundary) == ((), (), None)
        assert dict(config.tags) == {}
        assert config.max_active is None
        assert config.wait == "usable"
        assert config.wait_timeout == timedelta(seconds=60)

    def test_none_means_the_default(self) -> None:
        """``None`` for a TTL is the default TTL."""
        config = make(default_ttl=None, max_ttl=None)

        assert config == make()
        assert config.ttl(None) == timedelta(minutes=30)

    def test_options_are_keywords(self) -> None:
        """Only name, integration and policy can be given by position."""
        with pytest.raises(TypeError):
            DynamicSecretConfig("AWS_USER", INTEGRATION, None, "30m")  # type: ignore[call-arg]

    def test_all_options(self) -> None:
        """Every option is kept in one form, whatever it was given as."""
        config = make(
            policy=json.dumps(POLICY),
            default_ttl=900,
            max_ttl=timedelta(hours=2),
            expiry_guard=False,
            managed_policy_arns=ARNS,
            groups=["readers"],
            permissions_boundary=ARNS[0],
            tags={"team": "data"},
            max_active=3,
            wait=probe,
            wait_timeout="5s",
        )

        assert config.policy == PolicyDocument(POLICY)
        assert (config.default_ttl, config.max_ttl) == (timedelta(minutes=15), timedelta(hours=2))
        assert config.expiry_guard is False
        assert (config.managed_policy_arns, config.groups) == (tuple(ARNS), ("readers",))
        assert config.permissions_boundary == ARNS[0]
        assert config.tags == {"team": "data"}
        assert (config.max_active, config.wait, config.wait_timeout) == (3, probe, timedelta(seconds=5))


class TestRefusals:
    """What AWS would refuse is refused here, and AWS isn't asked."""

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            ({"name": "aws_user"}, "name 'aws_user' is not accepted"),
            ({"integration": None}, "integration must be an Integration, like Integration.aws_iam(), not None"),
            ({"integration": "aws"}, "not 'aws'"),
            ({"integration": Untouchable}, "not of type ABCMeta"),
            ({"policy": {}}, "policy is not accepted"),
            ({"policy": "{}"}, "policy is not accepted"),
            ({"policy": 5}, "policy is not accepted: it is 5"),
            ({"policy": b"{}"}, "policy is not accepted: it is b'{}'"),
            ({"expiry_guard": None}, "expiry_guard None is not accepted; give True or False"),
            ({"expiry_guard": 1}, "expiry_guard 1"),
            ({"expiry_guard": "yes"}, "expiry_guard 'yes'"),
            ({"managed_policy_arns": ARNS[0]}, "managed_policy_arns"),
            ({"managed_policy_arns": None}, "managed_policy_arns None"),
            ({"managed_policy_arns": ["ReadOnlyAccess"]}, "managed_policy_arns 'ReadOnlyAccess'"),
            ({"groups": "readers"}, "groups 'readers'"),
            ({"groups": ["a b"]}, "group 'a b'"),
            ({"permissions_boundary": ""}, "permissions_boundary ''"),
            ({"permissions_boundary": "*"}, "permissions_boundary '*'"),
            ({"tags": None}, "tags None are not a mapping"),
            ({"tags": {"aws:x": "y"}}, "reserved"),
            ({"max_active": 0}, "max_active 0 is not accepted; give a whole number of at least 1, or None"),
            ({"max_active": -1}, "max_active -1"),
            ({"max_active": True}, "max_active True"),
            ({"max_active": 1.0}, "max_active 1.0"),
            ({"max_active": "1"}, "max_active '1'"),
            ({"wait": "forever"}, "wait 'forever' is not accepted; give \"usable\", None, or a callable"),
            ({"wait": True}, "wait True"),
            ({"wait": 5}, "wait 5"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_bad_values(self, arguments: dict[str, Any], why: str) -> None:
        """A value that can't work raises ``InvalidConfig``, a ``ValueError``, which says what was given."""
        with pytest.raises(InvalidConfig) as caught:
            make(**arguments)

        assert isinstance(caught.value, ValueError)
        assert why in str(caught.value)

    @pytest.mark.parametrize("option", ["default_ttl", "max_ttl", "wait_timeout"])
    @pytest.mark.parametrize(
        "length", [0, -5, "30", "1.5h", "", 1.5, True, float("nan"), b"5m", [5], timedelta(0)], ids=safe_repr
    )
    def test_bad_lengths(self, option: str, length: object) -> None:
        """A length that isn't one raises ``InvalidTTL``, which names the option and what was given."""
        with pytest.raises(InvalidTTL) as caught:
            make(**{option: length})

        assert f"{option} {safe_repr(length)} is " in str(caught.value)

    @pytest.mark.parametrize("length", ["25h", 86_401, timedelta(days=2)], ids=safe_repr)
    def test_a_default_over_the_maximum(self, length: object) -> None:
        """A default TTL that no lease may have is refused as it was given."""
        with pytest.raises(InvalidTTL) as caught:
            make(default_ttl=length)

        assert f"default_ttl {safe_repr(length)} is too long: at most 1d (max_ttl) is accepted" in str(caught.value)

    @pytest.mark.parametrize("length", ["11m", 0, "5", -1, 1.0], ids=safe_repr)
    def test_a_lease_over_the_maximum(self, length: Any) -> None:
        """The TTL of a lease is checked against the config's maximum, and quoted as it was given."""
        config = make(default_ttl="5m", max_ttl="10m")

        with pytest.raises(InvalidTTL, match=r"^TTL ") as caught:
            config.ttl(length)

        assert f"TTL {safe_repr(length)} is " in str(caught.value)

    @pytest.mark.parametrize("guarded", [False, True])
    def test_the_size_of_the_policy(self, guarded: bool) -> None:
        """A policy of just AWS's limit is accepted, one character more is refused; the guard counts where it is on."""
        statement = {"Effect": "Allow", "Action": "*", "Resource": "*", "Sid": ""}
        empty = render(PolicyDocument({"Statement": [statement]}), datetime.now(UTC) if guarded else None)
        room = SIZE_LIMIT - size(empty or "")

        make(policy={"Statement": [statement | {"Sid": "x" * room}]}, expiry_guard=guarded)
        with pytest.raises(InvalidConfig, match="2,049 characters"):
            make(policy={"Statement": [statement | {"Sid": "x" * (room + 1)}]}, expiry_guard=guarded)

    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "name": garbage | wild_text,
                "integration": garbage,
                "policy": garbage | wild_text | damaged_policies() | policies(),
                "default_ttl": garbage | ttl_texts().map(lambda drawn: drawn[0]),
                "max_ttl": garbage | ttl_texts().map(lambda drawn: drawn[0]),
                "expiry_guard": garbage | st.booleans(),
                "managed_policy_arns": garbage | st.lists(wild_text | st.sampled_from(ARNS)),
                "groups": garbage | st.lists(wild_text),
                "permissions_boundary": garbage | wild_text,
                "tags": garbage | st.dictionaries(wild_text, wild_text),
                "max_active": garbage,
                "wait": garbage,
                "wait_timeout": garbage,
            },
        )
    )
    def test_nothing_else_is_ever_raised(self, arguments: dict[str, Any]) -> None:
        """Whatever is given, a config is made, or ``InvalidTTL`` or ``InvalidConfig`` is raised; AWS isn't asked."""
        try:
            config = make(**arguments)
        except (InvalidTTL, InvalidConfig):
            return

        assert timedelta(seconds=1) <= config.default_ttl <= config.max_ttl
        assert hash(config) == hash(make(**arguments))
        assert config == make(**arguments)


class TestValue:
    """A config is a value."""

    def test_equal_lengths_make_equal_configs(self) -> None:
        """However its TTLs were spelled, a config equals another with the same."""
        configs = [
            make(default_ttl=ttl, max_ttl=longest) for ttl, longest in (("90m", "1d"), (5400, "24h"), ("1h30m", None))
        ]

        assert configs[0] == configs[1] == configs[2]
        assert len(set(configs)) == 1

    def test_equal_policies_make_equal_configs(self, tmp_path: Path) -> None:
        """However its policy was given, a config equals another with the same."""
        file = tmp_path / "policy.json"
        file.write_text(json.dumps(POLICY, indent=2), encoding="utf-8")

        configs = {make(policy=given) for given in (POLICY, json.dumps(POLICY), file, PolicyDocument(POLICY))}

        assert len(configs) == 1

    def test_lists_and_tuples_make_equal_configs(self) -> None:
        """Options that are sequences compare by content, and so do tags."""
        one = make(groups=["a", "b"], managed_policy_arns=ARNS, tags={"x": "1", "y": "2"})
        other = make(groups=("a", "b"), managed_policy_arns=tuple(ARNS), tags=MappingProxyType({"y": "2", "x": "1"}))

        assert one == other
        assert hash(one) == hash(other)

    @pytest.mark.parametrize(
        "difference",
        [
            {"name": "OTHER"},
            {"integration": FakeIntegration()},
            {"policy": POLICY},
            {"default_ttl": 60},
            {"max_ttl": "1h"},
            {"expiry_guard": False},
            {"groups": ["a"]},
            {"managed_policy_arns": ARNS},
            {"permissions_boundary": ARNS[0]},
            {"tags": {"a": "b"}},
            {"max_active": 1},
            {"wait": None},
            {"wait_timeout": 1},
        ],
        ids=lambda difference: next(iter(difference)),
    )
    def test_each_option_tells_configs_apart(self, difference: dict[str, Any]) -> None:
        """Configs that differ in anything are not equal."""
        assert make(**difference) != make()

    def test_it_cannot_be_changed(self) -> None:
        """Neither its attributes nor what they hold can be changed, and it doesn't follow what it was made from."""
        tags, groups = {"team": "data"}, ["readers"]
        config: Any = make(tags=tags, groups=groups)
        tags["team"] = "other"
        groups.append("writers")

        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            config.max_active = 5
        with pytest.raises(TypeError):
            config.tags["more"] = "x"
        assert dict(config.tags) == {"team": "data"}
        assert config.groups == ("readers",)

    def test_it_can_be_evolved(self) -> None:
        """``attrs.evolve`` makes another one, checked as well."""
        config = make(policy=POLICY, tags={"a": "b"})

        assert attrs.evolve(config, max_active=2) == make(policy=POLICY, tags={"a": "b"}, max_active=2)
        with pytest.raises(InvalidTTL):
            attrs.evolve(config, default_ttl="25h")

    def test_its_repr_is_short(self) -> None:
        """A config shows its name, its integration's and its TTL."""
        assert repr(make(policy=POLICY, default_ttl=5400)) == (
            "DynamicSecretConfig('AWS_USER', integration='untouchable', default_ttl='1h30m')"
        )


@pytest.mark.parametrize("wait", [None, "usable", probe, print, FakeIntegration])
def test_ways_to_wait(wait: object) -> None:
    """``None``, ``"usable"`` and any callable say how to wait."""
    assert check_wait(wait) is wait


@given(ttl_texts())
def test_a_lease_gets_the_ttl_that_was_asked_for(drawn: tuple[str, int]) -> None:
    """Any TTL up to the maximum is taken as it is."""
    text, seconds = drawn
    config = make(max_ttl="36500d")

    assert config.ttl(text) == config.ttl(seconds) == timedelta(seconds=seconds)
