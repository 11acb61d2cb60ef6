"""``dynsecrets.toml``: found, read, and refused key by key in messages that show no value."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dynsecrets
from dynsecrets import InvalidConfig
from dynsecrets.delivery.project_schema import check_project, dynamic_secret_keys, integration_keys
from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
from dynsecrets.project_file import Project, ProjectNotFound, find_project_file, open_project
from dynsecrets.stores.memory import MemoryLeaseStore
from support.cli import POLICY, TOML

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.accounts import Account

HEAD = 'project = "p"\nenvironment = "e"\nconfig = "c"\n'
AWS = '[integrations.aws]\ntype = "aws-iam"\n'
USER = AWS + '[dynamic_secrets.AWS_USER]\nintegration = "aws"\n'
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The path of a file that isn't written yet."""
    return tmp_path / "dynsecrets.toml"


# Where it is


def test_the_nearest_file_upwards_is_found(tmp_path: Path) -> None:
    """From a folder deep inside, the file of the nearest folder above is the project's."""
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "a"):
        folder.joinpath("dynsecrets.toml").write_text(HEAD, encoding="utf-8")

    assert find_project_file(start=deep) == tmp_path / "a" / "dynsecrets.toml"


def test_a_folder_of_that_name_is_passed_by(tmp_path: Path) -> None:
    """What is called like the file and is a folder isn't the file."""
    tmp_path.joinpath("dynsecrets.toml").write_text(HEAD, encoding="utf-8")
    tmp_path.joinpath("a", "dynsecrets.toml").mkdir(parents=True)

    assert find_project_file(start=tmp_path / "a") == tmp_path / "dynsecrets.toml"


def test_what_is_named_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path wins over the variable, the variable over the search."""
    tmp_path.joinpath("dynsecrets.toml").write_text(HEAD, encoding="utf-8")
    monkeypatch.setenv("DYNSECRETS_CONFIG_FILE", str(tmp_path / "named.toml"))

    assert find_project_file("given.toml", start=tmp_path).name == "given.toml"
    assert find_project_file(start=tmp_path).name == "named.toml"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A named file that doesn't exist, and none upwards, are errors that name the place."""
    with pytest.raises(ProjectNotFound, match=r"nope\.toml doesn't exist"):
        open_project(tmp_path / "nope.toml")
    with pytest.raises(ProjectNotFound, match=r"no dynsecrets\.toml in .* or a folder above it"):
        find_project_file(start=tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="files have no owners to compare there")
