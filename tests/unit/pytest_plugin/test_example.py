"""The example project passes on a server and on a mock, and leaves nothing behind."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from support.places import ROOT
from support.pytest_projects import PLUGIN
from support.scripts import reports, run_python

if TYPE_CHECKING:
    from pathlib import Path

    from support.accounts import Account

EXAMPLE = ROOT / "examples" / "pytest_project"


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2")], ids=["alone", "workers"])
@pytest.mark.parametrize("mock", [False, True], ids=["server", "mock"])
def test_the_example_project_passes(aws: Account, tmp_path: Path, mock: bool, workers: tuple[str, ...]) -> None:
    """Its tests pass wherever they are run, alone or in workers, and every lease is revoked."""
    folder = tmp_path / "project"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
    environment = {"EXAMPLE_MOCK": "1"} if mock else aws.environment()

    with reports(aws):
        done = run_python(
            ["-m", "pytest", *PLUGIN, *workers],
            folder,
            {**environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            warnings="default",
        )

    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("dynsecrets: "))
    issued = line.split()[1]
    assert int(issued) >= 8
    assert line == f"dynsecrets: {issued} leases issued, {issued} revoked, 0 leaked"
    assert aws.users() == []
