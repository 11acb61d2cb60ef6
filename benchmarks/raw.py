"""The baselines on AWS: raw boto3, without the library."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from benchmarks.subjects import POLICY, REGION
from dynsecrets.integrations.aws.policy_document import PolicyDocument

if TYPE_CHECKING:
    from collections.abc import Callable

_GUARD: Final = {
    "Effect": "Deny",
    "Action": "*",
    "Resource": "*",
    "Condition": {"DateGreaterThan": {"aws:CurrentTime": "2099-01-01T00:00:00Z"}},
}
#: The document that the library would put, so that both sides send the same bytes.
_DOCUMENT: Final = PolicyDocument({**POLICY, "Statement": [*POLICY["Statement"], _GUARD]}).text
_PATH: Final = "/dynsecrets/"


def iam_client(endpoint_url: str, like: Any) -> Any:
    """Return a client of boto3 with the settings that the library's own client has."""
    import boto3
    from botocore.config import Config

    session = boto3.Session(aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="example", region_name=REGION)  # noqa: S106
    settings = like.meta.config
    config = Config(
        retries={"mode": "adaptive", "total_max_attempts": 5},
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        max_pool_connections=settings.max_pool_connections,
        user_agent_extra=settings.user_agent_extra,
    )
    client = session.client("iam", endpoint_url=endpoint_url, config=config)
    assert client.meta.config.retries == settings.retries, "the library's client has other retries by now"
    return client


def serial_life(client: Any) -> None:
    """Make the ten calls that HashiCorp Vault's AWS engine makes for one lease, in its order, one after the other."""
    user = {"UserName": _user_name()}
    policy = _policy_name()
    client.create_user(**user, Path=_PATH)
    client.put_user_policy(**user, PolicyName=policy, PolicyDocument=_DOCUMENT)
    client.create_access_key(**user)
    client.list_groups_for_user(**user, MaxItems=1000)
    client.list_user_policies(**user, MaxItems=1000)
    client.list_attached_user_policies(**user, MaxItems=1000)
    keys = client.list_access_keys(**user, MaxItems=1000)["AccessKeyMetadata"]
    for key in keys:
        client.delete_access_key(**user, AccessKeyId=key["AccessKeyId"])
    client.delete_user_policy(**user, PolicyName=policy)
    client.delete_user(**user)


class PhasesLife:
    """The nine calls that Phase makes for one lease, one after the other.

    Its source makes a new client (two, in fact: one of STS, too) each time that it issues and each time that it
    revokes; one of IAM each time is what is done here. It puts no inline policy, and tags the user by a second call.
    """

    def __init__(self, endpoint_url: str, like: Any) -> None:
        import boto3

        self._session = boto3.Session(
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="example",  # noqa: S106
            region_name=REGION,
        )
        self._endpoint_url = endpoint_url
        self._config = like.meta.config

    def __call__(self) -> None:
        """Make the nine calls, with two clients."""
        user = {"UserName": _user_name()}
        client = self._client()
        client.create_user(**user, Path=_PATH)
        client.tag_user(**user, Tags=[{"Key": "CreatedBy", "Value": "benchmarks"}])
        client.create_access_key(**user)
        client.close()
        client = self._client()
        client.list_attached_user_policies(**user)
        client.list_user_policies(**user)
        client.list_groups_for_user(**user)
        for key in client.list_access_keys(**user)["AccessKeyMetadata"]:
            client.delete_access_key(**user, AccessKeyId=key["AccessKeyId"])
        client.delete_user(**user)
        client.close()

    def _client(self) -> Any:
        return self._session.client("iam", endpoint_url=self._endpoint_url, config=self._config)


class PairedLife:
    """The six calls that the library makes for one lease, in the same pairs, with nothing around them.

    Of each pair the first is made in the caller's thread, the other in a pool, as the library does.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._pool = ThreadPoolExecutor(32)

    def __call__(self) -> None:
        """Make the six calls."""
        client, pool = self._client, self._pool
        user = {"UserName": _user_name()}
        policy = _policy_name()
        client.create_user(**user, Path=_PATH)
        other = pool.submit(client.put_user_policy, **user, PolicyName=policy, PolicyDocument=_DOCUMENT)
        key = client.create_access_key(**user)["AccessKey"]
        other.result()
        other = pool.submit(client.delete_user_policy, **user, PolicyName=policy)
        client.delete_access_key(**user, AccessKeyId=key["AccessKeyId"])
        other.result()
        client.delete_user(**user)

    def close(self) -> None:
        """Let the thread end."""
        self._pool.shutdown()


def serial(client: Any) -> Callable[[], None]:
    """Return the serial life as something to repeat."""
    return lambda: serial_life(client)


def _user_name() -> str:
    return f"Dynsecrets-Dynamic-{_random()}"


def _policy_name() -> str:
    return f"dynsecrets-policy-{_random()}"


def _random() -> str:
    """Return as many characters as the library's names have, as cheaply as can be."""
    return secrets.token_hex(7)[:13]
