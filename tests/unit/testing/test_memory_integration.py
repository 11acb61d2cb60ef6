"""The kit's integration: users in memory, and faults as scripted."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from dynsecrets import (
    DynamicSecretConfig,
    DynsecretsError,
    InvalidConfig,
    InvalidTTL,
    LeaseExpired,
    LeaseManager,
    MemoryLeaseStore,
    NotUsableInTime,
    PermissionDenied,
    ProvisionError,
    QuotaExceeded,
    RevocationError,
    lease,
    renewing,
)
from dynsecrets.model.lease import values_by_suffix
from dynsecrets.testing import Call, FakeClock, MemoryIntegration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.moto_server import MotoServer

POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


@pytest.fixture
def clock() -> FakeClock:
    """A clock."""
    return FakeClock()


@pytest.fixture
def aws(clock: FakeClock) -> MemoryIntegration:
    """A third party on the clock."""
    return MemoryIntegration(clock=clock)


@pytest.fixture
def manager(clock: FakeClock) -> Iterator[LeaseManager]:
    """A manager on the clock."""
    with LeaseManager(MemoryLeaseStore(), clock=clock) as manager:
        yield manager


@pytest.fixture
def config(aws: MemoryIntegration) -> DynamicSecretConfig:
    """A config of the third party."""
    return DynamicSecretConfig("AWS_USER", aws, POLICY)


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    """Return the code of a service's error."""
    return str(error.value.response["Error"]["Code"])


# What it leases


def test_leases_look_like_those_of_aws(manager: LeaseManager, config: DynamicSecretConfig) -> None:
    """A lease has the eight values of an IAM user's, formed alike."""
    with lease(config, manager=manager) as creds:
        assert list(creds) == [
            f"AWS_USER_{suffix}"
            for suffix in (
                "ACCESS_KEY_ID",
                "ARN",
                "LEASE_EXPIRATION",
                "LEASE_ID",
                "POLICY_NAME",
                "SECRET_ACCESS_KEY",
                "USERNAME",
                "USER_ID",
            )
        ]
        assert re.fullmatch(r"arn:aws:iam::\d{12}:user/dynsecrets/Dynsecrets-Dynamic-[A-Za-z0-9]{13}", creds.arn)
        assert creds.arn.endswith(creds.username)
        assert creds.aws_env().keys() == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
        assert creds.credential_process()["Version"] == 1


def test_users_can_be_looked_at(aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig) -> None:
    """``users`` tells what AWS would have got, and shows no secret."""
    with lease(config, "10m", manager=manager) as creds:
        (user,) = aws.users.values()

    assert (user.username, user.arn, user.access_key_id) == (creds.username, creds.arn, creds.access_key_id)
    assert user.policy is not None
    assert "s3:*" in user.policy
    assert "aws:CurrentTime" in user.policy
    assert user.expires_at == creds.expires_at
    assert str(creds.secret_access_key) not in repr(user)
    assert aws.users == {}


def test_calls_are_counted(
    aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig, clock: FakeClock
) -> None:
    """``calls`` has each call with its user and its time."""
    with lease(config, manager=manager, wait=None) as creds:
        clock.advance("1m")

    assert aws.calls == [
        Call("provision", creds.username, creds.issued_at),
        Call("revoke", creds.username, clock.now()),
    ]
    assert [aws.count("provision"), aws.count("is_usable")] == [1, 0]


def test_check_asks_with_the_key(aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig) -> None:
    """A key works while its user exists, and not with another secret."""
    creds = manager.issue(config)
    values = values_by_suffix(creds)

    assert creds.check()
    assert not aws.is_usable({**values, "SECRET_ACCESS_KEY": "another"})
    creds.revoke()
    assert not aws.is_usable(values)


def test_somebody_may_delete_a_user(aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig) -> None:
    """A user that was deleted by hand is no trouble: its key works no more, and its block ends well."""
    with lease(config, manager=manager) as creds:
        aws.delete_user(creds.username)
        aws.delete_user(creds.username)

        assert not creds.check()


def test_a_key_may_take_time_to_work(clock: FakeClock, manager: LeaseManager) -> None:
    """With ``usable_after`` a lease is handed over when its key works, or not at all when that takes too long."""
    slow = DynamicSecretConfig("A", MemoryIntegration("slow", clock=clock, usable_after="8s"))
    slowest = DynamicSecretConfig("A", MemoryIntegration("slowest", clock=clock, usable_after="2m"), wait_timeout="1m")

    assert manager.issue(slow).check()
    assert clock.steady() >= 8
    with pytest.raises(NotUsableInTime):
        manager.issue(slowest)
    assert slowest.integration.users == {}  # type: ignore[attr-defined]
    assert not manager.issue(slow, wait=None).check()


