"""A place to work with the command, on moto."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.cli import Workplace, workplace

if TYPE_CHECKING:
    from pathlib import Path

    from support.accounts import Account


@pytest.fixture
def work(aws: Account, tmp_path: Path) -> Workplace:
    """A project's folder on an account of moto's."""
    return workplace(tmp_path / "work", aws)
