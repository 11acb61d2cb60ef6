"""What the plugin costs a project that doesn't use it."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from support.places import ROOT
from support.pytest_projects import MEMORY, summary

if TYPE_CHECKING:
    from support.pytest_projects import Project

#: Everything of the library's that a project without leases has loaded.
LIGHT = {"dynsecrets", "dynsecrets._version", "dynsecrets.pytest_plugin"}


def test_nothing_heavy_is_loaded(project: Project) -> None:
    """Where no fixture is used, no module is loaded but the plugin, and nothing of anybody else's."""
    result = project.start(
        f"""
import sys

def test_it():
    ours = {{name for name in sys.modules if name.partition(".")[0] == "dynsecrets"}}
    assert ours == {LIGHT!r}
    heavy = {{"attr", "attrs", "boto3", "botocore", "cachetools", "moto", "platformdirs", "sqlite3"}}
    # Coverage, where it measures, keeps its own books.
    assert not heavy & set(sys.modules) - ({{"sqlite3"}} if "coverage" in sys.modules else set())
""",
        conftest="",
    )

    assert result.ret == 0


def test_nothing_runs_in_the_background(project: Project) -> None:
    """Where no fixture is used, there is no thread."""
    result = project.start(
        "import threading\n\ndef test_it():\n    assert threading.active_count() == 1\n", conftest=""
    )

    assert result.ret == 0


def test_the_plugin_may_be_named_twice(project: Project) -> None:
    """Where the installed library has pytest load the plugin, a project may name it all the same, and it is one."""
    result = project.run(
        "def test_it(dynsecrets_user): pass\n",
        "-p",
        "dynsecrets.pytest_entry",
        conftest=f'{MEMORY}\npytest_plugins = ["dynsecrets.pytest_plugin"]\n',
    )

    assert result.ret == 0
    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked"


def test_an_installed_library_has_the_plugin() -> None:
    """The package tells pytest of the plugin by its entry point."""
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project.get("entry-points", {}).get("pytest11", {}) == {"dynsecrets": "dynsecrets.pytest_entry"}
