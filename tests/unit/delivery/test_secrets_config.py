"""What a secrets config promises: checked when it is made, and downloaded whole or not at all."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import dynsecrets
from dynsecrets import (
    DynamicSecretConfig,
    DynsecretsError,
    Integration,
    InvalidConfig,
    InvalidTTL,
    LeaseManager,
    MemoryLeaseStore,
    PermissionDenied,
    ProvisionError,
    SQLiteLeaseStore,
)
from dynsecrets.child_process.run_options import RunOptions
from dynsecrets.delivery.secrets_config import SecretsConfig
from dynsecrets.engine.manager import engine_of
from dynsecrets.leasing.renewer import LeaseRenewer
from dynsecrets.model.masking import MASK
from support.fakes import FakeIntegration
from support.places import ROOT
from support.showing import WAYS, show
from support.stubborn import stubborn_world
from support.world import World, together

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from support.accounts import Account
    from support.proxy import Proxy

LABELS = {"DYNSECRETS_PROJECT": "shop", "DYNSECRETS_ENVIRONMENT": "dev", "DYNSECRETS_CONFIG": "dev_ann"}


def make(world: World | None = None, secrets: Any = (), dynamic: Any = (), **options: Any) -> SecretsConfig:
    """Return a config of the shop."""
    manager = None if world is None else world.manager
    return SecretsConfig("shop", "dev", "dev_ann", dict(secrets), dynamic, **{"manager": manager, **options})


def dynamic_secrets(world: World, *names: str) -> list[DynamicSecretConfig]:
    """Return dynamic secrets of the world."""
    return [world.config(name=name) for name in names]


@pytest.fixture
def iam() -> Integration:
    """An integration that nobody calls."""
    return Integration.aws_iam()


def test_static_values_alone() -> None:
    """Without dynamic secrets there are the static ones and the names of what it is of; no manager is made."""
    config = make(secrets={"B": "2", "a": "3"})

    secrets = config.download()

    assert dict(secrets) == {"B": "2", **LABELS, "a": "3"}
    assert list(secrets) == sorted(secrets)
    assert dict(secrets.leases) == {}
    assert {type(value) for value in secrets.env().values()} == {str}
    secrets.revoke()


def test_a_download_leases_each_dynamic_secret_once(world: World) -> None:
    """Each download holds the values of new leases under their own names, sorted among the others."""
    config = make(world, {"API_URL": "https://x", "ZONE": "b"}, dynamic_secrets(world, "AWS_USER", "DB"))

    one, two = config.download(), config.download()

    assert list(one) == sorted(
        ["API_URL", "ZONE", *LABELS]
        + [f"{name}_{suffix}" for name in ("AWS_USER", "DB") for suffix in ("ACCESS_KEY_ID", "TOKEN")]
        + [f"{name}_LEASE_{suffix}" for name in ("AWS_USER", "DB") for suffix in ("EXPIRATION", "ID")]
    )
    assert set(one.leases) == {"AWS_USER", "DB"}
    assert one["DB_LEASE_ID"] == one.leases["DB"].id
    assert len({lease.id for secrets in (one, two) for lease in secrets.leases.values()}) == 4
    assert len(world.integration.live) == 4


@pytest.mark.parametrize("ttl", [5400, "1h30m", timedelta(minutes=90)])
def test_the_ttl_is_any_ttl(world: World, ttl: Any) -> None:
    """Whole seconds, as the name of the argument says, or any other TTL; leases are revoked when it is over."""
    secrets = make(world, (), dynamic_secrets(world, "ONE", "TWO")).download(dynamic_secrets_ttl_sec=ttl)

    assert {lease.expires_at - lease.issued_at for lease in secrets.leases.values()} == {timedelta(minutes=90)}
    world.advance(5399)
    assert len(world.integration.live) == 2
    world.advance(1)
    assert not world.integration.live


def test_the_default_ttl_is_that_of_each(world: World) -> None:
    """Without a TTL each lease has its own config's."""
    configs = [world.config(name="ONE", default_ttl="10m"), world.config(name="TWO")]

    leases = make(world, (), configs).download().leases

    assert leases["ONE"].expires_at - leases["ONE"].issued_at == timedelta(minutes=10)
    assert leases["TWO"].expires_at - leases["TWO"].issued_at == timedelta(minutes=30)


