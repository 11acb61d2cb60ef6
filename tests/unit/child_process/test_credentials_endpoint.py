"""The endpoint: who gets an answer, what it says, and what strangers can do to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from dynsecrets import DynsecretsError, LeaseExpired
from dynsecrets.child_process.credentials_endpoint import CredentialsEndpoint, describe, expiration
from dynsecrets.child_process.run_leases import outlook
from dynsecrets.testing import FakeClock
from support.fakes import aws_values, make_lease
from support.processes import wait_until
from support.renewal import RENEWED_S, TTL_S, outage, renewer_of
from support.world import together

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.world import World

NOW = datetime(2026, 2, 15, 17, 0, 0, 500_000, tzinfo=UTC)
BODY = b'{"a": 1}'


@pytest.fixture
def endpoint() -> Iterator[CredentialsEndpoint]:
    """An endpoint with something to say."""
    with CredentialsEndpoint(lambda _: BODY) as endpoint:
        yield endpoint


def ask(
    endpoint: CredentialsEndpoint, *, method: str = "GET", path: str | None = None, **headers: str | None
) -> tuple[int, bytes, dict[str, str]]:
    """Ask as an SDK does, but for what is given."""
    variables = endpoint.environment()
    url = urlsplit(variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
    sent = {"Authorization": variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"], **headers}
    connection = http.client.HTTPConnection(url.netloc, timeout=60)
    with contextlib.closing(connection):
        connection.request(
            method, url.path if path is None else path, headers={k: v for k, v in sent.items() if v is not None}
        )
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.headers)


def port_of(endpoint: CredentialsEndpoint) -> int:
    """Return the port."""
    port = urlsplit(endpoint.environment()["AWS_CONTAINER_CREDENTIALS_FULL_URI"]).port
    assert port is not None
    return port


def raw(endpoint: CredentialsEndpoint, request: bytes) -> bytes:
    """Send bytes, and return the answer up to its end."""
    with socket.create_connection(("127.0.0.1", port_of(endpoint)), timeout=60) as connection:
        connection.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(65536):
                answer += data
        return answer


def test_who_has_the_token_gets_the_answer(endpoint: CredentialsEndpoint) -> None:
    """The right token on the right path is answered, and nothing says by what."""
    status, body, headers = ask(endpoint)

    assert (status, body) == (200, BODY)
    assert headers == {
        "Content-Type": "application/json",
        "Content-Length": str(len(BODY)),
        "Cache-Control": "no-store",
        "Connection": "close",
    }


@pytest.mark.parametrize(
    ("status", "given"),
    [
        (401, {"Authorization": None}),
        (401, {"Authorization": "wrong"}),
        (401, {"Authorization": "Bearer é"}),
        (401, {"Authorization": None, "path": "/"}),
        (403, {"Host": "evil.example"}),
        (403, {"Host": "localhost"}),
        (404, {"path": "/"}),
        (404, {"path": "/latest/meta-data"}),
        (405, {"method": "POST"}),
        (405, {"method": "HEAD"}),
    ],
    ids=str,
)
def test_strangers_learn_nothing(status: int, given: dict[str, Any], endpoint: CredentialsEndpoint) -> None:
    """A wrong token, host, path or method is refused, without a word of what was wrong about it."""
    answered, body, _ = ask(endpoint, **given)

    assert answered == status
    assert body in {b"{}", b""}


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (b"400", b"\r\n\r\n"),
        (b"400", b"GET /\r\n\r\n"),
        (b"400", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"),
        (b"400", b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"),
        (b"400", b"\x16\x03\x01\x00\xff\xfe\r\n\r\n"),
        (b"403", b"GET / HTTP/1.0\r\n\r\n"),
        (b"431", b"GET / HTTP/1.1\r\nA: " + 9000 * b"a" + b"\r\n\r\n"),
    ],
)
def test_what_is_no_request_is_refused(status: bytes, request_: bytes, endpoint: CredentialsEndpoint) -> None:
    """Nonsense, requests that can be read in two ways, and large ones are refused."""
    assert raw(endpoint, request_).startswith(b"HTTP/1.1 " + status)
    assert ask(endpoint)[0] == 200


def test_each_endpoint_has_its_own_address_and_token() -> None:
    """Nobody can guess the token, nor the path, from those of another endpoint."""
    with CredentialsEndpoint(lambda _: BODY) as one, CredentialsEndpoint(lambda _: BODY) as other:
        values = [*one.environment().values(), *other.environment().values()]

        assert len(set(values)) == 4
        assert all(len(urlsplit(value).path) > 20 for value in values)


def test_it_listens_on_loopback_alone(endpoint: CredentialsEndpoint) -> None:
    """No other machine can reach it, and its socket is not inherited."""
    assert endpoint._server is not None
    assert endpoint._server.socket.getsockname()[0] == "127.0.0.1"
    assert not endpoint._server.socket.get_inheritable()


def test_silent_connections_don_t_keep_others_out(endpoint: CredentialsEndpoint) -> None:
    """Hundreds of connections that say nothing, or little by little, don't delay an answer."""
    with contextlib.ExitStack() as stack:
        for number in range(200):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port_of(endpoint)), timeout=60))
            connection.sendall(b"GET / HT"[: number % 8])
            connection.settimeout(60)

        assert ask(endpoint)[0] == 200
        server = endpoint._server
        assert server is not None
        wait_until(lambda: len(server.connections) == 0, "slow connections are hung up")


