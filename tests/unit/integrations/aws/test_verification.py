"""The "Connect" step: who the credentials are, and whether they can do the job."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from dynsecrets import Identity, PermissionDenied, ProvisionError
from support.integrations import integration_of

if TYPE_CHECKING:
    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from support.accounts import Account
    from support.proxy import Call, Proxy

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


def test_a_canary_that_may_be_left_is_named(watched: AwsIamIntegration, aws: Account, proxy: Proxy) -> None:
    """It has no record, so nobody would know of it."""
    proxy.fail("CreateAccessKey", "500", times=5)
    proxy.fail("DeleteUser", ("DeleteConflict", 409), times=None)

    with pytest.raises(ProvisionError, match="CreateAccessKey") as caught:
        watched.verify()

    (note,) = caught.value.__notes__
    (left,) = aws.users()
    assert left in note


def test_the_canary_has_the_guard_while_it_has_a_key(watched: AwsIamIntegration, aws: Account, proxy: Proxy) -> None:
    """Whoever kills the process leaves a key that AWS refuses within minutes, on a user that a sweep finds."""
    iam, seen = aws.client("iam"), []

    def look(call: Call) -> bool:
        (name,) = iam.list_user_policies(UserName=call.user_name)["PolicyNames"]
        seen.append(iam.get_user_policy(UserName=call.user_name, PolicyName=name)["PolicyDocument"])
        return False

    def deletes_a_key(call: Call) -> bool:
        keys = iam.list_access_keys(UserName=call.user_name)["AccessKeyMetadata"]
        return bool(keys) and look(call)

    proxy.fail("CreateAccessKey", "500", when=look)
    proxy.fail("DeleteAccessKey", "500", when=deletes_a_key)

    watched.verify()

    assert len(seen) == 2
    for document in seen:
        (guard,) = document["Statement"]
        until = datetime.fromisoformat(guard["Condition"]["DateGreaterThan"]["aws:CurrentTime"])
        assert guard["Effect"] == "Deny"
        assert until - datetime.now(UTC) <= timedelta(minutes=6)
    assert aws.users() == []


def test_a_conflict_for_a_moment_is_not_an_error(watched: AwsIamIntegration, aws: Account, proxy: Proxy) -> None:
    """IAM may refuse to delete the canary though all that hung on it is gone."""
    proxy.fail("DeleteUser", ("DeleteConflict", 409), times=2)

    watched.verify()

    assert aws.users() == []


def test_an_interrupt_leaves_no_canary(watched: AwsIamIntegration, aws: Account) -> None:
    """Ctrl-C in the middle is followed by the deletions."""

    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    watched.clients.iam().meta.events.register("after-call.iam.CreateAccessKey", interrupt)

    with pytest.raises(KeyboardInterrupt):
        watched.verify()

    assert aws.users() == []


def test_a_canary_that_was_left_is_found_by_a_sweep(
    watched: AwsIamIntegration, aws: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was killed in the middle leaves a user that no record knows; it is named like all of them."""

    def killed(*_: object, **__: object) -> None:
        raise SystemExit

    monkeypatch.setattr("dynsecrets.integrations.aws.verification._Canary._remove", killed)
    watched.clients.iam().meta.events.register("after-call.iam.CreateAccessKey", killed)

    with pytest.raises(SystemExit):
        watched.verify()

    assert [orphan.name for orphan in watched.find_all()] == aws.users() != []


def test_unresolved_refusals_are_not_taken_for_missing_actions(watched: AwsIamIntegration, proxy: Proxy) -> None:
    """Where permissions are limited to a path, AWS refuses calls on users that don't exist: that says nothing."""
    for action in ALL:
        operation = action.removeprefix("iam:")
        proxy.fail(operation, "AccessDenied", times=None)

    with pytest.raises(PermissionDenied, match="can't be told") as caught:
        watched.verify()

    assert caught.value.actions == ("iam:CreateUser",)
