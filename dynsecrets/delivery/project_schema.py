"""Checks of the tables of ``dynsecrets.toml``: which keys there are, of which types, and which one was meant.

Pure. A value of a file may be a secret, so messages name keys and types, never values.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from dynsecrets._internal.messages import did_you_mean, safe_repr
from dynsecrets.errors import InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: What a key of the file holds: the Python types that TOML's become, and what they are called in messages.
Kind: TypeAlias = tuple[tuple[type[Any], ...], str]
TEXT: Final[Kind] = ((str,), "text")
FLAG: Final[Kind] = ((bool,), "true or false")
NUMBER: Final[Kind] = ((int,), "a whole number")
TABLE: Final[Kind] = ((dict,), "a table")
TTL: Final[Kind] = ((int, str), 'a TTL, like "30m" or 1800')
LIST: Final[Kind] = ((list,), "a list of texts")
TEXT_OR_TABLE: Final[Kind] = ((str, dict), "the name of a file, or a table")

#: The keys of the file itself, of an integration (the arguments of ``Integration.aws_iam``) and of a dynamic secret
#: (those of ``DynamicSecretConfig``).
PROJECT: Final[dict[str, Kind]] = {
    "project": TEXT,
    "environment": TEXT,
    "config": TEXT,
    "store": TEXT,
    "integrations": TABLE,
    "dynamic_secrets": TABLE,
    "secrets": TABLE,
}
INTEGRATION: Final[dict[str, Kind]] = {
    "type": TEXT,
    "profile": TEXT,
    "access_key_id": TEXT,
    "secret_access_key": TEXT,
    "session_token": TEXT,
    "region": TEXT,
    "endpoint_url": TEXT,
    "botocore_config": TABLE,
    "path": TEXT,
    "username_prefix": TEXT,
    "policy_name_prefix": TEXT,
}
DYNAMIC_SECRET: Final[dict[str, Kind]] = {
    "integration": TEXT,
    "policy": TEXT_OR_TABLE,
    "default_ttl": TTL,
    "max_ttl": TTL,
    "expiry_guard": FLAG,
    "managed_policy_arns": LIST,
    "groups": LIST,
    "permissions_boundary": TEXT,
    "tags": TABLE,
    "max_active": NUMBER,
    "wait": TEXT,
    "wait_timeout": TTL,
}
#: Arguments that are Python objects and have no place in a file.
PYTHON_ONLY: Final = frozenset({"session"})
TYPES: Final = ("aws-iam",)
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def check_table(table: object, known: Mapping[str, tuple[tuple[type, ...], str]], where: str) -> dict[str, Any]:
    """Return a table if it has known keys of the right types only; raise ``InvalidConfig`` that says which has not."""
    checked = check_keys(table, known, where)
    for key, value in checked.items():
        types, words = known[key]
        # A boolean is an integer to Python, and never meant as one.
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise InvalidConfig(f"{where}: {key} must be {words}, not {kind(value)}")
    return checked


def check_keys(table: object, known: Iterable[str], where: str) -> dict[str, Any]:
    """Return a table if it has known keys only."""
    if not isinstance(table, dict):
        raise InvalidConfig(f"{where} must be a table, not {kind(table)}")
    accepted = list(known)
    for key in table:
        if key in PYTHON_ONLY and key not in accepted:
            raise InvalidConfig(f"{where}: {key} is an object of Python, which a file can't hold; use profile")
        if key not in accepted:
            raise InvalidConfig(f"{where}: unknown key {safe_repr(key)}{did_you_mean(key, accepted)}")
    return table


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
    """Return a key as TOML spells it; what is no bare key is quoted."""
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
