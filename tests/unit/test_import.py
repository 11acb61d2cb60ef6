"""Importing the package is cheap, and its names are what they say."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import dynsecrets

PROGRAMS = {"dynsecrets.__main__"}
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(dynsecrets.__path__, "dynsecrets.") if module.name not in PROGRAMS
)


def fresh(script: str) -> str:
    """Run a script in a new interpreter that finds this package; return what it prints."""
    script = f"import sys; sys.path.insert(0, {str(Path(dynsecrets.__file__).parents[1])!r})\n{script}"
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_loads_nothing_heavy() -> None:
    """``import dynsecrets`` loads neither boto3, botocore nor sqlite3."""
    script = "import dynsecrets; print(sorted({'boto3', 'botocore', 'sqlite3'} & set(sys.modules)))"

    assert fresh(script) == "[]"


def test_defining_a_config_loads_no_boto3() -> None:
    """An integration and a config are made without boto3: it loads on first use."""
    script = (
        "from dynsecrets import DynamicSecretConfig, Integration\n"
        "DynamicSecretConfig(name='A', integration=Integration.aws_iam())\n"
        "print(sorted({'boto3', 'botocore', 'sqlite3'} & set(sys.modules)))"
    )

    assert fresh(script) == "[]"


def test_the_public_names_are_sorted_and_there() -> None:
    """``__all__`` is sorted, and each of its names can be had and is listed."""
    assert dynsecrets.__all__ == sorted(dynsecrets.__all__)
    for name in dynsecrets.__all__:
        assert getattr(dynsecrets, name) is not None
    assert set(dynsecrets.__all__) <= set(dir(dynsecrets))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that is not there is refused as from any module."""
    with pytest.raises(AttributeError, match="no attribute 'Leese'"):
        _ = dynsecrets.Leese


def test_no_module_shadows_a_public_name() -> None:
    """After every module has been imported, each public name still is no module: ``lease`` stays the function."""
    script = (
        "import importlib, dynsecrets\n"
        f"for name in {MODULES!r}: importlib.import_module(name)\n"
        "module = type(sys)\n"
        "print([name for name in dynsecrets.__all__ if isinstance(getattr(dynsecrets, name), module)])"
    )

    assert fresh(script) == "[]"


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports_and_has_a_docstring(name: str) -> None:
    """Each module can be imported, and says what it is."""
    module = importlib.import_module(name)

    assert module.__doc__


def test_importing_starts_no_thread() -> None:
    """Nothing runs in the background before it is needed."""
    script = (
        "import threading, importlib, dynsecrets\n"
        f"for name in {MODULES!r}: importlib.import_module(name)\n"
        "print(threading.active_count())"
    )

    assert fresh(script) == "1"
