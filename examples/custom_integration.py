"""An integration of one's own: accounts of a small database, leased like IAM users.

    python examples/custom_integration.py

The "database" is a SQLite file with a table of users. What matters is the shape: names are chosen in ``plan``, before
anything is made; ``provision`` makes it; ``revoke`` deletes it, and finds nothing wrong with it being gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import sqlite3
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dynsecrets import DynamicSecretConfig, Grant, Integration, LeaseManager, MemoryLeaseStore, lease

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class UserTable(Integration):
    """Leases rows of a table ``users``, of which the database keeps the hash of the password only."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name)
        self._path = path
        with self._connection() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, hash TEXT, until REAL)")

    def plan(self, config: DynamicSecretConfig) -> Mapping[str, str]:
        """Choose a name that nobody else has. This is what is written down before anything is made."""
        return {"user": f"{config.name.lower()}_{secrets.token_hex(8)}"}

    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:  # noqa: ARG002 - all users may do the same here.
        """Make the user. Its end is counted on the clock of whoever enforces it: here, this machine's."""
        password = secrets.token_urlsafe(24)
        expires_at = datetime.now(UTC) + ttl
        with self._connection() as connection:
            connection.execute(
                "INSERT INTO users VALUES (?, ?, ?)", (plan["user"], _hash(password), expires_at.timestamp())
            )
        return Grant({"USERNAME": plan["user"], "PASSWORD": password}, expires_at, plan)

    def revoke(self, handle: Mapping[str, str]) -> None:
        """Delete the user. A user that is gone already, or was never made, is success."""
        with self._connection() as connection:
            connection.execute("DELETE FROM users WHERE name = ?", (handle["user"],))

    def is_usable(self, values: Mapping[str, str]) -> bool:
        """Log in, to see whether it works. This is what ``wait="usable"`` and ``Lease.check()`` ask."""
        return self.login(values["USERNAME"], values["PASSWORD"])

    def login(self, user: str, password: str) -> bool:
        """Tell whether the database lets a user in: it exists, the password is right, and its time is not over."""
        query = "SELECT 1 FROM users WHERE name = ? AND hash = ? AND until > ?"
        with self._connection() as connection:
            found = connection.execute(query, (user, _hash(password), datetime.now(UTC).timestamp())).fetchone()
        return found is not None

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Open a connection for one piece of work: the methods are called from many threads at once."""
        with contextlib.closing(sqlite3.connect(self._path)) as connection, connection:
            yield connection


def _hash(password: str) -> str:
    """Return what is kept of a password. It has 192 random bits, so a plain hash is enough."""
    return hashlib.sha256(password.encode()).hexdigest()


def main() -> None:
    """Lease a user, log in, and see that it can't log in any more after the block."""
    with tempfile.TemporaryDirectory() as folder:
        database = UserTable("db", Path(folder, "app.db"))
        config = DynamicSecretConfig("DB", database, default_ttl="10m")
        with LeaseManager(MemoryLeaseStore()) as manager:
            with lease(config, manager=manager) as creds:
                user, password = creds["DB_USERNAME"], creds["DB_PASSWORD"]
                print(f"leased  {creds!r}")
                print(f"values  {dict(creds)}")
                print(f"login   {database.login(user, password)}")
            print(f"revoked {creds.revoked}")
            print(f"login   {database.login(user, password)}")


if __name__ == "__main__":
    main()
