"""What is built for users: the package, all of it, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from typing import TYPE_CHECKING, Any

import pytest

import dynsecrets
from support.places import ROOT

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

BUILD = "import sys; from hatchling import build; print(getattr(build, sys.argv[1])(sys.argv[2]))"
CORE = {"attrs", "boto3", "cachetools", "platformdirs", "typing-extensions"}
MINE = re.compile(r"(dynsecrets/|dynsecrets-[^/]+\.dist-info/)")


def build(kind: str, folder: Path) -> Path:
    """Build a wheel or a source distribution into a folder, as any installer does."""
    command = [sys.executable, "-c", BUILD, f"build_{kind}", str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from this tree."""
    return zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    """The wheel's metadata."""
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The project's table of ``pyproject.toml``."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    """Every module is in the wheel, with the marker of typed packages and the licence, and no tests are."""
    names = set(wheel.namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dynsecrets").rglob("*.py")}

    assert modules | {"dynsecrets/py.typed"} <= names
    assert [name for name in names if not MINE.match(name)] == []
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_source_distribution_can_be_tested(tmp_path: Path) -> None:
    """The source distribution has the package, its tests and what they run on, and nothing that tools left."""
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {"pyproject.toml", "Makefile", "LICENSE", "README.md", "tests/conftest.py", "dynsecrets/py.typed"} <= names
    assert [name for name in names if "__pycache__" in name or name.startswith(".venv")] == []


def test_the_version_is_the_packages_own(metadata: Message) -> None:
    """The wheel's version is ``dynsecrets.__version__``."""
    assert metadata["Version"] == dynsecrets.__version__


def test_users_get_the_few_dependencies_that_are_needed(metadata: Message) -> None:
    """Without an extra, a user installs the core dependencies alone, each with a lowest version."""
    required = [value for value in metadata.get_all("Requires-Dist", []) if "extra ==" not in value]

    assert {re.split(r"[<>=~!\[; ]", value)[0] for value in required} == CORE
    assert all(">=" in value for value in required)
    assert metadata["Requires-Python"] == ">=3.11"


def test_everything_that_is_installed_can_be_run(project: dict[str, Any]) -> None:
    """Each command and plugin that the metadata names is there to be loaded."""
    plugins = project.get("entry-points", {}).values()
    targets = [*project.get("scripts", {}).values(), *(target for group in plugins for target in group.values())]

    for target in targets:
        module, _, name = target.partition(":")
        script = f"from {module} import {name}" if name else f"import {module}"
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
