"""What is handed to somebody else: the lease has to outlive this process, and is taken back if nobody got it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynsecrets.cli.interrupts import undisturbed
from dynsecrets.errors import DynsecretsError, InvalidConfig

if TYPE_CHECKING:
    from dynsecrets.delivery.secrets import Secrets
    from dynsecrets.model.lease import Lease
    from dynsecrets.stores.base import LeaseStore


def check_outlives_process(store: LeaseStore) -> None:
    """Raise ``InvalidConfig`` where the leases would end with this process: nobody could use what it hands over."""
    if not getattr(store, "outlives_process", True):
        raise InvalidConfig(
            "leases of a store in memory end with the process that asked, so there would be nothing to hand over; "
            "use another store, or `dynsecrets run`"
        )


def take_back(leased: Lease | Secrets, error: BaseException) -> None:
    """Revoke what nobody got because of an error; where that fails too, the error says so."""
    with undisturbed():
        try:
            leased.revoke()
        except DynsecretsError as failure:
            error.add_note(str(failure))
