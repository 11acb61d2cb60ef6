"""What a dynamic secret of an IAM user may choose: its policy and all that hangs on the user. Pure."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - read at run time, for the keys of project files.
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import attrs

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig
from dynsecrets.integrations.aws.iam_limits import check_groups, check_policy_arn, check_policy_arns, check_tags
from dynsecrets.integrations.aws.policy_document import PolicyDocument, check_size
from dynsecrets.model.options import FILE, SecretOptions

if TYPE_CHECKING:
    from dynsecrets.model.config import DynamicSecretConfig

#: The values of a leased user that are names, not secrets.
PUBLIC_VALUES: Final = frozenset({"ACCESS_KEY_ID", "ARN", "POLICY_NAME", "USERNAME", "USER_ID"})
_SOME_EXPIRATION: Final = datetime(2000, 1, 1, tzinfo=UTC)


def _check_policy(policy: object) -> PolicyDocument | None:
    return None if policy is None else PolicyDocument.parse(policy)


def _check_flag(given: object) -> bool:
    if not isinstance(given, bool):
        raise InvalidConfig(f"expiry_guard {safe_repr(given)} is not accepted; give True or False")
    return given


def _check_boundary(arn: object) -> str | None:
    return None if arn is None else check_policy_arn(arn, what="permissions_boundary")


def _check_tags(tags: object) -> Mapping[str, str]:
    return MappingProxyType(check_tags(tags))


@attrs.frozen(kw_only=True)
class IamUserOptions(SecretOptions):
    """The options of leased IAM users; quotas and grammar are those of the IAM API reference."""

    policy: PolicyDocument | None = attrs.field(default=None, converter=_check_policy, metadata={FILE: True})
    expiry_guard: bool = attrs.field(default=True, converter=_check_flag)
    managed_policy_arns: tuple[str, ...] = attrs.field(default=(), converter=check_policy_arns)
    groups: tuple[str, ...] = attrs.field(default=(), converter=check_groups)
    permissions_boundary: str | None = attrs.field(default=None, converter=_check_boundary)
    tags: Mapping[str, str] = attrs.field(factory=dict, converter=_check_tags, hash=False)

    def __attrs_post_init__(self) -> None:
        """Check what depends on several options."""
        check_size(self.policy, guarded=self.expiry_guard, example=_SOME_EXPIRATION)


def user_options(config: DynamicSecretConfig) -> IamUserOptions:
    """Return the options of a dynamic secret of IAM users.

    Raises:
        InvalidConfig: The config is of an integration of another kind.
    """
    if not isinstance(config.options, IamUserOptions):
        raise InvalidConfig(
            f"{config.name} is a dynamic secret of {config.integration!r}, which leases no IAM users; "
            "give the integration that it was made with"
        )
    return config.options
