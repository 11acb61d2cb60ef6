"""Leasing IAM users on an AWS over real HTTP: which calls are made, on what, and what is left."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import (
    DynamicSecretConfig,
    InvalidConfig,
    PermissionDenied,
    ProvisionError,
    QuotaExceeded,
    RevocationError,
    lease,
)
from dynsecrets.model.timestamps import to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynsecrets import LeaseManager
    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from support.accounts import Account
    from support.proxy import Call, Kind, Proxy

READ_REPORTS = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::reports/*"}],
}
DEFAULT_ACTIONS = {
    "iam:CreateUser",
    "iam:CreateAccessKey",
    "iam:PutUserPolicy",
    "iam:ListAccessKeys",
    "iam:ListUserPolicies",
    "iam:DeleteAccessKey",
    "iam:DeleteUserPolicy",
    "iam:DeleteUser",
}


def config_of(integration: AwsIamIntegration, **options: Any) -> DynamicSecretConfig:
    """Return a config that hands over at once: what is waited for is tested elsewhere."""
    options = {"policy": READ_REPORTS, "wait": None, **options}
    return DynamicSecretConfig("AWS_USER", integration, **options)


def refusal(action: str) -> str:
    """Return how AWS refuses an action on a user that it has found."""
    return f"not authorized to perform: iam:{action} on resource: arn:aws:iam::123456789012:user/dynsecrets/somebody"


def iam_calls(proxy: Proxy) -> list[Call]:
    """Return the calls to IAM so far."""
    return [call for call in proxy.calls if call.service == "iam"]


def test_three_calls_issue_and_three_revoke(watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy) -> None:
    """A whole life is CreateUser, two calls at once, two calls at once, DeleteUser: four round trips."""
    proxy.latency_s = 0.05

    with lease(config_of(watched), manager=manager):
        issued = iam_calls(proxy)
    revoked = iam_calls(proxy)[len(issued) :]

    assert issued[0].action == "CreateUser"
    assert {call.action for call in issued[1:]} == {"PutUserPolicy", "CreateAccessKey"}
    assert len(issued) == 3
    assert issued[1].overlaps(issued[2])
    assert {call.action for call in revoked[:2]} == {"DeleteAccessKey", "DeleteUserPolicy"}
    assert revoked[0].overlaps(revoked[1])
    assert [call.action for call in revoked[2:]] == ["DeleteUser"]


def test_the_user_is_there_during_the_block_and_gone_after_it(
    direct: AwsIamIntegration, manager: LeaseManager, aws: Account
) -> None:
    """Nothing before, one user with one key and one policy during, nothing after."""
    iam = aws.client("iam")

    with lease(config_of(direct), manager=manager) as creds:
        user = iam.get_user(UserName=creds.username)["User"]
        keys = iam.list_access_keys(UserName=creds.username)["AccessKeyMetadata"]
        policies = iam.list_user_policies(UserName=creds.username)["PolicyNames"]

    assert user["Path"] == "/dynsecrets/"
    assert user["Arn"] == creds.arn == f"arn:aws:iam::{aws.id}:user/dynsecrets/{creds.username}"
    assert user["UserId"] == creds.user_id
    assert [key["AccessKeyId"] for key in keys] == [creds.access_key_id]
    assert policies == [creds.policy_name]
    assert aws.users() == []


def test_the_policy_ends_with_the_expiry_guard(direct: AwsIamIntegration, manager: LeaseManager, aws: Account) -> None:
    """The attached policy is the owner's plus a deny of everything from the lease's end on."""
    with lease(config_of(direct), "15m", manager=manager) as creds:
        document = aws.client("iam").get_user_policy(UserName=creds.username, PolicyName=creds.policy_name)

    *given, guard = document["PolicyDocument"]["Statement"]
    until = datetime.fromisoformat(guard["Condition"]["DateGreaterThan"]["aws:CurrentTime"])
    assert given == READ_REPORTS["Statement"]
    assert (guard["Effect"], guard["Action"], guard["Resource"]) == ("Deny", "*", "*")
    assert timedelta(0) <= until - creds.expires_at < timedelta(seconds=1)


@pytest.mark.parametrize("offset_s", [-600, 600])
def test_the_expiration_is_counted_on_the_services_clock(
    aws: Account, proxy: Proxy, make_integration: Callable[..., AwsIamIntegration], manager: LeaseManager, offset_s: int
) -> None:
    """A service whose clock is ten minutes off decides when the lease ends; how long it lives is unchanged."""
    proxy.date_offset_s = offset_s
    integration = make_integration(proxy.url)

    with lease(config_of(integration), "15m", manager=manager) as creds:
        ahead = creds.expires_at - datetime.now(UTC) - timedelta(minutes=15)
        remaining = creds.remaining

    assert abs(ahead - timedelta(seconds=offset_s)) < timedelta(seconds=5)
    assert timedelta(minutes=14, seconds=55) < remaining <= timedelta(minutes=15)


def test_no_policy_attaches_the_guard_alone(direct: AwsIamIntegration, manager: LeaseManager, aws: Account) -> None:
    """policy=None gives a user that may do nothing, and then not even that."""
    with lease(config_of(direct, policy=None), manager=manager) as creds:
        document = aws.client("iam").get_user_policy(UserName=creds.username, PolicyName=creds.policy_name)

    assert [statement["Effect"] for statement in document["PolicyDocument"]["Statement"]] == ["Deny"]


def test_no_policy_and_no_guard_put_no_policy(watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy) -> None:
    """With neither there are two calls to issue and two to revoke."""
    with lease(config_of(watched, policy=None, expiry_guard=False), manager=manager) as creds:
        name = creds.policy_name

    assert name == ""
    assert proxy.actions("iam") == ["CreateUser", "CreateAccessKey", "DeleteAccessKey", "DeleteUser"]


def test_without_the_guard_the_policy_is_the_owners_alone(
    direct: AwsIamIntegration, manager: LeaseManager, aws: Account
) -> None:
    """expiry_guard=False leaves the policy as it was written."""
    with lease(config_of(direct, expiry_guard=False), manager=manager) as creds:
        document = aws.client("iam").get_user_policy(UserName=creds.username, PolicyName=creds.policy_name)

    assert document["PolicyDocument"] == READ_REPORTS


def test_options_of_the_user_are_given_and_cleaned_up(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account, proxy: Proxy
) -> None:
    """Managed policies, groups, tags and a boundary are there during the block, the last two from CreateUser on."""
    iam = aws.client("iam")
    boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(READ_REPORTS))["Policy"]["Arn"]
    managed = iam.create_policy(PolicyName="managed", PolicyDocument=json.dumps(READ_REPORTS))["Policy"]["Arn"]
    iam.create_group(GroupName="readers")
    options = {
        "managed_policy_arns": [managed],
        "groups": ["readers"],
        "permissions_boundary": boundary,
        "tags": {"team": "data"},
    }

    with lease(config_of(watched, **options), manager=manager) as creds:
        tags = iam.list_user_tags(UserName=creds.username)["Tags"]
        attached = iam.list_attached_user_policies(UserName=creds.username)["AttachedPolicies"]
        groups = iam.list_groups_for_user(UserName=creds.username)["Groups"]

    created = iam_calls(proxy)[0].parameters
    assert tags == [{"Key": "team", "Value": "data"}]
    assert [policy["PolicyArn"] for policy in attached] == [managed]
    assert [group["GroupName"] for group in groups] == ["readers"]
    assert created["PermissionsBoundary"] == boundary
    assert created["Tags.member.1.Key"] == "team"
    assert "TagUser" not in proxy.actions("iam")
    assert aws.users() == []
    assert iam.get_group(GroupName="readers")["Users"] == []


def test_each_option_adds_its_own_actions_and_no_others(direct: AwsIamIntegration) -> None:
    """required_policy() has exactly the eight actions on the integration's path, and what an option needs besides."""
    arn = "arn:aws:iam::aws:policy/ReadOnlyAccess"

    def actions(**options: Any) -> set[str]:
        document = direct.required_policy(config_of(direct, **options))
        return {action for statement in document["Statement"] for action in statement["Action"]}

    (plain,) = direct.required_policy()["Statement"]
    assert set(plain["Action"]) == DEFAULT_ACTIONS
    assert plain["Resource"] == "arn:aws:iam::*:user/dynsecrets/*"
    assert actions() == DEFAULT_ACTIONS
    assert actions(tags={"a": "b"}) - DEFAULT_ACTIONS == {"iam:TagUser"}
    assert actions(managed_policy_arns=[arn]) - DEFAULT_ACTIONS == {"iam:AttachUserPolicy", "iam:DetachUserPolicy"}
    assert actions(groups=["g"]) - DEFAULT_ACTIONS == {"iam:AddUserToGroup", "iam:RemoveUserFromGroup"}
    assert actions(permissions_boundary=arn) - DEFAULT_ACTIONS == {"iam:PutUserPermissionsBoundary"}


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov", "aws-eusc", "aws-iso-f"])
def test_required_policy_is_of_one_account_and_partition(direct: AwsIamIntegration, partition: str) -> None:
    """The ARNs name the partition and the account that were asked for."""
    document = direct.required_policy(account_id="123456789012", partition=partition)

    assert document["Statement"][0]["Resource"] == f"arn:{partition}:iam::123456789012:user/dynsecrets/*"


