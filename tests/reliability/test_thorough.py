"""A user that carries more than it was given is deleted all the same, or what stands against it is named."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dynsecrets import DynamicSecretConfig, LeaseManager, MemoryLeaseStore, PermissionDenied, RevocationError
from reliability.strict import Strictness
from support.integrations import integration_of
from support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dynsecrets import Lease
    from support.accounts import Account

POLICY: Final = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
#: What an integration with the default permissions may not look for, when IAM says that something is left.
EXTRA_ACTIONS: Final = {
    "iam:ListAttachedUserPolicies",
    "iam:ListGroupsForUser",
    "iam:ListMFADevices",
    "iam:ListSSHPublicKeys",
    "iam:ListSigningCertificates",
    "iam:ListServiceSpecificCredentials",
    "iam:DeleteLoginProfile",
}


@pytest.fixture
def manager() -> Iterator[LeaseManager]:
    """A manager with a store in memory."""
    with closing(MemoryLeaseStore()) as store, LeaseManager(store) as manager:
        yield manager


def add_key(iam: Any, lease: Lease) -> None:
    """Give a leased user a second key."""
    iam.create_access_key(UserName=lease.username)


def add_policy(iam: Any, lease: Lease) -> None:
    """Give it a second inline policy."""
    iam.put_user_policy(UserName=lease.username, PolicyName="own", PolicyDocument=json.dumps(POLICY))


def attach_policy(iam: Any, lease: Lease) -> None:
    """Give it a managed policy."""
    arn = iam.create_policy(PolicyName="managed", PolicyDocument=json.dumps(POLICY))["Policy"]["Arn"]
    iam.attach_user_policy(UserName=lease.username, PolicyArn=arn)


def join_group(iam: Any, lease: Lease) -> None:
    """Have it join a group."""
    iam.create_group(GroupName="readers")
    iam.add_user_to_group(UserName=lease.username, GroupName="readers")


def add_login(iam: Any, lease: Lease) -> None:
    """Give it a password."""
    iam.create_login_profile(UserName=lease.username, Password="correct horse battery staple")


def add_mfa(iam: Any, lease: Lease) -> None:
    """Give it an MFA device."""
    serial = iam.create_virtual_mfa_device(VirtualMFADeviceName="device")["VirtualMFADevice"]["SerialNumber"]
    codes = {"AuthenticationCode1": "123456", "AuthenticationCode2": "654321"}
    iam.enable_mfa_device(UserName=lease.username, SerialNumber=serial, **codes)


def add_ssh_key(iam: Any, lease: Lease) -> None:
    """Give it an SSH key."""
    iam.upload_ssh_public_key(UserName=lease.username, SSHPublicKeyBody="ssh-rsa AAAAB3NzaC1yc2E")


def add_certificate(iam: Any, lease: Lease) -> None:
    """Give it a signing certificate."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "leased")])
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    unsigned = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    body = unsigned.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    iam.upload_signing_certificate(UserName=lease.username, CertificateBody=body.decode())


EXTRAS: Final = [
    add_key,
    add_policy,
    attach_policy,
    join_group,
    add_login,
    add_mfa,
    add_ssh_key,
    add_certificate,
]


def everything(iam: Any, lease: Lease) -> None:
    """Give it all of that."""
    for add in EXTRAS:
        add(iam, lease)


def test_a_virtual_mfa_device_is_not_left_in_the_account(aws: Account, proxy: Proxy, manager: LeaseManager) -> None:
    """It is deleted once it is deactivated: nobody would know whose it was."""
    iam = aws.client("iam")
    lease = manager.issue(DynamicSecretConfig("AWS_USER", integration_of(aws, proxy.url), wait=None))
    Strictness(iam, more=True).rule(proxy)
    add_mfa(iam, lease)

    lease.revoke()

    assert iam.list_virtual_mfa_devices()["VirtualMFADevices"] == []


