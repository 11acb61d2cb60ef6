"""What is measured: the library with an integration, a config and a store."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dynsecrets import DynamicSecretConfig, Grant, Integration, LeaseManager, MemoryLeaseStore, SQLiteLeaseStore, lease
from dynsecrets.integrations.aws.options import PUBLIC_VALUES, IamUserOptions
from dynsecrets.model.naming import random_suffix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dynsecrets import LeaseStore
    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration

REGION: Final = "us-east-1"
POLICY: Final[dict[str, Any]] = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::reports/*"}],
}
STORES: Final = ("memory", "sqlite")


class InMemoryIntegration(Integration):
    """An integration that makes up credentials and calls nobody: what is left of a lease's cost is the library's."""

    options_type = IamUserOptions
    public_values = PUBLIC_VALUES
    probes = 3

    def plan(self, config: DynamicSecretConfig) -> Mapping[str, str]:
        """Choose the names that the AWS integration would."""
        del config
        user, policy = random_suffix(), random_suffix()
        return {"user_name": f"Dynsecrets-Dynamic-{user}", "policy_name": f"dynsecrets-policy-{policy}"}

    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Make up what AWS would answer."""
        del config
        values = {
            "ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "ARN": f"arn:aws:iam::123456789012:user/dynsecrets/{plan['user_name']}",
            "POLICY_NAME": plan["policy_name"],
            "SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "USERNAME": plan["user_name"],
            "USER_ID": "AIDACKCEVSQ6C2EXAMPLE",
        }
        issued_at = datetime.now(UTC)
        handle = {**plan, "access_key_id": "AKIAIOSFODNN7EXAMPLE"}
        return Grant(values, issued_at + ttl, handle, issued_at=issued_at)

    def revoke(self, handle: Mapping[str, str]) -> None:
        """Do nothing: nothing is there."""


def aws_config(endpoint_url: str) -> tuple[AwsIamIntegration, DynamicSecretConfig]:
    """Return an integration on an endpoint, and a config whose leases are handed over at once."""
    integration = Integration.aws_iam(
        endpoint_url=endpoint_url,
        region=REGION,
        access_key_id="AKIAEXAMPLE",
        secret_access_key="example",  # noqa: S106
    )
    return integration, DynamicSecretConfig("AWS_USER", integration, POLICY, wait=None)


def memory_config() -> tuple[InMemoryIntegration, DynamicSecretConfig]:
    """Return an integration that calls nobody, and a config whose leases are handed over at once."""
    integration = InMemoryIntegration("memory")
    return integration, DynamicSecretConfig("AWS_USER", integration, POLICY, wait=None)


@contextmanager
def open_manager(store: str) -> Iterator[LeaseManager]:
    """Open a manager on a new store of a kind, ``"memory"`` or ``"sqlite"``, for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="dynsecrets-bench-") as folder:
        opened: LeaseStore = MemoryLeaseStore() if store == "memory" else SQLiteLeaseStore(Path(folder) / "leases.db")
        try:
            with LeaseManager(opened) as manager:
                yield manager
        finally:
            opened.close()


def life(config: DynamicSecretConfig, manager: LeaseManager) -> Callable[[], None]:
    """Return a whole life of one lease: issued, handed over at once, revoked."""

    def live() -> None:
        with lease(config, manager=manager):
            pass

    return live
