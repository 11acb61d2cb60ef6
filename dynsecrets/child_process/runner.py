"""A child with leased values in its environment, and with no credential left when it is over.

    check ─► find the command ─► own credentials ─► signals ─► lease ─► start ─► wait ─► terminal back ─► revoke

Nothing is leased for what can't be started. From ``signals`` on, nothing that ends a process ends this one before all
is revoked; only a second signal leaves the rest to the next reaper, which the records make safe.

For the command line -------------------- ``run_child`` returns an :class:`ExitStatus`, an ``int``. Where no child was
started (127, 126, or 128+n because of a signal while leasing) its ``reason`` says so in one line; otherwise it is
``None``. The same line is logged as a warning by the logger ``dynsecrets``: a command that shows warnings on stderr has
nothing more to do. What the child itself returned is never explained. :class:`NotRevoked` is a ``RevocationError`` with
``status``, what would have been returned.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self

from dynsecrets._internal.log import logger
from dynsecrets.child_process.environment import inherit
from dynsecrets.child_process.executables import CannotStart, find_command
from dynsecrets.child_process.process import ChildProcess
from dynsecrets.child_process.run_leases import RunLeases
from dynsecrets.child_process.run_options import check_argv, choose_aws
from dynsecrets.child_process.signals import Interrupted, SignalForwarder
from dynsecrets.engine.batch import check_ttl
from dynsecrets.errors import RevocationError
from dynsecrets.model.capabilities import find_credentials

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence

    from dynsecrets.child_process.run_leases import Engine, MakeRenewer
    from dynsecrets.child_process.run_options import RunOptions
    from dynsecrets.model.config import DynamicSecretConfig


class ExitStatus(int):
    """An exit status; ``reason`` is one line where no child was started, and else ``None``."""

    reason: str | None

    def __new__(cls, status: int, reason: str | None = None) -> Self:
        """Make one."""
        self = super().__new__(cls, status)
        self.reason = reason
        return self


class NotRevoked(RevocationError):
    """The child has ended, with ``status``, but not all of its leases are revoked; the attempts go on.

    ``given_up`` says that a second signal asked not to wait for that; then this process should end.
    """

    status: int = 0
    given_up: bool = False


def run_child(
    argv: Sequence[object],
    options: RunOptions,
    *,
    static_values: Mapping[str, str],
    dynamic_secrets: Sequence[DynamicSecretConfig],
    engine: Engine,
    make_renewer: MakeRenewer,
) -> ExitStatus:
    """Run a command with values in its environment; revoke its leases when it has ended; return its exit status.

    What it is given is described at ``SecretsConfig.run``; ``make_renewer`` is used with ``options.renew`` only.

    The credentials of the integrations themselves are found before there are handlers, in the calling thread: somebody
    may be asked for the code of an MFA device, and must be able to leave. From then on all that takes time is done in
    other threads, and this one hears each signal.
    """
    arguments = check_argv(argv)
    check_ttl(dynamic_secrets, options.ttl)
    static = options.rename(static_values)
    aws = choose_aws(options, static, dynamic_secrets)
    try:
        path = find_command(arguments[0], inherit(options.env, static, options.preserve_env))
    except CannotStart as error:
        return _not_started(error.status, str(error))
    find_credentials(secret.integration for secret in dynamic_secrets)
    leases = RunLeases(
        engine,
        options,
        static_values=static_values,
        dynamic_secrets=dynamic_secrets,
        aws=aws,
        make_renewer=make_renewer,
    )
    with SignalForwarder() as signals:
        try:
            return _run(signals, leases, path, arguments)
        except CannotStart as error:
            return _not_started(error.status, str(error))
        except Interrupted as error:
            return _not_started(
                128 + error.signum, "interrupted while leasing; nothing was started, and all is revoked"
            )
        finally:
            signals.report()


def _run(signals: SignalForwarder, leases: RunLeases, path: str, argv: Sequence[str]) -> ExitStatus:
    """Lease, start, wait, revoke."""
    status: ExitStatus | None = None
    error: BaseException | None = None
    making = signals.start(leases.make)
    try:
        signals.wait(making)
        making.result()
        signals.expect_child()
        status = ExitStatus(_wait_for_child(signals, leases, path, argv))
    except BaseException as caught:
        error = caught
        raise
    finally:
        signals.end()
        leases.give_up()
        given_up = False
        try:
            signals.wait(signals.start(partial(leases.end, making)), partial(_explain, leases))
        except Interrupted:
            given_up = True
        left = leases.left()
        if left:
            _report(list(left), status, error, given_up=given_up)
    return status


def _wait_for_child(signals: SignalForwarder, leases: RunLeases, path: str, argv: Sequence[str]) -> int:
    """Start the child, wait for its end, and take the terminal back."""
    child = ChildProcess(path, argv, leases.environment())
    try:
        signals.pass_on(child.forward)
        leases.warn_at_their_end()
        return child.wait()
    finally:
        signals.end()
        child.close()


def _explain(leases: RunLeases, signum: signal.Signals) -> None:
    """Tell a person why it takes so long."""
    left = ", ".join(f"{name} ({lease_id})" for lease_id, name in leases.left().items())
    logger.warning("%s came; still revoking %s; the same once more leaves that to the next reap", signum.name, left)


def _report(left: Sequence[str], status: ExitStatus | None, error: BaseException | None, *, given_up: bool) -> None:
    """Raise, or leave a note with what is raised already."""
    count = f"{len(left)} {'lease' if len(left) == 1 else 'leases'}"
    if given_up:
        message = f"interrupted: {count} not revoked yet, which the next reap does: {', '.join(left)}"
    else:
        message = f"{count} could not be revoked when the child had ended, and will be tried again: {', '.join(left)}"
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
    failure.given_up = given_up
    raise failure from error


def _not_started(status: Any, reason: str) -> ExitStatus:
    logger.warning("%s", reason)
    return ExitStatus(status, reason)
