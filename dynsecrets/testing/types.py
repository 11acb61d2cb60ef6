"""The types of what the pytest plugin's fixtures hand out, for annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from dynsecrets.model.config import UNSET, Unset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynsecrets.model.config import DynamicSecretConfig, Wait
    from dynsecrets.model.lease import Lease
    from dynsecrets.model.ttl import TTL


class LeaseFactory(Protocol):
    """What the fixture ``dynsecrets_lease`` is: ``dynsecrets_lease(config, ttl="5m") -> Lease``."""

    def __call__(
        self,
        config: DynamicSecretConfig,
        ttl: TTL | None = None,
        *,
        wait: Wait | Unset = UNSET,
        metadata: Mapping[str, Any] | None = None,
    ) -> Lease:
        """Lease a credential for the rest of the test.

        Args:
            config: What to lease.
            ttl: Its time to live; by default that of the option ``dynsecrets_ttl``, else the config's.
            wait: Overrides the config's, as in ``dynsecrets.lease``.
            metadata: What is kept with the record; by default the test's name, as ``test``.

        Returns:
            A lease of the test's own, a new one with each call.

        Raises:
            DynsecretsError: What ``LeaseManager.issue`` raises, or the test is over.
        """
        ...
