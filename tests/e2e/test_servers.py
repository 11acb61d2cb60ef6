"""The servers, the accounts and the proxy that other tests stand on do what those tests take for granted."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, ReadTimeoutError
from botocore.parsers import ResponseParserError

from support.accounts import USER_PATH, Account
from support.ministack_server import PYTHON_VARIABLE, ministack_python
from support.moto_server import ALLOW_ALL, MotoServer
from support.processes import HOST, ServerError, ServerProcess, clean_environment, kept_port, leashed, wait_until

if TYPE_CHECKING:
    from support.proxy import Kind, Proxy

READ_ONLY = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:Get*", "Resource": "*"}]}
)
DENY_FROM_2020 = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*"},
            {
                "Effect": "Deny",
                "Action": "*",
                "Resource": "*",
                "Condition": {"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}},
            },
        ],
    }
)


def make_user(account: Account, name: str, *, url: str | None = None, **config: Any) -> Any:
    """Make a user in an account, by way of a proxy where given."""
    options = {"config": Config(retries={"mode": "standard", "total_max_attempts": 1}, **config)} if config else {}
    return account.client("iam", url=url, **options).create_user(UserName=name, Path=USER_PATH)


def keys_of(given: dict[str, str]) -> dict[str, str]:
    """Return what ``Account.user_with`` gave under the names that SDKs use."""
    return {"AWS_ACCESS_KEY_ID": given["access_key_id"], "AWS_SECRET_ACCESS_KEY": given["secret_access_key"]}


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    """Return the service's error code."""
    return str(error.value.response["Error"]["Code"])


# Environment


def test_the_developers_settings_are_hidden(home: Path) -> None:
    """No test sees the AWS variables, the home folder or the state folder of whoever runs it."""
    seen = {name for name in os.environ if name.startswith(("AWS_", "DYNSECRETS_"))}

    assert seen <= {
        "AWS_EC2_METADATA_DISABLED",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        PYTHON_VARIABLE,
    }
    assert Path.home() == home
    assert not home.exists()


# Processes


def test_a_server_that_does_not_start_says_what_it_printed() -> None:
    """A server that ends at its start is an error that quotes its output."""
    broken = ServerProcess(
        "broken",
        lambda _port: [sys.executable, "-c", "raise SystemExit('no luck today')"],
        environment=lambda _port, _folder: clean_environment(),
        health_path="/",
    )

    with pytest.raises(ServerError, match="no luck today"):
        broken.__enter__()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody can keep a port and let a server have it")
def test_a_port_is_kept_for_its_server() -> None:
    """Until the server is up nobody else gets its port; the server itself may listen on it."""
    with kept_port() as port:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, port))
        socket.create_server((HOST, port)).close()


def test_waiting_has_an_end() -> None:
    """What does not come to pass within its time is an error that names it."""
    with pytest.raises(TimeoutError, match="the moon: not within 0 s"):
        wait_until(lambda: False, "the moon", timeout_s=0)


def test_a_missing_ministack_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without ministack's environment the tests that need it fail, and say what makes it."""
    monkeypatch.setenv(PYTHON_VARIABLE, str(tmp_path / "python"))

    with pytest.raises(ServerError, match="make test"):
        ministack_python()


def test_a_server_ends_with_whoever_started_it() -> None:
    """A server does not outlive a test run that was killed."""
    server = subprocess.Popen(leashed(sys.executable, "http.server", "--bind", HOST, "0"), stdin=subprocess.PIPE)

    with server:
        assert server.poll() is None
        server.communicate(timeout=60)

    assert server.returncode == 1


# Accounts


@pytest.mark.parametrize("server", ["moto_server", "ministack_server"])
def test_accounts_do_not_see_each_other(server: str, request: pytest.FixtureRequest) -> None:
    """Each test has an account of its own, in which its administrator and its users are."""
    running = request.getfixturevalue(server)
    mine, other = running.new_account(), running.new_account()

    make_user(mine, "ann")
    given = mine.user_with(ALLOW_ALL, name="bob", path=USER_PATH)

    assert mine.users() == ["ann", "bob"]
    assert other.users() == []
    for client in (mine.client("sts"), mine.client_of(keys_of(given), "sts")):
        assert client.get_caller_identity()["Account"] == mine.id


