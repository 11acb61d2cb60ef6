"""A project's config: its static secrets, and the dynamic secrets that are attached to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NoReturn, Self

import attrs

from dynsecrets._internal.log import logger
from dynsecrets._internal.messages import safe_repr
from dynsecrets.delivery.formats import is_unicode
from dynsecrets.delivery.secrets import Secrets
from dynsecrets.engine.batch import check_ttl, lease_all, revoke_all
from dynsecrets.engine.manager import check_manager, default_manager, engine_of
from dynsecrets.errors import DynsecretsError, InvalidConfig
from dynsecrets.model.config import DynamicSecretConfig
from dynsecrets.model.masking import MaskedStr

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from dynsecrets.engine.manager import LeaseManager
    from dynsecrets.model.lease import Lease
    from dynsecrets.model.ttl import TTL

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: What every lease has, whichever integration made it.
_LEASE_SUFFIXES: Final = frozenset({"LEASE_EXPIRATION", "LEASE_ID"})
_PROJECT: Final = "DYNSECRETS_PROJECT"
_ENVIRONMENT: Final = "DYNSECRETS_ENVIRONMENT"
_CONFIG: Final = "DYNSECRETS_CONFIG"


def _check_label(what: str, label: object) -> str:
    if not isinstance(label, str) or not label or not label.isprintable():
        raise InvalidConfig(f'{what} {safe_repr(label)} is not accepted; give a name in one line, like "dev"')
    return str.__str__(label)


def _check_secrets(secrets: object) -> Mapping[str, str]:
    if not isinstance(secrets, Mapping):
        raise InvalidConfig(f"secrets must be a mapping of names to text, not {safe_repr(secrets)}")
    return MappingProxyType({_check_name(name): _check_value(name, value) for name, value in secrets.items()})


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidConfig(
            f"the name {safe_repr(name)} of a secret is not accepted: it names an environment variable, "
            "so give letters, "
            'digits and underscores, not beginning with a digit, like "DATABASE_URL"'
        )
    return str.__str__(name)


def _check_value(name: str, value: object) -> MaskedStr:
    """Return a value that prints masked. It is never shown, whatever is wrong with it."""
    if not isinstance(value, str):
        raise InvalidConfig(f"the value of {name} must be text, and is of type {type(value).__name__}")
    if "\0" in value:
        raise InvalidConfig(f"the value of {name} has a NUL character, which no environment variable can hold")
    if not is_unicode(value):
        raise InvalidConfig(f"the value of {name} is no Unicode text: it has half of a surrogate pair; encode it first")
    return MaskedStr(str.__str__(value))


def _check_dynamic_secrets(configs: object) -> tuple[DynamicSecretConfig, ...]:
    if isinstance(configs, str | Mapping) or not isinstance(configs, Iterable):
        raise InvalidConfig(f"dynamic_secrets must be a list of DynamicSecretConfig objects, not {safe_repr(configs)}")
    checked = tuple(configs)
    for config in checked:
        if not isinstance(config, DynamicSecretConfig):
            raise InvalidConfig(f"dynamic_secrets must be DynamicSecretConfig objects, not {safe_repr(config)}")
    return checked


class _Names:
    """The names that are taken so far, and by what."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._taken = dict.fromkeys((_PROJECT, _ENVIRONMENT, _CONFIG), "the config itself")
        self.take("the static secrets", secrets)

    def take(self, what: str, names: Iterable[str]) -> None:
        """Take names, or raise ``InvalidConfig`` for one that is taken."""
        for name in names:
            other = self._taken.setdefault(name, what)
            if other is not what:
                raise InvalidConfig(f"{name} would be set by {other} and by {what}; rename one of them")