def test_a_strangers_file_above_is_not_used(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file above that another user put there is refused, unless it is named; one in the folder itself is used."""
    file.write_text(HEAD, encoding="utf-8")
    tmp_path.joinpath("a").mkdir()
    stranger = file.stat().st_uid + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    if file.stat().st_uid == 0:
        os.chown(file, stranger + 1, -1)

    with pytest.raises(InvalidConfig, match="belongs to another user"):
        find_project_file(start=tmp_path / "a")
    assert find_project_file(start=tmp_path) == file
    assert find_project_file(file) == file


# What is in it


def test_the_whole_file_becomes_the_librarys_objects(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, store, integrations, dynamic secrets and static secrets are those of the file."""
    file.write_text(TOML, encoding="utf-8")
    file.with_name("app-policy.json").write_text(str(POLICY).replace("'", '"'), encoding="utf-8")
    monkeypatch.setenv("PGPASSWORD", "s3cret")

    with open_project(file) as project:
        config = project.secrets_config

        assert (project.name, project.environment, project.config) == ("dynamic-secret", "dev", "dev")
        assert (config.project, config.environment, config.name) == ("dynamic-secret", "dev", "dev")
        assert dict(project.dynamic_secrets["AWS_USER"].policy or {}) == POLICY
        assert [each.name for each in config.dynamic_secrets] == ["AWS_USER"]
        assert dict(config.secrets) == {"DATABASE_HOST": "db.internal", "DATABASE_PASSWORD": "s3cret"}
        assert project.manager.store is project.store
        assert list(project.manager.records()) == []
    assert file.with_name("leases.db").exists()


@pytest.mark.reveals  # The file, which the test itself writes.
def test_every_argument_of_the_integration_can_be_given(file: Path) -> None:
    """What ``Integration.aws_iam`` takes and TOML can carry arrives there; ``botocore_config`` is a table."""
    file.write_text(
        HEAD
        + AWS
        + f"""
access_key_id = "AKIAIOSFODNN7EXAMPLE"
secret_access_key = "{SECRET}"
session_token = "token"
region = "eu-west-1"
endpoint_url = "http://127.0.0.1:5000"
path = "/leased/"
username_prefix = "Mine-"
policy_name_prefix = "mine-"
botocore_config = {{ connect_timeout = 2, retries = {{ mode = "standard", total_max_attempts = 2 }} }}
""",
        encoding="utf-8",
    )

    (aws,) = open_project(file).integrations.values()

    assert aws.name == "aws"
    assert "path='/leased/'" in repr(aws)
    assert "username_prefix='Mine-'" in repr(aws)
    client = vars(aws)["clients"].iam()
    assert client.meta.endpoint_url == "http://127.0.0.1:5000"
    assert client.meta.config.connect_timeout == 2
    assert client.meta.config.retries["total_max_attempts"] == 2


def test_every_argument_of_a_dynamic_secret_can_be_given(file: Path) -> None:
    """What ``DynamicSecretConfig`` takes arrives there; ``wait = "none"`` stands for ``None``."""
    file.write_text(
        HEAD
        + USER
        + """
policy = { Version = "2012-10-17", Statement = [{ Effect = "Allow", Action = "s3:*", Resource = "*" }] }
default_ttl = 600
max_ttl = "1h"
expiry_guard = false
managed_policy_arns = ["arn:aws:iam::aws:policy/ReadOnlyAccess"]
groups = ["readers"]
permissions_boundary = "arn:aws:iam::123456789012:policy/boundary"
tags = { team = "data" }
max_active = 3
wait = "none"
wait_timeout = "10s"
""",
        encoding="utf-8",
    )

    config = open_project(file).dynamic_secret("AWS_USER")

    assert config.policy is not None
    assert config.policy["Statement"][0]["Action"] == "s3:*"
    assert (config.default_ttl, config.max_ttl) == (timedelta(minutes=10), timedelta(hours=1))
    assert config.expiry_guard is False
    assert config.managed_policy_arns == ("arn:aws:iam::aws:policy/ReadOnlyAccess",)
    assert (config.groups, dict(config.tags), config.max_active) == (("readers",), {"team": "data"}, 3)
    assert config.permissions_boundary == "arn:aws:iam::123456789012:policy/boundary"
    assert (config.wait, config.wait_timeout) == (None, timedelta(seconds=10))


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('projet = "p"\n', r"dynsecrets\.toml: unknown key 'projet'; did you mean project\?"),
        (HEAD + '[integration.aws]\ntype = "aws-iam"\n', "unknown key 'integration'; did you mean integrations?"),
        (
            HEAD + AWS + 'endpoint = "x"\n',
            r"\[integrations\.aws\]: unknown key 'endpoint'; did you mean endpoint_url\?",
        ),
        (HEAD + USER + 'ttl = "1h"\n', r"\[dynamic_secrets\.AWS_USER\]: unknown key 'ttl'"),
        (HEAD + USER + 'defualt_ttl = "1h"\n', "did you mean default_ttl?"),
        (HEAD + '[secrets]\nA = { evn = "B" }\n', r"\[secrets\] A: unknown key 'evn'"),
        ("", "project and environment and config must be given"),
        (HEAD + "[integrations.aws]\n", "type must be given"),
        (HEAD + '[integrations.aws]\ntype = "aws"\n', "unknown type 'aws'; did you mean aws-iam?"),
        (HEAD + "[integrations.aws]\ntype = ['aws-iam']\n", "type must be text, not a list"),
        (HEAD + AWS + "[dynamic_secrets.A]\n", "integration must be given"),
        (HEAD + AWS + "[dynamic_secrets.A]\nintegration = {}\n", "integration must be text, not a table"),
        (HEAD + AWS + '[dynamic_secrets.A]\nintegration = "awz"\n', "'awz'; did you mean aws?"),
        (HEAD + '[dynamic_secrets.A]\nintegration = "aws"\n', "'aws'; there is none"),
        (HEAD + USER + 'wait = "never"\n', 'wait must be "usable" or "none"'),
        ('project = 1\nenvironment = "e"\nconfig = "c"\n', "project must be text, not a whole number"),
        (HEAD + 'integrations = "x"\n', "integrations must be a table"),
        (HEAD + '[integrations]\naws = "x"\n', r"\[integrations\]: 'aws' must be a table, \[integrations\.NAME\]"),
        (HEAD + "[secrets]\nPORT = 5432\n", r"\[secrets\] PORT must be text or \{ env"),
        (HEAD + "[secrets]\nDAY = 2026-01-01\n", "not a date or a time"),
        (HEAD + "[secrets]\nA = { env = 1 }\n", r"\[secrets\] A must be text"),
        ('project = "p\n', r"is not valid TOML: .*line 1"),
        (HEAD + "project = 'q'\n", "is not valid TOML"),
    ],
)
def test_a_mistake_names_where_it_stands(toml: str, says: str, file: Path) -> None:
    """A key that isn't known, lacks, or has the wrong type is told by file, table and key when the file is opened."""
    file.write_text(toml, encoding="utf-8")

    with pytest.raises(InvalidConfig, match=says.removesuffix("?") if not says.endswith(r"\?") else says) as caught:
        open_project(file)

    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.reveals  # The files, which the test itself writes.
