"""What is leased: a named recipe of policy, time to live and options. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig
from dynsecrets.integrations.aws.iam_limits import check_groups, check_policy_arn, check_policy_arns, check_tags
from dynsecrets.integrations.aws.policy_document import PolicyDocument, check_size
from dynsecrets.model.integration import Integration
from dynsecrets.model.naming import check_secret_name
from dynsecrets.model.ttl import TTL, format_ttl, parse_ttl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dynsecrets.model.lease import Lease

    #: How a lease is waited for: until its key authenticates, not at all, or until a probe says so.
    Wait: TypeAlias = Literal["usable"] | Callable[[Lease], bool] | None

_SOME_EXPIRATION: Final = datetime(2000, 1, 1, tzinfo=UTC)


def _check_integration(integration: object) -> Integration:
    if not isinstance(integration, Integration):
        raise InvalidConfig(
            f"integration must be an Integration, like Integration.aws_iam(), not {safe_repr(integration)}"
        )
    return integration


def _check_policy(policy: object) -> PolicyDocument | None:
    return None if policy is None else PolicyDocument.parse(policy)


def _check_boundary(arn: object) -> str | None:
    return None if arn is None else check_policy_arn(arn, what="permissions_boundary")


def _check_tags(tags: object) -> Mapping[str, str]:
    return MappingProxyType(check_tags(tags))


def _check_max_active(given: object) -> int | None:
    if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given < 1):
        raise InvalidConfig(
            f"max_active {safe_repr(given)} is not accepted; give a whole number of at least 1, or None"
        )
    return given


def _check_flag(given: object) -> bool:
    if not isinstance(given, bool):
        raise InvalidConfig(f"expiry_guard {safe_repr(given)} is not accepted; give True or False")
    return given


def check_wait(wait: object) -> Any:
    """Return how a lease is to be waited for, or raise ``InvalidConfig``."""
    if wait is None or wait == "usable" or callable(wait):
        return wait
    raise InvalidConfig(f'wait {safe_repr(wait)} is not accepted; give "usable", None, or a callable (lease) -> bool')


@attrs.frozen(init=False)
class DynamicSecretConfig:
    """A named recipe for leases. Immutable; equal configs are equal. Safe to share between threads and processes.

    ``name`` prefixes the environment variables of each lease (``[A-Z][A-Z0-9_]*``). ``policy`` is what a leased user
    may do: a mapping, or a JSON string or ``pathlib.Path`` to one; ``None`` attaches the expiry guard alone. TTLs are
    whole seconds, ``timedelta`` objects, or text like ``"90s"``, ``"30m"``, ``"1h30m"``. ``expiry_guard`` ends the
    policy with a ``Deny`` of everything once the lease is over, enforced by AWS itself. ``managed_policy_arns``,
    ``groups``, ``permissions_boundary`` and ``tags`` are given to each leased user. ``max_active`` caps the live
    leases of this name in the store. ``wait`` says when a lease is handed over: ``"usable"`` once its key
    authenticates, ``None`` at once, or a callable ``(lease) -> bool`` that is asked until it agrees; ``wait_timeout``
    bounds that.

    Raises :class:`~dynsecrets.InvalidConfig` or :class:`~dynsecrets.InvalidTTL` for all that AWS would refuse (quotas
    and grammar are those of the IAM API reference), before anything is called.
    """

    name: str = attrs.field(converter=check_secret_name)
    integration: Integration = attrs.field(converter=_check_integration)
    policy: PolicyDocument | None = attrs.field(default=None, converter=_check_policy)
    default_ttl: timedelta = attrs.field(kw_only=True)
    max_ttl: timedelta = attrs.field(kw_only=True)
    expiry_guard: bool = attrs.field(default=True, converter=_check_flag, kw_only=True)
    managed_policy_arns: tuple[str, ...] = attrs.field(default=(), converter=check_policy_arns, kw_only=True)
    groups: tuple[str, ...] = attrs.field(default=(), converter=check_groups, kw_only=True)
    permissions_boundary: str | None = attrs.field(default=None, converter=_check_boundary, kw_only=True)
    tags: Mapping[str, str] = attrs.field(default={}, converter=_check_tags, hash=False, kw_only=True)
    max_active: int | None = attrs.field(default=None, converter=_check_max_active, kw_only=True)
    wait: Wait = attrs.field(default="usable", converter=check_wait, kw_only=True)
    wait_timeout: timedelta = attrs.field(kw_only=True)

    def __init__(
        self,
        name: str,
        integration: Integration,
        policy: Mapping[str, Any] | str | Path | None = None,
        *,
        default_ttl: TTL | None = "30m",
        max_ttl: TTL | None = "24h",
        expiry_guard: bool = True,
        managed_policy_arns: tuple[str, ...] | list[str] = (),
        groups: tuple[str, ...] | list[str] = (),
        permissions_boundary: str | None = None,
        tags: Mapping[str, str] = MappingProxyType({}),
        max_active: int | None = None,
        wait: Wait = "usable",
        wait_timeout: TTL | None = "60s",
    ) -> None:
        longest = parse_ttl("24h" if max_ttl is None else max_ttl, what="max_ttl")
        usual = "30m" if default_ttl is None else default_ttl
        self.__attrs_init__(
            name,
            integration,
            policy,
            default_ttl=parse_ttl(usual, what="default_ttl", maximum=longest),
            max_ttl=longest,
            expiry_guard=expiry_guard,
            managed_policy_arns=managed_policy_arns,
            groups=groups,
            permissions_boundary=permissions_boundary,
            tags=tags,
            max_active=max_active,
            wait=wait,
            wait_timeout=parse_ttl("60s" if wait_timeout is None else wait_timeout, what="wait_timeout"),
        )

    def __attrs_post_init__(self) -> None:
        """Check what depends on several fields."""
        check_size(self.policy, guarded=self.expiry_guard, example=_SOME_EXPIRATION)

    def ttl(self, ttl: TTL | None) -> timedelta:
        """Return a lease's TTL for what was asked: ``None`` means the default. Raises ``InvalidTTL``."""
        return self.default_ttl if ttl is None else parse_ttl(ttl, maximum=self.max_ttl)

    def __repr__(self) -> str:
        """Show the name, the integration and the TTL."""
        return (
            f"DynamicSecretConfig({self.name!r}, integration={self.integration.name!r}, "
            f"default_ttl={format_ttl(self.default_ttl)!r})"
        )
