"""What is leased for one child: made together, handed over, and ended together."""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from dynsecrets._internal.log import logger
from dynsecrets.child_process.aws_config_files import hide_defaults
from dynsecrets.child_process.credentials_endpoint import HOST, CredentialsEndpoint, describe, expiration, local_now
from dynsecrets.child_process.environment import add_aws, inherit, past_proxies
from dynsecrets.engine.attempts import Attempt
from dynsecrets.engine.batch import Issuer, lease_all, revoke_all
from dynsecrets.errors import DynsecretsError, InvalidConfig
from dynsecrets.model.capabilities import AwsSessions
from dynsecrets.model.naming import refuse_clashes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from dynsecrets.child_process.run_options import RunOptions
    from dynsecrets.engine.job import Job
    from dynsecrets.model.config import DynamicSecretConfig
    from dynsecrets.model.lease import Lease

#: An old key outlives its successor's arrival for so long, for SDKs that have just been told it; a minute at most.
_OVERLAP_PART: Final = 4


class Engine(Issuer, Protocol):
    """What the leases of a run are made with, and what tells of them while they live."""

    def is_live(self, lease_id: str) -> bool:
        """Tell whether a lease was issued and is not revoked yet."""
        ...

    def call_after(self, delay: timedelta, action: Callable[[], object]) -> Job:
        """Schedule ``action`` after a delay."""
        ...

    def cancel(self, job: Job | None) -> None:
        """Cancel a scheduled action."""
        ...


class _Status(Protocol):
    """How a renewer is doing."""

    @property
    def lease_id(self) -> str | None:
        """The lease of the moment."""
        ...

    @property
    def next_renewal_at(self) -> datetime | None:
        """When the next attempt is due, by the service's clock."""
        ...


class Renewer(contextlib.AbstractContextManager[Any], Protocol):
    """What keeps a lease fresh, from ``__enter__`` to ``__exit__``, which revokes what was leased."""

    @property
    def current(self) -> Lease:
        """The lease of the moment."""
        ...

    def status(self) -> _Status:
        """Return how renewal is doing."""
        ...


class MakeRenewer(Protocol):
    """What makes a renewer of a dynamic secret."""

    def __call__(
        self,
        config: DynamicSecretConfig,
        ttl: timedelta,
        *,
        overlap: timedelta,
        on_renew: Callable[[Lease], object] | None,
    ) -> Renewer:
        """Make one that leases for ``ttl``, and revokes an old lease ``overlap`` after a new one came."""
        ...


