"""What a renewer has leased and not revoked yet: the ledger that keeps it at two users."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Protocol

from dynsecrets._internal.concurrency import Workers, past_failures
from dynsecrets._internal.log import logger
from dynsecrets.engine.revocation import raise_not_revoked
from dynsecrets.errors import DynsecretsError

if TYPE_CHECKING:
    from datetime import timedelta

    from dynsecrets.model.config import DynamicSecretConfig
    from dynsecrets.model.lease import Lease


class Issuer(Workers, Protocol):
    """What issues the leases and revokes them, in threads of its own."""

    def issue_held(self, config: DynamicSecretConfig, ttl: timedelta) -> Lease:
        """Issue a lease that ends with this process, if not before."""
        ...

    def possibly_leaked(self, error: BaseException) -> list[str]:
        """Return the ids of what a failed issue may have left alive."""
        ...

    def revoke_by_id(self, lease_id: str, config: DynamicSecretConfig) -> None:
        """Revoke a lease of a config; one that the store never knew is fine."""
        ...


class RenewalLedger:
    """Leases of one config, by their ids; ``None`` stands for one that failed to be made and may be half there.

    Thread-safe. Good for one process: a forked child starts with holdings of its own.
    """

    def __init__(self, engine: Issuer, config: DynamicSecretConfig) -> None:
        self._engine = engine
        self._config = config
        self._lock = threading.RLock()
        self._leases: dict[str, Lease | None] = {}

    def __contains__(self, lease: Lease) -> bool:
        """Tell whether a lease is held here."""
        with self._lock:
            return lease.id in self._leases

    def issue(self, ttl: timedelta) -> Lease:
        """Lease one more; remember one that failed and may be half-made. Raises what ``LeaseManager.issue`` does."""
        try:
            lease = self._engine.issue_held(self._config, ttl)
        except BaseException as error:
            left = self._engine.possibly_leaked(error)
            with self._lock:
                self._leases.update(dict.fromkeys(left))
            raise
        with self._lock:
            self._leases[lease.id] = lease
        return lease

    def revoke_all_but(self, keep: Lease | None = None) -> None:
        """Revoke everything but one lease. Raises ``RevocationError`` at the first that can't be revoked."""
        for lease_id in self._ids():
            if keep is None or lease_id != keep.id:
                self._revoke(lease_id)

    def revoke_all(self, *, half_made: bool = True) -> None:
        """Revoke everything, past failures. Raises ``RevocationError`` that names all that could not be revoked.

        Without ``half_made`` what failed to be made is left to the manager, which tries again by itself, and stays here
        to be settled. After an interrupt the rest is revoked all the same, but not waited for.
        """
        ends = {lease_id: partial(self._revoke, lease_id) for lease_id in self._ids(half_made=half_made)}
        raise_not_revoked(past_failures(self._engine, ends))

    def revoke_later(self) -> None:
        """Have everything revoked in the background."""
        for lease_id in self._ids():
            self._engine.submit(partial(self.end, lease_id))

    def end(self, lease_id: str) -> None:
        """Revoke one lease, in the background. Where that fails, it stays here to be settled."""
        try:
            self._revoke(lease_id)
        except DynsecretsError as error:
            logger.warning("%s", error)

    def _ids(self, *, half_made: bool = True) -> list[str]:
        with self._lock:
            return [lease_id for lease_id, lease in self._leases.items() if half_made or lease is not None]

    def _revoke(self, lease_id: str) -> None:
        with self._lock:
            lease = self._leases.get(lease_id)
        # The store needs not be asked, and may be closed by now.
        if lease is None or not lease.revoked:
            self._engine.revoke_by_id(lease_id, self._config)
        with self._lock:
            self._leases.pop(lease_id, None)