def test_a_virtual_mfa_device_that_may_not_be_deleted_stops_nothing(
    aws: Account, proxy: Proxy, manager: LeaseManager, caplog: pytest.LogCaptureFixture
) -> None:
    """The user is gone, and the log says which device is left."""
    iam = aws.client("iam")
    lease = manager.issue(DynamicSecretConfig("AWS_USER", integration_of(aws, proxy.url), wait=None))
    Strictness(iam, more=True).rule(proxy)
    add_mfa(iam, lease)
    proxy.fail("DeleteVirtualMFADevice", "AccessDenied", times=None)

    lease.revoke()

    assert aws.users() == []
    assert f"mfa/device of user {lease.username} is left" in caplog.text


def test_a_conflict_that_outlives_its_reason_is_waited_for(aws: Account, proxy: Proxy, manager: LeaseManager) -> None:
    """IAM refuses for a moment after all was deleted; nothing that isn't needed is asked for, or blamed."""
    lease = manager.issue(DynamicSecretConfig("AWS_USER", integration_of(aws, proxy.url), wait=None))
    proxy.fail("DeleteUser", ("DeleteConflict", 409), times=3)
    proxy.fail("ListMFADevices", "AccessDenied", times=None)

    lease.revoke()

    assert aws.users() == []
    assert set(proxy.actions("iam")[3:]) == {
        "DeleteAccessKey",
        "DeleteUserPolicy",
        "DeleteUser",
        "ListAccessKeys",
        "ListUserPolicies",
    }


def test_a_look_that_was_refused_is_not_the_reason_given(aws: Account, proxy: Proxy, manager: LeaseManager) -> None:
    """What stands against it is the conflict; what would help to find out why comes second."""
    lease = manager.issue(DynamicSecretConfig("AWS_USER", integration_of(aws, proxy.url), wait=None))
    proxy.fail("DeleteUser", ("DeleteConflict", 409), times=None)
    proxy.fail("ListMFADevices", "AccessDenied", times=None)

    with pytest.raises(RevocationError, match="can't be deleted: DeleteUser failed: DeleteConflict") as caught:
        lease.revoke()

    assert caught.value.code == "DeleteConflict"
    proxy.clear()
    lease.revoke()


@pytest.mark.parametrize("add", [*EXTRAS, everything], ids=lambda add: add.__name__)
def test_whatever_a_user_carries_is_deleted_with_it(
    aws: Account, proxy: Proxy, manager: LeaseManager, add: Callable[[Any, Lease], None]
) -> None:
    """IAM refuses to delete the user at first; what hangs on it is found, deleted, and then the user."""
    iam = aws.client("iam")
    lease = manager.issue(DynamicSecretConfig("AWS_USER", integration_of(aws, proxy.url), wait=None))
    Strictness(iam, more=True).rule(proxy)
    add(iam, lease)

    lease.revoke()

    assert aws.users() == []
    revoking = proxy.actions("iam")[3:]
    assert "DeleteAccessKey" in revoking[:2], "the key dies in the first round trip"
    assert proxy.count("DeleteUser") <= 6, "a conflict is waited for, then what is rare is looked for"


def test_a_service_specific_credential_is_deleted_too(aws: Account, proxy: Proxy, manager: LeaseManager) -> None:
    """A password for one AWS service is found and deleted; moto has none, so it is made up."""
    integration = integration_of(aws, proxy.url)
    lease = manager.issue(DynamicSecretConfig("AWS_USER", integration, wait=None))
    left = ["ACCA1234567890EXAMPLE"]

    def listed(**_: Any) -> Any:
        return answer(ServiceSpecificCredentials=[{"ServiceSpecificCredentialId": each} for each in left])

    def deleted(params: Any, **_: Any) -> Any:
        left.remove(params["body"]["ServiceSpecificCredentialId"])
        return answer()

    events = integration.clients.iam().meta.events
    events.register("before-call.iam.ListServiceSpecificCredentials", listed)
    events.register("before-call.iam.DeleteServiceSpecificCredential", deleted)
    proxy.fail("DeleteUser", ("DeleteConflict", 409), times=None, when=lambda _: bool(left))

    lease.revoke()

    assert left == []
    assert aws.users() == []


