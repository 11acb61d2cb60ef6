"""The page on setting up the integration's user works from nothing, with the AWS CLI, where permissions are checked."""

from __future__ import annotations

import json
import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import pytest

from dynsecrets import Integration
from support.docs import blocks
from support.places import ROOT
from support.shell_pages import Reader

if TYPE_CHECKING:
    from pathlib import Path

    from support.accounts import Account

PAGE = "how-to/least-privilege.md"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the page's commands are typed into a POSIX shell")


def test_it_works_from_nothing(ministack: Account, tmp_path: Path) -> None:
    """Who follows the page in an empty account ends with a profile that can lease, and that can do nothing else."""
    reader = Reader(PAGE, tmp_path, ministack.environment(), account_id=ministack.id)
    tmp_path.joinpath("integration-policy.json").unlink()
    reader.environment |= {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }

    assert reader.shell(having="get-caller-identity").strip() == ministack.id
    reader.python("required_policy")
    # To ministack a user's ARN has no path, so what is limited to the path is limited to the prefix for it.
    policy = tmp_path / "integration-policy.json"
    policy.write_text(policy.read_text(encoding="utf-8").replace("user/dynsecrets/*", "user/Dynsecrets-Dynamic-*"))
    printed = reader.shell(having="create-access-key")
    _, end = json.JSONDecoder().raw_decode(printed)
    key = json.loads(printed[end:])["AccessKey"]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del reader.environment[name]
    answers = "\n".join((key["AccessKeyId"], key["SecretAccessKey"], ministack.region, "json", ""))
    reader.type("aws configure --profile dynsecrets", answers=answers)
    reader.environment["AWS_PROFILE"] = "dynsecrets"
    printed = reader.python("required_policy", "verify()")

    assert printed.split() == [ministack.id, f"arn:aws:iam::{ministack.id}:user/integrations/dynsecrets-integration"]
    assert ministack.users("/") == ["dynsecrets-integration"]
    client = ministack.client_of(
        {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}, "iam"
    )
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        client.create_user(UserName="elsewhere", Path="/")


def test_a_role_is_set_up_from_nothing_too(ministack: Account, tmp_path: Path) -> None:
    """The page's commands for a role make one that has the same policy."""
    reader = Reader(PAGE, tmp_path, ministack.environment(), account_id=ministack.id)

    reader.shell(having="create-role")

    policy = ministack.client("iam").get_role_policy(RoleName="my-service", PolicyName="lease-users")["PolicyDocument"]
    assert policy == json.loads(tmp_path.joinpath("integration-policy.json").read_text(encoding="utf-8"))


def test_the_narrower_policy_is_of_this_program_alone() -> None:
    """What the page shows as narrower differs in its resource only, which no user of a deeper path matches."""
    shown = {block.file: block.text for block in blocks(ROOT / "docs" / PAGE, "json")}
    (wide,) = json.loads(shown["integration-policy.json"])["Statement"]
    (narrow,) = json.loads(shown["narrower-policy.json"])["Statement"]
    aws = Integration.aws_iam()
    users = f"arn:aws:iam::123456789012:user{aws.path}"

    mine, deeper = f"{users}{aws.username_prefix}a1B2c3D4e5F6g", f"{users}billing/{aws.username_prefix}a1B2c3D4e5F6g"

    assert {**narrow, "Resource": wide["Resource"]} == wide
    assert [fnmatchcase(user, wide["Resource"]) for user in (mine, deeper)] == [True, True]
    assert [fnmatchcase(user, narrow["Resource"]) for user in (mine, deeper)] == [True, False]