@pytest.mark.parametrize(
    "wrong", [{"account_id": "12"}, {"account_id": 123456789012}, {"partition": "aws-mars"}, {"partition": None}]
)
def test_required_policy_refuses_what_is_no_account_or_partition(
    direct: AwsIamIntegration, wrong: dict[str, Any]
) -> None:
    """A typo in an ARN would be found by AWS's denials, much later."""
    with pytest.raises(InvalidConfig, match="is not accepted"):
        direct.required_policy(**wrong)


def test_all_calls_of_default_features_are_within_the_required_policy(
    watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy
) -> None:
    """Every call made is one of the eight actions, on a user of the integration's own path and prefix."""
    watched.verify()
    with lease(config_of(watched, wait="usable"), manager=manager):
        pass
    proxy.fail("CreateAccessKey", "AccessDenied", message=refusal("CreateAccessKey"))
    with pytest.raises(PermissionDenied):
        manager.issue(config_of(watched))
    watched.revoke(watched.plan(config_of(watched)))

    calls = iam_calls(proxy)
    assert {f"iam:{call.action}" for call in calls} == DEFAULT_ACTIONS
    assert all((call.user_name or "").startswith("Dynsecrets-Dynamic-") for call in calls)
    assert {call.parameters["Path"] for call in calls if call.action == "CreateUser"} == {"/dynsecrets/"}


