"""The page on fleets: its policy is enough for a machine of the fleet, and its commands work."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import boto3
import pytest

from dynsecrets import DynamicSecretConfig, DynamoDBLeaseStore, Integration, LeaseManager, lease
from support.docs import blocks
from support.places import ROOT
from support.shell_pages import ACCOUNT, REGION, Reader

if TYPE_CHECKING:
    from pathlib import Path

    from support.accounts import Account

PAGE = "how-to/fleets.md"
TABLE = "dynsecrets-leases"


def test_the_policies_are_enough_for_a_machine_of_the_fleet(ministack: Account) -> None:
    """With the table's policy and the integration's, where both are checked, a machine leases, revokes and reaps."""
    (block,) = (block for block in blocks(ROOT / "docs" / PAGE) if block.file == "table-policy.json")
    table = json.loads(block.text.replace(ACCOUNT, ministack.id))["Statement"]
    integration = Integration.aws_iam().required_policy(account_id=ministack.id)["Statement"]
    # To ministack a user's ARN has no path, so what is limited to the path is limited to the prefix for it.
    integration[0]["Resource"] = f"arn:aws:iam::{ministack.id}:user/Dynsecrets-Dynamic-*"
    keys = ministack.user_with(json.dumps({"Version": "2012-10-17", "Statement": [*table, *integration]}))
    DynamoDBLeaseStore(TABLE, ministack.session(), ministack.url, region=REGION).create_table()
    mine = boto3.Session(keys["access_key_id"], keys["secret_access_key"], region_name=REGION)
    aws = Integration.aws_iam(session=mine, endpoint_url=ministack.url)
    config = DynamicSecretConfig("AWS_USER", aws, max_active=1)

    with LeaseManager(DynamoDBLeaseStore(TABLE, mine, ministack.url)) as fleet:
        with lease(config, manager=fleet) as creds:
            during = ministack.users()
        report = fleet.reap(integrations=[aws])

    assert during == [creds.username]
    assert ministack.users() == []
    assert report.failed == []


def test_the_policy_reaches_no_other_table(ministack: Account) -> None:
    """The check above means something: another table is refused."""
    (block,) = (block for block in blocks(ROOT / "docs" / PAGE) if block.file == "table-policy.json")
    keys = ministack.user_with(block.text.replace(ACCOUNT, ministack.id))
    DynamoDBLeaseStore("another", ministack.session(), ministack.url, region=REGION).create_table()
    mine = boto3.Session(keys["access_key_id"], keys["secret_access_key"], region_name=REGION)
    client = mine.client("dynamodb", endpoint_url=ministack.url)

    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        client.get_item(TableName="another", Key={"id": {"S": "x"}})


@pytest.mark.skipif(sys.platform == "win32", reason="the page's commands are typed into a POSIX shell")
def test_its_commands_protect_the_table(aws: Account, tmp_path: Path) -> None:
    """Typed after the table is made, they switch on what keeps it from being lost."""
    DynamoDBLeaseStore(TABLE, aws.session(), aws.url, region=REGION).create_table()
    reader = Reader(PAGE, tmp_path, aws.environment(), account_id=aws.id)

    reader.shell(having="aws ")

    client = aws.session().client("dynamodb", endpoint_url=aws.url, region_name=REGION)
    backups = client.describe_continuous_backups(TableName=TABLE)["ContinuousBackupsDescription"]
    assert client.describe_table(TableName=TABLE)["Table"]["DeletionProtectionEnabled"] is True
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
