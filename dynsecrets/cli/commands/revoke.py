"""``revoke``: ``LeaseManager.revoke``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dynsecrets._internal.messages import did_you_mean, safe_repr
from dynsecrets.cli.command import Command
from dynsecrets.cli.errors import FAILED
from dynsecrets.errors import DynsecretsError, InvalidConfig

if TYPE_CHECKING:
    from dynsecrets.cli.arguments import Parser
    from dynsecrets.cli.console import Console
    from dynsecrets.model.record import LeaseRecord
    from dynsecrets.project_file import Project

_EPILOG: Final = """\
examples:
  dynsecrets revoke 5d4a9800-7c7e-4009-9113-2a3dda2e9ff1
  dynsecrets leases --json | jq -r '.[].id' | xargs dynsecrets revoke

Revoking twice is fine. exit status: 0 all are gone, 1 an id is not known or a lease could not be revoked."""


def _add_arguments(parser: Parser) -> None:
    parser.add_argument("ids", nargs="+", metavar="ID", help="the id of a lease")


def _revoke(console: Console) -> int:
    """Revoke leases by their ids, each whatever becomes of the others."""
    from dynsecrets.project_file import open_project

    status = 0
    with open_project(console.file, on_event=console.progress) as project:
        for lease_id in dict.fromkeys(console.options.ids):
            console.progress.say(f"revoking {lease_id} ...")
            try:
                record = project.manager.get(lease_id)
                if record.live:
                    _check_integration(project, record)
                    console.find_credentials(project.integrations[record.integration])
                    console.progress.say(f"revoking {lease_id} ...")
                project.manager.revoke(lease_id)
            except DynsecretsError as error:
                status = FAILED
                console.report(error, "" if lease_id in str(error) else f"lease {lease_id}")
    return status


def _check_integration(project: Project, record: LeaseRecord) -> None:
    """Raise ``InvalidConfig`` where the file has no integration to revoke a lease with."""
    if record.integration not in project.integrations:
        near = did_you_mean(record.integration, project.integrations)
        raise InvalidConfig(
            f"lease {record.id} was made with the integration {safe_repr(record.integration)}, which {project.path} "
            f"doesn't have{near}"
        )


COMMAND: Final = Command(
    description="Revokes leases by their ids.",
    epilog=_EPILOG,
    add_arguments=_add_arguments,
    action=_revoke,
)