@pytest.mark.parametrize(
    ("action", "kept"),
    [("CreateUser", set()), ("PutUserPolicy", {"CreateAccessKey"}), ("CreateAccessKey", {"PutUserPolicy"})],
)
def test_a_refused_step_is_rolled_back_and_names_the_action(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account, proxy: Proxy, action: str, kept: set[str]
) -> None:
    """AccessDenied becomes PermissionDenied with the action's name, and what was made is deleted."""
    proxy.fail(action, "AccessDenied", message=refusal(action))

    with pytest.raises(PermissionDenied) as caught:
        manager.issue(config_of(watched))

    assert caught.value.actions == (f"iam:{action}",)
    assert (caught.value.code, caught.value.operation) == ("AccessDenied", action)
    assert type(caught.value.__cause__).__name__ == "ClientError"
    (record,) = manager.records()
    assert (record.state, record.id) == ("revoked", caught.value.lease_id)
    assert aws.users() == []


def test_two_refused_steps_are_both_named(watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy) -> None:
    """Whoever grants what was missing need not come back for the rest."""
    for action in ("PutUserPolicy", "CreateAccessKey"):
        proxy.fail(action, "AccessDenied", message=refusal(action))

    with pytest.raises(PermissionDenied, match="iam:PutUserPolicy") as caught:
        manager.issue(config_of(watched))

    assert set(caught.value.actions) == {"iam:PutUserPolicy", "iam:CreateAccessKey"}


def test_nothing_is_deleted_where_nothing_was_made(
    watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy
) -> None:
    """A CreateUser that AWS clearly refused needs no cleaning up."""
    proxy.fail("CreateUser", "AccessDenied")

    with pytest.raises(PermissionDenied):
        manager.issue(config_of(watched))

    assert proxy.actions("iam") == ["CreateUser"]


def test_the_quota_of_users_is_explained(watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy) -> None:
    """LimitExceeded becomes QuotaExceeded, with the arithmetic of rate and TTL."""
    proxy.fail("CreateUser", ("LimitExceeded", 409), message="Cannot exceed quota for UsersPerAccount: 5000")

    with pytest.raises(QuotaExceeded, match=r"5,000 / 1,800 s") as caught:
        manager.issue(config_of(watched))

    assert caught.value.code == "LimitExceeded"


