"""What somebody wants to be run, checked before anything is called."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from dynsecrets._internal.messages import safe_repr
from dynsecrets.child_process.environment import KEYS, clashes, fold
from dynsecrets.engine.batch import check_ttl
from dynsecrets.errors import InvalidConfig

if TYPE_CHECKING:
    from dynsecrets.child_process.environment import Preserve
    from dynsecrets.delivery.secrets_config import SecretsConfig
    from dynsecrets.model.config import DynamicSecretConfig
    from dynsecrets.model.ttl import TTL


@attrs.frozen(kw_only=True)
class RunOptions:
    """What was asked for, checked."""

    argv: tuple[str, ...]
    ttl: TTL | None
    parent: Mapping[str, str] = attrs.field(repr=False)
    preserve: Preserve
    aws: DynamicSecretConfig | None
    renew: bool


def check_order(
    config: SecretsConfig,
    argv: object,
    *,
    ttl: TTL | None,
    env: object,
    preserve_env: object,
    aws: object,
    renew: object,
) -> RunOptions:
    """Return what was asked for, or raise ``InvalidConfig`` or ``InvalidTTL``."""
    arguments = _check_argv(argv)
    check_ttl(config.dynamic_secrets, ttl)
    parent = _check_env(env)
    preserve = _check_preserve(preserve_env)
    if not isinstance(renew, bool):
        raise InvalidConfig(f"renew {safe_repr(renew)} is not accepted; give True or False")
    secret = _check_aws(config.dynamic_secrets, aws, renew=renew)
    if renew and secret is not None and secret.max_active == 1:
        raise InvalidConfig(f"renew needs two leases of {secret.name} at times, and its max_active is 1; raise that")
    if secret is not None:
        static = clashes(config.static_values())
        if static:
            raise InvalidConfig(
                f"aws={secret.name} gives the child AWS credentials, and so do the static secrets {', '.join(static)}; "
                "drop one of them"
            )
        kept = sorted(KEYS & names_of(preserve) & {fold(name) for name in parent})
        if kept:
            raise InvalidConfig(
                f"aws={secret.name} gives the child AWS credentials, and preserve_env those of {', '.join(kept)}; "
                "drop one of them"
            )
    return RunOptions(argv=arguments, ttl=ttl, parent=parent, preserve=preserve, aws=secret, renew=renew)


def _check_argv(argv: object) -> tuple[str, ...]:
    if isinstance(argv, str | bytes) or not isinstance(argv, Sequence):
        raise InvalidConfig(
            f'argv takes the command and its arguments in a list, like ["env", "-0"], not {safe_repr(argv)}'
        )
    if not argv:
        raise InvalidConfig('argv is empty; give the command and its arguments, like ["env"]')
    checked = []
    for index, argument in enumerate(argv):
        text = os.fspath(argument) if isinstance(argument, os.PathLike) else argument
        # An argument may be somebody's secret: it is not quoted.
        if not isinstance(text, str):
            raise InvalidConfig(f"argv[{index}] is of type {type(argument).__name__}; give text or a path")
        if not _can_be_handed_over(text):
            raise InvalidConfig(f"argv[{index}] has a NUL character or half a character, which no argument can have")
        checked.append(text)
    return tuple(checked)


def _check_env(env: object) -> dict[str, str]:
    if env is None:
        return dict(os.environ)
    if not isinstance(env, Mapping):
        raise InvalidConfig(f"env takes a mapping of text to text, not {safe_repr(env)}")
    for name, value in env.items():
        if not isinstance(name, str) or not name or "=" in name or not _can_be_handed_over(name):
            raise InvalidConfig(f"env has a name {safe_repr(name)}, which no variable can have")
        if not isinstance(value, str) or not _can_be_handed_over(value):
            raise InvalidConfig(f"the value of {name} in env must be text without NUL characters and half characters")
    return dict(env)


def _can_be_handed_over(text: str) -> bool:
    """Tell whether the system can carry a text: no NUL, and no half of a surrogate pair."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _check_preserve(given: object) -> Preserve:
    if isinstance(given, bool):
        return given
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise InvalidConfig(
            f'preserve_env takes True, False, or names in a list, like ["PATH"], not {safe_repr(given)}'
        )
    names = list(given)
    for name in names:
        if not isinstance(name, str) or not name:
            raise InvalidConfig(f"preserve_env has {safe_repr(name)} in it, which is no name of a variable")
    return frozenset(names)


def _check_aws(secrets: Sequence[DynamicSecretConfig], aws: object, *, renew: bool) -> DynamicSecretConfig | None:
    names = ", ".join(secret.name for secret in secrets) or "none"
    if aws is True or (renew and aws in (None, False)):
        if len(secrets) != 1:
            what = "aws=True" if aws is True else "renew"
            raise InvalidConfig(f"{what} needs exactly one dynamic secret, or aws=NAME of one of them: {names}")
        return secrets[0]
    if aws is None or aws is False:
        return None
    for secret in secrets:
        if secret.name == aws:
            return secret
    raise InvalidConfig(f"aws {safe_repr(aws)} is no dynamic secret of this config; there are: {names}")


def names_of(preserve: Preserve) -> frozenset[str]:
    """Return the names that are preserved, as the system compares them; none where it isn't a matter of names."""
    return frozenset() if isinstance(preserve, bool) else frozenset(fold(name) for name in preserve)
