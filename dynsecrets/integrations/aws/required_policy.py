"""The policy that an integration's own user needs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig
from dynsecrets.integrations.aws.policy_document import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dynsecrets.model.config import DynamicSecretConfig

#: All that the default features need, on the integration's own path.
DEFAULT_ACTIONS: Final = (
    "iam:CreateUser",
    "iam:CreateAccessKey",
    "iam:PutUserPolicy",
    "iam:ListAccessKeys",
    "iam:ListUserPolicies",
    "iam:DeleteAccessKey",
    "iam:DeleteUserPolicy",
    "iam:DeleteUser",
)
_ACCOUNT: Final = re.compile(r"\*|[0-9]{12}")


def required_policy(
    beginning: str, configs: Sequence[DynamicSecretConfig], *, account_id: str, partition: str, sweep: bool
) -> dict[str, Any]:
    """Return the least-privilege policy document for these configs, on users whose path and name begin so."""
    if not isinstance(account_id, str) or not _ACCOUNT.fullmatch(account_id):
        raise InvalidConfig(f'account_id {safe_repr(account_id)} is not accepted; give 12 digits as text, or "*"')
    known = _partitions()
    if partition not in known:
        raise InvalidConfig(f"partition {safe_repr(partition)} is not accepted; give one of {', '.join(known)}")
    for config in configs:
        if not hasattr(config, "managed_policy_arns"):
            raise InvalidConfig(f"required_policy takes DynamicSecretConfig objects, not {safe_repr(config)}")
    iam = f"arn:{partition}:iam::{account_id}"
    users = f"{iam}:user{beginning}*"
    statements = [_statement(DEFAULT_ACTIONS, users)]
    if any(config.tags for config in configs):
        statements.append(_statement(["iam:TagUser"], users))
    boundaries = sorted({config.permissions_boundary for config in configs if config.permissions_boundary})
    if boundaries:
        statements.append(
            _statement(["iam:PutUserPermissionsBoundary"], users, {"iam:PermissionsBoundary": boundaries})
        )
    arns = sorted({arn for config in configs for arn in config.managed_policy_arns})
    if arns:
        actions = ["iam:AttachUserPolicy", "iam:DetachUserPolicy"]
        statements.append(_statement(actions, users, {"iam:PolicyARN": arns}))
    groups = sorted({group for config in configs for group in config.groups})
    if groups:
        # These two actions are granted on the group; where its path is not known, any path of that name is meant.
        resources = [f"{iam}:group/{prefix}{group}" for group in groups for prefix in ("", "*/")]
        statements.append(_statement(["iam:AddUserToGroup", "iam:RemoveUserFromGroup"], resources))
    if sweep:
        # A listing is of a path, whatever the names.
        path = beginning[: beginning.rindex("/") + 1]
        statements.append(_statement(["iam:ListUsers"], f"{iam}:user{path}*"))
    return {"Version": VERSION, "Statement": statements}


def _partitions() -> list[str]:
    """Return the names of AWS's partitions that the botocore at hand knows."""
    from botocore.loaders import create_loader

    return [partition["id"] for partition in create_loader().load_data("partitions")["partitions"]]


def _statement(
    actions: Sequence[str], resource: str | list[str], arn_equals: dict[str, list[str]] | None = None
) -> dict[str, Any]:
    statement: dict[str, Any] = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
    if arn_equals:
        statement["Condition"] = {"ArnEquals": arn_equals}
    return statement