def test_a_policy_that_only_aws_refuses_is_an_invalid_config(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account
) -> None:
    """MalformedPolicyDocument becomes InvalidConfig, and says what AWS said."""
    resource = "arn:aws:s3:us-east-1::bucket/*"
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": resource}]}

    with pytest.raises(InvalidConfig, match="region") as caught:
        manager.issue(config_of(watched, policy=policy))

    assert caught.value.code == "MalformedPolicyDocument"
    assert aws.users() == []


def test_a_create_user_whose_answer_was_lost_is_taken_for_ours(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account, proxy: Proxy
) -> None:
    """EntityAlreadyExists for our own random name means that it worked the first time; the lease is complete."""
    proxy.fail("CreateUser", "drop_after")

    with lease(config_of(watched), manager=manager) as creds:
        user = aws.client("iam").get_user(UserName=creds.username)["User"]

    assert (creds.arn, creds.user_id) == (user["Arn"], user["UserId"])
    assert aws.users() == []


def test_a_key_whose_answer_was_lost_does_not_stay(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account, proxy: Proxy
) -> None:
    """A retried CreateAccessKey leaves a key that nobody knows; it is deleted before the lease is handed over."""
    proxy.fail("CreateAccessKey", "drop_after")

    with lease(config_of(watched), manager=manager) as creds:
        keys = aws.client("iam").list_access_keys(UserName=creds.username)["AccessKeyMetadata"]

    assert [key["AccessKeyId"] for key in keys] == [creds.access_key_id]
    assert aws.users() == []


def test_two_lost_keys_fill_the_limit_and_are_cleared(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account, proxy: Proxy
) -> None:
    """Two keys are all that a user may have: both are deleted and a third is made."""
    proxy.fail("CreateAccessKey", "drop_after", times=2)

    with lease(config_of(watched), manager=manager) as creds:
        keys = aws.client("iam").list_access_keys(UserName=creds.username)["AccessKeyMetadata"]

    assert [key["AccessKeyId"] for key in keys] == [creds.access_key_id]


@pytest.mark.parametrize("action", ["PutUserPolicy", "CreateAccessKey"])
def test_a_user_that_a_server_does_not_know_yet_is_waited_for(
    watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy, action: str
) -> None:
    """NoSuchEntity right after CreateUser means "not there yet"."""
    proxy.fail(action, "NoSuchEntity", times=2)

    with lease(config_of(watched), manager=manager) as creds:
        assert creds.is_valid()

    assert proxy.count(action) == 3


@pytest.mark.parametrize("action", ["PutUserPolicy", "CreateAccessKey"])
def test_so_is_one_that_aws_refuses_to_find(
    watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy, action: str
) -> None:
    """A refusal that names no ARN is what permissions on a path give for a user that a server doesn't know yet."""
    proxy.fail(action, "AccessDenied", times=2)

    with lease(config_of(watched), manager=manager) as creds:
        assert creds.is_valid()

    assert proxy.count(action) == 3


