"""Sessions that follow a renewer: clients that were made once, signed with the key of the moment."""

from __future__ import annotations

import io
import re
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import ClientError

from dynsecrets import (
    DynamicSecretConfig,
    DynsecretsError,
    Integration,
    LeaseExpired,
    LeaseManager,
    MemoryLeaseStore,
    renewing,
)
from dynsecrets.integrations.aws.sessions import following_session
from dynsecrets.model.capabilities import AwsSessions
from dynsecrets.testing import FakeClock
from support.fakes import PATIENCE_S, FakeIntegration
from support.renewal import ENDED_S, RENEWED_S, TTL, TTL_S, outage, renewer_of
from support.world import World, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import boto3

    from support.accounts import Account
    from support.proxy import Proxy

_SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<names>[^,]+), Signature=(?P<signature>\w+)"
)
ANSWER = b"<A><GetCallerIdentityResult><Arn>a</Arn></GetCallerIdentityResult></A>"
#: On ministack leases are this short, so that ten renewals fit into a test.
SHORT = "6s"


class PairedIntegration(FakeIntegration, AwsSessions):
    """A third party whose keys and secrets tell which of them belong together."""

    def values_of(self, thing: str) -> dict[str, str]:
        """Return a pair."""
        key = f"AKIA{thing}"
        return {"ACCESS_KEY_ID": key, "SECRET_ACCESS_KEY": secret_of(key)}

    def session(self, values: Mapping[str, str], is_young: Callable[[], bool], **kwargs: Any) -> boto3.Session:
        """Return a session that follows nothing."""
        return self.following_session(lambda: values, is_young, **kwargs)

    def following_session(
        self, read: Callable[[], Mapping[str, str]], is_young: Callable[[], bool], **kwargs: Any
    ) -> boto3.Session:
        """Return a session as that of AWS is."""
        return following_session(read, is_young=is_young, endpoint_url=None, region_name="us-east-1", **kwargs)


def secret_of(access_key: str) -> str:
    """Return the secret that belongs to a key."""
    return f"secret-of-{access_key}"


def signed_by(request: Any) -> str:
    """Return the key that a request was signed with, once its signature is found to be of that key's own secret."""
    sent = {name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()}
    found = _SIGNATURE.fullmatch(sent["Authorization"])
    assert found is not None
    key = found["key"]
    again = AWSRequest(
        method=request.method,
        url=request.url,
        headers={name: value for name, value in sent.items() if name.lower() in found["names"].split(";")},
        data=request.body,
    )
    again.context["timestamp"] = sent["X-Amz-Date"]
    signer = SigV4Auth(Credentials(key, secret_of(key)), found["service"], found["region"])
    signature = signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)
    assert signature == found["signature"], "the key and the secret are of two leases"
    return key


class Signatures:
    """Answers a client's calls itself, and keeps the keys that they were signed with."""

    def __init__(self, client: Any) -> None:
        self.keys: list[str] = []
        client.meta.events.register("before-send", self._answer)

    def _answer(self, request: Any, **_kwargs: object) -> AWSResponse:
        self.keys.append(signed_by(request))
        answer = AWSResponse(request.url, 200, {}, _Raw(ANSWER))  # type: ignore[arg-type]  # A file will do.
        assert answer.content
        return answer


class _Raw(io.BytesIO):
    """The body of an answer, as urllib3 would hand it over."""

    def stream(self, **_kwargs: object) -> Iterator[bytes]:
        """Read it."""
        yield self.read()


@pytest.fixture
def paired() -> Iterator[World]:
    """A world whose keys and secrets can be told apart."""
    clock = FakeClock()
    with World(clock=clock, integration=PairedIntegration(clock=clock)) as world:
        yield world


def moto_world(account: Account, url: str | None = None) -> World:
    """Return a world on moto: AWS's answers are real, time is the test's own."""
    integration = Integration.aws_iam(
        access_key_id=account.access_key_id,
        secret_access_key=account.secret_access_key,
        endpoint_url=url or account.url,
        region=account.region,
    )
    return World(integration=integration)


# Against a stand-in


