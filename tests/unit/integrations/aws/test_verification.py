"""The "Connect" step: who the credentials are, and whether they can do the job."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dynsecrets import Identity, PermissionDenied, ProvisionError
from support.integrations import integration_of

if TYPE_CHECKING:
    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from support.accounts import Account
    from support.proxy import Proxy

ALL = (
    "iam:CreateUser",
    "iam:CreateAccessKey",
    "iam:PutUserPolicy",
    "iam:ListAccessKeys",
    "iam:ListUserPolicies",
    "iam:DeleteAccessKey",
    "iam:DeleteUserPolicy",
    "iam:DeleteUser",
)


def allowing(*actions: str) -> str:
    """Return a policy that allows these actions on everything, or none."""
    effect = {"Effect": "Allow", "Action": actions} if actions else {"Effect": "Deny", "Action": "iam:*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [{**effect, "Resource": "*"}]})


def test_verify_says_who_it_is_and_leaves_nothing(direct: AwsIamIntegration, aws: Account) -> None:
    """The identity is that of the credentials; the canary user is gone."""
    identity = direct.verify()

    assert identity.account == aws.id
    assert identity.arn == f"arn:aws:iam::{aws.id}:user/administrator"
    assert isinstance(identity, Identity)
    assert aws.users() == []


@pytest.mark.parametrize("missing", ALL)
def test_each_missing_action_is_named(ministack: Account, missing: str) -> None:
    """A policy that lacks one of the eight actions is found out, and exactly that action is named."""
    keys = ministack.user_with(allowing(*(action for action in ALL if action != missing)))
    integration = integration_of(ministack, **keys)

    with pytest.raises(PermissionDenied, match=missing) as caught:
        integration.verify()

    assert caught.value.actions == (missing,)
    left = ministack.users()
    # What may not be deleted stays, and is named; it has no key that works.
    assert bool(left) == (missing == "iam:DeleteUser")
    assert all(name in str(caught.value) for name in left)


@pytest.mark.parametrize("granted", [(), ("iam:CreateUser",), ("iam:CreateUser", "iam:DeleteUser"), ("iam:List*",)])
def test_all_that_is_missing_is_named_at_once(ministack: Account, granted: tuple[str, ...]) -> None:
    """Whoever sets up the integration needs one round, not eight."""
    integration = integration_of(ministack, **ministack.user_with(allowing(*granted)))
    lists = {"iam:ListAccessKeys", "iam:ListUserPolicies"}

    with pytest.raises(PermissionDenied) as caught:
        integration.verify()

    assert set(caught.value.actions) == set(ALL) - set(granted) - (lists if "iam:List*" in granted else set())


def test_the_eight_actions_are_enough(ministack: Account) -> None:
    """With exactly the required actions everything works (on all users: ministack doesn't know their paths)."""
    integration = integration_of(ministack, **ministack.user_with(allowing(*ALL)))

    assert integration.verify().arn.endswith(":user/integration")


def test_a_key_that_aws_does_not_know_is_no_missing_permission(ministack: Account) -> None:
    """Wrong credentials are an error of their own."""
    integration = integration_of(ministack, access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="wrong")

    with pytest.raises(ProvisionError, match="own credentials"):
        integration.verify()


def test_trouble_in_the_middle_leaves_no_canary(watched: AwsIamIntegration, aws: Account, proxy: Proxy) -> None:
    """An error that is no refusal is raised, and the canary is removed."""
    proxy.fail("CreateAccessKey", "500", times=5)

    with pytest.raises(ProvisionError, match="CreateAccessKey"):
        watched.verify()

    assert aws.users() == []


def test_unresolved_refusals_are_not_taken_for_missing_actions(watched: AwsIamIntegration, proxy: Proxy) -> None:
    """Where permissions are limited to a path, AWS refuses calls on users that don't exist: that says nothing."""
    for action in ALL:
        operation = action.removeprefix("iam:")
        proxy.fail(operation, "AccessDenied", times=None)

    with pytest.raises(PermissionDenied, match="can't be told") as caught:
        watched.verify()

    assert caught.value.actions == ("iam:CreateUser",)