def test_a_refusal_that_stays_is_waited_for_a_few_seconds(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user that is there may be named without its ARN too, so the refusal is believed after a while."""
    slept: list[float] = []
    own = SimpleNamespace(sleep=slept.append, monotonic=time.monotonic)
    monkeypatch.setattr("dynsecrets.integrations.aws.iam_api.time", own)
    proxy.fail("PutUserPolicy", "AccessDenied", times=None)

    with pytest.raises(PermissionDenied, match="iam:PutUserPolicy"):
        manager.issue(config_of(watched))

    assert 1 < sum(slept) < 5
    assert aws.users() == []


@pytest.mark.parametrize("kind", ["truncate", "malformed"])
@pytest.mark.parametrize("action", ["CreateUser", "PutUserPolicy", "CreateAccessKey"])
def test_an_answer_that_cannot_be_read_is_an_answer_that_was_lost(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account, proxy: Proxy, action: str, kind: Kind
) -> None:
    """It took effect, so the lease is complete, and no key is left that nobody knows."""
    proxy.fail(action, kind)

    with lease(config_of(watched), manager=manager) as creds:
        keys = aws.client("iam").list_access_keys(UserName=creds.username)["AccessKeyMetadata"]

    assert [key["AccessKeyId"] for key in keys] == [creds.access_key_id]
    assert aws.users() == []


def planned_ago(integration: AwsIamIntegration, seconds: float, **options: Any) -> dict[str, str]:
    """Return what was planned some time ago."""
    planned_at = datetime.now(UTC) - timedelta(seconds=seconds)
    return {**integration.plan(config_of(integration, **options)), "planned_at": to_milliseconds(planned_at)}


def test_what_was_planned_too_long_ago_is_not_made(watched: AwsIamIntegration, proxy: Proxy) -> None:
    """A process that was suspended asks for no user whose record others may have closed: nothing is sent, or left."""
    late, soon = planned_ago(watched, 90), planned_ago(watched, 80)

    with pytest.raises(ProvisionError, match=r"CreateUser failed: .*not sent.* 90 seconds") as caught:
        watched.provision(late, config_of(watched), timedelta(minutes=15))
    before = proxy.actions("iam")
    grant = watched.provision(soon, config_of(watched), timedelta(minutes=15))

    assert caught.value.handle == {}
    assert before == []
    assert grant.values


def test_no_attempt_is_sent_too_late(watched: AwsIamIntegration, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall clock that was set back hides no suspension between two of botocore's attempts; the first may have worked.

    The steady clock is read when it begins and before each attempt.
    """
    asleep = [0.0, 0.0]
    monkeypatch.setattr(
        "dynsecrets.integrations.aws.request_tracking.SYSTEM_CLOCK",
        SimpleNamespace(steady=lambda: asleep.pop() if asleep else 91),
    )
    proxy.fail("CreateUser", "drop_after")
    plan = planned_ago(watched, 0)

    with pytest.raises(ProvisionError, match="not sent") as caught:
        watched.provision(plan, config_of(watched), timedelta(minutes=15))

    assert caught.value.handle is not None
    assert caught.value.handle["user_name"] == plan["user_name"]
    assert "asked_at" in caught.value.handle
    assert proxy.actions("iam") == ["CreateUser"]


def test_a_group_that_does_not_exist_is_an_error_at_once(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account, proxy: Proxy
) -> None:
    """NoSuchEntity for something else than the user is not waited for."""
    with pytest.raises(ProvisionError, match="nobodies"):
        manager.issue(config_of(watched, groups=["nobodies"]))

    assert proxy.count("AddUserToGroup") == 1
    assert aws.users() == []


def test_an_unreadable_answer_is_not_quoted(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account, proxy: Proxy
) -> None:
    """An answer of CreateAccessKey that breaks off is an error without the secret, and leaves nothing."""
    proxy.fail("CreateAccessKey", "truncate", times=None)

    with pytest.raises(ProvisionError) as caught:
        manager.issue(config_of(watched))

    link: BaseException | None = caught.value
    while link is not None:
        assert "<SecretAccessKey>" not in f"{link} {link.args}"
        link = link.__cause__ or link.__context__
    assert aws.users() == []


def test_revoking_a_half_made_lease_looks_for_what_there_is(direct: AwsIamIntegration, aws: Account) -> None:
    """With nothing but the planned names, keys and policies are found and deleted."""
    iam = aws.client("iam")
    plan = direct.plan(config_of(direct))
    iam.create_user(UserName=plan["user_name"], Path=plan["path"])
    iam.put_user_policy(UserName=plan["user_name"], PolicyName="x", PolicyDocument=json.dumps(READ_REPORTS))

    direct.revoke(plan)

    assert aws.users() == []


def test_revoking_what_is_gone_succeeds(direct: AwsIamIntegration, manager: LeaseManager, aws: Account) -> None:
    """A user that somebody else deleted is no error."""
    creds = manager.issue(config_of(direct))
    iam = aws.client("iam")
    iam.delete_access_key(UserName=creds.username, AccessKeyId=creds.access_key_id)
    iam.delete_user_policy(UserName=creds.username, PolicyName=creds.policy_name)
    iam.delete_user(UserName=creds.username)

    creds.revoke()

    assert manager.get(creds.id).state == "revoked"


def test_one_no_such_user_is_no_proof_for_a_young_one(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account, proxy: Proxy
) -> None:
    """A server that doesn't know the user yet is asked again, and the user is deleted."""
    creds = manager.issue(config_of(watched))
    proxy.fail("DeleteUser", "NoSuchEntity")

    creds.revoke()

    assert aws.users() == []


def test_a_refused_revocation_is_a_revocation_error_caused_by_the_refusal(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account, proxy: Proxy
) -> None:
    """The error names the action; the record says what is wrong, and a later attempt succeeds."""
    creds = manager.issue(config_of(watched))
    proxy.fail("DeleteUser", "AccessDenied")

    with pytest.raises(RevocationError) as caught:
        creds.revoke()

    cause = caught.value.__cause__
    assert isinstance(cause, PermissionDenied)
    assert cause.actions == ("iam:DeleteUser",)
    assert caught.value.lease_id == creds.id
    assert "iam:DeleteUser" in (manager.get(creds.id).last_error or "")
    manager.revoke(creds.id)
    assert aws.users() == []


def test_nothing_outside_of_path_and_prefix_is_deleted(watched: AwsIamIntegration, aws: Account, proxy: Proxy) -> None:
    """Whatever a record says, other people's users are not touched, and AWS is not even asked."""
    aws.client("iam").create_user(UserName="somebody")
    ours = watched.plan(config_of(watched))

    for wrong in ({"user_name": "somebody"}, {"path": "/"}, {"user_name": ours["user_name"] + "x"}, {"user_name": ""}):
        with pytest.raises(RevocationError, match="nothing was deleted"):
            watched.revoke({**ours, **wrong})

    assert aws.users("/") == ["administrator", "somebody"]
    assert proxy.actions("iam") == []


def test_a_user_under_another_path_is_not_touched_though_the_credentials_could(
    watched: AwsIamIntegration, make_integration: Callable[..., AwsIamIntegration], aws: Account, proxy: Proxy
) -> None:
    """The record's path can have been changed; AWS's own word is asked for where a name isn't this process's own."""
    iam = aws.client("iam")
    plan = make_integration(proxy.url).plan(config_of(watched))
    iam.create_user(UserName=plan["user_name"], Path="/team/")
    iam.create_access_key(UserName=plan["user_name"])

    with pytest.raises(RevocationError, match=r"under another path.*nothing was deleted"):
        watched.revoke(plan)

    assert aws.users("/team/") == [plan["user_name"]]
    assert proxy.actions("iam") == ["GetUser"]


def test_who_may_not_ask_for_the_path_is_told_it_by_a_refusal_or_cannot_reach_it(
    watched: AwsIamIntegration, make_integration: Callable[..., AwsIamIntegration], aws: Account, proxy: Proxy
) -> None:
    """A refusal may name the user's ARN; else the credentials are limited to the path, and that isn't asked again."""
    other = make_integration(proxy.url)
    elsewhere, ours, more = (other.plan(config_of(watched)) for _ in range(3))
    for plan in (ours, more):
        aws.client("iam").create_user(UserName=plan["user_name"], Path=plan["path"])
    arn = f"arn:aws:iam::123456789012:user/team/{elsewhere['user_name']}"
    message = f"User: arn:aws:iam::1:user/me is not authorized to perform: iam:GetUser on resource: {arn} because"
    proxy.fail("GetUser", "AccessDenied", message=message)

    with pytest.raises(RevocationError, match="under another path"):
        make_integration(proxy.url).revoke(elsewhere)
    proxy.fail("GetUser", "AccessDenied", times=None)
    watched.revoke(ours)
    watched.revoke(more)

    assert proxy.count("GetUser") == 2
    assert aws.users() == []


def test_a_record_of_this_process_needs_no_asking(
    watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy
) -> None:
    """What was leased here was made under the path: three calls revoke it."""
    creds = manager.issue(config_of(watched))
    proxy.clear()

    manager.revoke(creds.id)

    assert "GetUser" not in proxy.actions("iam")


def test_an_absence_is_proved_with_what_the_account_demands(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account, proxy: Proxy
) -> None:
    """The name is taken with the tags and the boundary of the lease: an account may refuse every user without them."""
    iam = aws.client("iam")
    boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(READ_REPORTS))["Policy"]["Arn"]
    creds = manager.issue(config_of(watched, tags={"team": "data"}, permissions_boundary=boundary))
    watched.clients.iam().delete_access_key(UserName=creds.username, AccessKeyId=creds.access_key_id)
    iam.delete_user_policy(UserName=creds.username, PolicyName=creds.policy_name)
    iam.delete_user(UserName=creds.username)
    proxy.clear()
    proxy.fail("DeleteUser", "AccessDenied")

    creds.revoke()

    (proof,) = [call.parameters for call in iam_calls(proxy) if call.action == "CreateUser"]
    assert (proof["Tags.member.1.Key"], proof["Tags.member.1.Value"]) == ("team", "data")
    assert proof["PermissionsBoundary"] == boundary
    assert aws.users() == []