@attrs.frozen(init=False)
class SecretsConfig:
    """A project's config (``dev``, ``prd`` …): static secrets, plus the dynamic secrets attached to it.

    ``secrets`` are static values by name: names of environment variables (``[A-Za-z_][A-Za-z0-9_]*``), and text without
    NUL. ``dynamic_secrets`` are :class:`~dynsecrets.DynamicSecretConfig` objects, each of which adds the values of a
    fresh lease. ``manager`` is the :class:`~dynsecrets.LeaseManager` to lease with; by default the one that ``lease()``
    uses, made when it is first needed.

    Immutable; equal configs are equal, whatever their managers. Its ``repr`` shows the names of its secrets, and no
    value; neither do pytest's explanation of a failed comparison, and its errors. It can't be pickled. Safe to share
    between threads; a forked child can use it too.

    Raises ``InvalidConfig`` for what can't be a variable, and where two sources would set the same name: nothing is
    leased then. (What a third party's integration names its values may be known only once there is a lease; then
    :meth:`download` and :meth:`run` find it out, and revoke what was leased.)
    """

    project: str
    environment: str
    name: str
    secrets: Mapping[str, str] = attrs.field(hash=False)
    dynamic_secrets: tuple[DynamicSecretConfig, ...]
    _manager: LeaseManager | None = attrs.field(eq=False, repr=False)

    def __init__(
        self,
        project: str,
        environment: str,
        name: str,
        secrets: Mapping[str, str] = MappingProxyType({}),
        dynamic_secrets: Iterable[DynamicSecretConfig] = (),
        *,
        manager: LeaseManager | None = None,
    ) -> None:
        check_manager(manager)
        self.__attrs_init__(
            _check_label("project", project),
            _check_label("environment", environment),
            _check_label("name", name),
            _check_secrets(secrets),
            _check_dynamic_secrets(dynamic_secrets),
            manager,
        )

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be pickled: that would write the values down."""
        msg = f"a SecretsConfig can't be pickled, since it holds secrets; make that of {self._title} in each process"
        raise TypeError(msg)

    def __copy__(self) -> Self:
        """Return itself: it can't change."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself."""
        return self

    def __attrs_post_init__(self) -> None:
        """Refuse names that two sources would set."""
        names = _Names(self.secrets)
        for position, config in enumerate(self.dynamic_secrets, 1):
            if any(config.name == other.name for other in self.dynamic_secrets[: position - 1]):
                raise InvalidConfig(f"two dynamic secrets are called {config.name}; give each a name of its own")
            suffixes = _LEASE_SUFFIXES | config.integration.value_suffixes
            names.take(f"the dynamic secret {config.name}", (f"{config.name}_{suffix}" for suffix in sorted(suffixes)))

    @property
    def manager(self) -> LeaseManager:
        """The manager that leases are issued with: the one given, else the default one."""
        return default_manager() if self._manager is None else self._manager

    def static_values(self) -> dict[str, str]:
        """Return what needs no lease, as plain text: the static secrets, and the names of project and config."""
        values = {key: str.__str__(value) for key, value in self.secrets.items()}
        return {**values, **self._labels()}

    def lease_all(self, ttl: TTL | None, *, held: bool, names: Iterable[str] | None = None) -> dict[str, Lease]:
        """Lease one credential of each dynamic secret, or of those named, at the same time; all of them or none.

        What :meth:`download` and :meth:`run` stand on: it refuses names that clash, too, which a third party's
        integration may make known only now. With ``held`` the leases end with this process, if not before.
        """
        chosen = None if names is None else set(names)
        wanted = [each for each in self.dynamic_secrets if chosen is None or each.name in chosen]
        engine = engine_of(self.manager)
        leases = lease_all(engine, wanted, ttl, held=held)
        taken = _Names(self.secrets)
        try:
            for name, lease in leases.items():
                taken.take(f"the dynamic secret {name}", lease)
        except BaseException as error:
            try:
                revoke_all(engine, leases.values())
            except DynsecretsError as failure:
                logger.error("%s", failure)
                error.add_note(str(failure))
            raise
        return leases

    def download(
        self,
        include_dynamic_secrets: bool = True,  # noqa: FBT001, FBT002 - as Doppler's API has it.
        dynamic_secrets_ttl_sec: TTL | None = None,
    ) -> Secrets:
        """Return the static values, plus one fresh lease of each dynamic secret, sorted by key.

        ``dynamic_secrets_ttl_sec`` is the TTL of the leases: whole seconds, or as any other TTL a ``timedelta`` or text
        (``"3h"``); ``None`` means each dynamic secret's default. The leases outlive the call, and the process where the
        store does; they are revoked at their TTL, or by ``Secrets.revoke()``. Without ``include_dynamic_secrets``
        nothing is leased and nothing called; a TTL is checked all the same.

        If one of the leases can't be had, the others are revoked and its error is raised. Raises ``InvalidTTL`` before
        anything is leased, then what ``LeaseManager.issue`` does. Thread-safe.
        """
        if not isinstance(include_dynamic_secrets, bool):
            raise InvalidConfig(
                f"include_dynamic_secrets {safe_repr(include_dynamic_secrets)} is not accepted; give True or False"
            )
        check_ttl(self.dynamic_secrets, dynamic_secrets_ttl_sec)
        values = {**self.secrets, **self._labels()}
        if not include_dynamic_secrets or not self.dynamic_secrets:
            return Secrets(values, {}, title=self._title, engine=None)
        leases = self.lease_all(dynamic_secrets_ttl_sec, held=False)
        for lease in leases.values():
            values.update(lease)
        return Secrets(values, leases, title=self._title, engine=engine_of(self.manager))

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        dynamic_ttl: TTL | None = None,
        env: Mapping[str, str] | None = None,
        preserve_env: bool | Iterable[str] = False,
        aws: bool | str | None = None,
        renew: bool = False,
    ) -> int:
        """Run a command with the values in its environment; return its exit status once its leases are revoked."""
        from dynsecrets.child_process.runner import run_child

        return run_child(self, argv, dynamic_ttl=dynamic_ttl, env=env, preserve_env=preserve_env, aws=aws, renew=renew)

    @property
    def _title(self) -> str:
        return f"{self.project}/{self.environment}/{self.name}"

    def _labels(self) -> dict[str, str]:
        """Return the variables that say which config it is."""
        return {_PROJECT: self.project, _ENVIRONMENT: self.environment, _CONFIG: self.name}
