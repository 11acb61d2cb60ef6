"""The one connection that a store in SQLite has in a process: opened when it is used, let go of before a fork."""

from __future__ import annotations

import contextlib
import sqlite3
import weakref
from typing import TYPE_CHECKING, TypeVar

from dynsecrets._internal.log import logger
from dynsecrets.errors import StoreError
from dynsecrets.stores.locking import ForkSafeLock
from dynsecrets.stores.sqlite.files import explain, identify, open_database, remove_left_behind
from dynsecrets.stores.sqlite.statements import LIVE, RESTORE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dynsecrets.stores.record_codec import Row
    from dynsecrets.stores.sqlite.files import Identity

_T = TypeVar("_T")

# Connections that a fork left in a child. They are never used there, nor closed: both would disturb the parent's.
_left_behind: list[sqlite3.Connection] = []


class Database(ForkSafeLock):
    """Does work on a store's file, one call at a time.

    Each statement is a transaction of its own. So a call that comes in the middle of another one of the same thread,
    from a garbage collection or a signal handler, finds nothing half done and hinders nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity = ()
        self._closing: weakref.finalize[[sqlite3.Connection], Database] | None = None
        self._rescued: list[Row] = []
        self._waits_for_disk = True
        self._closed = False
        super().__init__()

    def do(
        self,
        doing: str,
        work: Callable[[sqlite3.Connection], _T],
        *,
        wait_for_disk: bool | None = None,
        look: bool = False,
    ) -> _T:
        """Do work on the connection, alone; open it first where it isn't open yet. Reading needs not say for what.

        With ``look``, and before what must be on the disk, see whether the file is still the one that is open.
        """
        self._take_lock()
        outer, waited = self._inside, self._waits_for_disk
        self._inside = True
        try:
            connection = self._open(look=look or wait_for_disk is True)
            try:
                if wait_for_disk is not None:
                    self._set_sync(connection, wait_for_disk=wait_for_disk)
                return work(connection)
            finally:
                if outer:
                    # The call that this one came in the middle of has set it, and goes on.
                    self._set_sync(connection, wait_for_disk=waited)
        except (sqlite3.Error, OSError) as error:
            raise explain(error, self.path, doing) from error
        except (UnicodeEncodeError, OverflowError) as error:
            raise StoreError(f"{doing} failed: a text or number can't be stored ({error})") from error
        finally:
            self._inside = outer
            self._lock.release()

    def fetch(self, doing: str, statement: str, *arguments: object) -> list[Row]:
        """Return all rows that a statement finds; ``?1`` in it is the first argument."""
        given = numbered(*arguments)
        return self.do(doing, lambda connection: connection.execute(statement, given).fetchall(), look=True)

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        with self._lock:
            self._let_go()
            self._closed = True

    def _set_sync(self, connection: sqlite3.Connection, *, wait_for_disk: bool) -> None:
        if wait_for_disk is not self._waits_for_disk:
            connection.execute("PRAGMA synchronous = FULL" if wait_for_disk else "PRAGMA synchronous = NORMAL")
            self._waits_for_disk = wait_for_disk

    def _open(self, *, look: bool) -> sqlite3.Connection:
        """Return the connection, a new one where there is none or its file isn't there any more."""
        if self._closed:
            raise StoreError(f"the store is closed: make a new SQLiteLeaseStore for {self.path}")
        if look and self._connection is not None and not self._is_in_place():
            self._rescue()
        return self._connection or self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = open_database(self.path)
        try:
            if self._rescued:
                connection.executemany(RESTORE, self._rescued)
        except BaseException:
            connection.close()
            raise
        self._rescued = []
        self._identity = identify(self.path)
        self._waits_for_disk = True
        self._connection = connection
        # Of a store that nobody closes: from Python 3.13 on, sqlite3 warns of that otherwise. Not by ``__del__``, which
        # may come after the connection's own end where both are in one circle.
        self._closing = weakref.finalize(self, _close_quietly, connection)
        self._closing.atexit = False
        return connection

    def _is_in_place(self) -> bool:
        return identify(self.path) == self._identity

    def _rescue(self) -> None:
        """Take the live records out of a file that was removed or replaced while it was open, and close it.

        As long as it is open it can be read. Its records are written to the file that is opened next.
        """
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            live = connection.execute(LIVE).fetchall()
            self._rescued += live
            logger.warning(
                "store %s was removed or replaced while it was in use; its %d live records are written to a new one",
                self.path,
                len(live),
            )
        except sqlite3.Error as error:
            logger.error("store %s was removed or replaced, and its records can't be read: %s", self.path, error)
        self._close(connection)
        remove_left_behind(self.path, self._identity)

    def _close(self, connection: sqlite3.Connection) -> None:
        if self._closing is not None:
            self._closing.detach()
        try:
            connection.close()
        except sqlite3.Error as error:
            logger.warning("store %s was not closed cleanly: %s", self.path, error)

    def _let_go(self) -> None:
        """Close the connection, after what it alone can still read was written down. The lock is held."""
        if self._connection is not None and not self._is_in_place():
            self._rescue()
        if self._rescued:
            try:
                self._connect()
            except (sqlite3.Error, OSError, StoreError) as error:
                logger.error(
                    "%d live records of store %s are in memory only, since no file can be made: %s",
                    len(self._rescued),
                    self.path,
                    error,
                )
        connection, self._connection = self._connection, None
        if connection is not None:
            self._close(connection)

    def _forget(self) -> None:
        if self._connection is not None:
            _left_behind.append(self._connection)
            self._connection = None
            if self._closing is not None:
                self._closing.detach()


def _close_quietly(connection: sqlite3.Connection) -> None:
    with contextlib.suppress(Exception):
        connection.close()


def numbered(*arguments: object) -> dict[str, object]:
    """Return arguments for ``?1``, ``?2`` …: from Python 3.12 on a sequence is not taken for numbered placeholders."""
    return {str(number): argument for number, argument in enumerate(arguments, 1)}