def test_a_client_follows_every_renewal(paired: World) -> None:
    """A client that was made once signs each request with the key of the lease that is current then."""
    with renewer_of(paired) as renewer:
        client = renewer.session().client("sts")
        signatures = Signatures(client)
        current = []
        for _ in range(4):
            client.get_caller_identity()
            current.append(renewer.current.access_key_id)
            paired.advance(RENEWED_S)

    assert signatures.keys == current
    assert len(set(current)) == 4


def test_key_and_secret_are_always_of_one_lease(paired: World) -> None:
    """Threads that sign without pause, while one renewal follows the other, never mix two leases."""
    begun, over = threading.Barrier(4), threading.Event()

    def turns() -> Iterator[None]:
        """Take turns until the renewals are over, one of them before the first renewal and one after the last."""
        yield
        begun.wait(PATIENCE_S)
        while not over.is_set():
            yield
        yield

    def call() -> int:
        client = session_client()
        signatures = Signatures(client)
        for _ in turns():
            client.get_caller_identity()
        return len(set(signatures.keys))

    def read() -> int:
        frozen = renewer.session().get_credentials()
        assert frozen is not None
        seen = set()
        for _ in turns():
            pair = frozen.get_frozen_credentials()
            assert pair.secret_key == secret_of(pair.access_key or "")
            seen.add(pair.access_key)
        return len(seen)

    def renew() -> None:
        try:
            begun.wait(PATIENCE_S)
            for _ in range(40):
                paired.advance(RENEWED_S)
        finally:
            over.set()

    lock = threading.Lock()

    def session_client() -> Any:
        with lock:  # boto3's sessions are not thread-safe.
            return session.client("sts")

    with renewer_of(paired) as renewer:
        session = renewer.session()
        *counts, failed = together(call, call, read, renew)

    assert failed is None
    assert [count for count in counts if not isinstance(count, int)] == []
    assert min(counts) > 1


def test_its_credentials_are_botocores_refreshable_ones(paired: World) -> None:
    """Other libraries know the credentials for refreshable; each property is the current lease's, and none is kept."""
    with renewer_of(paired) as renewer:
        credentials: Any = renewer.session().get_credentials()
        first = renewer.current
        assert isinstance(credentials, RefreshableCredentials)
        assert (credentials.access_key, credentials.secret_key) == (first.access_key_id, first.secret_access_key)
        assert credentials.token is credentials.account_id is None
        assert not credentials.refresh_needed()
        assert credentials.get_deferred_property("access_key")() == first.access_key_id
        paired.advance(RENEWED_S)

        assert credentials.access_key == renewer.current.access_key_id != first.access_key_id
        assert first.secret_access_key not in repr(vars(credentials))


def test_a_client_raises_lease_expired_and_recovers(paired: World) -> None:
    """A request without a live lease raises ``LeaseExpired``; the same client works again when there is one."""
    with renewer_of(paired) as renewer:
        client = renewer.session().client("sts")
        signatures = Signatures(client)
        recover = outage(paired)
        paired.advance(TTL_S)
        with pytest.raises(LeaseExpired):
            client.get_caller_identity()
        recover()
        paired.advance(301)

        client.get_caller_identity()

        assert signatures.keys == [renewer.current.access_key_id]


def test_a_session_may_be_made_before_the_block(paired: World) -> None:
    """A session and a client of a renewer that is not open yet can be made; calls raise until it is."""
    renewer = renewer_of(paired)
    client = renewer.session().client("sts")
    signatures = Signatures(client)
    with pytest.raises(DynsecretsError, match="not open"):
        client.get_caller_identity()

    with renewer:
        client.get_caller_identity()
        assert signatures.keys == [renewer.current.access_key_id]


