"""What a child finds in its environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dynsecrets.child_process.aws_config_files import hide_defaults
from dynsecrets.child_process.environment import CREDENTIALS, POINTERS, add_aws, clashes, inherit, past_proxies

if TYPE_CHECKING:
    from pathlib import Path

    from dynsecrets.child_process.environment import Preserve

LEASED = {"AWS_ACCESS_KEY_ID": "leased", "AWS_SECRET_ACCESS_KEY": "leased"}


def test_values_win_over_the_parents() -> None:
    """The values are added to the parent's variables, and win."""
    assert inherit({"A": "1", "B": "1"}, {"B": "2", "C": "2"}, preserve=False) == {"A": "1", "B": "2", "C": "2"}


@pytest.mark.parametrize(
    ("preserve", "expected"),
    [(True, {"A": "1", "B": "1", "C": "2"}), (frozenset({"A", "C"}), {"A": "1", "B": "2", "C": "2"})],
)
def test_what_is_preserved_wins_over_the_values(preserve: Preserve, expected: dict[str, str]) -> None:
    """All of the parent's variables win, or those that are named; what the parent hasn't got can't."""
    assert inherit({"A": "1", "B": "1"}, {"A": "2", "B": "2", "C": "2"}, preserve) == {**expected, "A": "1"}


@pytest.mark.parametrize("preserve", [False, True])
@pytest.mark.parametrize("name", sorted(CREDENTIALS))
def test_the_parents_credentials_stay_behind(name: str, preserve: bool) -> None:
    """Credentials of the parent don't reach a child, not even where everything is preserved."""
    assert inherit({name: "admin", "A": "1"}, {}, preserve) == {"A": "1"}


@pytest.mark.parametrize("name", sorted(CREDENTIALS))
def test_credentials_that_are_named_are_handed_over(name: str) -> None:
    """Whoever names a variable of credentials gets it."""
    assert inherit({name: "admin"}, {}, frozenset({name})) == {name: "admin"}


@pytest.mark.parametrize("name", sorted(POINTERS))
def test_a_name_of_credentials_is_no_credential(name: str) -> None:
    """The name of a profile, a role or a file reaches a child that gets no lease under the SDKs' names."""
    assert inherit({name: "x"}, {}, preserve=False) == {name: "x"}


@pytest.mark.parametrize("name", sorted(POINTERS | CREDENTIALS - LEASED.keys() | {"AWS_BEARER_TOKEN_BEDROCK"}))
def test_what_would_win_over_a_lease_is_left_out(name: str) -> None:
    """Nothing that names other credentials stays beside those of a lease, unless it is preserved by its name."""
    assert add_aws({name: "x"}, LEASED, preserve=True) == LEASED
    assert add_aws({name: "x"}, LEASED, frozenset({name})) == {**LEASED, name: "x"}


def test_region_and_endpoint_go_with_the_credentials() -> None:
    """A child finds the place where its credentials are good."""
    assert add_aws({}, LEASED, preserve=False, region="eu-west-1", endpoint_url="http://127.0.0.1:5000") == {
        **LEASED,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:5000",
    }


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_somebodys_own_region_and_endpoint_win(name: str) -> None:
    """A region and an endpoint that are set already stay."""
    own = {name: "us-west-2", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_EC2_METADATA_DISABLED": "false"}

    assert add_aws(own, LEASED, preserve=False, region="eu-west-1", endpoint_url="http://x") == {**LEASED, **own}


def test_windows_does_not_tell_cases_apart() -> None:
    """On Windows a name is the same however it is spelled."""
    environment = inherit({"Path": "1", "aws_Secret_access_key": "x"}, {"PATH": "2"}, preserve=False, windows=True)

    assert environment == {"PATH": "2"}
    assert inherit({"Path": "1"}, {"PATH": "2"}, frozenset({"path"}), windows=True) == {"PATH": "1"}
    assert add_aws({"AWS_PROFILE": "x"}, LEASED, preserve=False, windows=True) == LEASED
    assert clashes(["Aws_Profile"], windows=True) == ["AWS_PROFILE"]


def test_clashes_are_names_of_other_credentials() -> None:
    """Static secrets that are AWS credentials are told from others."""
    assert clashes(["PASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_REGION"]) == [
        "AWS_PROFILE",
        "AWS_SECRET_ACCESS_KEY",
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {}),
        ({"NO_PROXY": "a"}, {"NO_PROXY": "a"}),
        ({"HTTP_PROXY": "p"}, {"HTTP_PROXY": "p", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}),
        ({"http_proxy": "p", "no_proxy": "a"}, {"http_proxy": "p", "no_proxy": "a,127.0.0.1"}),
        ({"ALL_PROXY": "p", "NO_PROXY": "*"}, {"ALL_PROXY": "p", "NO_PROXY": "*"}),
        ({"HTTP_PROXY": "p", "NO_PROXY": "127.0.0.1,a"}, {"HTTP_PROXY": "p", "NO_PROXY": "127.0.0.1,a"}),
    ],
)
def test_no_proxy_is_asked_for_loopback(before: dict[str, str], after: dict[str, str]) -> None:
    """Where there is a proxy, the loopback address is excepted from it; else nothing is changed."""
    assert past_proxies(before, "127.0.0.1") == after


