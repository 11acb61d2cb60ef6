"""Projects of users, made and run for each test."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

import dynsecrets

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

# What is loaded first by a run in this process would be forgotten at its end, and be there twice later.
for _name in dynsecrets.__all__:
    getattr(dynsecrets, _name)
for _name in (
    "pytest_plugin.crashed_workers",
    "pytest_plugin.session",
    "testing.fake_clock",
    "testing.memory_integration",
):
    importlib.import_module(f"dynsecrets.{_name}")

PLUGIN: Final = ("-p", "dynsecrets.pytest_plugin")
#: A project on a third party in memory; what is left there at the very end is written down.
MEMORY: Final = """
import pathlib
import pytest
from dynsecrets import DynamicSecretConfig
from dynsecrets.testing import MemoryIntegration

aws = MemoryIntegration()
CONFIG = DynamicSecretConfig("AWS_USER", aws)

@pytest.fixture(scope="session")
def dynsecrets_config():
    return CONFIG

def pytest_unconfigure(config):
    pathlib.Path(__file__).with_name("left.txt").write_text(" ".join(aws.users))
"""
#: A project on whatever AWS the environment names.
AWS: Final = """
import pytest
from dynsecrets import DynamicSecretConfig, Integration

@pytest.fixture(scope="session")
def dynsecrets_config():
    return DynamicSecretConfig("AWS_USER", Integration.aws_iam())
"""

#: How a lease of ``test_it`` is called among the leaked ones.
LEFT: Final = "of AWS_USER (user Dynsecrets-Dynamic-*), leased by test_project.py::test_it:"


class Project:
    """A project in a folder of its own."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.folder: Path = pytester.path

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        self.folder.joinpath(name).write_text(text, encoding="utf-8")

    def run(self, tests: str | None = None, *arguments: str, conftest: str | None = MEMORY) -> pytest.RunResult:
        """Run pytest in this process: with these tests, or those that are there."""
        self._prepare(tests, conftest)
        return self._pytester.runpytest_inprocess(*PLUGIN, *arguments)

    def start(self, tests: str | None = None, *arguments: str, conftest: str | None = MEMORY) -> pytest.RunResult:
        """Run pytest in a process of its own."""
        self._prepare(tests, conftest)
        return self._pytester.runpytest_subprocess(*PLUGIN, *arguments, timeout=120)

    def left(self) -> list[str]:
        """Return the users that were left in memory at the end of the run."""
        return self.folder.joinpath("left.txt").read_text(encoding="utf-8").split()

    def _prepare(self, tests: str | None, conftest: str | None) -> None:
        if conftest is not None:
            self.write("conftest.py", conftest)
        if tests is not None:
            self.write("test_project.py", tests)


def summary(result: pytest.RunResult) -> str:
    """Return the line of the plugin that ends a session, without its name."""
    lines = [line for line in result.outlines if line.startswith("dynsecrets: ")]
    assert len(lines) == 1, lines
    return lines[0].removeprefix("dynsecrets: ")