def test_orphans_can_be_swept(
    aws: MemoryIntegration, clock: FakeClock, manager: LeaseManager, config: DynamicSecretConfig
) -> None:
    """Users that a store doesn't know are found, as they are on AWS."""
    creds = manager.issue(config)
    clock.advance("20m")

    with LeaseManager(MemoryLeaseStore(), clock=clock) as other:
        assert other.sweep_orphans(aws).found == [creds.username]
        assert other.sweep_orphans(aws, dry_run=False).deleted == [creds.username]
    assert aws.users == {}


def test_verify_says_who_it_is(aws: MemoryIntegration) -> None:
    """Code that verifies its integration at the start can be tested, in an outage too."""
    assert aws.verify().account == "123456789012"
    with aws.outage(), pytest.raises(ProvisionError):
        aws.verify()


# Faults


@pytest.mark.parametrize(
    "error",
    [
        PermissionDenied("not allowed", actions=["iam:CreateUser"], code="AccessDenied"),
        QuotaExceeded("5,000 users", code="LimitExceeded"),
        ProvisionError("slow down", code="Throttling"),
        ValueError("whatever"),
    ],
    ids=["denied", "quota", "throttled", "other"],
)
def test_provisioning_fails_as_told(
    aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig, error: Exception
) -> None:
    """The next calls fail with copies of the error, then all is well; nothing is left of what failed."""
    aws.fail("provision", error, times=2)

    for _ in range(2):
        with pytest.raises(type(error) if isinstance(error, DynsecretsError) else ProvisionError) as caught:
            manager.issue(config)
        assert error not in (caught.value, caught.value.__cause__)
        assert str(error.args[0]) in str(caught.value)

    assert aws.users == {}
    assert manager.issue(config).is_valid()


def test_errors_that_cannot_be_copied_are_raised_as_they_are(
    aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig
) -> None:
    """Any exception can be scripted, also one that takes more than its message, and botocore's own."""

    class OddError(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} {two}")

    odd = OddError(1, 2)
    answer: Any = {"Error": {"Code": "Throttling", "Message": "slow down"}}
    aws.fail("provision", odd, times=2)
    aws.fail("call", ClientError(answer, "GetObject"), times=2)

    for _ in range(2):
        with pytest.raises(ProvisionError) as caught:
            manager.issue(config)
        assert caught.value.__cause__ is odd
    session = manager.issue(config).session()
    for _ in range(2):
        with pytest.raises(ClientError, match="slow down") as failed:
            get_object(session)
        assert code(failed) == "Throttling"


def test_a_lost_answer_leaves_no_user(
    aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig
) -> None:
    """With ``after`` the user is made and the answer lost: the manager deletes what it doesn't know the answer of."""
    aws.fail("provision", after=True)

    with pytest.raises(ProvisionError):
        manager.issue(config)

    assert [call.method for call in aws.calls] == ["provision", "revoke"]
    assert aws.users == {}


def test_a_clear_failure_leaves_nothing_to_delete(
    aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig
) -> None:
    """Where the call fails before it takes effect, nothing is deleted."""
    aws.fail("provision")

    with pytest.raises(ProvisionError, match="unavailable"):
        manager.issue(config)

    assert [call.method for call in aws.calls] == ["provision"]


def test_a_lost_answer_of_a_revocation(
    aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig
) -> None:
    """A deletion whose answer is lost is made again, and is fine."""
    aws.fail("revoke", after=True)

    with lease(config, manager=manager, wait=None):
        pass

    assert [call.method for call in aws.calls] == ["provision", "revoke", "revoke"]


def test_faults_go_on_until_healed(
    aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig, clock: FakeClock
) -> None:
    """``times=None`` is for ever: a block ends with ``RevocationError``; the user is gone some time after healing."""
    aws.fail("revoke", RevocationError("no", code="Throttling"), times=None)

    with pytest.raises(RevocationError), lease(config, manager=manager):
        pass
    clock.advance("10m")
    assert len(aws.users) == 1
    aws.heal()
    clock.advance("2m")

    assert aws.users == {}


def test_an_outage_is_everything(aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig) -> None:
    """In an outage every call fails, and none does after it."""
    creds = manager.issue(config)

    with aws.outage():
        with pytest.raises(ProvisionError):
            creds.check()
        with pytest.raises(ProvisionError):
            manager.issue(config)

    assert creds.check()


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (["delete"], {}, "provision, revoke, is_usable, call"),
        (["revoke", "text"], {}, "an exception to raise"),
        (["revoke", ProvisionError], {}, "an exception to raise"),
        (["revoke"], {"times": 0}, "at least 1"),
        (["revoke"], {"times": True}, "at least 1"),
    ],
)
def test_refuses_what_is_no_fault(
    aws: MemoryIntegration, arguments: list[Any], options: dict[str, Any], says: str
) -> None:
    """A misspelt method or a wrong argument is an error that says what is accepted."""
    with pytest.raises(InvalidConfig, match=says):
        aws.fail(*arguments, **options)


