"""AWS credentials that exist for minutes and then do not.

``with lease(config) as creds:`` provisions a new IAM user with the policy its owner wrote, hands over its values
once, and deletes the user when the block ends or the TTL is over, whichever comes first.

Importing this package loads neither boto3, botocore nor sqlite3: every public name is loaded when it is first asked
for (PEP 562).
"""

from __future__ import annotations

# Type checkers know this name, and importing typing would cost more than all else here.
TYPE_CHECKING = False

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dynsecrets.audit import JSONLinesAudit
    from dynsecrets.config import DynamicSecretConfig
    from dynsecrets.contexts import lease
    from dynsecrets.errors import (
        DynsecretsError,
        InvalidConfig,
        InvalidTTL,
        LeaseExpired,
        LeaseNotFound,
        NotUsableInTime,
        PermissionDenied,
        ProvisionError,
        QuotaExceeded,
        RevocationError,
        SecretNotAvailable,
        StoreError,
        VersionConflict,
    )
    from dynsecrets.events import LeaseEvent
    from dynsecrets.integrations.base import Found, Grant, Identity, Integration
    from dynsecrets.keeping_fresh import renewing
    from dynsecrets.leases import Lease
    from dynsecrets.manager import LeaseManager
    from dynsecrets.pools import LeasePool
    from dynsecrets.reaping import ReapReport
    from dynsecrets.records import LeaseRecord
    from dynsecrets.renewers import LeaseRenewer, RenewalStatus
    from dynsecrets.secret_values import Secrets
    from dynsecrets.secrets_configs import SecretsConfig
    from dynsecrets.states import LeaseState
    from dynsecrets.stores import open_store
    from dynsecrets.stores.base import LeaseStore
    from dynsecrets.stores.dynamodb import DynamoDBLeaseStore
    from dynsecrets.stores.memory import MemoryLeaseStore
    from dynsecrets.stores.sqlite import SQLiteLeaseStore
    from dynsecrets.sweeping import SweepReport

__all__ = [
    "DynamicSecretConfig",
    "DynamoDBLeaseStore",
    "DynsecretsError",
    "Found",
    "Grant",
    "Identity",
    "Integration",
    "InvalidConfig",
    "InvalidTTL",
    "JSONLinesAudit",
    "Lease",
    "LeaseEvent",
    "LeaseExpired",
    "LeaseManager",
    "LeaseNotFound",
    "LeasePool",
    "LeaseRecord",
    "LeaseRenewer",
    "LeaseState",
    "LeaseStore",
    "MemoryLeaseStore",
    "NotUsableInTime",
    "PermissionDenied",
    "ProvisionError",
    "QuotaExceeded",
    "ReapReport",
    "RenewalStatus",
    "RevocationError",
    "SQLiteLeaseStore",
    "SecretNotAvailable",
    "Secrets",
    "SecretsConfig",
    "StoreError",
    "SweepReport",
    "VersionConflict",
    "__version__",
    "lease",
    "open_store",
    "renewing",
]

# Where each public name lives. No module is called like a public function, or importing it would shadow the function.
_HOMES = {
    "DynamicSecretConfig": "config",
    "DynamoDBLeaseStore": "stores.dynamodb",
    "DynsecretsError": "errors",
    "Found": "integrations.base",
    "Grant": "integrations.base",
    "Identity": "integrations.base",
    "Integration": "integrations.base",
    "InvalidConfig": "errors",
    "InvalidTTL": "errors",
    "JSONLinesAudit": "audit",
    "Lease": "leases",
    "LeaseEvent": "events",
    "LeaseExpired": "errors",
    "LeaseManager": "manager",
    "LeaseNotFound": "errors",
    "LeasePool": "pools",
    "LeaseRecord": "records",
    "LeaseRenewer": "renewers",
    "LeaseState": "states",
    "LeaseStore": "stores.base",
    "MemoryLeaseStore": "stores.memory",
    "NotUsableInTime": "errors",
    "PermissionDenied": "errors",
    "ProvisionError": "errors",
    "QuotaExceeded": "errors",
    "ReapReport": "reaping",
    "RenewalStatus": "renewers",
    "RevocationError": "errors",
    "SQLiteLeaseStore": "stores.sqlite",
    "SecretNotAvailable": "errors",
    "Secrets": "secret_values",
    "SecretsConfig": "secrets_configs",
    "StoreError": "errors",
    "SweepReport": "sweeping",
    "VersionConflict": "errors",
    "lease": "contexts",
    "open_store": "stores",
    "renewing": "keeping_fresh",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for."""
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Name what can be imported, loaded or not."""
    return sorted({*globals(), *__all__})
