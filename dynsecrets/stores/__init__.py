"""Where lease records live, and how a store is named by a URL."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dynsecrets.stores.base import LeaseStore

VARIABLE: Final = "DYNSECRETS_STORE"
ACCEPTED: Final = (
    "memory://, sqlite:///relative/path.db, sqlite:////absolute/path.db, or "
    "dynamodb://table?region=eu-west-1&endpoint_url=http://127.0.0.1:8000 (both parameters are optional)"
)
#: The schemes, with the parameters that each takes.
_PARAMETERS: Final[dict[str, tuple[str, ...]]] = {
    "memory": (),
    "sqlite": (),
    "dynamodb": ("region", "endpoint_url"),
}


def open_store(url: str | None = None, *, base: Path | None = None) -> LeaseStore:
    """Return the store that a URL names. Nothing is opened before the store's first use.

    Args:
        url: ``memory://``, ``sqlite:///path`` (``sqlite:////path`` for an absolute one, with %-escapes), or
            ``dynamodb://table?region=…&endpoint_url=…``. Without it the environment variable ``DYNSECRETS_STORE``
            decides, and without that it is the SQLite store in the user's state folder.
        base: The folder that a relative path in ``url`` starts from; by default, and always for the variable, the
            working directory.

    Returns:
        The store.

    Raises:
        InvalidConfig: The URL is not one of these.
    """
    if url is not None:
        return _open(url, "store URL", base)
    if named := os.environ.get(VARIABLE):
        return _open(named, VARIABLE, None)
    from dynsecrets.stores.sqlite.store import SQLiteLeaseStore

    return SQLiteLeaseStore()


def _open(url: object, what: str, base: Path | None) -> LeaseStore:
    if not isinstance(url, str):
        raise InvalidConfig(f"{what} {safe_repr(url)} is not text: give {ACCEPTED}")
    scheme, separator, rest = url.partition("://")
    shown = f"{what} {_show(scheme, separator, rest)}"
    if scheme not in _PARAMETERS or not separator:
        raise InvalidConfig(f"{shown} names no store{_guess(scheme, _PARAMETERS, '://')}: give {ACCEPTED}")
    address, _, query = rest.partition("?")
    parameters = _parameters(query, shown, _PARAMETERS[scheme])
    if scheme == "sqlite":
        return _open_sqlite(address, shown, base)
    if scheme == "dynamodb":
        if not address or "/" in address or "@" in address:
            raise InvalidConfig(f"{shown} names no table: give {ACCEPTED}")
        from dynsecrets.stores.dynamodb.store import DynamoDBLeaseStore

        return DynamoDBLeaseStore(address, region=parameters.get("region"), endpoint_url=parameters.get("endpoint_url"))
    if address:
        raise InvalidConfig(f"{shown} names something, and memory has no names: give {ACCEPTED}")
    from dynsecrets.stores.memory import MemoryLeaseStore

    return MemoryLeaseStore()


def _open_sqlite(address: str, shown: str, base: Path | None) -> LeaseStore:
    """Open the store at what follows the two slashes: a slash, then the path."""
    from pathlib import Path
    from urllib.parse import unquote

    from dynsecrets.stores.sqlite.store import SQLiteLeaseStore

    try:
        path = unquote(address[1:], errors="strict")
    except UnicodeDecodeError:
        raise InvalidConfig(f"{shown} has %-escapes that are not UTF-8: give {ACCEPTED}") from None
    if not path or not address.startswith("/"):
        raise InvalidConfig(
            f"{shown} names no file: three slashes begin a relative path, four an absolute one; give {ACCEPTED}"
        )
    # This name must reach the store as it is, to be refused there.
    return SQLiteLeaseStore(path if base is None or path == ":memory:" else Path(base) / path)


def _parameters(query: str, shown: str, known: tuple[str, ...]) -> dict[str, str]:
    """Read what follows the question mark."""
    from urllib.parse import parse_qsl

    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            accepted = f"it takes {' and '.join(known)}" if known else "it takes none (write %3F for a question mark)"
            raise InvalidConfig(f"{shown} has an unknown parameter {safe_repr(name)}{_guess(name, known)}: {accepted}")
        if name in parameters or not value:
            raise InvalidConfig(f"{shown} must have one value for {name}, or leave it out")
        parameters[name] = value
    return parameters


def _guess(given: str, known: Iterable[str], suffix: str = "") -> str:
    """Return the nearest of the known words as a question, or nothing."""
    from difflib import get_close_matches

    near = get_close_matches(given.lower(), known, n=1)
    return f" (did you mean {near[0]}{suffix}?)" if near and near[0] != given else ""


def _show(scheme: str, separator: str, rest: str) -> str:
    """Quote a URL without what may be a password: its parameters, and all of a URL for something else."""
    if separator and (scheme not in _PARAMETERS or (scheme == "dynamodb" and "@" in rest)):
        return safe_repr(f"{scheme}://...")
    return safe_repr(scheme + separator + rest.partition("?")[0])