def test_downloaded_leases_outlive_the_process(world: World) -> None:
    """They are not held: nobody revokes them because their process is gone."""
    secrets = make(world, (), dynamic_secrets(world, "ONE")).download()

    assert not world.manager.get(secrets.leases["ONE"].id).held


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("ttl", ["0s", 0, -5, "90", 1.5, True, "2d", "soon"])
def test_an_invalid_ttl_is_refused_first(world: World, ttl: Any, include: bool) -> None:
    """The TTL is quoted, and nothing was leased; also where nothing would be: a typo is one all the same."""
    config = make(world, (), dynamic_secrets(world, "ONE"))

    with pytest.raises(InvalidTTL) as caught:
        config.download(include, ttl)

    assert repr(ttl) in str(caught.value)
    assert world.integration.calls == []


def test_names_are_transformed(world: World) -> None:
    """All names are spelt as asked for: static ones, those of leases, and the labels."""
    config = make(world, {"API_KEY": "k"}, dynamic_secrets(world, "ONE"))

    secrets = config.download(name_transformer="camel")

    assert (secrets["apiKey"], secrets["dynsecretsProject"]) == ("k", "shop")
    assert secrets["oneLeaseId"] == secrets.leases["ONE"].id
    assert list(secrets) == sorted(secrets)


def test_names_that_fall_together_are_refused_first(world: World) -> None:
    """What is known to become one name, static or leased, leases nothing; nor does an unknown transformer."""
    config = make(world, {"A_B": "1", "A__B": "2"}, dynamic_secrets(world, "ONE"))

    with pytest.raises(InvalidConfig, match="camel makes aB of both A_B and A__B"):
        config.download(name_transformer="camel")
    with pytest.raises(InvalidConfig, match="'camle' is not known; did you mean camel"):
        config.download(name_transformer="camle")
    with pytest.raises(InvalidConfig, match="camel makes aB of both A_B and A__B"):
        config.run(["true"], name_transformer="camel")
    with pytest.raises(InvalidConfig, match="can't be the name of an environment variable, which a child needs"):
        config.run(["true"], name_transformer="lower-kebab")

    assert world.events.events == []


def test_names_that_only_a_lease_makes_fall_together_revoke_it(world: World) -> None:
    """A third party's value that becomes the name of another one is found out late, and the lease is revoked."""
    config = make(world, {"ONE__LEASE_ID": "x"}, dynamic_secrets(world, "ONE"))
    late = make(world, {"ONE__TOKEN": "x"}, dynamic_secrets(world, "ONE"))

    with pytest.raises(InvalidConfig, match="camel makes oneLeaseId of both"):
        config.download(name_transformer="camel")
    assert world.events.events == []
    with pytest.raises(InvalidConfig, match="camel makes oneToken of both"):
        late.download(name_transformer="camel")

    assert not world.integration.live


def test_without_dynamic_secrets_nothing_is_called(world: World) -> None:
    """The static values are there, nothing is leased, and a TTL that is valid does no harm."""
    secrets = make(world, {"A": "1"}, dynamic_secrets(world, "ONE")).download(
        include_dynamic_secrets=False, dynamic_secrets_ttl_sec=3600
    )

    assert dict(secrets) == {"A": "1", **LABELS}
    assert world.integration.calls == []


@pytest.mark.parametrize("given", ["yes", 1, None])
def test_include_dynamic_secrets_is_a_flag(world: World, given: Any) -> None:
    """What is neither True nor False is refused: ``"false"`` would be true."""
    with pytest.raises(InvalidConfig, match=r"include_dynamic_secrets .* is not accepted; give True or False"):
        make(world, (), dynamic_secrets(world, "ONE")).download(given)

    assert world.integration.calls == []


def test_the_third_failure_takes_the_first_two_back(world: World) -> None:
    """All or nothing: the error is that of the one that failed."""
    world.integration.fail("provision", None, None, ProvisionError("no more"))

    with pytest.raises(ProvisionError, match="no more"):
        make(world, {"A": "1"}, dynamic_secrets(world, "ONE", "TWO", "THREE")).download()

    assert not world.integration.live
    assert world.states().count("active") == 0


