"""A project's config: its static secrets, and the dynamic secrets that are attached to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NoReturn, Self

import attrs

from dynsecrets._internal.cleanup import run_cleanup
from dynsecrets._internal.messages import safe_repr
from dynsecrets.delivery.formats import is_unicode
from dynsecrets.delivery.name_transformers import rename, rename_variables
from dynsecrets.delivery.secrets import Secrets
from dynsecrets.engine.batch import check_ttl, lease_all, revoke_all
from dynsecrets.engine.manager import check_manager, default_manager, engine_of
from dynsecrets.errors import InvalidConfig
from dynsecrets.model.config import DynamicSecretConfig
from dynsecrets.model.masking import MaskedStr
from dynsecrets.model.naming import refuse_clashes

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from dynsecrets.engine.manager import LeaseManager
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
        raise InvalidConfig(f"the value of {name} is not Unicode text: it has half a surrogate pair; encode it first")
    return MaskedStr(str.__str__(value))


def _check_dynamic_secrets(configs: object) -> tuple[DynamicSecretConfig, ...]:
    if isinstance(configs, str | Mapping) or not isinstance(configs, Iterable):
        raise InvalidConfig(f"dynamic_secrets must be a list of DynamicSecretConfig objects, not {safe_repr(configs)}")
    checked = tuple(configs)
    for config in checked:
        if not isinstance(config, DynamicSecretConfig):
            raise InvalidConfig(f"dynamic_secrets must be DynamicSecretConfig objects, not {safe_repr(config)}")
    return checked


@attrs.frozen(init=False)
class SecretsConfig:
    """A project's config (``dev``, ``prd`` …): static secrets, plus the dynamic secrets attached to it.

    Immutable; equal configs are equal, whatever their managers. Its ``repr`` shows the names of its secrets; no value
    is in it, in its errors, or in pytest's explanation of a failed comparison. It can't be pickled. Safe to share
    between threads; a forked child can use it too.

    Args:
        project: The project's name, one line.
        environment: The environment's name.
        name: The config's own name.
        secrets: Static values by name: names of environment variables (``[A-Za-z_][A-Za-z0-9_]*``), and text without
            NUL.
        dynamic_secrets: :class:`~dynsecrets.DynamicSecretConfig` objects, each of which adds the values of a fresh
            lease.
        manager: The :class:`~dynsecrets.LeaseManager` to lease with; by default the one that ``lease()`` uses, made
            when it is first needed.

    Raises:
        InvalidConfig: Something can't be a variable, or two sources would set the same name. (How a third party's
            integration names its values may be known only once there is a lease; :meth:`download` and :meth:`run` find
            it out then, and revoke what was leased.)
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
        names: set[str] = set()
        for config in self.dynamic_secrets:
            if config.name in names:
                raise InvalidConfig(f"two dynamic secrets are called {config.name}; give each a name of its own")
            names.add(config.name)
        self._refuse_clashes(self._leased_names())

    @property
    def manager(self) -> LeaseManager:
        """The manager that leases are issued with: the one given, else the default one."""
        return default_manager() if self._manager is None else self._manager

    def download(
        self,
        include_dynamic_secrets: bool = True,  # noqa: FBT001, FBT002 - as Doppler's API has it.
        dynamic_secrets_ttl_sec: TTL | None = None,
        name_transformer: str | None = None,
    ) -> Secrets:
        """Return the static values, plus one fresh lease of each dynamic secret, sorted by key.

        The leases outlive the call, and the process too if the store does; they are revoked at their TTL, or by
        ``Secrets.revoke()``. If one of them can't be had, the others are revoked and its error is raised. Thread-safe.

        Args:
            include_dynamic_secrets: Whether to lease; ``False`` calls nobody.
            dynamic_secrets_ttl_sec: The TTL of the leases: whole seconds, a ``timedelta`` or text (``"3h"``); ``None``
                means each dynamic secret's default.
            name_transformer: How names are spelt, as for :meth:`Secrets.render`; ``None`` keeps them.

        Returns:
            The values, and the leases that some of them are of.

        Raises:
            InvalidTTL: Before anything is leased.
            InvalidConfig: An argument is not accepted, or two names become the same.
            DynsecretsError: What ``LeaseManager.issue`` raises.
        """
        if not isinstance(include_dynamic_secrets, bool):
            raise InvalidConfig(
                f"include_dynamic_secrets {safe_repr(include_dynamic_secrets)} is not accepted; give True or False"
            )
        check_ttl(self.dynamic_secrets, dynamic_secrets_ttl_sec)
        rename(self._known_names(), name_transformer)
        values = {**self.secrets, **self._labels()}
        if not include_dynamic_secrets or not self.dynamic_secrets:
            return Secrets(rename(values, name_transformer), {}, title=self._title, engine=None)
        engine = engine_of(self.manager)
        leases = lease_all(engine, self.dynamic_secrets, dynamic_secrets_ttl_sec, held=False)
        for lease in leases.values():
            values.update(lease)
        try:
            # A third party's integration may make known only now what it sets.
            self._refuse_clashes(leases)
            return Secrets(rename(values, name_transformer), leases, title=self._title, engine=engine)
        except BaseException as error:
            run_cleanup(partial(revoke_all, engine, leases.values()), error)
            raise

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        dynamic_ttl: TTL | None = None,
        env: Mapping[str, str] | None = None,
        preserve_env: bool | Iterable[str] = False,
        aws: bool | str | None = None,
        renew: bool = False,
        name_transformer: str | None = None,
    ) -> int:
        """Run a command with the values in its environment; revoke its leases when it has ended.

        Signals are passed on to the command, once each. One that asks to end and comes while leasing has everything
        revoked, and nothing is started; one that comes while revoking is noted, and a second one, half a second later
        or more, leaves the rest to the next reap. In a thread other than the main one Python lets nobody handle
        signals: the process's own handlers stay, and nothing is passed on. On Windows the console sends Ctrl-C to the
        command itself, and there are no jobs to stop and continue. Thread-safe.

        Args:
            argv: The command and its arguments; there is no shell.
            dynamic_ttl: The TTL of each lease, by default each dynamic secret's. A command that takes longer goes on
                without it, and a warning is logged.
            env: What stands for the parent's environment, by default ``os.environ``; as in ``subprocess`` it replaces
                it. The values win over it. AWS credentials in it never reach the command, unless ``preserve_env`` names
                them; a profile's name isn't a credential, and does.
            preserve_env: What of the parent's environment wins over the values: ``True`` for all, or the names.
            aws: The name of a dynamic secret (or ``True``, where there is just one) that the command also gets under
                the names that AWS SDKs read, with the integration's region and endpoint unless the environment has its
                own. What names other credentials (a profile, a role) is left out, and a shared file of AWS's whose
                default profile has credentials is hidden, unless ``preserve_env`` names the variable.
            renew: Whether the command gets them by an endpoint on loopback instead, which follows renewals for as long
                as it runs, and not as ``NAME_*`` values. ``aws`` needs not be given then where there is just one.
            name_transformer: How the names of the values are spelt, as for :meth:`Secrets.render`; what AWS SDKs read
                keeps its names. ``lower-kebab`` makes names that no environment can have.

        Returns:
            The command's exit status; 128+n if signal n ended it, 127 where it is not found and 126 where it can't be
            executed. A missing command is found out before anything is leased.

        Raises:
            InvalidConfig: For what can't be, before anything is leased.
            InvalidTTL: As above.
            DynsecretsError: What ``LeaseManager.issue`` raises (nothing was started then), and where the system can
                start no process (all is revoked).
            RevocationError: Where a lease is not revoked; it has the ``status``, and names each lease by its id.
        """
        from dynsecrets.child_process.run_options import RunOptions
        from dynsecrets.child_process.runner import run_child
        from dynsecrets.leasing.renewer import LeaseRenewer

        variables = partial(rename_variables, transformer=name_transformer)
        variables(self._known_names())
        engine = engine_of(self.manager)
        return run_child(
            argv,
            RunOptions(ttl=dynamic_ttl, env=env, preserve_env=preserve_env, aws=aws, renew=renew, rename=variables),
            static_values={**{key: str.__str__(value) for key, value in self.secrets.items()}, **self._labels()},
            dynamic_secrets=self.dynamic_secrets,
            engine=engine,
            make_renewer=partial(LeaseRenewer, engine=lambda: engine, on_error=None),
        )

    def _refuse_clashes(self, names: Mapping[str, Iterable[str]]) -> None:
        """Raise ``InvalidConfig`` where dynamic secrets set names that are taken. ``names`` are those of each."""
        dynamic = [(f"the dynamic secret {name}", values) for name, values in names.items()]
        refuse_clashes([("the config itself", self._labels()), ("the static secrets", self.secrets), *dynamic])

    def _leased_names(self) -> dict[str, list[str]]:
        """Return what leases will set as far as it is known, by the names of the dynamic secrets."""
        return {
            config.name: [f"{config.name}_{suffix}" for suffix in sorted(_LEASE_SUFFIXES | integration.value_suffixes)]
            for config in self.dynamic_secrets
            for integration in [config.integration]
        }

    def _known_names(self) -> dict[str, str]:
        """Return the names of all values, as far as they are known, each with itself."""
        names = [*self.secrets, *self._labels(), *chain(*self._leased_names().values())]
        return dict(zip(names, names, strict=True))

    @property
    def _title(self) -> str:
        return f"{self.project}/{self.environment}/{self.name}"

    def _labels(self) -> dict[str, str]:
        """Return the variables that say which config it is."""
        return {_PROJECT: self.project, _ENVIRONMENT: self.environment, _CONFIG: self.name}