@pytest.mark.parametrize(
    "toml",
    [
        HEAD + AWS + f'secret_access_key = ["{SECRET}"]\n',
        HEAD + AWS + f'secret_access_key = "{SECRET}"\n',
        HEAD + AWS + f'access_key_id = "A"\nsecret_access_key = "{SECRET}"\nprofile = "x"\n',
        HEAD + AWS + f'secret_acces_key = "{SECRET}"\n',
        HEAD + AWS + f'botocore_config = {{ retries = {{ mode = "{SECRET}" }} }}\n',
        HEAD + f'[secrets]\nPASSWORD = ["{SECRET}"]\n',
        HEAD + f"[secrets]\nPASSWORD = {SECRET}\n",
        HEAD + f'[secrets]\nPASSWORD = "{SECRET}\n',
        HEAD + f'[secrets]\n"NO NAME" = "{SECRET}"\n',
        HEAD + f'[secrets]\nDYNSECRETS_PROJECT = "{SECRET}"\n',
    ],
)
def test_no_mistake_shows_a_secret(toml: str, file: Path) -> None:
    """Whatever is wrong with a secret of the file, its value is in no message."""
    file.write_text(toml, encoding="utf-8")

    with pytest.raises(InvalidConfig) as caught, open_project(file) as project:
        assert (project.integrations, project.secrets_config) is None

    texts = []
    error: BaseException | None = caught.value
    while error is not None:
        texts.append(repr(error))
        error = error.__cause__ or error.__context__
    assert SECRET not in "".join(texts)


