"""What the tests of the AWS integration share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import Integration, LeaseManager, MemoryLeaseStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from support.accounts import Account
    from support.proxy import Proxy


def integration_of(account: Account, url: str | None = None, **options: Any) -> AwsIamIntegration:
    """Return an integration on an account, by way of ``url`` (a proxy's) where given."""
    options.setdefault("access_key_id", account.access_key_id)
    options.setdefault("secret_access_key", account.secret_access_key)
    options.setdefault("endpoint_url", url or account.url)
    options.setdefault("region", account.region)
    integration = Integration.aws_iam(**options)
    # A user that is seconds old counts as settled, or some tests would wait as long as real AWS makes one wait.
    integration.settles_after = integration.settles_after / 20
    return integration


@pytest.fixture
def direct(aws: Account) -> AwsIamIntegration:
    """An integration on the test's own account."""
    return integration_of(aws)


@pytest.fixture
def watched(aws: Account, proxy: Proxy) -> AwsIamIntegration:
    """An integration on the test's own account whose calls go through ``proxy``."""
    return integration_of(aws, proxy.url)


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
