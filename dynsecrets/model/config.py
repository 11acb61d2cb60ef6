"""What is leased: a named recipe of an integration, its options and times to live. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig, InvalidTTL
from dynsecrets.model.integration import Integration
from dynsecrets.model.naming import check_secret_name
from dynsecrets.model.options import SecretOptions, make_options, option_fields
from dynsecrets.model.ttl import TTL, format_ttl, parse_ttl

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from pathlib import Path

    from dynsecrets.model.lease import Lease

    #: How a lease is waited for: until its key authenticates, not at all, or until a probe says so.
    Wait: TypeAlias = Literal["usable"] | Callable[[Lease], bool] | None


class Unset(Enum):
    """The type of :data:`UNSET`."""

    UNSET = "unset"

    def __repr__(self) -> str:
        """Show it as what it stands for in signatures."""
        return "..."


#: The default of arguments for which ``None`` means something, like ``wait``.
UNSET: Final = Unset.UNSET

_TTL: Final = "30m"
_MAX_TTL: Final = "24h"
_WAIT_TIMEOUT: Final = "60s"
#: The options that the signature names, each with what stands for "not given". Integrations may know none of them.
_NAMED: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "policy": None,
        "expiry_guard": True,
        "managed_policy_arns": (),
        "groups": (),
        "permissions_boundary": None,
        "tags": MappingProxyType({}),
    }
)
#: The arguments that every config takes, whatever its integration.
GENERAL: Final = ("default_ttl", "max_ttl", "max_active", "wait", "wait_timeout")
#: What ``attrs.evolve`` hands the options over by.
_EVOLVED: Final = "_options"


def _check_integration(integration: object) -> Integration:
    if not isinstance(integration, Integration):
        raise InvalidConfig(
            f"integration must be an Integration, like Integration.aws_iam(), not {safe_repr(integration)}"
        )
    return integration


def _check_max_active(given: object) -> int | None:
    if given is not None and (not isinstance(given, int) or isinstance(given, bool) or given < 1):
        raise InvalidConfig(
            f"max_active {safe_repr(given)} is not accepted; give a whole number of at least 1, or None"
        )
    return given


def check_wait(wait: object) -> Any:
    """Return how a lease is to be waited for, or raise ``InvalidConfig``."""
    if wait is None or wait == "usable" or callable(wait):
        return wait
    raise InvalidConfig(f'wait {safe_repr(wait)} is not accepted; give "usable", None, or a callable (lease) -> bool')


def _is_given(option: object, default: object) -> bool:
    """Tell whether an option differs from its default; empty lists and mappings are as good as each other."""
    if isinstance(default, tuple):
        return not isinstance(option, list | tuple) or bool(option)
    if isinstance(default, Mapping):
        return not isinstance(option, dict | MappingProxyType) or bool(option)
    return option is not default


@attrs.frozen(init=False)
class DynamicSecretConfig:
    """A named recipe for leases. Immutable; equal configs are equal. Safe to share between threads and processes.

    The arguments from ``policy`` to ``tags`` but for TTLs are options of IAM users. They, where they differ from their
    defaults, and ``options`` go to the integration's own class of options; an integration that knows none of them
    refuses them, since nobody would enforce them.

    Args:
        name: The prefix of the environment variables of each lease (``[A-Z][A-Z0-9_]*``).
        integration: What provisions and revokes the leases.
        policy: What a leased user may do: a mapping, or a JSON string or ``pathlib.Path`` to one; ``None`` attaches the
            expiry guard alone.
        default_ttl: How long a lease lives that is asked for without a TTL: whole seconds, a ``timedelta``, or text
            like ``"90s"``, ``"30m"``, ``"1h30m"``. ``None`` means the default, here and below.
        max_ttl: How long a lease may live at the most; no longer than the integration's ``longest_ttl``.
        expiry_guard: Whether the policy ends with a ``Deny`` of everything once the lease is over, enforced by AWS.
        managed_policy_arns: The managed policies that are attached to each leased user.
        groups: The groups that it joins.
        permissions_boundary: The ARN of its permissions boundary.
        tags: Its tags.
        max_active: The most leases of this name that may live in the store; ``None``: any number.
        wait: When a lease is handed over: ``"usable"`` once it works, ``None`` at once, or a callable
            ``(lease) -> bool`` that is asked until it agrees.
        wait_timeout: How long that may take.
        **options: The other options that the integration knows.

    Raises:
        InvalidConfig: An argument is not accepted; all that AWS would refuse is refused here.
        InvalidTTL: A length is not a TTL, or not one that the integration can serve.
    """

    name: str = attrs.field(converter=check_secret_name)
    integration: Integration = attrs.field(converter=_check_integration)
    policy: Mapping[str, Any] | None = attrs.field(eq=False)
    default_ttl: timedelta = attrs.field(kw_only=True)
    max_ttl: timedelta = attrs.field(kw_only=True)
    expiry_guard: bool = attrs.field(eq=False, kw_only=True)
    managed_policy_arns: tuple[str, ...] = attrs.field(eq=False, kw_only=True)
    groups: tuple[str, ...] = attrs.field(eq=False, kw_only=True)
    permissions_boundary: str | None = attrs.field(eq=False, kw_only=True)
    tags: Mapping[str, str] = attrs.field(eq=False, kw_only=True)
    max_active: int | None = attrs.field(converter=_check_max_active, kw_only=True)
    wait: Wait = attrs.field(converter=check_wait, kw_only=True)
    wait_timeout: timedelta = attrs.field(kw_only=True)
    #: What was chosen of what the integration's ``options_type`` offers.
    options: SecretOptions = attrs.field(kw_only=True, hash=False, alias=_EVOLVED)

    def __init__(
        self,
        name: str,
        integration: Integration,
        policy: Mapping[str, Any] | str | Path | None = None,
        *,
        default_ttl: TTL | None = _TTL,
        max_ttl: TTL | None = _MAX_TTL,
        expiry_guard: bool = True,
        managed_policy_arns: tuple[str, ...] | list[str] = (),
        groups: tuple[str, ...] | list[str] = (),
        permissions_boundary: str | None = None,
        tags: Mapping[str, str] = MappingProxyType({}),
        max_active: int | None = None,
        wait: Wait = "usable",
        wait_timeout: TTL | None = _WAIT_TIMEOUT,
        **options: Any,
    ) -> None:
        checked = _check_integration(integration)
        chosen = _options(
            checked,
            {
                "policy": policy,
                "expiry_guard": expiry_guard,
                "managed_policy_arns": managed_policy_arns,
                "groups": groups,
                "permissions_boundary": permissions_boundary,
                "tags": tags,
            },
            options,
        )
        longest = _max_ttl(checked, max_ttl)
        self.__attrs_init__(
            name,
            checked,
            default_ttl=_default_ttl(checked, default_ttl, longest),
            max_ttl=longest,
            max_active=max_active,
            wait=wait,
            wait_timeout=parse_ttl(_WAIT_TIMEOUT if wait_timeout is None else wait_timeout, what="wait_timeout"),
            _options=chosen,
            **{option: getattr(chosen, option, default) for option, default in _NAMED.items()},
        )

    def ttl(self, ttl: TTL | None) -> timedelta:
        """Return a lease's TTL for what was asked.

        Args:
            ttl: Whole seconds, a ``timedelta``, text like ``"15m"``, or ``None`` for the default.

        Returns:
            Its length, whole seconds.

        Raises:
            InvalidTTL: It is not a TTL, or not one between the integration's shortest and ``max_ttl``.
        """
        if ttl is None:
            return self.default_ttl
        return _check_length(self.integration, parse_ttl(ttl, maximum=self.max_ttl), ttl, "TTL")

    def __repr__(self) -> str:
        """Show the name, the integration and the TTL."""
        return (
            f"DynamicSecretConfig({self.name!r}, integration={self.integration.name!r}, "
            f"default_ttl={format_ttl(self.default_ttl)!r})"
        )


def _options(integration: Integration, named: Mapping[str, object], others: dict[str, Any]) -> SecretOptions:
    """Make the options of a config."""
    evolved = others.pop(_EVOLVED, None)
    given = {name: value for name, value in named.items() if _is_given(value, _NAMED[name])}
    if isinstance(evolved, integration.options_type):
        kept = {name: getattr(evolved, field.name) for name, field in option_fields(type(evolved)).items()}
        given |= {name: value for name, value in kept.items() if name not in _NAMED}
    return make_options(
        integration.options_type, given | others, integration=integration.name, others=(*_NAMED, *GENERAL)
    )


def _max_ttl(integration: Integration, given: object) -> timedelta:
    """Return how long a lease may live: what was given, or the default as far as the third party goes."""
    if given is None or given == _MAX_TTL:
        usual = parse_ttl(_MAX_TTL)
        longest = usual if integration.longest_ttl is None else min(usual, integration.longest_ttl)
        return max(longest, integration.shortest_ttl)
    return _check_length(integration, parse_ttl(given, what="max_ttl"), given, "max_ttl")


def _default_ttl(integration: Integration, given: object, longest: timedelta) -> timedelta:
    """Return how long a lease lives that is asked for without a TTL."""
    if given is None or given == _TTL:
        usual = max(parse_ttl(_TTL), integration.shortest_ttl)
        given = usual if integration.longest_ttl is None else min(usual, integration.longest_ttl)
    length = parse_ttl(given, what="default_ttl", maximum=longest)
    return _check_length(integration, length, given, "default_ttl")


def _check_length(integration: Integration, length: timedelta, given: object, what: str) -> timedelta:
    """Raise ``InvalidTTL`` unless the third party gives credentials of that length."""
    if length < integration.shortest_ttl:
        limit = f"short: at least {format_ttl(integration.shortest_ttl)}"
    elif integration.longest_ttl is not None and length > integration.longest_ttl:
        limit = f"long: at most {format_ttl(integration.longest_ttl)}"
    else:
        return length
    raise InvalidTTL(f"{what} {safe_repr(given)} is too {limit} is what the integration {integration.name!r} can serve")