def test_what_the_library_refuses_names_the_table(file: Path) -> None:
    """A policy, TTL, path or region that can't be is told with the table that it stands in."""
    for toml, says in [
        (HEAD + AWS + 'path = "x"\n', r"\[integrations\.aws\]: path 'x'"),
        (
            HEAD + USER.replace(AWS, AWS + "botocore_config = { conect_timeout = 1 }\n"),
            "'conect_timeout'; did you mean connect_",
        ),
        (HEAD + AWS + 'session = "x"\n', r"\[integrations\.aws\]: session must be a boto3.Session"),
        (HEAD + AWS + "region = true\n", r"\[integrations\.aws\]: region True is not accepted"),
        (HEAD + USER + "max_active = true\n", r"\[dynamic_secrets\.AWS_USER\]: max_active True is not accepted"),
        (HEAD + USER + "policy = 1\n", r"\[dynamic_secrets\.AWS_USER\]: policy is not accepted: it is 1"),
        (HEAD + USER + "default_ttl = 1.5\n", r"\[dynamic_secrets\.AWS_USER\]: default_ttl 1.5 is not a TTL"),
        (HEAD + USER + 'default_ttl = "0s"\n', r"\[dynamic_secrets\.AWS_USER\]: default_ttl '0s'"),
        (
            HEAD + USER + 'policy = "nope.json"\n',
            r"\[dynamic_secrets\.AWS_USER\]: policy file .*nope\.json' can't be read",
        ),
        (HEAD + AWS + '[dynamic_secrets.x]\nintegration = "aws"\n', r"\[dynamic_secrets\.x\]: name 'x'"),
        (HEAD + USER + "tags = { a = 1 }\n", r"\[dynamic_secrets\.AWS_USER\]: "),
        (HEAD + USER + "groups = [1]\n", r"\[dynamic_secrets\.AWS_USER\]: "),
    ]:
        file.write_text(toml, encoding="utf-8")
        with pytest.raises(InvalidConfig, match=says), open_project(file) as project:
            assert (toml, project.integrations, project.dynamic_secrets) is None


def test_variables_are_read_when_they_are_needed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that isn't set is an error that names key and variable, and only where the values are needed."""
    file.write_text(
        HEAD + 'store = "memory://"\n' + USER + '[secrets]\nPASSWORD = { env = "PGPASSWORD" }\n', encoding="utf-8"
    )
    monkeypatch.delenv("PGPASSWORD", raising=False)

    with open_project(file) as project:
        assert list(project.manager.records()) == []
        assert project.dynamic_secrets
        with pytest.raises(
            InvalidConfig, match=r"\[secrets\] PASSWORD: the environment variable PGPASSWORD is not set"
        ):
            _ = project.secrets_config
        monkeypatch.setenv("PGPASSWORD", "")
        assert project.secrets_config.secrets["PASSWORD"] == ""


def test_the_variable_of_the_store_wins(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``DYNSECRETS_STORE`` wins over the file's store, and an empty one is none."""
    file.write_text(HEAD + 'store = "sqlite:///leases.db"\n', encoding="utf-8")

    monkeypatch.setenv("DYNSECRETS_STORE", "memory://")
    assert isinstance(open_project(file).store, MemoryLeaseStore)
    monkeypatch.setenv("DYNSECRETS_STORE", "")
    assert not isinstance(open_project(file).store, MemoryLeaseStore)


def test_a_store_that_is_none_names_the_file(file: Path) -> None:
    """A store URL that names nothing is told with the file."""
    file.write_text(HEAD + 'store = "sqlit:///x"\n', encoding="utf-8")

    with pytest.raises(InvalidConfig, match=r"dynsecrets\.toml: store: .*did you mean sqlite"):
        _ = open_project(file).store


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A folder, bytes that are no text, and a file of gigabytes are one line each."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b'project = "p"\nx = "\xff"\n')
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * 1_100_000)

    for path, says in [(tmp_path, "is a folder"), (binary, "line 2 is not UTF-8"), (large, "larger than")]:
        with pytest.raises(InvalidConfig, match=says):
            open_project(path)


def test_a_byte_order_mark_is_no_harm(file: Path) -> None:
    """Windows editors begin files with one."""
    file.write_bytes(b"\xef\xbb\xbf" + HEAD.encode())

    assert open_project(file).name == "p"


def test_a_secret_that_there_is_not_names_the_nearest(file: Path) -> None:
    """Asking for a dynamic secret by a wrong name tells the right one."""
    file.write_text(HEAD + USER, encoding="utf-8")

    with pytest.raises(InvalidConfig, match="no dynamic secret 'AWS_USR'; did you mean AWS_USER"):
        open_project(file).dynamic_secret("AWS_USR")


