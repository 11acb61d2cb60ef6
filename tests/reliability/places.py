"""Where a scenario is played: an account, the way to it, and a store; told to other processes as plain values."""

from __future__ import annotations

import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import boto3
import botocore.loaders
import botocore.session

from dynsecrets import DynamoDBLeaseStore, Integration, SQLiteLeaseStore

if TYPE_CHECKING:
    from dynsecrets import LeaseStore
    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from support.accounts import Account


_loader = botocore.loaders.create_loader()


def new_session(access_key_id: str, secret_access_key: str, region: str) -> boto3.Session:
    """Return a new session, which is quick since what AWS's services are is read just once in a process."""
    botocore_session = botocore.session.Session()
    botocore_session.register_component("data_loader", _loader)
    return boto3.Session(access_key_id, secret_access_key, region_name=region, botocore_session=botocore_session)


def integration_of(account: Account, url: str, **options: Any) -> AwsIamIntegration:
    """Return a new integration on an account, by way of a proxy's URL."""
    session = new_session(account.access_key_id, account.secret_access_key, account.region)
    return Integration.aws_iam(session=session, endpoint_url=url, **options)


def warm_up() -> None:
    """Read now what AWS's services are."""
    session = new_session("none", "none", "us-east-1")
    for service in ("iam", "sts", "dynamodb"):
        session.client(service)


@attrs.frozen(kw_only=True)
class Place:
    """An account at ``url``, and a store: a table of DynamoDB at ``dynamodb``, or else the SQLite file ``store``.

    ``settles_after_s`` is how old a user must be for "no such user" to be believed; by default it always is. (Less than
    nothing, since moto's dates of creation are finer than the time that it states.)
    """

    url: str
    access_key_id: str
    secret_access_key: str = attrs.field(repr=False)
    store: str
    dynamodb: str | None = None
    region: str = "us-east-1"
    settles_after_s: float = -1.0

    def session(self) -> boto3.Session:
        """Return a new session of the account's administrator."""
        return new_session(self.access_key_id, self.secret_access_key, self.region)

    def open_store(self) -> LeaseStore:
        """Return a new store object."""
        if self.dynamodb is None:
            return SQLiteLeaseStore(self.store)
        return DynamoDBLeaseStore(self.store, session=self.session(), endpoint_url=self.dynamodb)

    def make_store(self) -> None:
        """Make the table, where it is one."""
        store = self.open_store()
        if isinstance(store, DynamoDBLeaseStore):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # Whether old tombstones go by themselves is not for here.
                store.create_table()

    def integration(self, **options: Any) -> AwsIamIntegration:
        """Return a new integration on the account."""
        integration = Integration.aws_iam(session=self.session(), endpoint_url=self.url, **options)
        integration.settles_after = integration.plan_settles_after = timedelta(seconds=self.settles_after_s)
        return integration
