"""The options of the pytest plugin, read and checked; and the store that they name."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from dynsecrets.stores.base import LeaseStore

_STORE = "dynsecrets_store"
_TTL = "dynsecrets_ttl"
_PREFETCH = "dynsecrets_prefetch"
#: Each ready lease is an IAM user of the account's 5,000.
_MOST_AHEAD = 100


class Options(NamedTuple):
    """What was set, checked."""

    store: str | None
    #: Where a relative path in ``store`` starts from.
    base: Path
    #: Whether ``store`` was given on the command line, and not in a file.
    explicit: bool
    ttl: timedelta | None
    prefetch: int


def read_options(config: pytest.Config) -> Options:
    """Return what was set. Raises ``pytest.UsageError`` for what can't be."""
    return Options(*_read_store(config), _read_ttl(config), _read_prefetch(config))


def make_store(config: pytest.Config, options: Options) -> LeaseStore:
    """Return the store of the records: as said on the command line, else by ``DYNSECRETS_STORE``, else in a file.

    By default that is a SQLite file in pytest's cache folder; without one (``-p no:cacheprovider``, or a folder that
    can't be written) it is the library's own default, in the user's state folder, which later runs look into, too.
    """
    from dynsecrets.stores import VARIABLE, open_store

    if options.store is not None and (options.explicit or not os.environ.get(VARIABLE)):
        return open_store(options.store, base=options.base)
    folder = None if os.environ.get(VARIABLE) else _cache_folder(config)
    if folder is None:
        return open_store()
    from dynsecrets.stores.sqlite.store import SQLiteLeaseStore

    return SQLiteLeaseStore(folder / "leases.db")


def _cache_folder(config: pytest.Config) -> Path | None:
    """Return a folder in pytest's cache that ``--cache-clear`` leaves alone; ``None`` where there is no cache.

    The records may be all that knows of a user. And each worker of pytest-xdist clears the cache when it starts, while
    others have begun to write.
    """
    cache = getattr(config, "cache", None)
    if cache is None:
        return None
    try:
        # What is cleared are the folders <cache>/d and <cache>/v.
        cleared: Path = cache.mkdir("dynsecrets")
        kept = cleared.parent.parent / "dynsecrets"
        kept.mkdir(exist_ok=True)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        cleared.rmdir()
    return kept


def _given(config: pytest.Config, name: str) -> tuple[str | None, str]:
    """Return an option's text, and what to call it in a message."""
    text = config.getoption(name)
    if text is not None:
        return str(text), f"--{name.replace('_', '-')}"
    return str(config.getini(name)) or None, name


def _read_store(config: pytest.Config) -> tuple[str | None, Path, bool]:
    url, what = _given(config, _STORE)
    explicit = what != _STORE
    base = config.invocation_params.dir if explicit else (config.inipath or config.rootpath / "x").parent
    if url is not None:
        from dynsecrets.errors import DynsecretsError
        from dynsecrets.stores import open_store

        try:
            open_store(url, base=base)
        except DynsecretsError as error:
            raise pytest.UsageError(f"{what}: {error}") from None
    return url, base, explicit


def _read_ttl(config: pytest.Config) -> timedelta | None:
    text, what = _given(config, _TTL)
    if text is None:
        return None
    from dynsecrets.errors import InvalidTTL
    from dynsecrets.model.ttl import parse_ttl

    try:
        return parse_ttl(text, what=what)
    except InvalidTTL as error:
        raise pytest.UsageError(str(error)) from None


def _read_prefetch(config: pytest.Config) -> int:
    text, what = _given(config, _PREFETCH)
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and int(text) <= _MOST_AHEAD):
        raise pytest.UsageError(f"{what} {text!r} is not accepted; give a whole number from 0 to {_MOST_AHEAD}")
    return int(text)