def test_a_project_leases_by_name(file: Path, aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block gets a lease of the project's manager, which ends with it; an unknown name is told at once."""
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)
    file.write_text(HEAD + 'store = "memory://"\n' + USER, encoding="utf-8")

    with dynsecrets.open_project(file) as project:
        with project.lease("AWS_USER", "15m", metadata={"why": "a test"}) as lease:
            (record,) = project.manager.records(state="active")
            assert (record.id, record.metadata["why"]) == (lease.id, "a test")
            assert timedelta(minutes=14) < lease.remaining <= timedelta(minutes=15)
        with project.renewing("AWS_USER", "15m", overlap="1s") as renewer:
            assert renewer.current.id != lease.id
        for method in (project.lease, project.renewing):
            with pytest.raises(InvalidConfig, match="did you mean AWS_USER"):
                method("AWS_USR")

        assert aws.users() == []


# Integrations of other packages


OTHER = """
import attrs
from dynsecrets import Integration, InvalidConfig, SecretOptions


@attrs.frozen(kw_only=True)
class DatabaseOptions(SecretOptions):
    member_of: str
    connection_limit: int = attrs.field(default=1, validator=attrs.validators.instance_of(int))


class Database(Integration):
    kind = "example-database"
    options_type = DatabaseOptions

    def __init__(self, name, *, host, password, port=5432):
        if host == "nowhere":
            raise InvalidConfig("host 'nowhere' is not a host")
        if port == 0:
            raise ValueError(password)
        super().__init__(name)
        self.url = f"{host}:{port}"
        self.password = password

    def plan(self, config):
        return {}

    def provision(self, plan, config, ttl):
        raise NotImplementedError

    def revoke(self, handle):
        pass


class Anything(Database):
    def __init__(self, name, **options):
        super().__init__(name, **options)
"""
DATABASE = '[integrations.db]\ntype = "example-database"\nhost = "db.internal"\npassword = { env = "DB_PASSWORD" }\n'
READER = '[dynamic_secrets.READER]\nintegration = "db"\nmember_of = "readers"\n'


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a distribution that declares two integrations, as pip would."""
    site = tmp_path / "site"
    metadata = site / "example_database-1.0.dist-info"
    metadata.mkdir(parents=True)
    metadata.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: example-database\nVersion: 1.0\n")
    metadata.joinpath("entry_points.txt").write_text(
        "[dynsecrets.integrations]\n"
        "example-database = example_database:Database\n"
        "example-anything = example_database:Anything\n"
    )
    site.joinpath("example_database.py").write_text(OTHER)
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "example_database", raising=False)
    monkeypatch.setenv("DB_PASSWORD", SECRET)


@pytest.mark.usefixtures("other")
def test_the_table_of_any_integration_is_its_constructors_arguments(file: Path) -> None:
    """Its class is found by its kind; variables are read; a dynamic secret takes the options of the integration."""
    file.write_text(HEAD + DATABASE + READER + 'connection_limit = 3\ndefault_ttl = "5m"\n', encoding="utf-8")

    project = open_project(file)
    config = project.dynamic_secret("READER")

    assert (config.integration.name, config.integration.kind) == ("db", "example-database")
    assert (vars(config.integration)["url"], vars(config.integration)["password"]) == ("db.internal:5432", SECRET)
    assert str(config.options) == "DatabaseOptions(member_of='readers', connection_limit=3)"
    assert config.default_ttl == timedelta(minutes=5)


@pytest.mark.usefixtures("other")
def test_a_class_that_takes_anything_gets_anything(file: Path) -> None:
    """Where a constructor takes any keyword argument, no key is unknown."""
    file.write_text(HEAD + DATABASE.replace("database", "anything") + "port = 1\n", encoding="utf-8")

    (db,) = open_project(file).integrations.values()

    assert vars(db)["url"] == "db.internal:1"


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize(
    ("toml", "says"),
    [
        (DATABASE + "hots = 1\n", r"\[integrations\.db\]: unknown key 'hots'; did you mean host\?"),
        (DATABASE.replace('host = "db.internal"', ""), r"\[integrations\.db\]: host must be given"),
        (DATABASE.replace("database", "databas"), "unknown type 'example-databas'; did you mean example-database"),
        (DATABASE.replace("db.internal", "nowhere"), r"\[integrations\.db\]: host 'nowhere' is not a host"),
        (DATABASE + "port = 0\n", r"\[integrations\.db\]: Database refuses what it was given: ValueError"),
        (DATABASE.replace("DB_PASS", "NO_PASS"), r"\[integrations\.db\]: password: .* NO_PASSWORD is not set"),
        (DATABASE + READER + "tags = {}\n", r"\[dynamic_secrets\.READER\]: unknown key 'tags'; there is integration, "),
        (DATABASE + READER + "conection_limit = 1\n", "unknown key 'conection_limit'; did you mean connection_limit"),
        (DATABASE + READER + 'connection_limit = "x"\n', r"\[dynamic_secrets\.READER\]: .*connection_limit"),
        (DATABASE + READER.replace("member_of", "# "), r"\[dynamic_secrets\.READER\]: .* needs the option member_of"),
    ],
)
def test_a_mistake_in_another_integrations_table_is_told(toml: str, says: str, file: Path) -> None:
    """Unknown and missing keys, and what the class refuses, are told by table and key; no value that may be secret."""
    file.write_text(HEAD + toml, encoding="utf-8")

    with pytest.raises(InvalidConfig, match=says) as caught, open_project(file) as project:
        assert (project.integrations, project.dynamic_secrets) is None

    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in repr(error)
        error = error.__cause__ or error.__context__


# Anything


VALUES = st.recursive(
    st.one_of(st.text(max_size=5), st.just(SECRET), st.booleans(), st.integers(-3, 3), st.floats(), st.dates()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.one_of(st.text(max_size=3), st.sampled_from(["env", "aws", "AWS_USER"])), inner, max_size=2),
    ),
    max_leaves=4,
)


def tables(known: Iterable[str], given_always: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return tables that have some of the known keys, with anything for values."""
    return st.dictionaries(st.sampled_from(sorted(known)), VALUES, max_size=3).map(
        lambda made: {**given_always, **made}
    )


