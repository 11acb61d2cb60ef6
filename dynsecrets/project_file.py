"""``dynsecrets.toml``: found, read and checked, and made into the library's own objects when they are asked for.

What a command doesn't need isn't touched: a listing of leases reads neither policies nor the environment variables of
static secrets, and nothing here calls AWS.
"""

from __future__ import annotations

import os
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from dynsecrets._internal.cleanup import run_cleanup
from dynsecrets._internal.messages import did_you_mean, safe_repr
from dynsecrets.delivery.project_schema import bare, check_project, dotted
from dynsecrets.errors import DynsecretsError, InvalidConfig
from dynsecrets.integrations.registry import integration_class
from dynsecrets.model.config import UNSET, DynamicSecretConfig, Unset
from dynsecrets.model.options import FILE, option_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from dynsecrets.delivery.secrets_config import SecretsConfig
    from dynsecrets.engine.manager import LeaseManager
    from dynsecrets.leasing.lease_context import LeaseContext
    from dynsecrets.leasing.renewer import LeaseRenewer
    from dynsecrets.model.config import Wait
    from dynsecrets.model.events import LeaseEvent
    from dynsecrets.model.integration import Integration
    from dynsecrets.model.lease import Lease
    from dynsecrets.model.ttl import TTL
    from dynsecrets.stores.base import LeaseStore

NAME: Final = "dynsecrets.toml"
VARIABLE: Final = "DYNSECRETS_CONFIG_FILE"
#: A file that does: what to show to whoever has none.
MINIMAL: Final = """\
project = "my-project"
environment = "dev"
config = "dev"

[integrations.aws]
type = "aws-iam"

[dynamic_secrets.AWS_USER]
integration = "aws"
policy = "app-policy.json"
"""
_LARGEST: Final = 1024 * 1024


class ProjectNotFound(InvalidConfig):
    """There is no ``dynsecrets.toml``; the message says where it was looked for, ``hint`` is one to begin with."""

    hint = MINIMAL


def find_project_file(path: str | os.PathLike[str] | None = None, *, start: Path | None = None) -> Path:
    """Return the path of the project's file.

    That is ``path``, else the one that ``DYNSECRETS_CONFIG_FILE`` names, else the nearest ``dynsecrets.toml`` in
    ``start`` (by default the working directory) or a folder above it. Raises ``ProjectNotFound``; and
    ``InvalidConfig`` for a file above that belongs to another user (POSIX), since it would decide what is run and
    with what.
    """
    if path is not None:
        return Path(path)
    if named := os.environ.get(VARIABLE):
        return Path(named)
    try:
        folder = Path.cwd() if start is None else start
    except OSError as exc:
        raise ProjectNotFound(
            f"the working directory can't be read ({exc.strerror}); name a file with --config"
        ) from exc
    for above in (folder, *folder.parents):
        found = above / NAME
        if found.is_file():
            if above != folder:
                _check_owner(found)
            return found
    raise ProjectNotFound(
        f"there is no {NAME} in {folder} or a folder above it; make one, or name one with --config FILE or {VARIABLE}"
    )


def open_project(
    path: str | os.PathLike[str] | None = None,
    *,
    on_event: Iterable[Callable[[LeaseEvent], object]] | Callable[[LeaseEvent], object] = (),
) -> Project:
    """Read ``dynsecrets.toml`` and return the project that it describes.

    Args:
        path: The file. By default the one that the environment variable ``DYNSECRETS_CONFIG_FILE`` names, else the
            nearest ``dynsecrets.toml`` in the working directory or a folder above it.
        on_event: One callable or several, which get the events of the project's manager.

    Returns:
        The project. Nothing is called, leased or opened before it is asked for.

    Raises:
        InvalidConfig: There is no file, it can't be read, or something in it is wrong. The message names the file, the
            table and the key, and never a value.
    """
    file = find_project_file(path)
    return Project(file, check_project(_load(file), str(file)), on_event=on_event)


