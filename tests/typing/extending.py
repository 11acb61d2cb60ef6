"""Integrations and stores of one's own. Checked by mypy and pyright, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, assert_type

import attrs

from dynsecrets import (
    DynamicSecretConfig,
    DynamoDBLeaseStore,
    Found,
    Grant,
    Identity,
    Integration,
    LeaseManager,
    LeaseRecord,
    LeaseState,
    LeaseStore,
    MemoryLeaseStore,
    Remainder,
    SecretOptions,
    SQLiteLeaseStore,
    open_store,
)
from dynsecrets.model.capabilities import AwsSessions, Listable, NeedsIamPolicy, Probes, TellsTime, Verifiable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence


class Tokens(Integration):
    """An integration of one's own."""

    def __init__(self) -> None:
        super().__init__("tokens")

    def plan(self, config: DynamicSecretConfig) -> Mapping[str, str]:
        """Name it."""
        return {"token": config.name}

    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Make it."""
        return Grant({"TOKEN": "secret"}, datetime.now().astimezone() + ttl, plan)

    def revoke(self, handle: Mapping[str, str]) -> None:
        """Delete it."""


@attrs.frozen(kw_only=True)
class RoleOptions(SecretOptions):
    """Options of one's own."""

    member_of: tuple[str, ...] = ()


class Roles(Tokens):
    """An integration that says all there is to say of itself, and does all that one can."""

    kind = "roles"
    options_type = RoleOptions
    public_values = frozenset({"USERNAME", "HOST"})
    shortest_ttl = timedelta(minutes=1)
    longest_ttl = timedelta(hours=12)
    enforces_expiry = True
    probes = 2

    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Make it."""
        assert_type(config.options, SecretOptions)
        now = datetime.now().astimezone()
        return Grant({"TOKEN": "secret"}, now + ttl, plan, age=timedelta(0), issued_at=now)

    def revoke(self, handle: Mapping[str, str]) -> Remainder | None:  # type: ignore[override]  # Tokens never has one.
        """Delete it, or say what is left."""
        return Remainder(ended=True, again_at=datetime.now().astimezone()) if handle else None

    def describe(self, handle: Mapping[str, str]) -> str:
        """Say who."""
        return f"role {handle['token']}"

    def is_usable(self, values: Mapping[str, str]) -> bool:
        """Try it."""
        return "TOKEN" in values

    def service_time(self) -> datetime:
        """Ask for it."""
        return datetime.now().astimezone()

    def find_all(self) -> Iterator[Found]:
        """List them."""
        yield Found(name="a", handle={"token": "a"}, created_at=self.service_time())

    def name_of(self, handle: Mapping[str, str]) -> str:
        """Name one."""
        return handle["token"]

    def verify(self, *configs: DynamicSecretConfig) -> Identity:
        """Say who."""
        return Identity(account="a", arn="b", user_id=str(len(configs)))


def capabilities() -> None:
    """What an integration can do besides is asked for by its protocol."""
    roles = Roles()
    probes: Probes = roles
    clock: TellsTime = roles
    listable: Listable = roles
    verifiable: Verifiable = roles
    aws = Integration.aws_iam()
    sessions: AwsSessions = aws
    needs: NeedsIamPolicy = aws
    tokens: Integration = Tokens()
    if isinstance(tokens, Listable):
        assert_type(tokens.name_of({}), str)
    del probes, clock, listable, verifiable, sessions, needs
    DynamicSecretConfig("A", roles, member_of=["readers"])


class Half(Integration):
    """An integration without ``revoke``."""

    def plan(self, config: DynamicSecretConfig) -> Mapping[str, str]:
        """Name it."""
        return {}

    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Make it."""
        return Grant({"TOKEN": "secret"}, "tomorrow", plan)  # type: ignore[arg-type]


class Store:
    """A store of one's own: no base class, the methods of the protocol."""

    def insert(self, record: LeaseRecord) -> None:
        """Keep a record."""

    def update(self, record: LeaseRecord) -> LeaseRecord:
        """Replace a record."""
        return record

    def get(self, lease_id: str) -> LeaseRecord:
        """Return a record."""
        raise KeyError(lease_id)

    def records(
        self, *, state: LeaseState | str | None = None, name: str | None = None, integration: str | None = None
    ) -> Iterator[LeaseRecord]:
        """Iterate over records."""
        del state, name, integration
        return iter(())

    def due(
        self, now: datetime, *, integrations: Collection[str] | None = None, limit: int | None = None
    ) -> Sequence[LeaseRecord]:
        """Return what is due."""
        del now, integrations, limit
        return []

    def claim(self, lease_id: str, worker: str, until: datetime, now: datetime) -> LeaseRecord | None:
        """Begin a revocation."""

    def count_live(self, name: str) -> int:
        """Count what lives."""
        return len(name)

    def purge(self, before: datetime) -> int:
        """Forget tombstones."""
        return before.year

    def close(self) -> None:
        """Close it."""


def stores() -> None:
    """Every store is one, the library's and one's own."""
    assert_type(open_store("memory://"), LeaseStore)
    for store in (MemoryLeaseStore(), SQLiteLeaseStore(Path("leases.db")), DynamoDBLeaseStore("leases"), Store()):
        LeaseManager(store)
    mine: LeaseStore = Store()
    assert_type(mine.get("id"), LeaseRecord)


def mistakes() -> None:
    """What can't work is a type error."""
    Half("half")  # type: ignore[abstract]
    DynamicSecretConfig("A", Tokens)  # type: ignore[arg-type]
    LeaseManager(Tokens())  # type: ignore[arg-type]
    open_store(Path("leases.db"))  # type: ignore[arg-type]
