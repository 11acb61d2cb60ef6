"""AWS credentials that exist for minutes and then do not.

``with lease(config) as creds:`` provisions a new IAM user with the policy its owner wrote, hands over its values
once, and deletes the user when the block ends or the TTL is over, whichever comes first.

Importing this package loads neither boto3, botocore nor sqlite3: every public name is loaded when it is first asked
for (PEP 562).
"""

from __future__ import annotations

from dynsecrets._version import __version__

# Type checkers know this name, and importing typing would cost more than all else here.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from dynsecrets.delivery.secrets import Secrets
    from dynsecrets.delivery.secrets_config import SecretsConfig
    from dynsecrets.engine.audit_log import JSONLinesAudit
    from dynsecrets.engine.manager import LeaseManager
    from dynsecrets.engine.orphans import SweepReport
    from dynsecrets.engine.reaper import ReapReport
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
    from dynsecrets.leasing.lease_context import lease
    from dynsecrets.leasing.pool import LeasePool
    from dynsecrets.leasing.renewer import LeaseRenewer, RenewalStatus
    from dynsecrets.leasing.renewing import renewing
    from dynsecrets.model.config import DynamicSecretConfig
    from dynsecrets.model.events import LeaseEvent
    from dynsecrets.model.grant import Found, Grant, Identity, Remainder
    from dynsecrets.model.integration import Integration
    from dynsecrets.model.lease import Lease
    from dynsecrets.model.lifecycle import LeaseState
    from dynsecrets.model.options import SecretOptions
    from dynsecrets.model.record import LeaseRecord
    from dynsecrets.project_file import Project, open_project
    from dynsecrets.stores import open_store
    from dynsecrets.stores.base import LeaseStore
    from dynsecrets.stores.dynamodb.store import DynamoDBLeaseStore
    from dynsecrets.stores.memory import MemoryLeaseStore
    from dynsecrets.stores.sqlite.store import SQLiteLeaseStore

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
    "Project",
    "ProvisionError",
    "QuotaExceeded",
    "ReapReport",
    "Remainder",
    "RenewalStatus",
    "RevocationError",
    "SQLiteLeaseStore",
    "SecretNotAvailable",
    "SecretOptions",
    "Secrets",
    "SecretsConfig",
    "StoreError",
    "SweepReport",
    "VersionConflict",
    "__version__",
    "lease",
    "open_project",
    "open_store",
    "renewing",
]

# Where each public name lives. No module is called like a public function, or importing it would shadow the function.
_HOMES = {
    "DynamicSecretConfig": "model.config",
    "DynamoDBLeaseStore": "stores.dynamodb.store",
    "DynsecretsError": "errors",
    "Found": "model.grant",
    "Grant": "model.grant",
    "Identity": "model.grant",
    "Integration": "model.integration",
    "InvalidConfig": "errors",
    "InvalidTTL": "errors",
    "JSONLinesAudit": "engine.audit_log",
    "Lease": "model.lease",
    "LeaseEvent": "model.events",
    "LeaseExpired": "errors",
    "LeaseManager": "engine.manager",
    "LeaseNotFound": "errors",
    "LeasePool": "leasing.pool",
    "LeaseRecord": "model.record",
    "LeaseRenewer": "leasing.renewer",
    "LeaseState": "model.lifecycle",
    "LeaseStore": "stores.base",
    "MemoryLeaseStore": "stores.memory",
    "NotUsableInTime": "errors",
    "PermissionDenied": "errors",
    "Project": "project_file",
    "ProvisionError": "errors",
    "QuotaExceeded": "errors",
    "ReapReport": "engine.reaper",
    "Remainder": "model.grant",
    "RenewalStatus": "leasing.renewer",
    "RevocationError": "errors",
    "SQLiteLeaseStore": "stores.sqlite.store",
    "SecretNotAvailable": "errors",
    "SecretOptions": "model.options",
    "Secrets": "delivery.secrets",
    "SecretsConfig": "delivery.secrets_config",
    "StoreError": "errors",
    "SweepReport": "engine.orphans",
    "VersionConflict": "errors",
    "lease": "leasing.lease_context",
    "open_project": "project_file",
    "open_store": "stores",
    "renewing": "leasing.renewing",
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
