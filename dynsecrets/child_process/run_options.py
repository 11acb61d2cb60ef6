"""What somebody wants to be run, checked before anything is called."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from dynsecrets._internal.messages import safe_repr
from dynsecrets.child_process.environment import KEYS, clashes, fold
from dynsecrets.errors import InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from dynsecrets.child_process.environment import Preserve
    from dynsecrets.model.config import DynamicSecretConfig
    from dynsecrets.model.ttl import TTL


def check_argv(argv: object) -> tuple[str, ...]:
    """Return a command and its arguments as text. Raises ``InvalidConfig``."""
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
            raise InvalidConfig(f"argv[{index}] has a NUL character or half a character, which an argument can't have")
        checked.append(text)
    return tuple(checked)


def _check_env(env: object) -> dict[str, str]:
    if env is None:
        return dict(os.environ)
    if not isinstance(env, Mapping):
        raise InvalidConfig(f"env takes a mapping of text to text, not {safe_repr(env)}")
    for name, value in env.items():
        if not isinstance(name, str) or not name or "=" in name or not _can_be_handed_over(name):
            raise InvalidConfig(f"env has a name {safe_repr(name)}, which a variable can't have")
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
            raise InvalidConfig(f"preserve_env has {safe_repr(name)} in it, which is not the name of a variable")
    return frozenset(names)


def _check_renew(renew: object) -> bool:
    if not isinstance(renew, bool):
        raise InvalidConfig(f"renew {safe_repr(renew)} is not accepted; give True or False")
    return renew


@attrs.frozen(kw_only=True)
class RunOptions:
    """How a command is run. Raises ``InvalidConfig`` for what can't be.

    ``ttl`` is that of each lease, ``env`` stands for the parent's environment, ``preserve_env`` says what of it wins
    over the values, ``aws`` names the dynamic secret that the child also gets under the names that AWS SDKs read, and
    with ``renew`` it gets that by an endpoint, which follows renewals. ``rename`` returns values under the names that
    the child gets them by.
    """

    ttl: TTL | None = None
    env: Mapping[str, str] = attrs.field(default=None, converter=_check_env, repr=False)
    preserve_env: Preserve = attrs.field(default=False, converter=_check_preserve)
    aws: object = None
    renew: bool = attrs.field(default=False, converter=_check_renew)
    rename: Callable[[Mapping[str, str]], Mapping[str, str]] = attrs.field(default=dict, eq=False, repr=False)

    @property
    def preserved(self) -> frozenset[str]:
        """The names that are preserved, as the system compares them; none where it isn't a matter of names."""
        kept = self.preserve_env
        return frozenset() if isinstance(kept, bool) else frozenset(fold(name) for name in kept)


def choose_aws(
    options: RunOptions, static_names: Collection[str], secrets: Sequence[DynamicSecretConfig]
) -> DynamicSecretConfig | None:
    """Return the dynamic secret that the child gets under the SDKs' names, if any. Raises ``InvalidConfig``."""
    secret = _named(secrets, options.aws, renew=options.renew)
    if secret is None:
        return None
    if options.renew and secret.max_active == 1:
        raise InvalidConfig(f"renew needs two leases of {secret.name} at times, and its max_active is 1; raise that")
    static = clashes(static_names)
    if static:
        raise InvalidConfig(
            f"aws={secret.name} gives the child AWS credentials, and so do the static secrets {', '.join(static)}; "
            "drop one of them"
        )
    kept = sorted(KEYS & options.preserved & {fold(name) for name in options.env})
    if kept:
        raise InvalidConfig(
            f"aws={secret.name} gives the child AWS credentials, and preserve_env those of {', '.join(kept)}; "
            "drop one of them"
        )
    return secret


def _named(secrets: Sequence[DynamicSecretConfig], aws: object, *, renew: bool) -> DynamicSecretConfig | None:
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
    raise InvalidConfig(f"aws {safe_repr(aws)} is not a dynamic secret of this config; there are: {names}")