def test_refuses_wrong_settings() -> None:
    """What is no clock, or no length of time, is refused at once."""
    with pytest.raises(InvalidConfig, match="FakeClock"):
        MemoryIntegration(clock="noon")  # type: ignore[arg-type]
    with pytest.raises(InvalidTTL, match="usable_after"):
        MemoryIntegration(usable_after="soon")


# Sessions


def get_object(session: Any) -> Any:
    """Call S3, whose answer stands ready."""
    client = session.client("s3")
    with Stubber(client) as stub:
        stub.add_response("get_object", {"ContentLength": 3})
        return client.get_object(Bucket="reports", Key="2026.csv")["ContentLength"]


def test_sessions_work_while_the_user_does(manager: LeaseManager, config: DynamicSecretConfig) -> None:
    """Stubbed calls are answered while the user exists, and refused by each service in its own way after that."""
    creds = manager.issue(config)
    session: Any = creds.session()
    assert get_object(session) == 3

    creds.revoke()

    with pytest.raises(ClientError) as refused:
        get_object(session)
    assert code(refused) == "InvalidAccessKeyId"
    for service, call, expected in [
        ("sts", "get_caller_identity", "InvalidClientTokenId"),
        ("dynamodb", "list_tables", "UnrecognizedClientException"),
        ("ec2", "describe_regions", "AuthFailure"),
    ]:
        with pytest.raises(ClientError) as refused:
            getattr(session.client(service), call)()
        assert code(refused) == expected


def test_the_guard_refuses_what_nobody_revoked(
    aws: MemoryIntegration, manager: LeaseManager, clock: FakeClock, config: DynamicSecretConfig
) -> None:
    """A lease that is over but not deleted is denied by its guard; without one its key goes on."""
    guarded = manager.issue(config, "10m").session()
    unguarded = manager.issue(DynamicSecretConfig("B", aws, expiry_guard=False), "10m").session()
    aws.fail("revoke", times=None)

    clock.advance("11m")

    with pytest.raises(ClientError) as refused:
        get_object(guarded)
    assert code(refused) == "AccessDenied"
    assert get_object(unguarded) == 3
    aws.heal()


def test_sessions_bear_with_a_young_key(
    aws: MemoryIntegration, manager: LeaseManager, clock: FakeClock, config: DynamicSecretConfig
) -> None:
    """A call with a key that doesn't work yet waits for it, as those of AWS's sessions do."""
    aws.usable_after = timedelta(seconds=6)

    assert get_object(manager.issue(config, wait=None).session()) == 3

    assert clock.steady() >= 6


def test_sessions_of_renewers_follow(
    aws: MemoryIntegration, manager: LeaseManager, clock: FakeClock, config: DynamicSecretConfig
) -> None:
    """A renewer's session works through renewals, and raises ``LeaseExpired`` when there was none in time."""
    with renewing(config, "10m", manager=manager) as renewer:
        session = renewer.session()
        for _ in range(5):
            clock.advance("8m")
            assert get_object(session) == 3
        with aws.outage():
            clock.advance("15m")
            with pytest.raises(LeaseExpired):
                get_object(session)
        clock.advance("5m")

        assert get_object(session) == 3


def test_calls_of_sessions_can_fail(aws: MemoryIntegration, manager: LeaseManager, config: DynamicSecretConfig) -> None:
    """``fail("call")`` has a service fail, by default as if it were unavailable."""
    session = manager.issue(config).session()
    aws.fail("call")

    with pytest.raises(ClientError) as failed:
        get_object(session)

    assert code(failed) == "ServiceUnavailable"
    assert get_object(session) == 3


def test_sessions_never_call_aws(manager: LeaseManager, config: DynamicSecretConfig) -> None:
    """What nobody answers is refused with the ways to answer it, and not sent."""
    with pytest.raises(DynsecretsError, match=r"doesn't call s3[a-z0-9.-]*amazonaws\.com: .*Stubber"):
        manager.issue(config).session().client("s3").list_buckets()


def test_sessions_call_servers_on_this_machine(
    moto_server: MotoServer, manager: LeaseManager, config: DynamicSecretConfig
) -> None:
    """A server on loopback is asked."""
    session = manager.issue(config).session(endpoint_url=moto_server.url)

    assert "Buckets" in session.client("s3").list_buckets()
