"""One AWS account on a server of the tests, new and empty for each test that asks."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs
import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REGION = "us-east-1"
USER_PATH = "/dynsecrets/"


_lock = threading.Lock()  # boto3's sessions are not thread-safe.


@lru_cache(maxsize=1)
def _clients() -> Any:
    """Return the session that makes all clients: to read the services' descriptions for each would take longest."""
    return boto3.Session()


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Keep botocore from logging answers: the canary, rightly, takes it for a leak."""
    logger = logging.getLogger("botocore.parsers")
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = False


def new_account_id() -> str:
    """Return twelve digits that no other test has."""
    return str(secrets.randbelow(9 * 10**11) + 10**11)


@attrs.frozen(kw_only=True)
class Account:
    """An account, where it is, and its administrator's key, which opens nothing but a server of this test run."""

    url: str
    id: str
    access_key_id: str
    secret_access_key: str = attrs.field(repr=False)
    region: str = REGION

    def session(self) -> boto3.Session:
        """Return a new boto3 session of the administrator; it knows no endpoint."""
        return boto3.Session(
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name=self.region,
        )

    def client(self, service: str, *, url: str | None = None, **options: Any) -> Any:
        """Return a boto3 client of the administrator, by way of ``url`` (a proxy's) where given, that never retries."""
        options.setdefault("config", Config(retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=20))
        options.setdefault("aws_access_key_id", self.access_key_id)
        options.setdefault("aws_secret_access_key", self.secret_access_key)
        with _lock:
            return _clients().client(service, endpoint_url=url or self.url, region_name=self.region, **options)

    def client_of(self, keys: Mapping[str, str], service: str, *, url: str | None = None) -> Any:
        """Return a client of whoever holds ``keys``, which are named as ``Lease.aws_env()`` names them."""
        return self.client(
            service,
            url=url,
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=keys.get("AWS_SESSION_TOKEN"),
        )

    def users(self, path: str = USER_PATH) -> list[str]:
        """Return the names of the users under a path, sorted."""
        pages = self.client("iam").get_paginator("list_users").paginate(PathPrefix=path)
        return sorted(user["UserName"] for page in pages for user in page["Users"] if user["Path"].startswith(path))

    def environment(self, *, url: str | None = None) -> dict[str, str]:
        """Return the variables by which any AWS SDK finds the account, the endpoint included."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL": url or self.url,
        }

    def user_with(self, policy: str, *, name: str = "integration", path: str = "/") -> dict[str, str]:
        """Make a user with one inline policy (JSON); return its key as ``aws_iam``'s arguments."""
        iam = self.client("iam")
        iam.create_user(UserName=name, Path=path)
        iam.put_user_policy(UserName=name, PolicyName="given", PolicyDocument=policy)
        with _unlogged():
            key = iam.create_access_key(UserName=name)["AccessKey"]
        return {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}
