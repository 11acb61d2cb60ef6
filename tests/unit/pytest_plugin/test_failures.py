"""Where a third party is away, a report says so in a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from support.pytest_projects import AWS

if TYPE_CHECKING:
    import pytest

    from support.pytest_projects import Project

#: Nobody listens there.
AWAY: Final = AWS.replace(
    "Integration.aws_iam()",
    'Integration.aws_iam(region="us-east-1", endpoint_url="http://127.0.0.1:9", '
    f'access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="{"x" * 40}")',
)
TESTS: Final = """
import pytest
from dynsecrets import ProvisionError

def test_fixture(dynsecrets_user): pass

def test_body(dynsecrets_lease, dynsecrets_config):
    dynsecrets_lease(dynsecrets_config)

def test_expected(dynsecrets_lease, dynsecrets_config):
    with pytest.raises(ProvisionError):
        dynsecrets_lease(dynsecrets_config)
"""
WHY: Final = '* Could not connect to the endpoint URL: "http://127.0.0.1:9/"'


def test_aws_away_is_a_line_a_test(project: Project) -> None:
    """One line says why a fixture has no lease; where the test asked for it, its own line stands before that."""
    result = project.run(TESTS, "--show-capture=no", conftest=AWAY)

    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at setup of test_fixture*", f"CreateUser failed: {WHY}"], consecutive=True)
    result.stdout.fnmatch_lines(
        [
            "*_ test_body _*",
            "test_project.py:*: in test_body",
            "    dynsecrets_lease(dynsecrets_config)",
            f"E   dynsecrets.errors.ProvisionError: CreateUser failed: {WHY}",
        ],
        consecutive=True,
    )
    assert len(result.outlines) < 25


def test_it_is_so_in_workers_too(project: Project) -> None:
    """What a worker reports to the session is the same line."""
    result = project.start(TESTS, "--show-capture=no", "-p", "xdist", "-n", "1", conftest=AWAY)

    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at setup of test_fixture*", "*", f"*CreateUser failed: {WHY}"])
    assert len(result.outlines) < 30


def test_who_wants_all_of_it_gets_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A style of tracebacks that was asked for is kept to."""
    monkeypatch.setenv("COLUMNS", "200")

    result = project.run(TESTS, "--show-capture=no", "--tb=long", conftest=AWAY)

    result.stdout.fnmatch_lines(["*The above exception was the direct cause of the following exception:*"])
    assert len(result.outlines) > 200


def test_errors_of_the_test_itself_are_shown_as_ever(project: Project) -> None:
    """An error of the library that no lease of the fixtures has met keeps its traceback."""
    result = project.run(
        """
from dynsecrets import DynsecretsError

def deeper():
    raise DynsecretsError("of the test's own")

def test_it(dynsecrets_user):
    deeper()
"""
    )

    result.stdout.fnmatch_lines([">       deeper()", "*", ">       raise DynsecretsError(*)"])