def test_an_absence_is_not_proved_too_late(
    watched: AwsIamIntegration, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once others may have taken a revocation over, no name is taken: whoever dies with it would leave it there."""
    monkeypatch.setattr("dynsecrets.integrations.aws.request_tracking.SENT_WITHIN", timedelta(0))
    proxy.fail("DeleteUser", "AccessDenied")

    with pytest.raises(RevocationError):
        watched.revoke({**watched.plan(config_of(watched)), "access_key_id": "AKIA0000000000000000"})

    assert "CreateUser" not in proxy.actions("iam")


def test_no_such_user_is_not_believed_in_another_account(
    direct: AwsIamIntegration, manager: LeaseManager, moto_server: Any
) -> None:
    """An integration of the same name with credentials of another account can't close a lease's record."""
    from support.integrations import integration_of

    creds = manager.issue(config_of(direct))
    elsewhere = integration_of(moto_server.new_account())

    with pytest.raises(RevocationError, match="was made in account"):
        manager.revoke(creds.id, integration=elsewhere)

    assert manager.get(creds.id).state == "revoking"


def test_a_plan_names_its_account_as_soon_as_one_is_known(
    direct: AwsIamIntegration, manager: LeaseManager, moto_server: Any
) -> None:
    """Integrations of one name and two accounts share a store: what was just planned isn't closed by the wrong one."""
    from support.integrations import integration_of

    first = direct.plan(config_of(direct))
    creds = manager.issue(config_of(direct))
    plan = planned_ago(direct, 3600)
    elsewhere = integration_of(moto_server.new_account())

    with pytest.raises(RevocationError, match="was made in account"):
        elsewhere.revoke(plan)

    assert "account" not in first, "nobody is asked before a plan is made"
    assert plan["account"] == creds.arn.split(":")[4]


def test_a_session_that_iam_refuses_is_explained(
    watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy
) -> None:
    """Keys of GetSessionToken without MFA, as aws-vault makes them, are valid everywhere but here."""
    proxy.fail("CreateUser", ("InvalidClientTokenId", 403), times=None)

    with pytest.raises(ProvisionError, match=r"GetSessionToken unless they were made with MFA.*--no-session"):
        manager.issue(config_of(watched))


def test_the_resource_may_name_the_prefix_too(direct: AwsIamIntegration) -> None:
    """Other applications may lease users below the same path; the seed's policy names the path alone."""
    document = direct.required_policy(by_prefix=True, sweep=True)

    assert [statement["Resource"] for statement in document["Statement"]] == [
        "arn:aws:iam::*:user/dynsecrets/Dynsecrets-Dynamic-*",
        "arn:aws:iam::*:user/dynsecrets/*",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": "/"},
        {"path": "dynsecrets"},
        {"path": "/a*/"},
        {"path": 3},
        {"username_prefix": ""},
        {"username_prefix": "x" * 52},
        {"username_prefix": "a b"},
        {"policy_name_prefix": "x" * 116},
        {"region": "nowhere!"},
        {"endpoint_url": "localhost:5000"},
        {"endpoint_url": 5000},
        {"botocore_config": {"retries": 3}},
        {"access_key_id": None},
        {"profile": "x"},
        {"session": "mine", "access_key_id": None, "secret_access_key": None},
        {"name": ""},
        {"name": "a b"},
    ],
    ids=str,
)
def test_bad_arguments_are_refused_at_once(
    make_integration: Callable[..., AwsIamIntegration], proxy: Proxy, wrong: dict[str, Any]
) -> None:
    """What no client or user could be made with is an InvalidConfig before any call."""
    with pytest.raises(InvalidConfig):
        make_integration(proxy.url, **wrong)

    assert proxy.calls == []


