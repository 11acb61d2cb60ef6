"""What workers of pytest-xdist left that ended without telling: found in the store, revoked, and counted as leaked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from dynsecrets._internal.log import logger
from dynsecrets.engine.manager import LeaseManager
from dynsecrets.engine.process_identity import ProcessIdentity, ProcessState, current_owner, liveness
from dynsecrets.errors import DynsecretsError
from dynsecrets.model.integration import Integration
from dynsecrets.model.naming import RANDOM_LENGTH
from dynsecrets.pytest_plugin.report import Leak, Totals

if TYPE_CHECKING:
    from collections.abc import Collection

    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from dynsecrets.model.record import LeaseRecord
    from dynsecrets.stores.base import LeaseStore

_CLOCKS_DIFFER: Final = timedelta(minutes=15)


def account(store: LeaseStore, pids: Collection[int], started: float, reaped: Collection[str]) -> Totals:
    """Count what these processes leased since ``started`` (seconds since 1970); revoke what is left of it.

    ``reaped`` are the leases that other workers found and revoked.
    """
    totals = Totals()
    since = datetime.fromtimestamp(started, UTC) - _CLOCKS_DIFFER
    # A client for each lease would take longer than all else.
    known: dict[tuple[str, str, str], AwsIamIntegration] = {}
    with LeaseManager(store) as manager:
        for record in list(store.records()):
            if record.created_at < since or not _is_of(record, pids):
                continue
            if record.live and liveness(record.owner) is not ProcessState.GONE:
                continue
            totals.issued += 1
            if not record.live and record.id not in reaped:
                totals.revoked += 1
                continue
            fate = _revoke(manager, record, known) if record.live else "revoked by another worker"
            test = record.metadata.get("test", "")
            fate = f"left by a worker that crashed; {fate}"
            totals.leaks.append(Leak(lease_id=record.id, name=record.name, test=str(test), fate=fate))
    return totals


def _is_of(record: LeaseRecord, pids: Collection[int]) -> bool:
    owner = ProcessIdentity.parse(record.owner)
    return owner is not None and owner.pid in pids and owner.place == current_owner().place


def _revoke(manager: LeaseManager, record: LeaseRecord, known: dict[tuple[str, str, str], AwsIamIntegration]) -> str:
    """Revoke a lease, where the credentials at hand are of its account; tell what came of it."""
    stays = "the next run that leases revokes it"
    handle = record.handle
    if not {"user_name", "path", "account"} <= handle.keys():
        return stays
    try:
        name, path, prefix = key = (record.integration, handle["path"], handle["user_name"][:-RANDOM_LENGTH])
        integration = known.setdefault(key, Integration.aws_iam(name, path=path, username_prefix=prefix))
        # Asked first: what is at hand here need not be what the worker's fixtures had set up.
        if integration.clients.account() != handle["account"]:
            return stays
        manager.revoke(record.id, integration=integration)
    except DynsecretsError as error:
        logger.error("%s", error)
        return stays
    except Exception as error:  # boto3 has no credentials here, or can't reach anybody.
        logger.error("Lease %s can't be revoked here: %s", record.id, type(error).__name__)
        return stays
    return "revoked now"
