"""What the tests of delivery share."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from aws.conftest import integration_of
from manager_support import world_fixture  # noqa: F401 - a fixture.

if TYPE_CHECKING:
    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from support.accounts import Account
    from support.proxy import Proxy


@pytest.fixture
def canary() -> str:
    """A static secret that nobody knows."""
    return secrets.token_urlsafe(30)


@pytest.fixture
def watched(aws: Account, proxy: Proxy) -> AwsIamIntegration:
    """An integration on the test's own account whose calls go through ``proxy``."""
    return integration_of(aws, proxy.url)
