"""The examples in the kit's docstrings do what they show."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["fake_clock", "memory_integration"])
def test_examples_of_docstrings_hold(name: str) -> None:
    """Each example prints what its docstring says."""
    module = importlib.import_module(f"dynsecrets.testing.{name}")

    outcome = doctest.testmod(module)

    assert outcome.attempted > 0
    assert outcome.failed == 0