@pytest.mark.parametrize("server", ["moto_server", "ministack_server"])
def test_a_reset_forgets_everything(server: str, request: pytest.FixtureRequest) -> None:
    """After a reset a server has no users left."""
    running = request.getfixturevalue(server)
    account = running.new_account()
    make_user(account, "ann")

    running.reset()

    assert account.users() == []


def test_boto3_finds_the_account_in_the_environment(aws_env: Account) -> None:
    """With ``aws_env`` a child's boto3 needs no arguments to reach the test's account."""
    script = "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"

    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout

    assert printed.strip() == aws_env.id


def test_moto_checks_permissions_where_wanted(aws: Account, moto_server: MotoServer) -> None:
    """Inside ``enforcing()`` moto refuses what no policy allows, outside it does not."""
    reader = aws.client_of(keys_of(aws.user_with(READ_ONLY)), "iam")

    with moto_server.enforcing(), pytest.raises(ClientError) as denied:
        reader.create_user(UserName="ann")
    reader.create_user(UserName="ann")

    assert code_of(denied) == "AccessDenied"


def test_ministack_checks_permissions(ministack: Account) -> None:
    """Ministack refuses what no policy allows."""
    reader = ministack.client_of(keys_of(ministack.user_with(READ_ONLY)), "iam")

    with pytest.raises(ClientError) as denied:
        reader.create_user(UserName="ann")

    assert code_of(denied) == "AccessDenied"


def test_ministack_evaluates_dates(ministack: Account) -> None:
    """Ministack refuses by ``aws:CurrentTime``, which moto does not look at."""
    late = ministack.client_of(keys_of(ministack.user_with(DENY_FROM_2020)), "iam")

    with pytest.raises(ClientError) as denied:
        late.list_users()

    assert code_of(denied) == "AccessDenied"


def test_ministack_refuses_a_deleted_key(ministack: Account) -> None:
    """A key that is gone authenticates no more."""
    given = ministack.user_with(ALLOW_ALL)
    holder = ministack.client_of(keys_of(given), "sts")
    holder.get_caller_identity()
    ministack.client("iam").delete_access_key(UserName="integration", AccessKeyId=given["access_key_id"])

    with pytest.raises(ClientError) as refused:
        holder.get_caller_identity()

    assert code_of(refused) == "InvalidClientTokenId"


# The proxy


def test_the_proxy_records_what_goes_by(aws: Account, proxy: Proxy) -> None:
    """Every call is recorded with its action, its user, the key that signed it and its time."""
    make_user(aws, "ann", url=proxy.url)

    (call,) = proxy.calls
    assert (call.service, call.action, call.user_name, call.status) == ("iam", "CreateUser", "ann", 200)
    assert call.access_key_id == aws.access_key_id
    assert call.parameters["Path"] == USER_PATH
    assert call.ended is not None
    assert call.started <= call.ended
    assert aws.users() == ["ann"]


def test_the_proxy_keeps_connections(aws: Account, proxy: Proxy) -> None:
    """A client's calls go over one connection, as they do to AWS."""
    iam = aws.client("iam", url=proxy.url)

    for name in ("ann", "bob", "cid"):
        iam.create_user(UserName=name)

    assert proxy.actions("iam") == ["CreateUser"] * 3
    assert proxy.connections == 1


def test_the_proxy_adds_latency(aws: Account, proxy: Proxy) -> None:
    """Every call takes ``latency_s`` longer."""
    proxy.latency_s = 0.05

    make_user(aws, "ann", url=proxy.url)

    (call,) = proxy.calls
    assert call.ended is not None
    assert call.ended - call.started >= 0.05


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        ("throttle", "Throttling", 400),
        ("500", "ServiceFailure", 500),
        ("AccessDenied", "AccessDenied", 403),
        ("NoSuchEntity", "NoSuchEntity", 404),
        (("LimitExceeded", 409), "LimitExceeded", 409),
    ],
)
def test_the_proxy_answers_with_errors(
    aws: Account, proxy: Proxy, kind: Kind | tuple[str, int], code: str, status: int
) -> None:
    """A scripted error reaches boto3 as the service's own, and the call has no effect."""
    fault = proxy.fail("CreateUser", kind)

    with pytest.raises(ClientError) as failed:
        make_user(aws, "ann", url=proxy.url)

    assert code_of(failed) == code
    assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert fault.hits == 1
    assert aws.users() == []


