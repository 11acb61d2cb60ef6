"""``verify`` and ``policy``: ``Integration.verify`` and ``Integration.required_policy``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dynsecrets._internal.messages import did_you_mean, safe_repr
from dynsecrets.cli.errors import FAILED, UsageError
from dynsecrets.errors import DynsecretsError, InvalidConfig
from dynsecrets.model.capabilities import NeedsIamPolicy, Verifiable, lack

if TYPE_CHECKING:
    from dynsecrets.cli.console import Console
    from dynsecrets.project_file import Project


def verify(console: Console) -> int:
    """Prove that each integration can lease; print who its credentials are."""
    status = 0
    with console.project() as project:
        _check_any(project)
        for name, integration in project.integrations.items():
            console.progress.say(f"making a user with {name}, and deleting it ...")
            try:
                if not isinstance(integration, Verifiable):
                    raise lack(integration, Verifiable)
                identity = integration.verify(*project.configs_of(name))
            except DynsecretsError as error:
                status = FAILED
                console.report(error, name)
            else:
                console.progress.say("")
                console.write(f"{name}: account {identity.account}, {identity.arn}\n")
    return status


def policy(console: Console) -> int:
    """Print the policy document that an integration's own user needs."""
    options = console.options
    with console.project() as project:
        _check_any(project)
        name = options.integration
        if name is None:
            if len(project.integrations) > 1:
                raise UsageError(f"name the integration: {', '.join(project.integrations)}", "policy")
            (name,) = project.integrations
        integration = project.integrations.get(name)
        if integration is None:
            near = did_you_mean(name, project.integrations)
            raise UsageError(f"{project.path} has no integration {safe_repr(name)}{near}", "policy")
        configs = project.configs_of(name)
        try:
            if not isinstance(integration, NeedsIamPolicy):
                raise lack(integration, NeedsIamPolicy)
            document = integration.required_policy(*configs, account_id=options.account_id, partition=options.partition)
        except InvalidConfig as exc:
            raise UsageError(str(exc), "policy") from exc
        console.write(json.dumps(document, indent=2) + "\n")
    return 0


def _check_any(project: Project) -> None:
    if not project.integrations:
        raise InvalidConfig(f'{project.path} has no integration; add [integrations.aws] with type = "aws-iam"')
