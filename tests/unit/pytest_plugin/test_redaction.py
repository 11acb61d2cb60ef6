"""A leased secret never shows in what pytest shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from dynsecrets.model.masking import MaskedStr
from dynsecrets.pytest_plugin.redaction import compared_secret
from support.pytest_projects import MEMORY

if TYPE_CHECKING:
    from support.pytest_projects import Project

#: The secret of every lease of the project; put together there, so that its source doesn't hold it.
SECRET: Final = "Kn0wnSekret+bVq7XzP3/mJw9RtY2uGh5LkD8cFs1NeaW"
KNOWN: Final = f"""{MEMORY}
from dynsecrets.testing import memory_integration

class Known:
    @staticmethod
    def token_urlsafe(size):
        return "Kn0wn" + "Sekret+bVq7XzP3/mJw9RtY2uGh5LkD8cFs1NeaW"

    @staticmethod
    def token_hex(size):
        import secrets
        return secrets.token_hex(size)

@pytest.fixture(scope="session", autouse=True)
def known():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_integration, "secrets", Known)
        yield
"""

TESTS: Final = {
    "lease": "assert dynsecrets_user == {}",
    "text": "assert dynsecrets_user.secret_access_key == 'another'",
    "reversed": "assert 'another' == dynsecrets_user['AWS_USER_SECRET_ACCESS_KEY']",
    "contains": "assert 'Kn0wn' not in dynsecrets_user.secret_access_key",
    "plain": "assert str.__str__(dynsecrets_user.secret_access_key) == 'another'",
    "mapping": "assert dynsecrets_user.env() == {}",
    "value": "assert dynsecrets_user.env()['AWS_USER_SECRET_ACCESS_KEY'] == 'x'",
    "inside": "assert ['y' * 60, *dynsecrets_user.env().values()] == ['x'] * 9",
    "ends": "text = 'y' * 90 + dynsecrets_user.env()['AWS_USER_SECRET_ACCESS_KEY'] + 'z' * 200; assert text == 'x'",
    "locals": "env = dynsecrets_user.aws_env(); words = list(env.values()); 1 / 0",
    "raised": "raise ValueError(dynsecrets_user.env())",
    "chained": """try:
        raise ValueError(dynsecrets_user.env())
    except ValueError as error:
        raise KeyError from error""",
    "printed": "print(dynsecrets_user.env()); assert False",
    "logged": "import logging; logging.getLogger().error('%s', dynsecrets_user.env()); assert False",
    "warned": "import sys; sys.stderr.write(str(dynsecrets_user.env())); assert False",
    "fail": "pytest.fail(dynsecrets_user.secret_access_key + '!')",
    "untraced": "pytest.fail(dynsecrets_user.secret_access_key + '!', pytrace=False)",
    "passed": "print(dynsecrets_user.env())",
}


def parts(secret: str) -> set[str]:
    """Return all parts of a secret that are long enough to be told from other text."""
    return {secret[start : start + 5] for start in range(len(secret) - 4)} - {"Kn0wn"}


@pytest.mark.parametrize(
    ("style", "verbosity"), [("long", "-vv"), ("long", "-v"), ("short", "-q"), ("native", "-vv"), ("line", "-q")]
)
def test_no_secret_is_shown(project: Project, style: str, verbosity: str) -> None:
    """Whatever a test does with its lease, the secret is in no explanation, local, output, log or report file."""
    functions = "\n".join(f"def test_{name}(dynsecrets_user):\n    {body}\n" for name, body in TESTS.items())

    # In a process of its own: what it logs on purpose would be this one's log, too.
    result = project.start(
        f"import pytest\n\n{functions}",
        "-l",
        verbosity,
        "-rA",
        "--setup-show",
        f"--tb={style}",
        "--junitxml=report.xml",
        "-o",
        "junit_logging=all",
        "-o",
        "junit_log_passing_tests=true",
        conftest=KNOWN,
    )

    result.assert_outcomes(passed=1, failed=len(TESTS) - 1)
    report = project.folder.joinpath("report.xml").read_text(encoding="utf-8")
    assert "********" in result.stdout.str()
    for shown in (result.stdout.str(), result.stderr.str(), report):
        # In parts, too: a long text is shown in part.
        assert not {part for part in parts(SECRET) if part in shown}


def test_errors_of_fixtures_show_no_secret(project: Project) -> None:
    """What goes wrong in a fixture's set-up or end is masked as well."""
    result = project.run(
        """
import pytest

@pytest.fixture
def bad(dynsecrets_user):
    raise ValueError(dynsecrets_user.env())

@pytest.fixture
def bad_end(dynsecrets_user):
    yield
    raise ValueError(dynsecrets_user.env())

def test_one(bad): pass
def test_two(bad_end): pass
""",
        "-l",
        conftest=KNOWN,
    )

    result.assert_outcomes(passed=1, errors=2)
    assert SECRET not in result.stdout.str()
    assert result.stdout.str().count("********") >= 2


def test_comparisons_say_what_they_can() -> None:
    """A comparison with a secret is explained by its operator; others are left to pytest."""
    secret = MaskedStr("a secret that is long enough")

    assert compared_secret("==", secret, "x") == ["'********' == 'x'", "a leased secret is not shown"]
    assert compared_secret("not in", "x", secret) == ["'x' not in '********'", "a leased secret is not shown"]
    assert compared_secret("==", "a", "b") is None
    assert compared_secret("==", secret, 1) is None