def test_the_proxy_answers_dynamodb_in_its_own_words(aws: Account, proxy: Proxy) -> None:
    """A scripted error of DynamoDB is JSON, and boto3 finds its code."""
    proxy.fail("ListTables", ("ProvisionedThroughputExceededException", 400))

    with pytest.raises(ClientError) as failed:
        aws.client("dynamodb", url=proxy.url).list_tables()

    assert code_of(failed) == "ProvisionedThroughputExceededException"
    assert proxy.actions("dynamodb") == ["ListTables"]


@pytest.mark.parametrize(
    ("kind", "error", "takes_effect"),
    [
        ("refuse", (ConnectionClosedError, EndpointConnectionError), False),
        ("drop_before", ConnectionClosedError, False),
        ("drop_after", ConnectionClosedError, True),
        ("truncate", (ResponseParserError, ConnectionClosedError), True),
        ("malformed", ResponseParserError, True),
    ],
)
def test_the_proxy_breaks_connections(
    aws: Account, proxy: Proxy, kind: Kind, error: type[Exception] | tuple[type[Exception], ...], takes_effect: bool
) -> None:
    """A broken connection or answer is what boto3 sees; whether the call took effect depends on where it broke."""
    proxy.fail("CreateUser", kind)

    with pytest.raises(error):
        make_user(aws, "ann", url=proxy.url)

    assert aws.users() == (["ann"] if takes_effect else [])


def test_the_proxy_keeps_a_caller_waiting(aws: Account, proxy: Proxy) -> None:
    """A call that times out has no effect, then or later."""
    proxy.fail("CreateUser", "timeout")

    with pytest.raises(ReadTimeoutError):
        make_user(aws, "ann", url=proxy.url, read_timeout=0.1)
    proxy.release()

    assert aws.users() == []


def test_the_proxy_holds_a_call_until_it_is_released(aws: Account, proxy: Proxy) -> None:
    """A held call has arrived and had no effect; released, it goes on as if nothing had been."""
    fault = proxy.fail("CreateUser", "hold")
    caller = threading.Thread(target=make_user, args=(aws, "ann"), kwargs={"url": proxy.url})
    caller.start()

    assert fault.arrived.wait(60)
    before = aws.users()
    fault.release()
    caller.join(60)

    assert (before, aws.users()) == ([], ["ann"])


def test_a_fault_waits_for_its_call(aws: Account, proxy: Proxy) -> None:
    """The Nth call of the action that the predicate takes meets the fault, as often as wanted, and no other does."""
    iam = aws.client("iam", url=proxy.url)
    fault = proxy.fail("CreateUser", "500", nth=2, times=1, when=lambda call: call.user_name != "bob")
    iam.create_user(UserName="ann")
    iam.create_user(UserName="bob")

    with pytest.raises(ClientError):
        iam.create_user(UserName="cid")
    iam.create_user(UserName="cid")

    assert fault.hits == 1
    assert [call.fault for call in proxy.calls] == [None, None, "500", None]


def test_the_proxy_forgets(aws: Account, proxy: Proxy) -> None:
    """Cleared, the proxy has no calls and makes no trouble."""
    proxy.fail("*", "500", times=None)
    with pytest.raises(ClientError):
        make_user(aws, "ann", url=proxy.url)

    proxy.clear()

    assert proxy.calls == []
    make_user(aws, "ann", url=proxy.url)


def test_the_proxys_service_may_have_another_clock(aws: Account, proxy: Proxy) -> None:
    """With ``date_offset_s`` the service's dates are those of a clock that goes wrong."""
    proxy.date_offset_s = -3600

    answer = make_user(aws, "ann", url=proxy.url)

    stated = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    created = answer["User"]["CreateDate"]
    for date in (stated, created):
        assert abs(datetime.now(UTC) - timedelta(hours=1) - date) < timedelta(minutes=1)


def test_calls_that_were_under_way_together_are_told(aws: Account, proxy: Proxy) -> None:
    """Two calls overlap if each began before the other had ended."""
    fault = proxy.fail("CreateUser", "hold")
    held = threading.Thread(target=make_user, args=(aws, "ann"), kwargs={"url": proxy.url})
    held.start()
    assert fault.arrived.wait(60)
    make_user(aws, "bob", url=proxy.url)
    fault.release()
    held.join(60)
    make_user(aws, "cid", url=proxy.url)

    ann, bob, cid = sorted(proxy.calls, key=lambda call: str(call.user_name))

    assert ann.overlaps(bob)
    assert not ann.overlaps(cid)
    assert proxy.count("CreateUser") == 3
