"""``policy``: ``Integration.required_policy``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from dynsecrets._internal.messages import did_you_mean, safe_repr
from dynsecrets.cli.command import Command
from dynsecrets.cli.errors import UsageError
from dynsecrets.errors import InvalidConfig
from dynsecrets.model.capabilities import NeedsIamPolicy, lack

if TYPE_CHECKING:
    from dynsecrets.cli.arguments import Parser
    from dynsecrets.cli.console import Console

_EPILOG: Final = """\
example:
  dynsecrets policy > integration-policy.json

Nothing is called. If the file has several integrations, name one."""


def _add_arguments(parser: Parser) -> None:
    parser.add_argument("integration", nargs="?", metavar="INTEGRATION", help="the integration's name in the file")
    parser.add_argument("--account-id", default="*", metavar="ID", help="the account's number (default: any)")
    parser.add_argument("--partition", default="aws", metavar="NAME", help="aws, aws-cn or aws-us-gov")


def _policy(console: Console) -> int:
    """Print the policy document that an integration's own user needs."""
    from dynsecrets.project_file import open_project

    options = console.options
    with open_project(console.file, on_event=console.progress) as project:
        known = console.check_integrations(project.integrations, project.path)
        name = options.integration
        if name is None:
            if len(known) > 1:
                raise UsageError(f"name the integration: {', '.join(known)}")
            (name,) = known
        if name not in known:
            raise UsageError(f"{project.path} has no integration {safe_repr(name)}{did_you_mean(name, known)}")
        integration, configs = known[name], project.configs_of(name)
        try:
            if not isinstance(integration, NeedsIamPolicy):
                raise lack(integration.name, NeedsIamPolicy)
            document = integration.required_policy(*configs, account_id=options.account_id, partition=options.partition)
        except InvalidConfig as exc:
            raise UsageError(str(exc)) from exc
        console.write(json.dumps(document, indent=2) + "\n")
    return 0


COMMAND: Final = Command(
    description="Prints the least-privilege IAM policy for an integration's own user and the file's dynamic secrets.",
    epilog=_EPILOG,
    add_arguments=_add_arguments,
    action=_policy,
)