def test_on_aws(watched: AwsIamIntegration, aws: Account, proxy: Proxy) -> None:
    """Two users are made with three calls each, their values stand among the static ones, and they are revoked."""
    configs = [DynamicSecretConfig(name, watched) for name in ("AWS_USER", "OTHER")]
    with LeaseManager(MemoryLeaseStore()) as manager:
        config = SecretsConfig("shop", "dev", "dev", {"AWS_REGION": "eu-west-1"}, configs, manager=manager)

        with config.download(dynamic_secrets_ttl_sec=3600) as secrets:
            users = {user["UserName"] for user in aws.client("iam").list_users(PathPrefix=watched.path)["Users"]}
            valid = [lease.check() for lease in secrets.leases.values()]

    assert users == {secrets["AWS_USER_USERNAME"], secrets["OTHER_USERNAME"]}
    assert valid == [True, True]
    known = {*watched.value_suffixes, "LEASE_EXPIRATION", "LEASE_ID"}
    assert set(secrets.leases["AWS_USER"]) == {f"AWS_USER_{suffix}" for suffix in known}
    assert set(secrets) == {"AWS_REGION", *DOWNLOAD_KEYS, *(key.replace("AWS_USER", "OTHER") for key in DOWNLOAD_KEYS)}
    assert aws.client("iam").list_users(PathPrefix=watched.path)["Users"] == []
    made = [proxy.count(action) for action in ("CreateUser", "CreateAccessKey", "PutUserPolicy", "DeleteUser")]
    assert made == [2, 2, 2, 2]


DOWNLOAD_KEYS = [
    "AWS_USER_ACCESS_KEY_ID",
    "AWS_USER_ARN",
    "AWS_USER_LEASE_EXPIRATION",
    "AWS_USER_LEASE_ID",
    "AWS_USER_POLICY_NAME",
    "AWS_USER_SECRET_ACCESS_KEY",
    "AWS_USER_USERNAME",
    "AWS_USER_USER_ID",
    *LABELS,
]


def test_on_aws_a_denied_third_leaves_nothing(watched: AwsIamIntegration, aws: Account, proxy: Proxy) -> None:
    """Where the third user can't be made, the other two are deleted."""
    proxy.fail("CreateUser", "AccessDenied", nth=3)
    configs = [DynamicSecretConfig(name, watched, wait=None) for name in ("ONE", "TWO", "THREE")]

    with LeaseManager(MemoryLeaseStore()) as manager, pytest.raises(PermissionDenied):
        SecretsConfig("shop", "dev", "dev", {}, configs, manager=manager).download()

    assert aws.client("iam").list_users(PathPrefix=watched.path)["Users"] == []
    assert (proxy.count("CreateUser"), proxy.count("DeleteUser")) == (3, 2)


@pytest.mark.parametrize("name", ["AWS_USER_ARN", "AWS_USER_SECRET_ACCESS_KEY", "AWS_USER_LEASE_ID"])
def test_a_static_name_that_a_lease_has_is_refused(iam: Integration, name: str) -> None:
    """For IAM all names are known beforehand: the clash is found when the config is made, and named."""
    with pytest.raises(
        InvalidConfig, match=f"^{name} would be set by the static secrets and by the dynamic secret AWS_"
    ):
        make(secrets={name: "canary"}, dynamic=[DynamicSecretConfig("AWS_USER", iam)])


@pytest.mark.parametrize("name", LABELS)
def test_a_name_of_the_config_itself_is_refused(name: str) -> None:
    """What says which config it is can't be a static secret."""
    with pytest.raises(InvalidConfig, match=f"^{name} would be set by the config itself and by the static secrets"):
        make(secrets={name: "canary"})


def test_names_that_only_begin_alike_are_fine(iam: Integration) -> None:
    """Only equal names clash: neither a common beginning, nor one secret's name in another's."""
    secrets = {
        "AWS_USER": "1",
        "AWS_USER_ARNS": "2",
        "AWS_USER_REGION": "3",
        "DYNSECRETS_STORE": "4",
        "aws_user_arn": "5",
    }
    configs = [DynamicSecretConfig(name, iam) for name in ("AWS_USER", "AWS", "AWS_USER_ADMIN")]

    assert dict(make(secrets=secrets, dynamic=configs).secrets) == secrets


def test_dynamic_secrets_of_one_name_are_refused(world: World) -> None:
    """Their values would have the same names."""
    with pytest.raises(InvalidConfig, match="two dynamic secrets are called ONE; give each a name of its own"):
        make(world, (), dynamic_secrets(world, "ONE", "TWO", "ONE"))


def test_two_dynamic_secrets_that_set_one_name_are_refused(world: World) -> None:
    """``AWS`` may reveal a ``USER_TOKEN``, which ``AWS_USER`` has, too."""
    odd, other = FakeIntegration("odd"), FakeIntegration("other")
    odd.value_suffixes, other.value_suffixes = frozenset({"USER_TOKEN"}), frozenset({"TOKEN"})
    configs = [
        DynamicSecretConfig("AWS", odd),
        DynamicSecretConfig("AWS_USER", other),
    ]

    with pytest.raises(
        InvalidConfig, match=r"^AWS_USER_TOKEN would be set by the dynamic secret AWS and by the dynamic"
    ):
        make(world, (), configs)


