"""Names as others spell them: each transformer by its table, and what can't be told apart refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsecrets import InvalidConfig
from dynsecrets.delivery.name_transformers import NAME_TRANSFORMERS, check_variable, rename

TABLE = {
    "camel": {"API_KEY": "apiKey", "SMTP__USER_NAME": "smtpUserName", "S3_BUCKET": "s3Bucket", "_A": "a", "_": "_"},
    "upper-camel": {"API_KEY": "ApiKey", "SMTP__USER_NAME": "SmtpUserName", "apiKey": "ApiKey", "__": "__"},
    "lower-snake": {"API_KEY": "api_key", "SMTP__USER_NAME": "smtp__user_name"},
    "lower-kebab": {"API_KEY": "api-key", "SMTP__USER_NAME": "smtp--user-name"},
    "tf-var": {"API_KEY": "TF_VAR_api_key", "SMTP__USER_NAME": "TF_VAR_smtp__user_name"},
    "dotnet": {"API_KEY": "ApiKey", "SMTP__USER_NAME": "Smtp:UserName", "A__B__C_D": "A:B:CD"},
    "dotnet-env": {"API_KEY": "ApiKey", "SMTP__USER_NAME": "Smtp__UserName", "A__B__C_D": "A__B__CD"},
}
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)


def test_every_transformer_has_a_table() -> None:
    """The table below leaves none out."""
    assert tuple(TABLE) == NAME_TRANSFORMERS


@pytest.mark.parametrize(
    ("transformer", "name", "renamed"),
    [(transformer, name, renamed) for transformer, table in TABLE.items() for name, renamed in table.items()],
)
def test_a_name_is_spelt_as_its_readers_do(transformer: str, name: str, renamed: str) -> None:
    """Each transformer renames as its table has it, and leaves the value alone."""
    assert rename({name: "value"}, transformer) == {renamed: "value"}


def test_without_a_transformer_names_stay() -> None:
    """``None`` keeps names and order."""
    assert list(rename({"B_A": 1, "A": 2}, None)) == ["B_A", "A"]


def test_names_that_fall_together_are_refused() -> None:
    """Two names that become one are told, with what they would become."""
    with pytest.raises(InvalidConfig, match="camel makes aB of both A_B and A__B; rename one of them"):
        rename({"A_B": "x", "A__B": "y"}, "camel")


@pytest.mark.parametrize(
    ("transformer", "says"),
    [("camle", "'camle' is not known; did you mean camel?"), ("", "there is camel, "), (["camel"], "of type list")],
)
def test_an_unknown_transformer_is_refused(transformer: object, says: str) -> None:
    """The error names the nearest one, or all."""
    with pytest.raises(InvalidConfig) as caught:
        rename({}, transformer)  # type: ignore[arg-type]

    assert says in str(caught.value)


@given(NAMES, st.sampled_from(NAME_TRANSFORMERS))
def test_no_name_is_lost(name: str, transformer: str) -> None:
    """Whatever a variable is called, something is made of it."""
    (renamed,) = rename({name: 1}, transformer)

    assert renamed


def test_a_name_that_no_environment_can_have_is_refused() -> None:
    """Dashes, colons and digits in front are told, with who needs it otherwise."""
    for name in ("api-key", "Smtp:UserName", "1a", ""):
        with pytest.raises(InvalidConfig, match="can't be the name of an environment variable, which env needs"):
            check_variable(name, "env")
    check_variable("apiKey", "env")