class RunLeases:
    """The leases of one run. Of three threads at the most: one makes them, one ends them, and one waits for both."""

    def __init__(
        self,
        engine: Engine,
        options: RunOptions,
        *,
        static_values: Mapping[str, str],
        dynamic_secrets: Sequence[DynamicSecretConfig],
        aws: DynamicSecretConfig | None,
        make_renewer: MakeRenewer,
    ) -> None:
        self._engine = engine
        self._make_renewer = make_renewer
        self._options = options
        self._static = static_values
        self._aws = aws
        self._renewed = aws if options.renew else None
        self._secrets = [secret for secret in dynamic_secrets if secret is not self._renewed]
        #: How long an old key of a renewed secret lives on.
        self._overlap = timedelta(0) if aws is None else _overlap(aws.ttl(options.ttl))
        self._attempt = Attempt()
        self._leases: dict[str, Lease] = {}
        self._renewer: Renewer | None = None
        self._endpoint: CredentialsEndpoint | None = None
        self._jobs: list[Job] = []

    def make(self) -> None:
        """Lease all, or raise; what was made until then is for :meth:`end` to end."""
        options = self._options
        self._leases = lease_all(self._engine, self._secrets, options.ttl, held=True, attempt=self._attempt)
        sources = [(f"the dynamic secret {name}", lease) for name, lease in self._leases.items()]
        refuse_clashes([("the static values", self._static), *sources])
        if self._renewed is None:
            return
        self._renewer = self._make_renewer(
            self._renewed, self._renewed.ttl(options.ttl), overlap=self._overlap, on_renew=self._note
        )
        self._attempt.make(self._renewer.__enter__)
        self._endpoint = CredentialsEndpoint(partial(_answer, self._renewer, self._overlap))
        self._endpoint.__enter__()

    def environment(self) -> dict[str, str]:
        """Return the child's environment."""
        options = self._options
        leased = {name: value for lease in self._leases.values() for name, value in lease.env().items()}
        values = options.rename({**self._static, **leased})
        environment = inherit(options.env, values, options.preserve_env)
        if self._aws is None:
            return environment
        if self._endpoint is None:
            credentials = _aws_env(self._leases[self._aws.name])
        else:
            credentials = self._endpoint.environment()
            environment = past_proxies(environment, HOST)
        environment |= hide_defaults(environment, options.preserved, endpoint=self._endpoint is not None)
        integration = self._aws.integration
        settings = integration.aws_settings() if isinstance(integration, AwsSessions) else {}
        return add_aws(
            environment,
            credentials,
            options.preserve_env,
            region=settings.get("region_name"),
            endpoint_url=settings.get("endpoint_url"),
        )

    def warn_at_their_end(self) -> None:
        """Have a warning logged when the TTL of one is over, from now on."""
        for lease in self._leases.values():
            self._jobs.append(self._engine.call_after(lease.remaining, partial(_warn, lease.name, lease.id)))

    def give_up(self) -> None:
        """Have nothing more made, and nothing waited for that is being made."""
        self._attempt.give_up()

    def end(self, making: Future[None]) -> None:
        """Revoke everything, past failures; also what is still being made. Why something fails, its event says."""
        for job in self._jobs:
            self._engine.cancel(job)
        if not making.done():
            # One that never ends must not keep the others alive.
            self._revoke()
            making.exception()
        self._revoke()
        if self._endpoint is not None:
            self._endpoint.__exit__(None, None, None)
        if self._renewer is not None:
            with contextlib.suppress(DynsecretsError):
                self._renewer.__exit__(None, None, None)

    def left(self) -> dict[str, str]:
        """Return what is not revoked: names by ids."""
        return self._attempt.left(self._engine.is_live)

    def _note(self, lease: Lease) -> None:
        """Note a renewal."""
        self.left()
        self._attempt.note(lease.id, lease.name)

    def _revoke(self) -> None:
        with contextlib.suppress(DynsecretsError):
            revoke_all(self._engine, self._leases.values())


def _warn(name: str, lease_id: str) -> None:
    logger.warning("The TTL of %s (lease %s) is over; the child goes on without it", name, lease_id)


def _overlap(ttl: timedelta) -> timedelta:
    """Return for how long an old key lives on, for SDKs that have just been told it: in whole seconds."""
    return timedelta(seconds=max(1, min(int(ttl.total_seconds()) // _OVERLAP_PART, 60)))


def outlook(renewer: Renewer, overlap: timedelta) -> tuple[Lease, timedelta]:
    """Return the current lease, and for how long from now on it certainly stays.

    Its successor may come at the next attempt, or at any moment while one is under way, and it is revoked no earlier
    than the overlap after that, or at its own end.
    """
    lease, status = renewer.current, renewer.status()
    remaining, pause = lease.remaining, timedelta(0)
    if status.lease_id == lease.id and status.next_renewal_at is not None:
        pause = max(status.next_renewal_at - (lease.expires_at - remaining), pause)
    return lease, min(pause + overlap, remaining)


def _answer(renewer: Renewer, overlap: timedelta, user_agent: str) -> bytes:
    """Return the key of the moment, for as long as it is vouched for, as an SDK reads it."""
    lease, stays_for = outlook(renewer, overlap)
    return describe(lease, expiration(local_now(), stays_for, overlap), user_agent)


def _aws_env(lease: Lease) -> dict[str, str]:
    try:
        return lease.aws_env()
    except AttributeError:
        raise InvalidConfig(
            f"{lease.name} is leased from an integration that grants no AWS keys; don't give aws"
        ) from None