class Project:
    """What a ``dynsecrets.toml`` describes; :func:`~dynsecrets.open_project` returns it.

    Its parts are made when they are first asked for. A context manager: leaving it closes the manager and the store,
    and doesn't revoke leases that outlive the process. Not for several threads at once.

    Attributes:
        path: The file.
        name: The project's name.
        environment: The environment's name.
        config: The name of the secrets config.
        store_url: The file's ``store``, or ``None``.
    """

    def __init__(
        self,
        path: Path,
        tables: Mapping[str, Any],
        *,
        on_event: Iterable[Callable[[LeaseEvent], object]] | Callable[[LeaseEvent], object] = (),
    ) -> None:
        self.path: Final = path
        self.name: Final[str] = tables["project"]
        self.environment: Final[str] = tables["environment"]
        self.config: Final[str] = tables["config"]
        self.store_url: Final[str | None] = tables.get("store")
        self._tables = tables
        self._on_event = on_event

    @cached_property
    def integrations(self) -> dict[str, Integration]:
        """The integrations, by name. Nothing is called, and boto3 isn't loaded."""
        return {name: self._integration(name, dict(table)) for name, table in self._tables["integrations"].items()}

    @cached_property
    def dynamic_secrets(self) -> dict[str, DynamicSecretConfig]:
        """The dynamic secrets, by name; their policies are read here."""
        return {
            name: self._dynamic_secret(name, dict(table)) for name, table in self._tables["dynamic_secrets"].items()
        }

    @cached_property
    def store(self) -> LeaseStore:
        """The store: what ``DYNSECRETS_STORE`` names, else the file's, relative to it, else the user's own.

        Raises:
            InvalidConfig: The URL doesn't name a store.
        """
        from dynsecrets.stores import VARIABLE as STORE_VARIABLE
        from dynsecrets.stores import open_store

        if self.store_url is None or os.environ.get(STORE_VARIABLE):
            return open_store()
        try:
            return open_store(self.store_url, base=self.path.absolute().parent)
        except DynsecretsError as exc:
            raise InvalidConfig(f"{self.path}: store: {exc}") from exc

    @cached_property
    def manager(self) -> LeaseManager:
        """The manager of the project's leases; it knows the integrations."""
        from dynsecrets.engine.manager import LeaseManager

        return LeaseManager(self.store, integrations=self.integrations.values(), on_event=self._on_event)

    @cached_property
    def secrets_config(self) -> SecretsConfig:
        """The secrets config; environment variables of static secrets are read here.

        Raises:
            InvalidConfig: A variable is not set, or two sources would set the same name.
        """
        from dynsecrets.delivery.secrets_config import SecretsConfig

        values = {
            key: self._value(given, f"{self.path}: [secrets] {bare(key)}")
            for key, given in self._tables["secrets"].items()
        }
        dynamic = list(self.dynamic_secrets.values())
        try:
            return SecretsConfig(self.name, self.environment, self.config, values, dynamic, manager=self.manager)
        except DynsecretsError as exc:
            raise InvalidConfig(f"{self.path}: {exc}") from exc

    def dynamic_secret(self, name: str) -> DynamicSecretConfig:
        """Return a dynamic secret by name.

        Args:
            name: The name of its table.

        Returns:
            The dynamic secret, with its policy read.

        Raises:
            InvalidConfig: The file has no such dynamic secret; the message names the nearest one.
        """
        if name not in self._tables["dynamic_secrets"]:
            near = did_you_mean(name, self._tables["dynamic_secrets"])
            raise InvalidConfig(f"{self.path} has no dynamic secret {safe_repr(name)}{near}")
        return self.dynamic_secrets[name]

    def lease(
        self,
        name: str,
        ttl: TTL | None = None,
        *,
        wait: Wait | Unset = UNSET,
        metadata: Mapping[str, Any] | None = None,
    ) -> LeaseContext:
        """Return a context manager that leases a dynamic secret for the block, as :func:`~dynsecrets.lease` does.

        Args:
            name: The dynamic secret's name.
            ttl: How long the lease lives at the most; ``None`` means the dynamic secret's default.
            wait: When the lease is handed over; by default as the file says.
            metadata: What is kept with the record.

        Returns:
            The context manager; it decorates functions too.

        Raises:
            InvalidConfig: The file has no such dynamic secret, or an argument is not accepted.
            InvalidTTL: ``ttl`` is not a TTL, or is over the dynamic secret's maximum.
        """
        from dynsecrets.leasing.lease_context import lease

        return lease(self.dynamic_secret(name), ttl, manager=self.manager, wait=wait, metadata=metadata)

    def renewing(
        self,
        name: str,
        ttl: TTL | None = None,
        *,
        overlap: TTL | None = None,
        on_renew: Callable[[Lease], object] | None = None,
        on_error: Callable[[BaseException], object] | None = None,
    ) -> LeaseRenewer:
        """Return a context manager that keeps a lease fresh for the block, as :func:`~dynsecrets.renewing` does.

        Args:
            name: The dynamic secret's name.
            ttl: How long each lease lives; ``None`` means the dynamic secret's default.
            overlap: How long an old lease goes on when a new one has taken its place.
            on_renew: Gets each new lease.
            on_error: Gets the exception of each failed attempt.

        Returns:
            The renewer; its ``current`` is the lease to use.

        Raises:
            InvalidConfig: The file has no such dynamic secret, or an argument is not accepted.
            InvalidTTL: ``ttl`` or ``overlap`` is not a TTL, or too long.
        """
        from dynsecrets.leasing.renewing import renewing

        return renewing(
            self.dynamic_secret(name),
            ttl,
            manager=self.manager,
            overlap=overlap,
            on_renew=on_renew,
            on_error=on_error,
        )

    def configs_of(self, integration: str) -> list[DynamicSecretConfig]:
        """Return the dynamic secrets of an integration.

        Args:
            integration: The integration's name.

        Returns:
            The dynamic secrets in the file's order; an empty list if there are none.
        """
        return [config for config in self.dynamic_secrets.values() if config.integration.name == integration]

    def close(self) -> None:
        """Stop the manager's background work and close the store, where they were used."""
        made = vars(self)
        if "manager" in made:
            self.manager.close()
        if "store" in made:
            self.store.close()

    def __enter__(self) -> Self:
        """Return the project."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the project; an error of the block is not masked by one of closing."""
        run_cleanup(self.close, error)

    def __repr__(self) -> str:
        """Show the file."""
        return f"<Project {self.name}/{self.environment}/{self.config} of {self.path}>"

    def _integration(self, name: str, table: dict[str, Any]) -> Integration:
        where = f"{self.path}: {dotted('integrations', name)}"
        integration = integration_class(table.pop("type"))
        arguments = {key: self._value(value, f"{where}: {key}") for key, value in table.items()}
        try:
            return integration(name, **arguments)
        except DynsecretsError as exc:
            raise InvalidConfig(f"{where}: {exc}") from exc
        except Exception as exc:
            wrong = type(exc).__name__
        # Raised outside of the handler: what others say of their arguments may quote a secret.
        raise InvalidConfig(f"{where}: {integration.__name__} refuses what it was given: {wrong}")

    def _dynamic_secret(self, name: str, table: dict[str, Any]) -> DynamicSecretConfig:
        where = f"{self.path}: {dotted('dynamic_secrets', name)}"
        integration = self.integrations[table.pop("integration")]
        for key, field in option_fields(integration.options_type).items():
            if field.metadata.get(FILE) and isinstance(table.get(key), str):
                table[key] = self.path.parent / table[key]
        # TOML has no null.
        if table.get("wait") == "none":
            table["wait"] = None
        try:
            return DynamicSecretConfig(name, integration, **table)
        except DynsecretsError as exc:
            raise InvalidConfig(f"{where}: {exc}") from exc

    def _value(self, given: Any, where: str) -> Any:
        """Return a value of the file, or the one of the environment variable that it names."""
        if not isinstance(given, dict) or given.keys() != {"env"}:
            return given
        variable = given["env"]
        try:
            value = os.environ.get(variable)
        except (TypeError, ValueError, UnicodeError):  # What no variable can be called.
            value = None
        if value is None:
            raise InvalidConfig(f"{where}: the environment variable {bare(variable)} is not set")
        return value