def test_a_clash_that_only_a_lease_shows_is_refused(world: World) -> None:
    """What a third party reveals may be known only then: everything is revoked, and the error says what clashes."""
    config = make(world, {"ONE_TOKEN": "canary"}, dynamic_secrets(world, "ONE", "TWO"))

    with pytest.raises(
        InvalidConfig, match=r"^ONE_TOKEN would be set by the static secrets and by the dynamic secret ONE"
    ):
        config.download()

    assert not world.integration.live
    assert world.integration.count("provision") == 2


def test_a_clash_found_late_with_a_revocation_that_fails() -> None:
    """The clash is the error, and what could not be revoked is a note of it; the manager goes on trying."""
    with stubborn_world() as world:
        world.integration.refusals = 1
        config = make(world, {"ONE_TOKEN": "canary"}, dynamic_secrets(world, "ONE", "TWO"))

        with pytest.raises(InvalidConfig, match=r"^ONE_TOKEN would be set") as caught:
            config.download()

        (note,) = caught.value.__notes__
        assert "could not be revoked" in note
        assert len(world.integration.live) == 1
        world.integration.refusals = 0
        world.advance(600)
        assert not world.integration.live


def test_two_downloads_at_once(world: World) -> None:
    """Each has leases of its own, made at the same time."""
    config = make(world, (), dynamic_secrets(world, "ONE", "TWO"))
    barrier = threading.Barrier(4, timeout=60)
    world.integration.fail("provision", *[barrier.wait] * 4)

    one, two = together(config.download, config.download)

    assert not {lease.id for lease in one.leases.values()} & {lease.id for lease in two.leases.values()}
    assert len(world.integration.live) == 4


def test_a_closed_manager(world: World) -> None:
    """It leases nothing any more, and says so; static values can be had."""
    config = make(world, {"A": "1"}, dynamic_secrets(world, "ONE"))
    world.manager.close()

    with pytest.raises(DynsecretsError, match="this LeaseManager is closed"):
        config.download()
    assert config.download(include_dynamic_secrets=False)["A"] == "1"


def test_the_default_manager_is_made_when_it_is_needed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a manager the one of ``lease()`` is used, and not before something is to be leased."""
    asked: list[str] = []

    def default() -> LeaseManager:
        asked.append("manager")
        return world.manager

    monkeypatch.setattr("dynsecrets.delivery.secrets_config.default_manager", default)
    config = make(None, {"A": "1"}, dynamic_secrets(world, "ONE"))
    config.download(include_dynamic_secrets=False)
    before = list(asked)

    secrets = config.download()

    assert before == []
    assert config.manager is world.manager
    assert world.manager.get(secrets.leases["ONE"].id).state == "active"


def test_running_hands_over_all_that_was_given(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """``run`` gives ``run_child`` the values and the engine, and not itself."""
    config = make(world, {"A": "1"}, dynamic_secrets(world, "ONE"))
    calls: list[tuple[Any, ...]] = []

    def run_child(*args: Any, **kwargs: Any) -> int:
        calls.append((args, kwargs))
        return 7

    monkeypatch.setattr("dynsecrets.child_process.runner.run_child", run_child)

    status = config.run(["ls"], dynamic_ttl="1h", env={"A": "b"}, preserve_env=["C"], aws="ONE", renew=True)

    options = RunOptions(ttl="1h", env={"A": "b"}, preserve_env=["C"], aws="ONE", renew=True)
    given = {
        "static_values": {"A": "1", **LABELS},
        "dynamic_secrets": config.dynamic_secrets,
        "engine": engine_of(world.manager),
    }
    assert status == 7
    make_renewer = calls[0][1].pop("make_renewer")
    assert calls == [((["ls"], options), given)]
    assert make_renewer.func is LeaseRenewer
    assert make_renewer.keywords["engine"]() is engine_of(world.manager)
    assert {type(value) for value in calls[0][1]["static_values"].values()} == {str}
    assert calls[0][0][1].rename({"A": "1"}) == {"A": "1"}


@pytest.mark.parametrize("how", ["download", "run"])
def test_what_clashes_only_once_it_is_leased(how: str, world: World) -> None:
    """Names that a third party's integration makes known with a lease are refused then, and it is revoked."""
    config = make(world, {"TWO_TOKEN": "canary"}, dynamic_secrets(world, "ONE", "TWO"))

    with pytest.raises(InvalidConfig, match=r"^TWO_TOKEN would be set"):
        config.download() if how == "download" else config.run(["true"])

    assert world.states() == ["revoked", "revoked"]


