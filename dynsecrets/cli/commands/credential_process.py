"""``credential-process``: ``LeaseManager.issue``, ``LeaseManager.reap`` and ``Lease.credential_process``.

An SDK runs it again once 15 minutes remain (AWS SDKs and Tools Reference Guide, "Process credential provider";
botocore's ``RefreshableCredentials``), so a short lease would be one user for each API call.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from dynsecrets._internal.log import logger
from dynsecrets.cli.arguments import add_ttl
from dynsecrets.cli.command import Command
from dynsecrets.cli.handover import check_outlives_process, take_back
from dynsecrets.cli.interrupts import leave
from dynsecrets.errors import InvalidConfig, InvalidTTL
from dynsecrets.model.capabilities import AwsSessions, find_credentials, lack
from dynsecrets.model.ttl import format_ttl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dynsecrets.cli.arguments import Parser
    from dynsecrets.cli.console import Console
    from dynsecrets.project_file import Project

_EPILOG: Final = """\
in ~/.aws/config:
  [profile app]
  credential_process = dynsecrets --config /srv/app/dynsecrets.toml credential-process AWS_USER

An SDK asks again when 15 minutes are left, so a TTL under 30 minutes is refused. Each process that uses the profile
leases a user of its own, and each aws command is a process: for many of them use dynsecrets run --aws -- sh."""
SHORTEST: Final = timedelta(minutes=30)
#: How long the SDK is kept waiting for others' leftovers, at the most.
_REAPING_S: Final = 10.0
#: Which of these commands this one was started by, for the processes that boto3 may start for its own credentials.
_RUNNING: Final = "DYNSECRETS_CREDENTIAL_PROCESSES"


def _add_arguments(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="the dynamic secret")
    add_ttl(parser)


def _credential_process(console: Console) -> int:
    """Print a lease that outlives this process, as the protocol wants it, and nothing else."""
    from dynsecrets.project_file import open_project

    options = console.options
    with open_project(console.file, on_event=console.progress) as project:
        config = project.dynamic_secret(options.name)
        if not isinstance(config.integration, AwsSessions):
            raise lack(config.integration.name, AwsSessions)
        ttl = config.ttl(options.dynamic_ttl)
        if ttl < SHORTEST:
            raise InvalidTTL(
                f"the TTL of {config.name} is {format_ttl(ttl)!r}, and credential-process takes {format_ttl(SHORTEST)} "
                "or more: SDKs ask again when 15 minutes remain, so each call would lease anew"
            )
        check_outlives_process(project.store)
        console.check_output()
        with _not_from_itself(f"{project.path.absolute()}#{config.name}"):
            # Before there is another thread, which can't be asked for the code of an MFA device.
            find_credentials([config.integration])
            reaping = threading.Thread(target=_reap, args=[project], name="dynsecrets-reaping", daemon=True)
            reaping.start()
            lease = project.manager.issue(config, ttl)
            try:
                console.write(json.dumps(lease.credential_process()) + "\n")
            except BaseException as error:
                take_back(lease, error)
                raise
            reaping.join(_REAPING_S)
        if reaping.is_alive():
            # A revocation may be cut off anywhere: the next reaping goes on with it.
            leave(0)
    return 0


@contextlib.contextmanager
def _not_from_itself(this: str) -> Iterator[None]:
    """Raise ``InvalidConfig`` where this command was started to get the credentials that it needs itself.

    That happens where ``AWS_PROFILE`` names the profile that runs it and the integration has none of its own. The
    processes that the block starts are told by a variable.
    """
    before = os.environ.get(_RUNNING, "")
    running = before.split(os.pathsep)
    if this in running:
        raise InvalidConfig(
            "credential-process needs AWS credentials of its own, and would get them from the very profile that runs "
            "it; give the integration another profile in the file, or unset AWS_PROFILE"
        )
    os.environ[_RUNNING] = os.pathsep.join([*filter(None, running), this])
    try:
        yield
    finally:
        # The same process may do it again: whoever calls main().
        os.environ[_RUNNING] = before
        if not before:
            del os.environ[_RUNNING]


def _reap(project: Project) -> None:
    """Revoke what is overdue; nothing that goes wrong here keeps a credential from whoever needs one."""
    try:
        project.manager.reap(integrations=project.integrations.values())
    except Exception as exc:
        logger.warning("Overdue leases could not be reaped: %s", exc)


COMMAND: Final = Command(
    description="Leases a user and prints it as AWS's credential_process protocol wants it.",
    epilog=_EPILOG,
    add_arguments=_add_arguments,
    action=_credential_process,
)