@pytest.mark.parametrize(
    ("name", "text", "hidden"),
    [
        ("credentials", "[default]\naws_access_key_id = a\naws_secret_access_key = b\n", True),
        ("credentials", "[work]\naws_access_key_id = a\n", False),
        ("credentials", "not a file of that kind", True),
        ("credentials", "\ufeff[ default ]\naws_access_key_id = a\n", True),
        ("config", "[default]\nregion = eu-west-1\n", False),
        ("config", "[default]\nregion = eu-west-1\nsso_session = s\n", True),
        ("config", "[profile default]\ncredential_process = x\n", True),
        ("config", "[profile work]\nrole_arn = r\n", False),
    ],
)
def test_default_profiles_with_credentials_are_hidden(name: str, text: str, hidden: bool, tmp_path: Path) -> None:
    """A shared file is hidden just where its default profile would win over an endpoint."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / name).write_text(text)
    variable = {"credentials": "AWS_SHARED_CREDENTIALS_FILE", "config": "AWS_CONFIG_FILE"}[name]

    assert hide_defaults({"HOME": str(tmp_path)}, (), endpoint=False) == ({variable: "/dev/null"} if hidden else {})
    assert hide_defaults({"HOME": str(tmp_path)}, {variable}, endpoint=False) == {}


def test_a_shared_file_elsewhere_is_looked_at(tmp_path: Path) -> None:
    """The file that a variable names counts, in the child's home folder if it says so."""
    (tmp_path / "mine").write_text("[default]\naws_access_key_id = a\n")

    for path in ("~/mine", str(tmp_path / "mine")):
        environment = {"HOME": str(tmp_path), "AWS_SHARED_CREDENTIALS_FILE": path}
        assert hide_defaults(environment, (), endpoint=False) == {"AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}


def test_files_of_older_sdks_are_hidden_where_there_is_an_endpoint(tmp_path: Path) -> None:
    """Java v1 knows the credentials file by a variable of its own, and botocore reads boto 2's files."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[default]\naws_access_key_id = a\n")
    (tmp_path / ".boto").write_text("[Credentials]\naws_access_key_id = a\n")

    assert hide_defaults({"HOME": str(tmp_path)}, {"AWS_SHARED_CREDENTIALS_FILE"}, endpoint=True) == {
        "AWS_CREDENTIAL_PROFILES_FILE": "/dev/null",
        "BOTO_CONFIG": "/dev/null",
    }
    assert hide_defaults({"HOME": str(tmp_path), "BOTO_CONFIG": "/no/such/file"}, (), endpoint=True).keys() == {
        "AWS_CREDENTIAL_PROFILES_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
    }


def test_a_user_without_a_home_has_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container there may be neither a home nor a name; then there is nothing to hide."""

    def nobody(_: object) -> None:
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)

    assert hide_defaults({}, (), endpoint=True) == {}
