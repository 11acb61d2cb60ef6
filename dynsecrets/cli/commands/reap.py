"""``reap``: ``LeaseManager.reap``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dynsecrets.cli.command import Command
from dynsecrets.cli.errors import FAILED

if TYPE_CHECKING:
    from dynsecrets.cli.console import Console

_EPILOG: Final = """\
example, for a crontab:
  */5 * * * * cd /srv/app && dynsecrets reap

exit status: 0 nothing overdue is left, 1 something could not be revoked."""


def _reap(console: Console) -> int:
    """Revoke what is overdue, and print how many leases that were."""
    from dynsecrets.project_file import open_project

    with open_project(console.file, on_event=console.progress) as project:
        console.find_credentials(*project.integrations.values())
        console.progress.say("revoking what is overdue ...")
        report = project.manager.reap(integrations=project.integrations.values())
        console.progress.say("")
        console.write(
            f"{len(report.revoked)} revoked, {len(report.failed)} failed, {len(report.skipped)} left to others\n"
        )
        for lease_id in report.failed:
            console.complain(f"lease {lease_id} is not revoked: {project.manager.get(lease_id).last_error}")
    return FAILED if report.failed else 0


COMMAND: Final = Command(
    description="Revokes what expired, what earlier processes could not revoke, and what they left when they died.",
    epilog=_EPILOG,
    action=_reap,
)
