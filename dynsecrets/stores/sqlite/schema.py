"""The tables of a store in SQLite, and how an older file becomes a newer one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dynsecrets.errors import StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

#: "dyns": tells our files from those of other programs.
APPLICATION_ID: Final = 0x64796E73


def _create_leases(connection: sqlite3.Connection) -> None:
    """Make version 1.

    A table with a sequence number, not ``WITHOUT ROWID``: ids are random, and rows in random order fill pages badly.
    Each index is for one question, and holds just the rows that may be an answer to it.
    """
    for statement in (
        """
        CREATE TABLE leases (
            seq INTEGER PRIMARY KEY,
            id BLOB NOT NULL UNIQUE,
            name TEXT NOT NULL,
            integration TEXT NOT NULL,
            state TEXT NOT NULL,
            handle TEXT NOT NULL,
            metadata TEXT,
            created_at INTEGER NOT NULL,
            issued_at INTEGER,
            expires_at INTEGER,
            revoked_at INTEGER,
            next_attempt_at INTEGER,
            due_at INTEGER,
            attempts INTEGER NOT NULL,
            stuck INTEGER NOT NULL,
            held INTEGER NOT NULL,
            last_error TEXT,
            owner TEXT,
            process TEXT,
            claimed_by TEXT,
            version INTEGER NOT NULL
        )
        """,
        "CREATE INDEX leases_created ON leases (created_at)",
        "CREATE INDEX leases_due ON leases (integration, due_at) WHERE due_at IS NOT NULL",
        "CREATE INDEX leases_live ON leases (name) WHERE state <> 'revoked'",
        "CREATE INDEX leases_process ON leases (process, created_at) WHERE process IS NOT NULL",
        "CREATE INDEX leases_revoked ON leases (revoked_at) WHERE state = 'revoked'",
    ):
        connection.execute(statement)


def _index_failures(connection: sqlite3.Connection) -> None:
    """Make version 2: failed revocations are found without reading what is due at the same time."""
    connection.execute(
        "CREATE INDEX leases_failed ON leases (integration, due_at) WHERE state = 'revoking' AND claimed_by IS NULL"
    )


def _keep_ends(connection: sqlite3.Connection) -> None:
    """Make version 3: what ended before all of it was gone counts as live no more, and what waits has not failed."""
    for statement in (
        "ALTER TABLE leases ADD COLUMN ended_at INTEGER",
        "DROP INDEX leases_live",
        "DROP INDEX leases_failed",
        """
        CREATE INDEX leases_live ON leases (name)
        WHERE state <> 'revoked' AND (ended_at IS NULL OR ended_at >= next_attempt_at)
        """,
        """
        CREATE INDEX leases_failed ON leases (integration, due_at)
        WHERE state = 'revoking' AND claimed_by IS NULL AND (ended_at IS NULL OR attempts > 0)
        """,
    ):
        connection.execute(statement)


#: The n-th takes a file from version n to n+1, inside a transaction. Each change adds one; none is ever changed.
MIGRATIONS: Final[tuple[Callable[[sqlite3.Connection], None], ...]] = (_create_leases, _index_failures, _keep_ends)


def bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file, or migrate an older one. Any number of processes may do so at once.

    Raises ``StoreError`` where the file is another program's, or a newer release's. Such a file isn't changed.
    """
    if _version(connection, path) < len(MIGRATIONS):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been faster.
            for migrate in MIGRATIONS[_version(connection, path) :]:
                migrate(connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the file's tables, 0 for an empty file."""
    # One statement, so that another process can't change the file between two answers.
    application, version, tables = connection.execute(
        "SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version), "
        "(SELECT count(*) FROM sqlite_master)"
    ).fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise StoreError(f"{path} is another program's database: give the store a path of its own")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} was written by a newer release of dynsecrets (version {version} of its tables, this release knows "
            f"{len(MIGRATIONS)}): upgrade dynsecrets, or give the store another path"
        )
    return int(version)