INTEGRATIONS = tables(integration_keys(AwsIamIntegration)[0], {"type": "aws-iam"})
DYNAMIC_SECRETS = tables(dynamic_secret_keys(AwsIamIntegration), {"integration": "aws"})
FILES = st.fixed_dictionaries(
    {"project": st.just("p"), "environment": st.just("e"), "config": st.just("c")},
    optional={
        "store": st.just("memory://"),
        "integrations": st.one_of(VALUES, INTEGRATIONS.map(lambda made: {"aws": made})),
        "dynamic_secrets": st.one_of(VALUES, DYNAMIC_SECRETS.map(lambda made: {"AWS_USER": made})),
        "secrets": st.one_of(VALUES, st.dictionaries(st.text(max_size=3), VALUES, max_size=2)),
    },
)


@pytest.mark.reveals  # It is made up, and in the examples that hypothesis shows.
@given(FILES)
def test_any_file_is_read_or_refused(content: dict[str, Any]) -> None:
    """Whatever the tables hold, they become the library's objects, or ``InvalidConfig`` of one line."""
    file = Path("dynsecrets.toml")
    said = "dynsecrets.toml: all is well"

    try:
        with Project(file, check_project(content, str(file))) as project:
            assert None not in (project.integrations, project.dynamic_secrets, project.secrets_config)
    except InvalidConfig as error:
        said = str(error)

    assert said.startswith("dynsecrets.toml")
    assert len(said.splitlines()) == 1


@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """A file of anything is ``InvalidConfig`` at the worst."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "dynsecrets.toml")
        file.write_bytes(data)
        with contextlib.suppress(InvalidConfig):
            open_project(file)
