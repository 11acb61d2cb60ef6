"""The files of a store in SQLite: who may read them, how they are opened, and what is said when that fails."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import time
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from dynsecrets._internal.log import logger
from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig, StoreError
from dynsecrets.stores.sqlite.schema import bring_up_to_date

#: How many seconds a call waits for other processes' writes to end.
BUSY_TIMEOUT: Final = 30.0
_OWNER_ONLY_FILE: Final = 0o600
_OWNER_ONLY_FOLDER: Final = 0o700
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_BESIDE: Final = ("", "-wal", "-shm", "-journal")
_KEPT_OPEN: Final = ("", "-wal", "-shm")
#: Device and inode of each file that is kept open, ``None`` for what isn't there.
Identity: TypeAlias = "tuple[tuple[int, int] | None, ...]"

_ELSEWHERE: Final = (
    "this user must be able to make, read and write the file and its folder; to keep it elsewhere set "
    "DYNSECRETS_STORE, like sqlite:////var/lib/app/leases.db, or give the store a path"
)
#: What to do about an error, by SQLite's primary result code.
_ADVICE: Final = {
    sqlite3.SQLITE_BUSY: f"other processes kept it locked for {BUSY_TIMEOUT:.0f} seconds; try again",
    sqlite3.SQLITE_LOCKED: "it is locked; try again",
    sqlite3.SQLITE_READONLY: f"it is read-only; {_ELSEWHERE}",
    sqlite3.SQLITE_PERM: _ELSEWHERE,
    sqlite3.SQLITE_CANTOPEN: _ELSEWHERE,
    sqlite3.SQLITE_FULL: "the disk is full; make room and try again",
    sqlite3.SQLITE_IOERR: "reading or writing the disk failed; look at the disk and the system's log",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database; give the store another path, or move that file away",
    sqlite3.SQLITE_CORRUPT: (
        "it is damaged; move it away with its -wal and -shm files. A new one is made, and sweep_orphans() finds the "
        "users that no record knows"
    ),
}


def check_path(path: object) -> Path:
    """Return the absolute path of a store. Raises ``InvalidConfig`` where it can't be one."""
    if path is None:
        return _default_path()
    given = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(given, str) or not given or "\0" in given:
        raise InvalidConfig(
            f"path {safe_repr(path)} is not accepted: give the path of a file as text or pathlib.Path, or None"
        )
    if given == ":memory:":
        raise InvalidConfig("a store in memory is a MemoryLeaseStore (memory://), not an SQLiteLeaseStore(':memory:')")
    # Absolute from now on: the process may change its working directory.
    return Path(given).absolute()


def _default_path() -> Path:
    """Return the path of the store in the user's state folder. Raises ``InvalidConfig`` where there is no home."""
    # Imported here: whoever gives a path does without it.
    from platformdirs import user_state_path

    try:
        folder = user_state_path("dynsecrets", appauthor=False)
    except RuntimeError:
        folder = Path("~")
    # Older releases leave what stands for a home as it is where nobody knows one: that would be a folder called "~".
    if folder.parts[0] == "~":
        raise InvalidConfig(
            "this user has no home folder to keep leases in: HOME is not set, and the system doesn't know the user. "
            "Set DYNSECRETS_STORE, like sqlite:////var/lib/app/leases.db, or give the store a path"
        )
    return folder.absolute() / "leases.db"


def open_database(path: Path) -> sqlite3.Connection:
    """Open a store's file, made if there is none, with its tables up to date.

    Raises ``StoreError`` where the file is something else, ``sqlite3.Error`` and ``OSError`` where it can't be used.
    """
    _make_private(path)
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        # Bytes that are not text make a row unreadable; they must not make all rows unreadable.
        connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
        # For a new file: a change of few bytes writes whole pages, and each life of a lease makes some twenty.
        connection.execute("PRAGMA page_size = 2048")
        # Some builds have NORMAL here, and then a record that was written may not survive a power loss.
        connection.execute("PRAGMA synchronous = FULL")
        # macOS: its fsync leaves data in the drive's cache.
        connection.execute("PRAGMA fullfsync = ON")
        _patiently(partial(bring_up_to_date, connection, path))
        _patiently(partial(_write_ahead, connection, path))
        # Reading opens all files that are kept open.
        connection.execute("PRAGMA user_version").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def identify(path: Path) -> Identity:
    """Return what tells a store's files from any others that are put in their places: device and inode of each."""
    return tuple(_identify(f"{path}{suffix}") for suffix in _KEPT_OPEN)


def remove_left_behind(path: Path, identity: Identity) -> None:
    """Remove the log of a file that isn't there any more: SQLite would take it for that of the file in its place."""
    found = identify(path)
    if found[0] == identity[0]:
        return
    for suffix, left, ours in zip(_KEPT_OPEN[1:], found[1:], identity[1:], strict=True):
        if left is not None and left == ours:
            Path(f"{path}{suffix}").unlink(missing_ok=True)


def _identify(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - called often, and a Path is made at some cost.
    except OSError:
        return None
    return found.st_dev, found.st_ino


def explain(error: sqlite3.Error | OSError, path: Path, doing: str) -> StoreError:
    """Return what to raise for an error of the database or the file system."""
    code = getattr(error, "sqlite_errorcode", None)
    advice = _ELSEWHERE if code is None and isinstance(error, OSError) else _ADVICE.get((code or 0) & 0xFF, "")
    text = f"{doing} failed at {path}: {error}"
    return StoreError(f"{text} ({advice})" if advice else text)


def _make_private(path: Path) -> None:
    """Make the file and its folders where there are none, for their owner alone, and shut others out of an old file.

    SQLite gives its other files the mode of this one.
    """
    for folder in reversed(path.parents):
        if not folder.exists():
            folder.mkdir(mode=_OWNER_ONLY_FOLDER, exist_ok=True)
    target = Path(os.path.realpath(path))
    try:
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, _OWNER_ONLY_FILE))
    except FileExistsError:
        # Not opened to look into it: closing it would take away the locks that this process may have on it.
        if not stat.S_ISREG(target.stat().st_mode):
            raise StoreError(
                f"{path} is not a file: give the store the path of a file, like {path / 'leases.db'}"
            ) from None
        for suffix in _BESIDE:
            _shut_out_others(Path(f"{target}{suffix}"))


def _shut_out_others(file: Path) -> None:
    if not hasattr(os, "geteuid"):
        return  # Windows: the modes say nothing about other users.
    try:
        found = file.stat()
        if found.st_mode & _OTHERS and found.st_uid == os.geteuid():
            file.chmod(_OWNER_ONLY_FILE)
    except FileNotFoundError:
        return


def _write_ahead(connection: sqlite3.Connection, path: Path) -> None:
    """Have the file written through a log: readers and the writer don't wait for each other."""
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        logger.warning("store %s can't use a write-ahead log here (a network disk?) and is slower", path)


def _patiently(step: partial[None]) -> None:
    """Do a step again while other processes are in the way: SQLite doesn't wait for all kinds of locks by itself."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            return step()
        except sqlite3.OperationalError as error:
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL)
            if not busy or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.002, 0.03))  # noqa: S311 - jitter.
