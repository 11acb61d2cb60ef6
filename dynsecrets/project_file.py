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
from dynsecrets.delivery.project_schema import (
    DYNAMIC_SECRET,
    INTEGRATION,
    PROJECT,
    TYPES,
    bare,
    check_keys,
    check_table,
    check_tables,
    dotted,
    kind,
    require,
)
from dynsecrets.errors import DynsecretsError, InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from dynsecrets.delivery.secrets_config import SecretsConfig
    from dynsecrets.engine.manager import LeaseManager
    from dynsecrets.model.config import DynamicSecretConfig
    from dynsecrets.model.events import LeaseEvent
    from dynsecrets.model.integration import Integration
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

    ``path`` is found by :func:`find_project_file`; ``on_event`` is given to the project's manager. Every key is
    checked here. Raises ``InvalidConfig``, whose message names the file, the table and the key, and no value.
    """
    file = find_project_file(path)
    return Project(file, _checked(_load(file), file), on_event=on_event)


class Project:
    """What a ``dynsecrets.toml`` describes. Its parts are made when they are first asked for.

    ``path`` is the file, ``name``, ``environment`` and ``config`` say which secrets config it is, ``store_url`` is the
    file's ``store`` or ``None``. A context manager: leaving it closes the manager and the store, and leaves leases
    that outlive the process alone. Not for several threads at once.
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
        """The store: what ``DYNSECRETS_STORE`` names, else the file's, relative to it, else the user's own."""
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
        """The secrets config; environment variables of static secrets are read here."""
        from dynsecrets.delivery.secrets_config import SecretsConfig

        values = {key: self._static(key, given) for key, given in self._tables["secrets"].items()}
        dynamic = list(self.dynamic_secrets.values())
        try:
            return SecretsConfig(self.name, self.environment, self.config, values, dynamic, manager=self.manager)
        except DynsecretsError as exc:
            raise InvalidConfig(f"{self.path}: {exc}") from exc

    def dynamic_secret(self, name: str) -> DynamicSecretConfig:
        """Return a dynamic secret by name. Raises ``InvalidConfig`` that names the nearest one."""
        if name not in self._tables["dynamic_secrets"]:
            near = did_you_mean(name, self._tables["dynamic_secrets"])
            raise InvalidConfig(f"{self.path} has no dynamic secret {safe_repr(name)}{near}")
        return self.dynamic_secrets[name]

    def configs_of(self, integration: str) -> list[DynamicSecretConfig]:
        """Return the dynamic secrets of an integration."""
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
        from dynsecrets.model.integration import Integration

        where = f"{self.path}: {dotted('integrations', name)}"
        del table["type"]
        options = table.pop("botocore_config", None)
        if options is not None:
            table["botocore_config"] = _botocore_config(options, f"{where}: botocore_config")
        try:
            return Integration.aws_iam(name, **table)
        except DynsecretsError as exc:
            raise InvalidConfig(f"{where}: {exc}") from exc

    def _dynamic_secret(self, name: str, table: dict[str, Any]) -> DynamicSecretConfig:
        from dynsecrets.model.config import DynamicSecretConfig

        where = f"{self.path}: {dotted('dynamic_secrets', name)}"
        integration = self.integrations[table.pop("integration")]
        if isinstance(table.get("policy"), str):
            table["policy"] = self.path.parent / table["policy"]
        # TOML has no null.
        if table.get("wait") == "none":
            table["wait"] = None
        try:
            return DynamicSecretConfig(name, integration, **table)
        except DynsecretsError as exc:
            raise InvalidConfig(f"{where}: {exc}") from exc

    def _static(self, key: str, given: str | Mapping[str, str]) -> str:
        if isinstance(given, str):
            return given
        variable = given["env"]
        try:
            value = os.environ.get(variable)
        except (ValueError, UnicodeError):  # What no variable can be called.
            value = None
        if value is None:
            raise InvalidConfig(
                f"{self.path}: [secrets] {bare(key)}: the environment variable {bare(variable)} is not set"
            )
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
        wrong = f" is not TOML: {exc}"
    raise InvalidConfig(f"{file}{wrong}")


def _checked(tables: dict[str, Any], file: Path) -> dict[str, Any]:
    """Check every key of the file, and what each refers to."""
    checked = check_table(tables, PROJECT, str(file))
    require(checked, ("project", "environment", "config"), str(file))
    checked = {"integrations": {}, "dynamic_secrets": {}, "secrets": {}, **checked}
    integrations = check_tables(checked["integrations"], str(file), "integrations")
    for name, table in integrations.items():
        where = f"{file}: {dotted('integrations', name)}"
        check_table(table, INTEGRATION, where)
        require(table, ("type",), where)
        if table["type"] not in TYPES:
            raise InvalidConfig(f"{where}: unknown type {safe_repr(table['type'])}{did_you_mean(table['type'], TYPES)}")
    for name, table in check_tables(checked["dynamic_secrets"], str(file), "dynamic_secrets").items():
        where = f"{file}: {dotted('dynamic_secrets', name)}"
        check_table(table, DYNAMIC_SECRET, where)
        require(table, ("integration",), where)
        if table["integration"] not in integrations:
            near = did_you_mean(table["integration"], integrations)
            raise InvalidConfig(f"{where}: there is no [integrations] table {safe_repr(table['integration'])}{near}")
        if table.get("wait", "usable") not in ("usable", "none"):
            raise InvalidConfig(f'{where}: wait must be "usable" or "none"')
    for key, given in checked["secrets"].items():
        where = f"{file}: [secrets] {bare(key)}"
        if isinstance(given, dict):
            require(check_keys(given, ("env",), where), ("env",), where)
        variable = given["env"] if isinstance(given, dict) else given
        if not isinstance(variable, str) or (isinstance(given, dict) and not variable):
            raise InvalidConfig(f'{where} must be text or {{ env = "NAME" }}, not {kind(variable)}')
    return checked


def _botocore_config(options: dict[str, Any], where: str) -> Any:
    """Make a ``botocore.config.Config``."""
    from botocore.config import Config

    check_keys(options, Config.OPTION_DEFAULTS, where)
    try:
        return Config(**options)
    except Exception as exc:
        wrong = type(exc).__name__
    # Raised outside of the handler: botocore's errors quote what they got, and a proxy's URL may hold a password.
    raise InvalidConfig(f"{where} is refused by botocore: {wrong}")
