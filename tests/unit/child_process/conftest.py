"""Fixtures of the tests of children."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.children import Folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder that a program works in."""
    return Folder(tmp_path)
