"""Real SDKs as children, against an AWS that checks keys: they follow renewals, and none of their calls fails."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import DynamicSecretConfig, Integration, LeaseManager, MemoryLeaseStore
from dynsecrets.delivery.secrets_config import SecretsConfig
from support.clients import NODE_MODULES, aws_cli, node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.accounts import Account

#: Short, and yet a slow machine has seconds for a renewal.
_TTL = "12s"
#: A child makes calls until it has been so many users, or until it is clear that it won't be.
_USERS = 3
_CALLS_S = 120.0

_PYTHON = """
import json, sys, time, boto3
sts, seen, end = boto3.client("sts"), [], time.monotonic() + float(sys.argv[2])
while len(set(seen)) < int(sys.argv[3]) and time.monotonic() < end:
    seen.append(sts.get_caller_identity()["Arn"])
    time.sleep(0.05)
open(sys.argv[1], "w").write(json.dumps(seen))
"""
_NODE = """
const { STSClient, GetCallerIdentityCommand } = require("@aws-sdk/client-sts");
const sts = new STSClient({ maxAttempts: 1 }), seen = [], end = Date.now() + 1000 * Number(process.argv[3]);
(async () => {
  while (new Set(seen).size < Number(process.argv[5]) && Date.now() < end) {
    seen.push((await sts.send(new GetCallerIdentityCommand({}))).Arn);
    await new Promise((done) => setTimeout(done, Number(process.argv[4])));
  }
  require("fs").writeFileSync(process.argv[2], JSON.stringify(seen));
})().catch((error) => { console.error(String(error)); process.exit(1); });
"""


@pytest.fixture
def manager() -> Iterator[LeaseManager]:
    """A manager with nothing leased at its end."""
    with LeaseManager(MemoryLeaseStore()) as manager:
        yield manager


def config_on(account: Account, manager: LeaseManager) -> SecretsConfig:
    """Return a config whose secret is leased from an account."""
    integration = Integration.aws_iam(
        access_key_id=account.access_key_id,
        secret_access_key=account.secret_access_key,
        region=account.region,
        endpoint_url=account.url,
    )
    secret = DynamicSecretConfig("AWS_USER", integration, default_ttl="30m")
    return SecretsConfig("p", "e", "c", {}, [secret], manager=manager)


def seen_in(path: Path) -> list[str]:
    """Return the users that a child's calls were made by, each once, in order."""
    return list(dict.fromkeys(json.loads(path.read_text())))


def test_boto3_follows_renewals(ministack: Account, manager: LeaseManager, tmp_path: Path) -> None:
    """A boto3 client, made once, makes calls at a steady pace through several renewals, and none fails."""
    seen = tmp_path / "seen"

    status = config_on(ministack, manager).run(
        [sys.executable, "-c", _PYTHON, str(seen), str(_CALLS_S), str(_USERS)], dynamic_ttl=_TTL, renew=True
    )

    assert status == 0
    assert len(seen_in(seen)) == _USERS
    assert all(":user/dynsecrets/" in arn for arn in seen_in(seen))
    assert ministack.users() == []


@pytest.mark.parametrize("pause_ms", [50, 5000])
def test_javascript_follows_renewals(pause_ms: int, ministack: Account, manager: LeaseManager, tmp_path: Path) -> None:
    """A client of the AWS SDK for JavaScript, busy or idle, makes calls through several renewals, and none fails."""
    seen = tmp_path / "seen"
    script = tmp_path / "calls.js"
    script.write_text(_NODE)
    env = {**os.environ, "NODE_PATH": str(NODE_MODULES)}

    status = config_on(ministack, manager).run(
        [node(), script, seen, str(_CALLS_S), str(pause_ms), str(_USERS)],
        dynamic_ttl=_TTL,
        env=env,
        aws="AWS_USER",
        renew=True,
    )

    assert status == 0
    assert len(seen_in(seen)) == _USERS
    assert ministack.users() == []


def test_the_aws_cli_is_given_the_key_of_the_moment(ministack: Account, manager: LeaseManager, tmp_path: Path) -> None:
    """Each call of the AWS CLI asks the endpoint, and gets the user of the moment, not one of its own."""
    cli = " ".join([*aws_cli(), "sts", "get-caller-identity"])
    script = f"""
        {cli} > {tmp_path}/first
        for _ in $(seq 60); do
            sleep 0.5
            {cli} > {tmp_path}/second
            test "$(cat {tmp_path}/first)" = "$(cat {tmp_path}/second)" || break
        done
    """

    status = config_on(ministack, manager).run(["sh", "-ec", script], dynamic_ttl=_TTL, renew=True)

    first, second = (json.loads((tmp_path / name).read_text())["Arn"] for name in ("first", "second"))
    assert status == 0
    assert first != second
    assert ":user/dynsecrets/" in first


@pytest.mark.parametrize("renew", [False, True])
def test_all_sdks_take_the_lease_and_not_what_lies_around(
    renew: bool, ministack: Account, manager: LeaseManager, tmp_path: Path
) -> None:
    """Stale tokens, profiles, roles and a default profile with keys don't get in the way of the lease."""
    home = tmp_path / "somebody"
    (home / ".aws").mkdir(parents=True)
    (home / ".boto").write_text("[Credentials]\naws_access_key_id = AKIAWRONG\naws_secret_access_key = no\n")
    (home / ".aws" / "credentials").write_text("[default]\naws_access_key_id = AKIAWRONG\naws_secret_access_key = no\n")
    env = {
        **os.environ,
        "HOME": str(home),
        "AWS_SESSION_TOKEN": "stale",
        "AWS_SECURITY_TOKEN": "stale",
        "AMAZON_SESSION_TOKEN": "stale",
        "AWS_CREDENTIAL_FILE": str(home / "old"),
        "AWS_PROFILE": "admin",
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/admin",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(home / "token"),
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/0",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
        "NODE_PATH": str(NODE_MODULES),
    }
    del env["AWS_SHARED_CREDENTIALS_FILE"]
    script = tmp_path / "calls.js"
    script.write_text(_NODE)
    commands: dict[str, list[Any]] = {
        "boto3": [sys.executable, "-c", _PYTHON, tmp_path / "boto3", str(_CALLS_S), "1"],
        "javascript": [node(), script, tmp_path / "javascript", str(_CALLS_S), "10", "1"],
    }
    config = config_on(ministack, manager)

    statuses = {name: int(config.run(command, env=env, aws=True, renew=renew)) for name, command in commands.items()}

    assert statuses == {"boto3": 0, "javascript": 0}
    assert all(":user/dynsecrets/" in seen_in(tmp_path / name)[0] for name in commands)