def test_listings_are_read_to_their_last_page(aws: Account, proxy: Proxy, manager: LeaseManager) -> None:
    """More policies than fit a page are all found, page by page by ``Marker``; moto has no pages, they are made up."""
    iam = aws.client("iam")
    integration = integration_of(aws, proxy.url)
    lease = manager.issue(DynamicSecretConfig("AWS_USER", integration, wait=None))
    Strictness(iam).rule(proxy)
    names = [f"own-{number:03}" for number in range(250)]
    for name in names[:5]:
        iam.put_user_policy(UserName=lease.username, PolicyName=name, PolicyDocument=json.dumps(POLICY))
    asked: list[str] = []

    def page(params: Any, **_: Any) -> Any:
        marker = params["body"].get("Marker", "0")
        asked.append(marker)
        end = int(marker) + 100
        more = {"IsTruncated": True, "Marker": str(end)} if end < len(names) else {"IsTruncated": False}
        return answer(PolicyNames=list(reversed(names))[int(marker) : end], **more)

    integration.clients.iam().meta.events.register("before-call.iam.ListUserPolicies", page)

    lease.revoke()

    assert asked == ["0", "100", "200"]
    assert aws.users() == []
    assert {call.parameters["PolicyName"] for call in proxy.calls if call.action == "DeleteUserPolicy"} >= {*names}


def test_a_kind_that_the_service_does_not_have_stops_nothing(ministack: Account, manager: LeaseManager) -> None:
    """Listings that fail, whatever the reason, keep nobody from deleting what the other ones found."""
    lease = manager.issue(DynamicSecretConfig("AWS_USER", integration_of(ministack), wait=None))
    attach_policy(ministack.client("iam"), lease)

    lease.revoke()

    assert ministack.users() == []


def test_what_the_integration_may_not_delete_is_named_and_the_key_is_dead(
    ministack: Account, manager: LeaseManager
) -> None:
    """With the eight actions alone, an extra policy stands against it: the refused actions are named, exactly those."""
    root = ministack.client("iam")
    (statement,) = integration_of(ministack).required_policy()["Statement"]
    # ministack asks about actions on users without the user's path.
    keys = ministack.user_with(json.dumps({"Version": "2012-10-17", "Statement": [{**statement, "Resource": "*"}]}))
    with Proxy(ministack.url) as proxy:
        integration = integration_of(ministack, proxy.url, **keys)
        lease = manager.issue(DynamicSecretConfig("AWS_USER", integration, POLICY))
        attach_policy(root, lease)
        proxy.clear()

        with pytest.raises(RevocationError) as caught:
            lease.revoke()
        first = proxy.actions("iam")[:2]

    cause = caught.value.__cause__
    assert isinstance(cause, PermissionDenied)
    assert set(cause.actions) == EXTRA_ACTIONS
    assert all(action in (manager.get(lease.id).last_error or "") for action in EXTRA_ACTIONS)
    assert set(first) == {"DeleteAccessKey", "DeleteUserPolicy"}
    with pytest.raises(ClientError, match=r"InvalidClientTokenId|AccessDenied"):
        ministack.client_of(lease.aws_env(), "sts").get_caller_identity()

    root.detach_user_policy(UserName=lease.username, PolicyArn=f"arn:aws:iam::{ministack.id}:policy/managed")
    report = manager.reap(integrations=[integration_of(ministack)])
    assert report.revoked == [lease.id]
    assert ministack.users() == []


def answer(**members: Any) -> tuple[Any, dict[str, Any]]:
    """Return an answer as botocore takes it from whoever answers before the service."""

    class Success:
        status_code = 200

    return Success(), {**members, "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {}}}
