"""An integration of one's own: logins of a small database, leased like IAM users.

    python examples/custom_integration.py

The "database" is a SQLite file with a table of users. What matters is the shape:

- ``plan`` chooses names before anything is created, ``provision`` creates the login, and ``revoke`` deletes it. A login
  that is gone already is not an error.
- Dynamic secrets choose the login's rights by options that the integration declares.
- ``HOST`` and ``USERNAME`` are public, so they are shown and may be stored. All other values are masked.
- A revoked login can't log in any more, but its row stays for a day, for those who audit: a ``Remainder``.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import sqlite3
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import attrs

from dynsecrets import (
    DynamicSecretConfig,
    Grant,
    Integration,
    LeaseManager,
    MemoryLeaseStore,
    Remainder,
    SecretOptions,
    lease,
)
from dynsecrets.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_TABLE = "CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, hash TEXT, rights TEXT, until REAL, ended REAL)"


@attrs.frozen(kw_only=True)
class UserTableOptions(SecretOptions):
    """What a dynamic secret may choose.

    Args:
        rights: What the login may do: ``"read"`` or ``"write"``.
    """

    rights: str = attrs.field(default="read", validator=attrs.validators.in_(["read", "write"]))


class UserTable(Integration):
    """Leases rows of a table ``users``, which holds only a hash of each password.

    Args:
        name: The name that records know the integration by.
        path: The database's file.
        host: The host that the lease's values name.
        keep: How long a row outlives its login.
        now: The database's clock.
    """

    kind = "user-table"
    options_type = UserTableOptions
    public_values = frozenset({"HOST", "USERNAME"})
    longest_ttl = timedelta(hours=12)
    enforces_expiry = True  # `login` refuses what is over.

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        host: str = "localhost",
        keep: timedelta = timedelta(days=1),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(name)
        self._path = path
        self._host = host
        self._keep = keep
        self._now = now
        with self._connection() as connection:
            connection.execute(_TABLE)

    def plan(self, config: DynamicSecretConfig) -> Mapping[str, str]:
        """Choose a name that nobody else has. The plan is stored before anything is created."""
        return {"host": self._host, "username": f"{config.name.lower()}_{secrets.token_hex(8)}"}

    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Create the login. Its end is counted on the clock of the database, which enforces it."""
        options = cast("UserTableOptions", config.options)
        password = secrets.token_urlsafe(24)
        issued_at = self._now()
        expires_at = issued_at + ttl
        row = (plan["username"], _hash(password), options.rights, expires_at.timestamp())
        with self._connection() as connection:
            connection.execute("INSERT INTO users (name, hash, rights, until) VALUES (?, ?, ?, ?)", row)
        values = {"HOST": plan["host"], "PASSWORD": password, "USERNAME": plan["username"]}
        return Grant(values, expires_at, plan, issued_at=issued_at)

    def revoke(self, handle: Mapping[str, str]) -> Remainder | None:
        """End the login, and delete its row once that was kept for long enough. No row at all is success."""
        username, now = handle["username"], self._now()
        with self._connection() as connection:
            connection.execute(
                "UPDATE users SET hash = NULL, ended = ? WHERE name = ? AND ended IS NULL", (now.timestamp(), username)
            )
            row = connection.execute("SELECT ended FROM users WHERE name = ?", (username,)).fetchone()
            again_at = now if row is None else datetime.fromtimestamp(row[0], UTC) + self._keep
            if now < again_at:
                return Remainder(ended=True, again_at=again_at)
            connection.execute("DELETE FROM users WHERE name = ?", (username,))
        return None

    def is_usable(self, values: Mapping[str, str]) -> bool:
        """Log in, to see whether it works. ``wait="usable"`` and ``Lease.check()`` call this."""
        return self.login(values["USERNAME"], values["PASSWORD"])

    def describe(self, handle: Mapping[str, str]) -> str:
        """Return what logs and listings show of a lease."""
        return f"login {handle['username']}"

    def login(self, username: str, password: str) -> bool:
        """Tell whether the database accepts a login: it exists, the password is right, and its time is not over."""
        query = "SELECT 1 FROM users WHERE name = ? AND hash = ? AND until > ?"
        with self._connection() as connection:
            found = connection.execute(query, (username, _hash(password), self._now().timestamp())).fetchone()
        return found is not None

    def rows(self) -> int:
        """Return how many rows there are, of live logins and of ended ones."""
        with self._connection() as connection:
            (count,) = connection.execute("SELECT count(*) FROM users").fetchone()
        return int(count)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Open a connection for one piece of work: the methods are called from many threads at once."""
        with contextlib.closing(sqlite3.connect(self._path)) as connection, connection:
            yield connection


def _hash(password: str) -> str:
    """Return the hash that is stored. The password has 192 random bits, so a plain hash is enough."""
    return hashlib.sha256(password.encode()).hexdigest()


def main() -> None:
    """Lease a login, use it, and see what is left of it after the block, and a day later."""
    clock = FakeClock()  # So that a day takes no time. A program leaves this and `now` out.
    with tempfile.TemporaryDirectory() as folder:
        database = UserTable("db", Path(folder, "app.db"), host="db.internal", now=clock.now)
        config = DynamicSecretConfig("DB", database, default_ttl="10m", rights="write")
        with LeaseManager(MemoryLeaseStore(), clock=clock) as manager:
            with lease(config, manager=manager) as creds:
                username, password = creds["DB_USERNAME"], creds["DB_PASSWORD"]
                print(f"leased  {creds!r}")
                print(f"values  {dict(creds)}")
                print(f"login   {database.login(username, password)}")
            print(f"revoked {creds.revoked}")
            print(f"login   {database.login(username, password)}")
            print(f"rows    {database.rows()}")
            clock.advance("1d")
            print(f"rows    {database.rows()} a day later")


if __name__ == "__main__":
    main()
