"""Names of dynamic secrets and integrations, and the random part of leased users' names."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig
from dynsecrets.model.naming import RANDOM_LENGTH, check_integration_name, check_secret_name, random_suffix
from support.strategies import garbage, wild_text

SECRET_NAMES = ["A", "AWS_USER", "A1", "A_", "X" * 128]
NO_SECRET_NAMES = [
    *(
        "",
        "a",
        "aws_user",
        "Aws",
        "_A",
        "1A",
        "A-B",
        "A B",
        "A.B",
        "A\n",
        "A\0",
        "Ä",
        "\uff21",
        "A\u0660",
        "\ud800",
        "X" * 129,
    ),
    *("A=B", "A$", None, 1, 1.5, True, b"AWS_USER", ["A"], ("A",), {"A": 1}, object()),
]
INTEGRATION_NAMES = ["aws", "a", "1", "aws-prod.eu_1", "x" * 64]
NO_INTEGRATION_NAMES = [
    *(
        "",
        "-a",
        ".a",
        "_a",
        "a b",
        "a/b",
        "a\n",
        "a\0",
        "ä",
        "\ud800",
        "x" * 65,
        None,
        1,
        True,
        b"aws",
        ["aws"],
        object(),
    ),
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_that_prefix_variables_are_accepted(name: str) -> None:
    """An upper-case letter followed by upper-case letters, digits and underscores names a dynamic secret."""
    assert check_secret_name(name) == name


@pytest.mark.parametrize("name", NO_SECRET_NAMES, ids=safe_repr)
def test_other_names_of_secrets_are_refused(name: object) -> None:
    """Everything else is refused with what was given and a good example."""
    with pytest.raises(InvalidConfig) as caught:
        check_secret_name(name)

    assert f"name {safe_repr(name)} is not accepted" in str(caught.value)
    assert '"AWS_USER"' in str(caught.value)


@pytest.mark.parametrize("name", INTEGRATION_NAMES)
def test_names_that_stand_in_records_are_accepted(name: str) -> None:
    """Up to 64 letters, digits, dots, dashes and underscores name an integration."""
    assert check_integration_name(name) == name


@pytest.mark.parametrize("name", NO_INTEGRATION_NAMES, ids=safe_repr)
def test_other_names_of_integrations_are_refused(name: object) -> None:
    """Everything else is refused with what was given and a good example."""
    with pytest.raises(InvalidConfig) as caught:
        check_integration_name(name)

    assert f"integration name {safe_repr(name)} is not accepted" in str(caught.value)
    assert '"aws"' in str(caught.value)


@given(garbage | wild_text | st.from_regex(r"[A-Z][A-Z0-9_]*", fullmatch=True))
def test_accepted_names_work_in_every_environment(name: object) -> None:
    """Any object is refused with ``InvalidConfig``, or is a name that every shell can take."""
    try:
        accepted = check_secret_name(name)
    except InvalidConfig:
        return

    assert accepted == name
    assert re.fullmatch(r"[A-Z][A-Z0-9_]{0,127}", accepted, re.ASCII)


@given(garbage | wild_text)
def test_nothing_but_invalid_config_is_raised(name: object) -> None:
    """Any object is the name of an integration or ``InvalidConfig``."""
    try:
        accepted = check_integration_name(name)
    except InvalidConfig:
        return

    assert accepted.isascii()
    assert accepted.isprintable()


def test_random_suffixes_have_thirteen_letters_and_digits() -> None:
    """Names of leased users end in 13 letters and digits, each drawn anew from all of them."""
    suffixes = [random_suffix() for _ in range(2_000)]

    assert {len(suffix) for suffix in suffixes} == {13} == {RANDOM_LENGTH}
    assert set("".join(suffixes)) == set(string.ascii_letters + string.digits)
    assert len({suffix.lower() for suffix in suffixes}) == len(suffixes)
