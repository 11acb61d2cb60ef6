"""What the tests of delivery share."""

from __future__ import annotations

import secrets

import pytest


@pytest.fixture
def canary() -> str:
    """A static secret that nobody knows."""
    return secrets.token_urlsafe(30)
