"""DynamoDB for tests, whoever implements it: stores on tables of their own, and a look at what is in those."""

from __future__ import annotations

import secrets
import warnings
from typing import TYPE_CHECKING, Any, Self

import attrs

from dynsecrets import DynamoDBLeaseStore

if TYPE_CHECKING:
    import boto3

    from support.accounts import Account


@attrs.frozen(kw_only=True)
class DynamoDB:
    """An account with tables of many tests, each under a name of its own."""

    account: Account
    session: boto3.Session  # One for all, since it reads the service's description, which takes long.
    client: Any

    @classmethod
    def of(cls, account: Account) -> Self:
        """Return the service in an account."""
        return cls(account=account, session=account.session(), client=account.client("dynamodb"))

    def open(self, table: str | None = None, **arguments: Any) -> DynamoDBLeaseStore:
        """Return a store on a table, by default one that isn't there yet."""
        name = table or f"leases-{secrets.token_hex(8)}"
        return DynamoDBLeaseStore(name, **{"session": self.session, "endpoint_url": self.account.url, **arguments})

    def make(self, **arguments: Any) -> DynamoDBLeaseStore:
        """Return a store on a new table."""
        store = self.open(**arguments)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # dynalite has no TTL.
            store.create_table()
        return store

    def item(self, store: DynamoDBLeaseStore, lease_id: str) -> dict[str, Any]:
        """Return an item as it is in a store's table."""
        found = self.client.get_item(TableName=store.table, Key={"id": {"S": lease_id}}, ConsistentRead=True)
        item: dict[str, Any] = found["Item"]
        return item

    def tamper(self, store: DynamoDBLeaseStore, lease_id: str, **attributes: Any) -> None:
        """Change attributes of an item behind the store's back."""
        self.client.put_item(TableName=store.table, Item=self.item(store, lease_id) | attributes)
