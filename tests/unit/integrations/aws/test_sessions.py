"""Sessions that bear with servers which don't know a young key yet, and waiting until a lease is usable."""

from __future__ import annotations

import secrets
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from dynsecrets import DynamicSecretConfig, NotUsableInTime, lease

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynsecrets import Lease, LeaseManager
    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from support.accounts import Account
    from support.proxy import Proxy


def config_of(integration: AwsIamIntegration, **options: object) -> DynamicSecretConfig:
    """Return a config whose user may do nothing, which is enough to ask who one is."""
    return DynamicSecretConfig("AWS_USER", integration, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("service", "call", "code"),
    [
        ("sts", lambda session: session.client("sts").get_caller_identity(), "InvalidClientTokenId"),
        ("s3", lambda session: session.client("s3").list_buckets(), "InvalidAccessKeyId"),
        ("dynamodb", lambda session: session.client("dynamodb").list_tables(), "UnrecognizedClientException"),
        ("ec2", lambda session: session.client("ec2").describe_regions(), "AuthFailure"),
    ],
)
def test_an_unknown_young_key_is_tried_again(
    watched: AwsIamIntegration,
    manager: LeaseManager,
    proxy: Proxy,
    service: str,
    call: Callable[[object], object],
    code: str,
) -> None:
    """Each protocol's answer for an unknown key is met with patience while the lease is young."""
    with lease(config_of(watched, wait=None), manager=manager) as creds:
        fault = proxy.fail("*", (code, 403), times=2, when=lambda seen: seen.service == service)

        call(creds.session())

    assert fault.hits == 2


def test_a_head_is_tried_again_though_its_refusal_says_nothing(
    watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy
) -> None:
    """An answer without a body has just the status: it may mean the young key."""
    with lease(config_of(watched, wait=None), manager=manager) as creds:
        client = creds.session().client("s3")
        # Buckets are shared by all accounts of a server.
        bucket = f"head-{secrets.token_hex(8)}"
        client.create_bucket(Bucket=bucket)
        fault = proxy.fail("*", ("InvalidAccessKeyId", 403), times=2, when=lambda seen: seen.service == "s3")

        client.head_bucket(Bucket=bucket)

    assert fault.hits == 2


def test_a_head_that_stays_refused_is_believed_soon(
    watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be forbidden for good: a young lease doesn't wait for as long as it is young."""
    slept: list[float] = []
    with lease(config_of(watched, wait=None), manager=manager) as creds:
        client = creds.session().client("s3")
        monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=slept.append))
        proxy.fail("*", ("AccessDenied", 403), times=None, when=lambda seen: seen.service == "s3")

        with pytest.raises(ClientError, match="403"):
            client.head_bucket(Bucket="reports")

    assert 1 < sum(slept) < 5


def test_an_old_keys_refusal_is_raised_at_once(
    watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is not young any more and unknown is just that."""
    monkeypatch.setattr("dynsecrets.model.lease.YOUNG_FOR", timedelta(0))
    with lease(config_of(watched, wait=None), manager=manager) as creds:
        fault = proxy.fail("GetCallerIdentity", ("InvalidClientTokenId", 403), times=None)

        with pytest.raises(ClientError, match="InvalidClientTokenId"):
            creds.session().client("sts").get_caller_identity()

    assert fault.hits == 1


def test_a_revoked_keys_refusal_is_raised_at_once(
    watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy
) -> None:
    """What this process has revoked is not waited for, however young."""
    with lease(config_of(watched, wait=None), manager=manager) as creds:
        client = creds.session().client("sts")
    fault = proxy.fail("GetCallerIdentity", ("InvalidClientTokenId", 403), times=None)

    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        client.get_caller_identity()

    assert fault.hits == 1
    assert creds.remaining > timedelta(minutes=29)


def test_a_lease_is_handed_over_once_its_key_authenticates(
    watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy
) -> None:
    """Two refusals, then a few successes in a row, asked with the leased key; only then the block begins."""
    proxy.fail("GetCallerIdentity", ("InvalidClientTokenId", 403), times=2)

    with lease(config_of(watched), manager=manager) as creds:
        asked = [call for call in proxy.calls if call.action == "GetCallerIdentity"]

    assert len(asked) == 5
    assert {call.access_key_id for call in asked} == {creds.access_key_id}


def test_one_success_between_failures_is_not_believed(
    watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy
) -> None:
    """A server that knows the key says nothing of the others."""
    proxy.fail("GetCallerIdentity", ("InvalidClientTokenId", 403), nth=2)

    with lease(config_of(watched), manager=manager):
        asked = proxy.count("GetCallerIdentity")

    assert asked == 5


def test_a_key_that_never_works_is_revoked(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account, proxy: Proxy
) -> None:
    """After wait_timeout the lease is revoked and the error says what to do."""
    proxy.fail("GetCallerIdentity", ("InvalidClientTokenId", 403), times=None)

    with pytest.raises(NotUsableInTime, match="wait_timeout") as caught:
        manager.issue(config_of(watched, wait_timeout="1s"))

    assert manager.get(caught.value.lease_id or "").state == "revoked"
    assert aws.users() == []


def test_a_probe_of_the_callers_own_is_asked_the_same_way(
    watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy
) -> None:
    """A callable decides; AWS is not asked besides."""
    seen: list[Lease] = []

    def probe(fresh: Lease) -> bool:
        seen.append(fresh)
        return len(seen) > 2

    with lease(config_of(watched, wait=probe), manager=manager) as creds:
        assert set(seen) == {creds}

    assert proxy.count("GetCallerIdentity") == 0


def test_check_asks_aws_with_the_leased_key(watched: AwsIamIntegration, manager: LeaseManager, aws: Account) -> None:
    """check() is true while the key works, and false once somebody else has deleted it."""
    creds = manager.issue(config_of(watched, wait=None))
    works = creds.check()
    iam = aws.client("iam")
    iam.delete_access_key(UserName=creds.username, AccessKeyId=creds.access_key_id)

    assert works
    assert not creds.check()
    assert creds.is_valid()
    creds.revoke()
    assert not creds.is_valid()
