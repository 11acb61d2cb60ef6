"""``verify``: ``Integration.verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dynsecrets.cli.command import Command
from dynsecrets.cli.errors import FAILED
from dynsecrets.errors import DynsecretsError
from dynsecrets.model.capabilities import Verifiable, lack

if TYPE_CHECKING:
    from dynsecrets.cli.console import Console

_EPILOG: Final = """\
Prints the account and the ARN, leases once and revokes that, and names each permission that is missing.

exit status: 0 all can lease, 1 one can't."""


def _verify(console: Console) -> int:
    """Prove that each integration can lease; print who its credentials are."""
    from dynsecrets.project_file import open_project

    status = 0
    with open_project(console.file, on_event=console.progress) as project:
        for name, integration in console.check_integrations(project.integrations, project.path).items():
            console.find_credentials(integration)
            console.progress.say(f"leasing with {name} once, and revoking it ...")
            try:
                if not isinstance(integration, Verifiable):
                    raise lack(integration.name, Verifiable)
                identity = integration.verify(*project.configs_of(name))
            except DynsecretsError as error:
                status = FAILED
                console.report(error, name)
            else:
                console.progress.say("")
                console.write(f"{name}: account {identity.account}, {identity.arn}\n")
    return status


COMMAND: Final = Command(
    description="Says who the credentials of each integration are, and proves that they can do the job.",
    epilog=_EPILOG,
    action=_verify,
)