def test_importing_it_loads_no_aws() -> None:
    """Neither boto3 nor a store is loaded before something is leased."""
    code = (
        "import sys, dynsecrets.delivery.secrets_config as s\n"
        "s.SecretsConfig('p', 'e', 'c', {'A': 'b'}).download().render('yaml')\n"
        "print([name for name in ('boto3', 'botocore', 'sqlite3') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)

    assert done.stdout == "[]\n"


BAD_NAMES = ["", "1A", "A-B", "A B", "A=B", "Ä", "A\n", "A.B", "-", 5, None, b"A"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_no_variable_can_have_are_refused(name: Any) -> None:
    """The error quotes the name, and not the value."""
    with pytest.raises(InvalidConfig, match="of a secret is not accepted: it names an environment variable") as caught:
        make(secrets={name: "canary"})

    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["a", "_", "A1", "Database__Host", "x" * 300])
def test_names_that_variables_can_have_are_taken(name: str) -> None:
    """Letters of both cases, digits and underscores."""
    assert make(secrets={name: "1"}).secrets == {name: "1"}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("can\0ary", "has a NUL character"),
        ("canary\udc80", "is not Unicode text: it has half a surrogate pair"),
        (5, "must be text, and is of type int"),
        (None, "must be text, and is of type NoneType"),
        (b"canary", "must be text, and is of type bytes"),
        (["canary"], "must be text, and is of type list"),
    ],
)
def test_values_that_no_variable_can_have_are_refused(value: Any, why: str) -> None:
    """The error names the key and the reason; the value stands neither in it nor in what led to it."""
    with pytest.raises(InvalidConfig) as caught:
        make(secrets={"GOOD": "x", "BAD_KEY": value})

    assert str(caught.value).startswith(f"the value of BAD_KEY {why}")
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"project": ""}, "project '' is not accepted; give a name in one line"),
        ({"environment": "a\nb"}, r"environment 'a\\nb' is not accepted"),
        ({"name": 5}, "name 5 is not accepted"),
        ({"project": None}, "project None is not accepted"),
        ({"name": "\udc80"}, "name .* is not accepted"),
        ({"secrets": ["A"]}, "secrets must be a mapping of names to text, not of type list"),
        ({"secrets": None}, "secrets must be a mapping of names to text, not None"),
        ({"dynamic_secrets": 5}, "dynamic_secrets must be a list of DynamicSecretConfig objects, not 5"),
        (
            {"dynamic_secrets": "AWS_USER"},
            "dynamic_secrets must be a list of DynamicSecretConfig objects, not 'AWS_USER'",
        ),
        ({"dynamic_secrets": ["AWS_USER"]}, "dynamic_secrets must be DynamicSecretConfig objects, not 'AWS_USER'"),
        ({"manager": "default"}, "manager must be a LeaseManager, not 'default'"),
    ],
)
def test_other_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    """Whatever can't be is refused when the config is made, with what is accepted."""
    with pytest.raises(InvalidConfig, match=message):
        SecretsConfig(**{"project": "shop", "environment": "dev", "name": "dev", **arguments})


def test_it_is_immutable(world: World) -> None:
    """Neither its attributes nor what they hold can be changed, and what it was made from is its caller's."""
    given = {"A": "1"}
    configs = dynamic_secrets(world, "ONE")
    config = make(world, {}, configs)
    config = SecretsConfig("shop", "dev", "dev", given, configs)

    given["B"] = "2"
    configs.clear()

    assert dict(config.secrets) == {"A": "1"}
    assert [each.name for each in config.dynamic_secrets] == ["ONE"]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.name = "prd"  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.secrets["A"] = "2"  # type: ignore[index]


def test_equal_configs_are_equal(world: World) -> None:
    """They compare and hash by what they hold, whatever their managers."""
    configs = dynamic_secrets(world, "ONE")
    one, two = make(world, {"A": "1"}, configs), make(None, {"A": "1"}, configs)

    assert one == two
    assert hash(one) == hash(two)
    assert one != make(world, {"A": "2"}, configs)
    assert one != make(world, {"A": "1"}, [])
    assert copy.deepcopy(one) is copy.copy(one) is one