class TimeLimit(Exception):
    """What a time limit raises, wherever the process is just then."""


@pytest.mark.parametrize("event", ["after-call", "response-received"])
def test_a_user_that_was_made_is_deleted_whatever_is_raised_after_the_answer(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account, event: str
) -> None:
    """Only a refusal, or a request that never left, proves that nothing was made."""

    def interrupt(**_: Any) -> None:
        raise TimeLimit

    watched.clients.iam().meta.events.register(f"{event}.iam.CreateUser", interrupt)

    with pytest.raises(ProvisionError, match="TimeLimit"):
        manager.issue(config_of(watched))

    assert aws.users() == []


def test_an_interrupt_before_anything_was_sent_needs_no_cleaning_up(
    watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy
) -> None:
    """Ctrl-C is not followed by looking for a user that can't be there."""

    def interrupt(**_: Any) -> None:
        raise KeyboardInterrupt

    watched.clients.iam().meta.events.register("before-call.iam.CreateUser", interrupt)

    with pytest.raises(KeyboardInterrupt):
        manager.issue(config_of(watched))

    assert proxy.actions("iam") == []
    assert [record.state for record in manager.records()] == ["revoked"]


def test_no_such_user_is_believed_after_the_last_request_that_may_have_been_sent(
    watched: AwsIamIntegration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan alone doesn't tell when CreateUser was sent: up to 90 seconds later, and then IAM takes a while."""
    slept: list[float] = []
    own = SimpleNamespace(sleep=slept.append, monotonic=time.monotonic)
    monkeypatch.setattr("dynsecrets.integrations.aws.user_deletion.time", own)
    watched.settles_after, watched.plan_settles_after = timedelta(seconds=10), timedelta(seconds=100)

    watched.revoke(planned_ago(watched, 101))
    with pytest.raises(RevocationError, match="may still come to be"):
        watched.revoke(planned_ago(watched, 30))

    assert slept == []


def test_whoever_has_sent_the_requests_knows_when_the_last_one_was(
    watched: AwsIamIntegration, manager: LeaseManager, proxy: Proxy
) -> None:
    """A rollback waits until the user can't appear any more, not until somebody else could know that."""
    watched.plan_settles_after = timedelta(hours=1)
    proxy.fail("CreateUser", "drop_before", times=None)

    with pytest.raises(ProvisionError) as caught:
        manager.issue(config_of(watched))

    assert "pending" not in str(caught.value)
    assert [record.state for record in manager.records()] == ["revoked"]


@pytest.mark.parametrize("action", ["CreateUser", "CreateAccessKey", "PutUserPolicy"])
def test_an_entity_that_is_being_changed_is_waited_for(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account, proxy: Proxy, action: str
) -> None:
    """ConcurrentModification passes by itself, and botocore doesn't retry it."""
    fault = proxy.fail(action, ("ConcurrentModification", 409), times=2)

    with lease(config_of(watched), manager=manager) as creds:
        assert creds.is_valid()

    assert fault.hits == 2
    assert aws.users() == []


@pytest.mark.parametrize("action", ["DeleteAccessKey", "DeleteUserPolicy", "DeleteUser"])
def test_so_it_is_at_the_end(
    watched: AwsIamIntegration, manager: LeaseManager, aws: Account, proxy: Proxy, action: str
) -> None:
    """The same list holds for what deletes."""
    creds = manager.issue(config_of(watched))
    proxy.fail(action, ("ConcurrentModification", 409), times=2)

    creds.revoke()

    assert aws.users() == []


def secret_in(found: object, secret: str, depth: int = 0) -> bool:
    """Tell whether a value holds a secret in plain text where a tracker of errors looks: texts, containers, reprs."""
    if isinstance(found, str | bytes):
        return secret in (found if isinstance(found, str) else found.decode(errors="replace"))
    if secret in repr(found):
        return True
    if depth > 6:
        return False
    parts = list(found.values()) if isinstance(found, dict) else found if isinstance(found, list | tuple) else ()
    return any(secret_in(part, secret, depth + 1) for part in parts)


def test_no_frame_holds_the_key_once_its_call_has_returned(watched: AwsIamIntegration, proxy: Proxy) -> None:
    """When another call fails, trackers that print locals of frames (pytest --showlocals, Sentry) find a mask."""
    secrets: list[str] = []

    def remember(parsed: dict[str, Any], **_: Any) -> None:
        secrets.append(parsed["AccessKey"]["SecretAccessKey"])

    watched.clients.iam().meta.events.register("after-call.iam.CreateAccessKey", remember)
    proxy.fail("PutUserPolicy", "AccessDenied", times=None, message=refusal("PutUserPolicy"))
    config = config_of(watched)

    with pytest.raises(PermissionDenied) as caught:
        watched.provision(watched.plan(config), config, timedelta(minutes=15))

    link: BaseException | None = caught.value
    seen = 0
    while link is not None:
        traceback = link.__traceback__
        while traceback is not None:
            frame = traceback.tb_frame
            if "dynsecrets" in frame.f_code.co_filename and "tests" not in frame.f_code.co_filename:
                seen += 1
                assert not any(secret_in(value, secrets[0]) for value in frame.f_locals.values()), frame
            traceback = traceback.tb_next
        link = link.__cause__ or link.__context__
    assert seen > 2
    assert secrets[0]
