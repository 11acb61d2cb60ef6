"""One lease of each of several configs at the same time: all of them, or none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from dynsecrets._internal.concurrency import Workers, all_or_none, past_failures
from dynsecrets.engine.attempts import Attempt
from dynsecrets.engine.revocation import raise_not_revoked
from dynsecrets.errors import InvalidConfig, InvalidTTL
from dynsecrets.model.capabilities import find_credentials
from dynsecrets.model.lease import Lease
from dynsecrets.model.ttl import TTL, parse_ttl

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from dynsecrets.model.config import DynamicSecretConfig


class Issuer(Workers, Protocol):
    """What issues the leases, in threads of its own."""

    def issue(self, config: DynamicSecretConfig, ttl: timedelta, *, held: bool) -> Lease:
        """Issue a lease; a held one ends with this process, if not before."""
        ...


def check_ttl(configs: Iterable[DynamicSecretConfig], ttl: TTL | None) -> None:
    """Raise ``InvalidTTL`` unless ``ttl`` is a TTL that suits all the configs; the error names one that it doesn't."""
    if ttl is None:
        return
    parse_ttl(ttl)
    for config in configs:
        try:
            config.ttl(ttl)
        except InvalidTTL as error:
            raise InvalidTTL(f"{config.name}: {error}") from None


def lease_all(
    engine: Issuer,
    configs: Iterable[DynamicSecretConfig],
    ttl: TTL | None,
    *,
    held: bool,
    attempt: Attempt | None = None,
) -> dict[str, Lease]:
    """Lease one credential of each config at the same time, and return them by the configs' names, in their order.

    ``ttl`` is that of each; ``None`` means each config's default. With ``held`` the leases end with this process, as
    those of ``lease()`` do; else they outlive it. Who gives up the ``attempt`` has them given back.

    If one can't be had, those that were made are revoked and its error is raised; what could not be revoked is a note
    of the error, and is tried again by the engine. The same after an interrupt of the calling thread, for what is still
    being made too: it is raised when nothing is left. A second one is raised at once, and that goes on in the
    background. Raises ``InvalidTTL`` and ``InvalidConfig`` before anything is leased, then what
    ``LeaseManager.issue`` does. Thread-safe.
    """
    wanted = list(configs)
    check_ttl(wanted, ttl)
    attempt = attempt or Attempt()
    makers = {
        config.name: partial(attempt.make, partial(engine.issue, config, config.ttl(ttl), held=held))
        for config in wanted
    }
    if len(makers) < len(wanted):
        names = [config.name for config in wanted]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidConfig(f"two dynamic secrets are called {twice}; give each a name of its own")
    find_credentials(config.integration for config in wanted)
    return all_or_none(engine, makers, Lease.revoke, attempt.give_up)


def revoke_all(workers: Workers, leases: Iterable[Lease]) -> None:
    """Revoke leases at the same time, past failures; doing it again is fine.

    Raises ``RevocationError`` that names all that could not be revoked, caused by the first failure; the attempts go
    on. After an interrupt the rest is done all the same, but not waited for. Thread-safe.
    """
    left = {lease.id: lease.revoke for lease in leases if not lease.revoked}
    raise_not_revoked(past_failures(workers, left))