def _check_owner(file: Path) -> None:
    """Refuse a file of another user than this one and root, where users are told apart."""
    if sys.platform == "win32":
        return
    owner = file.stat().st_uid
    if owner not in (0, os.geteuid()):
        raise InvalidConfig(
            f"{file} belongs to another user (uid {owner}), so it isn't used by itself; if you trust it, name it with "
            f"--config or {VARIABLE}"
        )


def _load(file: Path) -> dict[str, Any]:
    """Parse the file."""
    import tomllib

    try:
        with open(file, "rb") as opened:
            data = opened.read(_LARGEST + 1)
    except FileNotFoundError:
        raise ProjectNotFound(f"{file} doesn't exist") from None
    except (OSError, ValueError) as exc:
        if file.is_dir():
            raise InvalidConfig(f"{file} is a folder; name the file in it") from None
        raise InvalidConfig(f"{file} can't be read: {getattr(exc, 'strerror', None) or exc}") from exc
    if len(data) > _LARGEST:
        raise InvalidConfig(f"{file} is larger than a mebibyte")
    # Raised outside of the handlers: these errors hold the text of the file, which may have secrets in it.
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as exc:
        wrong = f": line {data.count(10, 0, exc.start) + 1} is not UTF-8"
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        wrong = f" is not valid TOML: {exc}"
    raise InvalidConfig(f"{file}{wrong}")
