"""A child with a secrets config's values in its environment, and with no credential left when it is over.

    check ─► find the command ─► signals ─► lease ─► start ─► wait ─► terminal back ─► revoke ─► status

Nothing is leased for what can't be started. From ``signals`` on, nothing that ends a process ends this one before all
is revoked.

For the command line -------------------- ``run_child`` returns an :class:`ExitStatus`, an ``int``. Where no child was
started (127, 126, or 128+n because of a signal while leasing) its ``reason`` says so in one line; otherwise it is
``None``. The same line is logged as a warning by the logger ``dynsecrets``: a command that shows warnings on stderr has
nothing more to do. What the child itself returned is never explained. :class:`NotRevoked` is a ``RevocationError`` with
``status``, what would have been returned.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

from dynsecrets._internal.log import logger
from dynsecrets.child_process.aws_config_files import hide_defaults
from dynsecrets.child_process.credentials_endpoint import HOST, CredentialsEndpoint, describe, expiration, local_now
from dynsecrets.child_process.environment import add_aws, inherit, past_proxies
from dynsecrets.child_process.executables import CannotStart, find_command
from dynsecrets.child_process.process import ChildProcess
from dynsecrets.child_process.run_options import RunOptions, check_order, names_of
from dynsecrets.child_process.signals import Interrupted, SignalForwarder
from dynsecrets.engine.manager import engine_of
from dynsecrets.errors import InvalidConfig, RevocationError
from dynsecrets.leasing.renewing import renewing

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from concurrent.futures import Future

    from dynsecrets.delivery.secrets_config import SecretsConfig
    from dynsecrets.engine.scheduler import Job
    from dynsecrets.leasing.renewer import LeaseRenewer
    from dynsecrets.model.config import DynamicSecretConfig
    from dynsecrets.model.lease import Lease
    from dynsecrets.model.ttl import TTL

#: An old key outlives its successor's arrival for so long, for SDKs that have just been told it; a minute at most.
_OVERLAP_PART: Final = 4


class ExitStatus(int):
    """An exit status; ``reason`` is one line where no child was started, and else ``None``."""

    reason: str | None

    def __new__(cls, status: int, reason: str | None = None) -> Self:
        """Make one."""
        self = super().__new__(cls, status)
        self.reason = reason
        return self


class NotRevoked(RevocationError):
    """The child has ended, with ``status``, but not all of its leases could be revoked; the attempts go on."""

    status: int = 0


def run_child(
    secrets_config: SecretsConfig,
    argv: Sequence[str | os.PathLike[str]],
    *,
    dynamic_ttl: TTL | None = None,
    env: Mapping[str, str] | None = None,
    preserve_env: bool | Iterable[str] = False,
    aws: bool | str | None = None,
    renew: bool = False,
) -> ExitStatus:
    """Run a command with the values in its environment; revoke its leases when it has ended; return its exit status.

    ``argv`` is the command and its arguments; there is no shell. ``dynamic_ttl`` is the TTL of each lease: a child that
    takes longer goes on without it, and a warning is logged. ``env`` stands for the parent's environment, by default
    ``os.environ``; as in ``subprocess`` it replaces it. The values win over it, but for ``preserve_env``: ``True`` for
    all that it has, or the names. What AWS credentials it has never reach the child (those that ``CREDENTIALS`` in
    :mod:`dynsecrets.child_process.environment` lists), whether they come from ``env`` or from ``os.environ``, unless
    ``preserve_env`` names them. A profile's name isn't a credential, and does.

    ``aws`` is the name of a dynamic secret (or ``True``, where there is just one) that the child also gets under the
    names that AWS SDKs read, with the integration's region and endpoint, unless the environment has its own; what names
    other credentials (a profile, a role) is left out, unless ``preserve_env`` names it. With ``renew`` it gets them by
    an endpoint on loopback instead, which follows renewals for as long as the child runs, and not as ``NAME_*`` values;
    ``aws`` needs not be given then where there is just one. A shared file of AWS's whose default profile has
    credentials is hidden from such a child, since they would win.

    Returns 128+n if signal n ended the child, 127 where the command is not found and 126 where it can't be executed; a
    missing command is found out before anything is leased. Signals are passed on once each; one that ends a process
    and comes while leasing has everything revoked and 128+n returned, and none interrupts revoking. In a thread other
    than the main one Python lets nobody handle signals: the process's own handlers stay, and nothing is passed on. On
    Windows the console sends Ctrl-C to the child itself, and there are no jobs to stop and continue.

    Raises ``InvalidConfig`` and ``InvalidTTL`` before anything is leased, what ``LeaseManager.issue`` raises (nothing
    was started then), ``DynsecretsError`` where the system can start no process (all is revoked), and
    ``RevocationError`` with ``status`` where a lease could not be revoked. Thread-safe.
    """
    order = check_order(secrets_config, argv, ttl=dynamic_ttl, env=env, preserve_env=preserve_env, aws=aws, renew=renew)
    values = secrets_config.static_values()
    try:
        path = find_command(order.argv[0], inherit(order.parent, values, order.preserve))
    except CannotStart as error:
        return _not_started(error.status, str(error))
    run = _Run(secrets_config, order, path, values)
    with SignalForwarder() as signals:
        try:
            return run.run(signals)
        except CannotStart as error:
            return _not_started(error.status, str(error))
        except Interrupted as error:
            return _not_started(error.code, "interrupted while leasing; nothing was started, and all is revoked")
        finally:
            signals.tell()


class _Run:
    """One run: what was leased for it, and how it ended."""

    def __init__(self, config: SecretsConfig, order: RunOptions, path: str, values: Mapping[str, str]) -> None:
        self._order = order
        self._path = path
        self._values = values
        self._config = config
        self._manager = config.manager
        self._leases: dict[str, Lease] = {}
        #: How long an old key of a renewed secret lives on, in seconds.
        self._overlap = 0 if order.aws is None else _overlap(order.aws.ttl(order.ttl))
        self._renewer: LeaseRenewer | None = None
        self._opening: Future[LeaseRenewer] | None = None
        self._endpoint: CredentialsEndpoint | None = None
        self._jobs: list[Job] = []

    def run(self, signals: SignalForwarder) -> ExitStatus:
        """Lease, start, wait, revoke."""
        status: ExitStatus | None = None
        error: BaseException | None = None
        try:
            with signals.interruptible():
                self._lease()
            self._serve()
            signals.expect_child()
            status = ExitStatus(self._child(signals))
        except BaseException as caught:
            error = caught
            raise
        finally:
            signals.end()
            failures = self._revoke()
            if failures:
                self._report(failures, status, error)
        return status

    def _lease(self) -> None:
        """Lease what is needed. Each thing is remembered by the very step that makes it."""
        order = self._order
        renewed = order.aws if order.renew else None
        names = [secret.name for secret in self._config.dynamic_secrets if secret is not renewed]
        self._leases = self._config.lease_all(order.ttl, held=True, names=names)
        if renewed is not None:
            self._renewer = renewing(renewed, order.ttl, manager=self._manager, overlap=self._overlap)
            # Not in this thread, where an interrupt could come between the making of a lease and its being noted.
            stage = engine_of(self._manager)
            if stage.in_worker():
                self._renewer.__enter__()
            else:
                self._opening = stage.submit(self._renewer.__enter__)
                self._opening.result()

    def _serve(self) -> None:
        """Begin to serve the renewed key."""
        if self._renewer is not None:
            self._endpoint = CredentialsEndpoint(partial(_answer, self._renewer, self._overlap))
            self._endpoint.__enter__()

    def _child(self, signals: SignalForwarder) -> int:
        """Start the child, wait for its end, and take the terminal back."""
        environment = self._environment()
        child = ChildProcess(self._path, self._order.argv, environment)
        try:
            signals.pass_on(child.forward)
            self._warn_at_the_end_of_leases()
            return child.wait()
        finally:
            signals.end()
            child.close()

    def _environment(self) -> dict[str, str]:
        order = self._order
        leased = {name: value for lease in self._leases.values() for name, value in lease.env().items()}
        environment = inherit(order.parent, {**self._values, **leased}, order.preserve)
        if order.aws is None:
            return environment
        region, endpoint_url = _whereabouts(order.aws)
        if self._endpoint is None:
            credentials = _aws_env(self._leases[order.aws.name])
        else:
            credentials = self._endpoint.environment()
            environment |= hide_defaults(environment, names_of(order.preserve))
            environment = past_proxies(environment, HOST)
        return add_aws(environment, credentials, order.preserve, region=region, endpoint_url=endpoint_url)

    def _warn_at_the_end_of_leases(self) -> None:
        stage = engine_of(self._manager)
        for lease in self._leases.values():
            self._jobs.append(stage.call_after(lease.remaining, partial(_warn, lease.name, lease.id)))

    def _revoke(self) -> dict[str, str]:
        """Revoke everything, past failures; return what could not be, by lease id or name."""
        for job in self._jobs:
            engine_of(self._manager).cancel(job)
        failures: dict[str, str] = {}
        if self._endpoint is not None:
            self._endpoint.__exit__(None, None, None)
        if self._renewer is not None:
            try:
                self._renewer.__exit__(None, None, None)
            except Exception as error:
                failures["" if self._order.aws is None else self._order.aws.name] = str(error)
            if self._opening is not None:
                # One that was interrupted sees that it was closed, and gives back what it made.
                self._opening.exception()
        try:
            report = self._manager.revoke_many(self._leases.values())
        except Exception as error:
            failures |= dict.fromkeys((lease.id for lease in self._leases.values() if not lease.revoked), str(error))
        else:
            failures |= dict.fromkeys(report.failed, "it could not be revoked")
        return failures

    def _report(self, failures: Mapping[str, str], status: ExitStatus | None, error: BaseException | None) -> None:
        """Raise, or leave a note with what is raised already."""
        message = (
            f"{len(failures)} {'lease' if len(failures) == 1 else 'leases'} could not be revoked when the child had "
            "ended, and will be tried again: "
            f"{', '.join(failures)}"
        )
        logger.error("%s", message)
        if isinstance(error, CannotStart):
            status = ExitStatus(error.status)
        elif isinstance(error, Interrupted):
            status = ExitStatus(128 + error.signum)
        if status is None:
            if error is not None:
                error.add_note(message)
            return
        failure = NotRevoked(message)
        failure.status = int(status)
        raise failure from error


def _not_started(status: Any, reason: str) -> ExitStatus:
    logger.warning("%s", reason)
    return ExitStatus(status, reason)


def _warn(name: str, lease_id: str) -> None:
    logger.warning("The TTL of %s (lease %s) is over; the child goes on without it", name, lease_id)


def _overlap(ttl: timedelta) -> int:
    """Return for how many seconds an old key lives on, for SDKs that have just been told it."""
    return max(1, min(int(ttl.total_seconds()) // _OVERLAP_PART, 60))


def _answer(renewer: LeaseRenewer, overlap: int) -> bytes:
    """Return the key of the moment, for as long as it is vouched for."""
    lease, stays_for = renewer.outlook()
    return describe(lease, expiration(local_now(), stays_for, timedelta(seconds=overlap)))


def _aws_env(lease: Lease) -> dict[str, str]:
    try:
        return lease.aws_env()
    except AttributeError:
        raise InvalidConfig(
            f"{lease.name} is leased from an integration that grants no AWS keys; don't give aws"
        ) from None


def _whereabouts(secret: DynamicSecretConfig) -> tuple[str | None, str | None]:
    """Return the region and endpoint that the secret's integration was given, or has found."""
    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration

    if not isinstance(secret.integration, AwsIamIntegration):
        return None, None
    clients = secret.integration.clients
    return clients.region, clients.endpoint_url