def test_many_at_a_time_are_answered(endpoint: CredentialsEndpoint) -> None:
    """Sixteen clients that ask at once all get the answer."""
    assert together(*[lambda: ask(endpoint)[:2]] * 16) == [(200, BODY)] * 16


def test_an_answer_takes_milliseconds(endpoint: CredentialsEndpoint) -> None:
    """SDKs give up after one or two seconds; the usual answer takes a thousandth of that."""
    ask(endpoint)
    taken = []

    for _ in range(51):
        began = time.perf_counter()
        ask(endpoint)
        taken.append(time.perf_counter() - began)

    # The usual one: what else the machine does makes some take longer.
    assert sorted(taken)[25] < 0.1


@pytest.mark.parametrize("error", [LeaseExpired("over"), DynsecretsError("x"), ValueError("s3cret-of-somebody")])
def test_without_credentials_sdks_are_told_to_try_again(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Where there are none, the answer is 503, which SDKs ask again after; nothing of the error is shown."""

    def fail(_: str) -> bytes:
        raise error

    with CredentialsEndpoint(fail) as endpoint:
        status, body, _ = ask(endpoint)

    assert status == 503
    assert str(error) not in body.decode()
    assert "s3cret" not in caplog.text


def test_nothing_of_a_request_is_logged(endpoint: CredentialsEndpoint, caplog: pytest.LogCaptureFixture) -> None:
    """Neither requests nor tokens are written anywhere, and the endpoint doesn't show its own."""
    caplog.set_level(logging.DEBUG)
    ask(endpoint)
    ask(endpoint, Authorization="wrong-one")

    assert "wrong-one" not in caplog.text
    assert endpoint.environment()["AWS_CONTAINER_AUTHORIZATION_TOKEN"] not in caplog.text + repr(endpoint)


def test_it_is_gone_after_its_block(endpoint: CredentialsEndpoint) -> None:
    """The port is closed at the end, also with connections open; ending it twice is fine."""
    port = port_of(endpoint)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as open_:
        endpoint.__exit__(None, None, None)
        endpoint.__exit__(None, None, None)

        assert open_.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)
    assert not any(thread.name == "dynsecrets-credentials" for thread in threading.enumerate())


