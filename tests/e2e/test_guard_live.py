"""The expiry guard, on an AWS that evaluates conditions: the last of the three that end a lease."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from pathlib import Path

    from support.accounts import Account

#: Issues a lease of a few seconds, hands its values over on a pipe, and then waits to be killed.
HOLDER = textwrap.dedent(
    """
    import json, sys
    from dynsecrets import DynamicSecretConfig, Integration, LeaseManager, SQLiteLeaseStore, lease

    endpoint, key, secret, store = sys.argv[1:]
    aws = Integration.aws_iam(endpoint_url=endpoint, region="us-east-1", access_key_id=key, secret_access_key=secret)
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    config = DynamicSecretConfig("AWS_USER", aws, policy)
    with lease(config, "10s", manager=LeaseManager(SQLiteLeaseStore(store))) as creds:
        told = {**creds.aws_env(), "until": creds.expires_at.isoformat(), "user": creds.username}
        print(json.dumps(told), flush=True)
        sys.stdin.read()
    """
)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_key_whose_process_is_killed_is_refused_after_the_ttl(ministack: Account, tmp_path: Path) -> None:
    """The key works after its process was killed; from the expiration on AWS refuses it, though the user exists."""
    bucket = f"guarded-{ministack.id}"
    ministack.client("s3").create_bucket(Bucket=bucket)
    arguments = [ministack.url, ministack.access_key_id, ministack.secret_access_key, str(tmp_path / "leases.db")]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    with holder:
        leased = json.loads(holder.stdout.readline())
        holder.send_signal(signal.SIGKILL)
    s3 = ministack.client_of(leased, "s3")

    worked_after_the_kill = s3.list_objects_v2(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"]
    until = datetime.fromisoformat(leased["until"])
    # Not a wait for luck: the guard's date has whole seconds, so a second after it AWS must refuse.
    while (datetime.now(UTC) - until).total_seconds() < 1.05:
        time.sleep(0.05)
    with pytest.raises(ClientError) as refused:
        s3.list_objects_v2(Bucket=bucket)

    assert holder.returncode == -signal.SIGKILL
    assert worked_after_the_kill == 200
    assert refused.value.response["Error"]["Code"] == "AccessDenied"
    assert "explicit deny" in str(refused.value)
    assert ministack.users() == [leased["user"]]