def test_ambient_credentials_are_not_used(paired: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys in the environment don't win over the lease."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAAMBIENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ambient")
    with renewer_of(paired) as renewer:
        client = renewer.session().client("sts")
        signatures = Signatures(client)
        client.get_caller_identity()

        assert signatures.keys == [renewer.current.access_key_id]


def test_a_third_partys_credentials_have_no_session(world: World) -> None:
    """An integration that isn't of AWS has no sessions, and says so."""
    with renewer_of(world) as renewer:
        for make in (renewer.session, renewer.aio_session):
            with pytest.raises(NotImplementedError, match="no boto3 session"):
                make()


# Against moto


def test_an_old_client_uses_the_new_user(aws: Account, proxy: Proxy) -> None:
    """Each generation is a user of its own, deleted after its overlap, and the client goes from one to the next."""
    with moto_world(aws, proxy.url) as world, renewer_of(world, config={"wait": "usable"}) as renewer:
        sts = renewer.session().client("sts")
        users = []
        for _ in range(3):
            users.append(sts.get_caller_identity()["Arn"].rpartition("/")[2])
            assert proxy.calls[-1].access_key_id == renewer.current.access_key_id
            world.advance(RENEWED_S)
            world.advance(ENDED_S)
            assert aws.users() == [renewer.current.username]

        assert len(set(users)) == 3
    assert aws.users() == []


def test_region_and_endpoint_are_the_integrations(aws: Account) -> None:
    """Clients of the session get the integration's region and endpoint; arguments of the caller's win."""
    with moto_world(aws) as world, renewer_of(world) as renewer:
        plain = renewer.session().client("s3")
        other = renewer.session(region_name="eu-west-1", endpoint_url="http://127.0.0.1:1").client("s3")

        assert (plain.meta.region_name, plain.meta.endpoint_url) == (aws.region, aws.url)
        assert (other.meta.region_name, other.meta.endpoint_url) == ("eu-west-1", "http://127.0.0.1:1")


def test_a_young_key_is_met_with_patience(aws: Account, proxy: Proxy) -> None:
    """Right after a renewal a server that doesn't know the new key yet is asked again."""
    with moto_world(aws, proxy.url) as world, renewer_of(world, config={"wait": None}) as renewer:
        sts = renewer.session().client("sts")
        world.clock.leap(RENEWED_S)
        world.settle()
        fault = proxy.fail("GetCallerIdentity", ("InvalidClientTokenId", 403), times=2)

        sts.get_caller_identity()

        assert fault.hits == 2


def test_a_failing_renewal_costs_few_calls(aws: Account, proxy: Proxy) -> None:
    """A renewal that is refused asks AWS once, not again and again."""
    with moto_world(aws, proxy.url) as world, renewer_of(world) as renewer:
        proxy.clear()
        proxy.fail("CreateUser", ("AccessDenied", 403), times=None)
        world.advance(RENEWED_S + 138)

        assert renewer.current.is_valid()
        assert proxy.actions("iam") == ["CreateUser"]
        assert renewer.status().failures == 1


# Against ministack, which enforces keys, policies and their ends


def test_no_call_fails_across_ten_renewals(ministack: Account) -> None:
    """A client made once makes a call every 0.2 s while its user is replaced ten times; none of the calls fails.

    This is real time: the guard in each policy, which ends the old users, is evaluated by the server's own clock.
    """
    bucket = f"renewed-{ministack.id}"
    ministack.client("s3").create_bucket(Bucket=bucket)
    ministack.client("s3").put_object(Bucket=bucket, Key="a", Body=b"1")
    integration = Integration.aws_iam(
        access_key_id=ministack.access_key_id,
        secret_access_key=ministack.secret_access_key,
        endpoint_url=ministack.url,
        region=ministack.region,
    )
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    config = DynamicSecretConfig("AWS_USER", integration, policy)
    renewed: list[str] = []
    failed: list[BaseException] = []
    begun = time.monotonic()
    calls = 0
    with (
        LeaseManager(MemoryLeaseStore()) as manager,
        renewing(
            config,
            SHORT,
            manager=manager,
            on_renew=lambda fresh: renewed.append(fresh.username),
            on_error=failed.append,
        ) as renewer,
    ):
        first = renewer.current
        s3 = renewer.session().client("s3")
        while len(renewed) < 10:
            assert s3.get_object(Bucket=bucket, Key="a")["Body"].read() == b"1"
            calls += 1
            threading.Event().wait(0.2)
            assert time.monotonic() - begun < 240, renewer.status()
        old = ministack.client_of(first.aws_env(), "s3")
        with pytest.raises(ClientError):
            old.get_object(Bucket=bucket, Key="a")

    assert failed == []
    assert len(set(renewed)) == len(renewed)
    assert calls >= 50
    assert ministack.users() == []
    assert TTL != SHORT
