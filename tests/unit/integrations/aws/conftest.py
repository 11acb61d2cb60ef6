"""What the tests of the AWS integration share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import LeaseManager, MemoryLeaseStore
from support.integrations import integration_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from support.accounts import Account


@pytest.fixture
def direct(aws: Account) -> AwsIamIntegration:
    """An integration on the test's own account."""
    return integration_of(aws)


@pytest.fixture
def manager() -> Iterator[LeaseManager]:
    """A manager with a store in memory."""
    with LeaseManager(MemoryLeaseStore()) as manager:
        yield manager


@pytest.fixture
def make_integration(aws: Account) -> Callable[..., AwsIamIntegration]:
    """Make an integration on the test's own account, with options."""

    def make(url: str | None = None, **options: Any) -> AwsIamIntegration:
        return integration_of(aws, url, **options)

    return make
