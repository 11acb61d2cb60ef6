"""Integrations on the accounts of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynsecrets import Integration

if TYPE_CHECKING:
    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from support.accounts import Account


def integration_of(account: Account, url: str | None = None, **options: Any) -> AwsIamIntegration:
    """Return an integration on an account, by way of ``url`` (a proxy's) where given."""
    options.setdefault("access_key_id", account.access_key_id)
    options.setdefault("secret_access_key", account.secret_access_key)
    options.setdefault("endpoint_url", url or account.url)
    options.setdefault("region", account.region)
    integration = Integration.aws_iam(**options)
    # A user that is seconds old counts as settled, or some tests would wait as long as real AWS makes one wait.
    integration.settles_after = integration.plan_settles_after = integration.settles_after / 20
    return integration