def test_it_cannot_be_pickled() -> None:
    """That would write the values down; the error says what to do."""
    with pytest.raises(
        TypeError, match="a SecretsConfig can't be pickled, since it holds secrets; make that of shop/dev/"
    ):
        pickle.dumps(make(secrets={"A": "1"}))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_it_shows_no_value(canary: str, way: Callable[[Any], str]) -> None:
    """In none of the ways to show an object does a config show a static secret."""
    assert canary not in show(way, make(secrets={"PASSWORD": canary}))


def test_its_repr_tells_what_it_is(world: World) -> None:
    """Project, environment, names of secrets and dynamic secrets; values are masked."""
    shown = repr(make(world, {"PASSWORD": "x"}, dynamic_secrets(world, "ONE")))

    assert "'shop'" in shown
    assert f"'PASSWORD': '{MASK}'" in shown
    assert "DynamicSecretConfig('ONE'" in shown
    assert "LeaseManager" not in shown


def test_static_values_are_nowhere_but_in_the_hands_of_the_caller(
    tmp_path: Path, canary: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Records, events, logs, errors and output of downloads, good and bad, hold no static secret."""
    caplog.set_level(logging.DEBUG)
    audit = dynsecrets.JSONLinesAudit(tmp_path / "audit.jsonl")
    errors: list[BaseException] = []
    with World(SQLiteLeaseStore(tmp_path / "leases.db")) as world:
        manager = world.another(on_event=[audit, world.events])
        static = {"PASSWORD": canary, "ONE_TOKEN": canary[::-1]}
        good = SecretsConfig("shop", "dev", "dev", {"PASSWORD": canary}, dynamic_secrets(world, "ONE"), manager=manager)
        clash = SecretsConfig("shop", "dev", "dev", static, dynamic_secrets(world, "ONE"), manager=manager)
        with good.download() as secrets:
            shown = f"{secrets} {secrets!r} {dict(secrets)}"
        world.integration.fail("provision", ProvisionError("no more"))
        for config in (good, clash):
            try:
                config.download()
            except DynsecretsError as error:
                errors.append(error)
        records = [repr(record) for record in world.store.records()]

    output = capfd.readouterr()
    files = [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    places = [shown, *records, *map(repr, errors), *map(repr, world.events.events), caplog.text, *output, *files]
    assert len(errors) == 2
    assert len(files) >= 2
    for place in places:
        assert canary not in place
        assert canary[::-1] not in place


FAILING_TESTS = """
import os
from dynsecrets.delivery.secrets_config import SecretsConfig

CANARY = os.environ["TEST_CANARY"]

def make(value): return SecretsConfig("shop", "dev", "dev", {"PASSWORD": value, "OTHER": "x"})

CONFIG = make(CANARY)
OTHER = make(CANARY[::-1])

def test_equal(): assert CONFIG == OTHER
def test_downloads(): assert CONFIG.download() == OTHER.download()
def test_dicts(): assert dict(CONFIG.download()) == dict(OTHER.download())
def test_secrets(): assert CONFIG.secrets == OTHER.secrets
def test_empty(): assert CONFIG.download() == {}
def test_turned(): assert {} == CONFIG.download()
def test_list(): assert [CONFIG, CONFIG.download()] == []
def test_items(): assert list(CONFIG.download().items()) == []
def test_in(): assert CONFIG.download() in [OTHER.download()]
def test_text(): assert CONFIG.download().render("env") is None
def test_message(): assert False, f"{CONFIG} {CONFIG.download()}"
def test_error(): raise ValueError(CONFIG, CONFIG.download(), OTHER)
def test_output():
    secrets = CONFIG.download()
    text = secrets.render("json")
    print(CONFIG, secrets, [secrets], dict(secrets))
    assert False
"""


@pytest.fixture
def outcome(pytester: pytest.Pytester, canary: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What pytest says of tests that fail about configs and secrets."""
    monkeypatch.setenv("TEST_CANARY", canary)
    pytester.makepyfile(test_inner=FAILING_TESTS)
    result = pytester.runpytest_inprocess("-vv", "-l", "-p", "no:cacheprovider", "-p", "no:asyncio")
    assert result.parseoutcomes() == {"failed": FAILING_TESTS.count("def test_")}
    return result.stdout.str() + result.stderr.str()


def test_failing_tests_show_no_value(outcome: str, canary: str) -> None:
    """However they are compared, and however much pytest is to say, no static secret is said."""
    assert "PASSWORD" in outcome
    for secret in (canary, canary[::-1]):
        assert secret not in outcome
        assert secret[:20] not in outcome