def test_a_port_that_can_t_be_had_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no port can be opened, the error says so."""

    def refuse(*_: object) -> None:
        raise OSError(98, "Address already in use")

    endpoint = CredentialsEndpoint(lambda _: BODY)
    monkeypatch.setattr("socket.socket.listen", refuse)

    with pytest.raises(DynsecretsError, match="no port of 127"), endpoint:
        pass


def test_the_answer_is_what_sdks_read() -> None:
    """All four are text: the token is empty, where there is none, and the date has whole seconds."""
    values = aws_values("made-up")
    lease = make_lease(values)

    assert json.loads(describe(lease, NOW)) == {
        "AccessKeyId": values["ACCESS_KEY_ID"],
        "SecretAccessKey": "made-up",
        "Token": "",
        "Expiration": "2026-02-15T17:00:00Z",
    }


@pytest.mark.parametrize(
    ("stays_for_s", "overlap_s", "expected_s"), [(1260, 60, 1230), (60, 60, 30), (5, 5, 3), (1, 1, 2), (0, 60, 2)]
)
def test_a_key_is_vouched_for_until_half_an_overlap_before_its_end(
    stays_for_s: int, overlap_s: int, expected_s: int
) -> None:
    """What SDKs are told leaves requests time, is in whole seconds, and is never over already."""
    told = expiration(NOW, timedelta(seconds=stays_for_s), timedelta(seconds=overlap_s))

    assert told == NOW.replace(microsecond=0) + timedelta(seconds=expected_s)
    assert told > NOW + timedelta(seconds=1)


def test_a_key_lives_for_as_long_as_it_is_vouched_for(world: World) -> None:
    """Whenever it is asked, through renewals that fail and succeed, the key is alive at the end of what was said."""
    with renewer_of(world, overlap="60s") as renewer:
        told: list[tuple[float, str]] = []
        stop = outage(world)
        for step in range(400):
            if step == 120:
                stop()
            with contextlib.suppress(LeaseExpired):
                lease, stays_for = outlook(renewer, timedelta(seconds=60))
                told.append((world.clock.steady() + stays_for.total_seconds(), lease.id))
            world.advance(7)
            overdue = [(at, lease_id) for at, lease_id in told if at <= world.clock.steady()]
            told = [(at, lease_id) for at, lease_id in told if at > world.clock.steady()]
            assert all(world.state(lease_id) == "active" for _, lease_id in told)
            assert all(at >= 0 for at, _ in overdue)


def test_before_a_renewal_a_key_stays_until_after_the_overlap(world: World) -> None:
    """A fresh key is vouched for until the next attempt and the overlap after it, and no longer than its TTL."""
    with renewer_of(world, overlap="60s") as renewer:
        _, stays_for = outlook(renewer, timedelta(seconds=60))
        at = renewer.status().next_renewal_at

        assert at is not None
        assert renewer.current.issued_at + stays_for == at + timedelta(seconds=60)
        assert stays_for < timedelta(seconds=RENEWED_S + 60)

        outage(world)
        world.advance(TTL_S - 10)
        assert outlook(renewer, timedelta(seconds=60))[1] == timedelta(seconds=10)


def test_the_clock_of_a_lease_is_not_that_of_the_child() -> None:
    """What is told is counted from the local clock, however the service's clock is off."""
    clock = FakeClock()
    lease = make_lease(aws_values("made-up"), clock=clock)

    assert expiration(NOW, lease.remaining, timedelta(0)) - NOW < timedelta(minutes=30, seconds=1)


def json_of(user_agent: str) -> Any:
    """Return what an SDK of that name is told of a key."""
    return json.loads(describe(make_lease(aws_values("made-up")), NOW, user_agent))


@pytest.mark.parametrize(
    "user_agent",
    [
        "aws-sdk-java/2.31.1 md/io#sync ua/2.1 os/Linux lang/java#21",
        "aws-sdk-java/1.12.780 Linux/6.1 OpenJDK_64-Bit_Server_VM/21",
        "aws-sdk-ruby3/3.220.0",
    ],
)
def test_sdks_that_would_send_an_empty_token_get_none(user_agent: str) -> None:
    """Java and Ruby sign with an empty token, which AWS refuses; without one they take the key for what it is."""
    assert "Token" not in json_of(user_agent)


@pytest.mark.parametrize(
    "user_agent", ["", "Botocore/1.40 md/awscrt", "aws-sdk-go-v2/1.36.0", "aws-sdk-nodejs/2.1692.0"]
)
def test_others_get_the_empty_text(user_agent: str) -> None:
    """JavaScript, which sends no name, and botocore need a text there."""
    assert json_of(user_agent)["Token"] == ""


def test_the_endpoint_knows_who_asks() -> None:
    """The answer is for the SDK that the request names."""
    with CredentialsEndpoint(lambda name: describe(make_lease(aws_values("made-up")), NOW, name)) as endpoint:
        asked = [ask(endpoint, **{"User-Agent": name}) for name in ("aws-sdk-java/2.31.1", "Boto3/1.42", "")]

    assert ["Token" in json.loads(body) for _, body, _ in asked] == [False, True, True]
