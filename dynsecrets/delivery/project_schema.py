"""Checks of the tables of ``dynsecrets.toml``: which keys there are, and which one was meant.

Which keys an integration's tables have is said by its class. Pure. A value of a file may be a secret, so messages name
keys and types, never values.
"""

from __future__ import annotations

import inspect
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from dynsecrets._internal.messages import did_you_mean, safe_repr
from dynsecrets.errors import InvalidConfig
from dynsecrets.integrations.registry import integration_class
from dynsecrets.model.config import GENERAL
from dynsecrets.model.options import option_fields

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from dynsecrets.model.integration import Integration

#: The keys of the file itself: the Python type that TOML's becomes, and what messages call it.
PROJECT: Final[Mapping[str, tuple[type[Any], str]]] = MappingProxyType(
    {
        "project": (str, "text"),
        "environment": (str, "text"),
        "config": (str, "text"),
        "store": (str, "text"),
        "integrations": (dict, "a table"),
        "dynamic_secrets": (dict, "a table"),
        "secrets": (dict, "a table"),
    }
)
#: Stands among the keys of a table that takes any.
ANY: Final = "**"
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def integration_keys(integration: type[Integration]) -> tuple[list[str], list[str]]:
    """Return the keys of an integration's table, and those of them that must be there.

    Beside ``type`` they are the arguments of the class but for the first, which is the table's name. A class that takes
    any keyword argument has ``**`` among its keys.
    """
    _, *arguments = inspect.signature(integration).parameters.values()
    known, required = ["type"], ["type"]
    for argument in arguments:
        if argument.kind is argument.VAR_KEYWORD:
            known.append(ANY)
        elif argument.kind in (argument.POSITIONAL_OR_KEYWORD, argument.KEYWORD_ONLY):
            known.append(argument.name)
            if argument.default is argument.empty:
                required.append(argument.name)
    return known, required


def dynamic_secret_keys(integration: type[Integration]) -> list[str]:
    """Return the keys of a dynamic secret's table: what every config takes, and the integration's options."""
    return ["integration", *GENERAL, *option_fields(integration.options_type)]


def check_project(tables: dict[str, Any], file: str) -> dict[str, Any]:
    """Return a file's tables, each of which is there, once every key and what it refers to is checked.

    Values are checked by those who get them. Raises ``InvalidConfig``.
    """
    check_keys(tables, PROJECT, file)
    for key, value in tables.items():
        needed, words = PROJECT[key]
        if not isinstance(value, needed):
            raise InvalidConfig(f"{file}: {key} must be {words}, not {kind(value)}")
    require(tables, ("project", "environment", "config"), file)
    checked = {"integrations": {}, "dynamic_secrets": {}, "secrets": {}, **tables}
    classes = {
        name: check_integration(table, f"{file}: {dotted('integrations', name)}")
        for name, table in check_tables(checked["integrations"], file, "integrations").items()
    }
    for name, table in check_tables(checked["dynamic_secrets"], file, "dynamic_secrets").items():
        check_dynamic_secret(table, classes, f"{file}: {dotted('dynamic_secrets', name)}")
    for key, given in checked["secrets"].items():
        check_secret(given, f"{file}: [secrets] {bare(key)}")
    return checked


def check_integration(table: dict[str, Any], where: str) -> type[Integration]:
    """Return the class of an integration's table if its keys are right."""
    require(table, ("type",), where)
    if not isinstance(table["type"], str):
        raise InvalidConfig(f"{where}: type must be text, not {kind(table['type'])}")
    try:
        integration = integration_class(table["type"])
    except InvalidConfig as exc:
        raise InvalidConfig(f"{where}: {exc}") from exc
    known, required = integration_keys(integration)
    check_keys(table, known, where)
    require(table, required, where)
    return integration


def check_dynamic_secret(table: dict[str, Any], classes: Mapping[str, type[Integration]], where: str) -> None:
    """Raise ``InvalidConfig`` unless the keys of a dynamic secret's table are right."""
    require(table, ("integration",), where)
    name = table["integration"]
    if not isinstance(name, str):
        raise InvalidConfig(f"{where}: integration must be text, not {kind(name)}")
    if name not in classes:
        near = did_you_mean(name, classes)
        raise InvalidConfig(f"{where}: there is no [integrations] table {safe_repr(name)}{near}")
    check_keys(table, dynamic_secret_keys(classes[name]), where)
    if table.get("wait", "usable") not in ("usable", "none"):
        raise InvalidConfig(f'{where}: wait must be "usable" or "none"')


def check_secret(given: object, where: str) -> None:
    """Raise ``InvalidConfig`` unless a static secret is text or names a variable."""
    if isinstance(given, dict):
        check_keys(given, ("env",), where)
        require(given, ("env",), where)
    variable = given["env"] if isinstance(given, dict) else given
    if not isinstance(variable, str) or (isinstance(given, dict) and not variable):
        raise InvalidConfig(f'{where} must be text or {{ env = "NAME" }}, not {kind(variable)}')


def check_keys(table: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise ``InvalidConfig`` for a key that isn't known."""
    for key in table:
        if key not in known and ANY not in known:
            raise InvalidConfig(f"{where}: unknown key {safe_repr(key)}{did_you_mean(key, known)}")


def check_tables(table: Mapping[str, Any], file: str, key: str) -> dict[str, dict[str, Any]]:
    """Return a table of tables, like ``[integrations]``."""
    for name, inner in table.items():
        if not isinstance(inner, dict):
            raise InvalidConfig(f"{file}: [{key}]: {safe_repr(name)} must be a table, [{key}.NAME], not {kind(inner)}")
    return dict(table)


def require(table: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    """Raise ``InvalidConfig`` where a table lacks one of the keys that it must have."""
    missing = [key for key in keys if key not in table]
    if missing:
        raise InvalidConfig(f"{where}: {' and '.join(missing)} must be given")


def dotted(*keys: str) -> str:
    """Return the name of a table as TOML spells it."""
    return f"[{'.'.join(map(bare, keys))}]"


def bare(key: str) -> str:
    """Return a key as TOML spells it; what is not a bare key is quoted."""
    return key if _BARE.fullmatch(key) else safe_repr(key)


def kind(value: object) -> str:
    """Name the type of a value of a TOML file, and nothing of the value."""
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a table",
    }
    return names.get(type(value), "a date or a time")
