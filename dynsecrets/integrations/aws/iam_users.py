"""Leased IAM users: two round trips to provision, two to revoke.

CreateUser ──► { CreateAccessKey ∥ PutUserPolicy }          (and attach policies, join groups)
{ DeleteAccessKey ∥ DeleteUserPolicy } ──► DeleteUser
"""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from dynsecrets._internal.concurrency import Fanout, Outcome
from dynsecrets.errors import DynsecretsError, PermissionDenied, ProvisionError
from dynsecrets.integrations.aws import required_policy, user_deletion, verification
from dynsecrets.integrations.aws.client_config import make_client_config
from dynsecrets.integrations.aws.clients import AwsClients, check_credentials
from dynsecrets.integrations.aws.errors import (
    UNKNOWN_KEY,
    code_of,
    is_missing,
    is_unreadable,
    is_unresolved,
    scrub,
    service_date,
    translate,
)
from dynsecrets.integrations.aws.iam_limits import MAX_POLICY_NAME, MAX_USER_NAME, check_path, check_prefix
from dynsecrets.integrations.aws.options import PUBLIC_VALUES, IamUserOptions, user_options
from dynsecrets.integrations.aws.policy_document import render
from dynsecrets.integrations.aws.send_deadline import SendDeadline
from dynsecrets.model.grant import Found, Grant, Identity
from dynsecrets.model.integration import Integration
from dynsecrets.model.naming import RANDOM_LENGTH, random_suffix
from dynsecrets.model.timestamps import floor_to_millisecond, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import boto3
    from botocore.config import Config

    from dynsecrets.model.config import DynamicSecretConfig
    from dynsecrets.model.options import SecretOptions

_PAUSES: Final = (0.1, 0.2, 0.4, 0.8, 1.5, 2.0, 2.0, 3.0)
#: So many of them for a refusal that may mean the same; a real one should not be waited for as long.
_UNRESOLVED_PAUSES: Final = 5
#: How often an answer that can't be read is asked for again.
_REREADS: Final = 2
_THREADS: Final = 32


class AwsIamIntegration(Integration):
    """Leases IAM users under one path of one account; made by ``Integration.aws_iam``.

    Thread- and fork-safe. Shows no secret, and holds none once its first client is built.
    """

    #: IAM is eventually consistent: until a user is this old, "no such user" is no proof that there is none.
    settles_after: timedelta = timedelta(seconds=10)
    kind: str = "aws-iam"
    options_type: type[SecretOptions] = IamUserOptions
    public_values: frozenset[str] = PUBLIC_VALUES
    enforces_expiry: bool = True
    #: One server that knows a key says nothing of the others.
    probes: int = 3
    value_suffixes: frozenset[str] = frozenset(
        {"ACCESS_KEY_ID", "ARN", "POLICY_NAME", "SECRET_ACCESS_KEY", "USERNAME", "USER_ID"}
    )

    def __init__(
        self,
        name: str,
        *,
        session: boto3.Session | None = None,
        profile: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        region: str | None = None,
        endpoint_url: str | None = None,
        botocore_config: Config | Mapping[str, Any] | None = None,
        path: str = "/dynsecrets/",
        username_prefix: str = "Dynsecrets-Dynamic-",
        policy_name_prefix: str = "dynsecrets-policy-",
    ) -> None:
        super().__init__(name)
        keys = check_credentials(session, profile, access_key_id, secret_access_key, session_token)
        client_config = make_client_config(botocore_config)
        required_policy.check_client_options(region, endpoint_url, client_config)
        self.path: Final = check_path(path)
        self.username_prefix: Final = check_prefix(username_prefix, what="username_prefix", longest=MAX_USER_NAME)
        self.policy_name_prefix: Final = check_prefix(
            policy_name_prefix, what="policy_name_prefix", longest=MAX_POLICY_NAME
        )
        self.clients: Final = AwsClients(
            session=session,
            profile=profile,
            keys=keys,
            region=region,
            endpoint_url=endpoint_url,
            config=client_config,
        )
        self._fanout: Final = Fanout(_THREADS, f"dynsecrets-{name}")

    def __repr__(self) -> str:
        """Show the name and what leased users are told by; no credentials."""
        return f"Integration.aws_iam({self.name!r}, path={self.path!r}, username_prefix={self.username_prefix!r})"

    @override
    def plan(self, config: DynamicSecretConfig) -> dict[str, str]:
        """Choose the random names of a user and its policy, and list what else will be attached."""
        options = user_options(config)
        plan = {
            "user_name": self.username_prefix + random_suffix(),
            "path": self.path,
            "planned_at": to_milliseconds(datetime.now(UTC)),
        }
        if options.policy is not None or options.expiry_guard:
            plan["policy_name"] = self.policy_name_prefix + random_suffix()
        if options.managed_policy_arns:
            plan["managed_policies"] = " ".join(options.managed_policy_arns)
        if options.groups:
            plan["groups"] = " ".join(options.groups)
        # Needed to clean up where the account demands them of every user: see UserDeletion.
        if options.tags:
            plan["tags"] = json.dumps(dict(options.tags))
        if options.permissions_boundary is not None:
            plan["permissions_boundary"] = options.permissions_boundary
        return plan

    @override
    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Create the user, then its key and all that is attached to it at the same time."""
        user_name = plan["user_name"]
        creation = Outcome.of(partial(self._create_user, plan))
        if creation.error is not None:
            # Where no request is left without a clear answer, it's certain that nothing was made.
            made: dict[str, str] | None = None if self.clients.effects.unclear else {}
            raise self._failure(creation.error, "CreateUser", made) from scrub(creation.error)
        answered = time.monotonic()
        user = creation.value or {}
        created = user["CreateDate"].astimezone(UTC)
        issued_at = floor_to_millisecond(created)
        expires_at = issued_at + ttl
        handle = {key: value for key, value in plan.items() if key != "planned_at"}
        handle["created_at"] = to_milliseconds(created)
        if "Arn" in user:
            handle["account"] = user["Arn"].split(":")[4]

        options = user_options(config)
        document = render(options.policy, expires_at if options.expiry_guard else None)
        names, calls = self._attachments(plan, document)
        key_call: Callable[[], Any] = partial(self._create_key, user_name)
        outcomes: list[Outcome[Any]] = self._fanout.together([key_call, *calls])
        key = self._settle(["CreateAccessKey", *names], outcomes, handle)

        handle["access_key_id"] = key["AccessKeyId"]
        if "Arn" not in user:
            user |= self._identify(key, handle)
        values = {
            "ACCESS_KEY_ID": key["AccessKeyId"],
            "ARN": user["Arn"],
            "POLICY_NAME": plan.get("policy_name", ""),
            "SECRET_ACCESS_KEY": key["SecretAccessKey"],
            "USERNAME": user_name,
            "USER_ID": user["UserId"],
        }
        return Grant(values, expires_at, handle, timedelta(seconds=time.monotonic() - answered), issued_at)

    @override
    def revoke(self, handle: Mapping[str, str]) -> None:
        """Delete the user and everything that hangs on it; nothing outside of the path and prefix."""
        user_deletion.UserDeletion(self, self._fanout).run(handle)

    @override
    def describe(self, handle: Mapping[str, str]) -> str:
        """Return the user's name."""
        return f"user {self.name_of(handle)}"

    def is_usable(self, values: Mapping[str, str]) -> bool:
        """Tell whether the leased key authenticates as its own user, by ``sts:GetCallerIdentity``."""
        try:
            identity = self.clients.caller_identity(values)
        except Exception as exc:
            if code_of(exc) in UNKNOWN_KEY or code_of(exc) == "SignatureDoesNotMatch":
                return False
            raise translate(exc, "GetCallerIdentity") from scrub(exc)
        return bool(identity["Arn"] == values["ARN"])

    def session(self, values: Mapping[str, str], is_young: Callable[[], bool], **kwargs: Any) -> boto3.Session:
        """Return a ``boto3.Session`` on a leased user, with the integration's region and endpoint."""
        settings: dict[str, Any] = {
            "aws_access_key_id": values["ACCESS_KEY_ID"],
            "aws_secret_access_key": values["SECRET_ACCESS_KEY"],
            **self.aws_settings(),
            **kwargs,
        }
        from dynsecrets.integrations.aws.sessions import TolerantSession

        return TolerantSession(is_young=is_young, **settings)

    def following_session(
        self, read: Callable[[], Mapping[str, str]], is_young: Callable[[], bool], **kwargs: Any
    ) -> boto3.Session:
        """Return a ``boto3.Session`` whose clients sign each request with what ``read`` returns then."""
        from dynsecrets.integrations.aws.sessions import following_session

        return following_session(read, is_young=is_young, **{**self.aws_settings(), **kwargs})

    def following_aio_session(
        self, read: Callable[[], Mapping[str, str]], is_young: Callable[[], bool], **kwargs: Any
    ) -> Any:
        """Return the same of aioboto3 or aiobotocore. Raises ``ImportError`` where neither is installed."""
        from dynsecrets.integrations.aws.aio_sessions import following_aio_session

        return following_aio_session(read, is_young, **{**self.aws_settings(), **kwargs})

    def aws_settings(self) -> dict[str, str | None]:
        """Return the region and endpoint that sessions on leased users get."""
        return {"region_name": self.clients.region, "endpoint_url": self.clients.endpoint_url}

    def service_time(self) -> datetime | None:
        """Return AWS's own time, from the ``Date`` header of an answer of STS, which anybody may ask."""
        return self.clients.service_time()

    def find_all(self) -> Iterator[Found]:
        """List the users under the path whose names are formed like those of leases. Needs ``iam:ListUsers``."""
        marker: dict[str, Any] = {}
        while True:
            asked = Outcome.of(partial(self.call, "ListUsers", PathPrefix=self.path, **marker))
            if asked.error is not None:
                raise translate(asked.error, "ListUsers") from scrub(asked.error)
            page: Any = asked.value
            for user in page["Users"]:
                if user["Path"] == self.path and self.is_ours(user["UserName"]):
                    handle = {
                        "user_name": user["UserName"],
                        "path": user["Path"],
                        "created_at": to_milliseconds(user["CreateDate"]),
                        "account": user["Arn"].split(":")[4],
                    }
                    yield Found(name=user["UserName"], handle=handle, created_at=user["CreateDate"])
            if not page.get("IsTruncated"):
                return
            marker = {"Marker": page["Marker"]}

    def name_of(self, handle: Mapping[str, str]) -> str:
        """Return the user's name."""
        return handle.get("user_name", "")

    def is_ours(self, user_name: str) -> bool:
        """Tell whether a name is formed like those of the users that this integration leases."""
        ours = rf"{re.escape(self.username_prefix)}[A-Za-z0-9]{{{RANDOM_LENGTH}}}"
        return re.fullmatch(ours, user_name) is not None

    def verify(self, *configs: DynamicSecretConfig) -> Identity:
        """Say who the credentials are, and prove that they can do the job on one canary user.

        Returns account, ARN and unique id, from ``sts:GetCallerIdentity``. Raises ``PermissionDenied`` whose
        ``actions`` are all of the default actions that are missing, and ``ProvisionError`` or ``RevocationError``
        where something else is wrong. Where the account demands tags or a boundary of every user, pass a config that
        has them: the canary gets those of the first. It has no policy but the expiry guard, and is gone when this
        returns. Thread-safe.
        """
        return verification.verify(self, configs[0] if configs else None)

    def required_policy(
        self, *configs: DynamicSecretConfig, account_id: str = "*", partition: str = "aws", sweep: bool = False
    ) -> dict[str, Any]:
        """Return the least-privilege policy that this integration's own user needs to serve these configs.

        ``account_id`` is the 12-digit number of the account or ``"*"``, ``partition`` is ``"aws"``, ``"aws-cn"`` or
        ``"aws-us-gov"``; with ``sweep`` it allows for ``LeaseManager.sweep_orphans`` too. Raises ``InvalidConfig``.
        Calls nothing.
        """
        return required_policy.required_policy(
            self.path, configs, account_id=account_id, partition=partition, sweep=sweep
        )

    def user_arguments(self, plan: Mapping[str, str]) -> dict[str, Any]:
        """Return what a user is created with: tags and boundary too, since accounts may demand them."""
        arguments: dict[str, Any] = {"Path": self.path}
        if "tags" in plan:
            arguments["Tags"] = [{"Key": key, "Value": value} for key, value in json.loads(plan["tags"]).items()]
        if "permissions_boundary" in plan:
            arguments["PermissionsBoundary"] = plan["permissions_boundary"]
        return arguments

    def call(self, operation: str, *, deadline: SendDeadline | None = None, **arguments: Any) -> Any:
        """Make an IAM call, and count what of it had no clear answer (``clients.effects``).

        Nothing of it is sent after ``deadline``. botocore repeats a call whose answer didn't arrive, but not one whose
        answer can't be read, which is the same trouble: that is done here.
        """
        method = getattr(self.clients.iam(), _METHODS[operation])
        self.clients.effects.begin(deadline)
        for _ in range(_REREADS):
            try:
                return method(**arguments)
            except Exception as exc:
                if not is_unreadable(exc):
                    raise
        return method(**arguments)

    def call_once_there(
        self, user_name: str, operation: str, arguments: Mapping[str, Any], *, wait: bool = True
    ) -> Any:
        """Make an IAM call on a user that was created a moment ago and that a server may not know yet."""
        for number, pause in enumerate(_PAUSES if wait else ()):
            try:
                return self.call(operation, UserName=user_name, **arguments)
            except Exception as exc:
                unresolved = number < _UNRESOLVED_PAUSES and is_unresolved(exc, user_name)
                if not unresolved and not is_missing(exc, user_name):
                    raise
            time.sleep(pause)
        return self.call(operation, UserName=user_name, **arguments)

    def _create_user(self, plan: Mapping[str, str]) -> dict[str, Any]:
        """Create the user, unless it is too late for that."""
        arguments = {"UserName": plan["user_name"], **self.user_arguments(plan)}
        deadline = SendDeadline(plan.get("planned_at"))
        try:
            user: dict[str, Any] = dict(self.call("CreateUser", deadline=deadline, **arguments)["User"])
        except Exception as exc:
            date = service_date(getattr(exc, "response", None))
            # Nobody else has a name of 13 random characters: it worked the first time, and the answer was lost.
            if code_of(exc) == "EntityAlreadyExists" and date is not None:
                return {"CreateDate": date}
            raise
        return user

    def _create_key(self, user_name: str) -> dict[str, str]:
        """Create the access key, and see to it that there is no other that nobody knows."""
        try:
            key: dict[str, str] = self.call_once_there(user_name, "CreateAccessKey", {})["AccessKey"]
        except Exception as exc:
            # Two keys is the limit: both are answers that were lost.
            if code_of(exc) != "LimitExceeded":
                raise
            self._delete_other_keys(user_name, keep=None)
            key = self.call("CreateAccessKey", UserName=user_name)["AccessKey"]
        if self.clients.effects.unclear:
            self._delete_other_keys(user_name, keep=key["AccessKeyId"])
        return key

    def _delete_other_keys(self, user_name: str, keep: str | None) -> None:
        """Delete the keys of a user whose secrets never arrived."""
        for listed in self.call("ListAccessKeys", UserName=user_name)["AccessKeyMetadata"]:
            if listed["AccessKeyId"] != keep:
                self.call("DeleteAccessKey", UserName=user_name, AccessKeyId=listed["AccessKeyId"])

    def _attachments(self, plan: Mapping[str, str], document: str | None) -> tuple[list[str], list[Callable[[], Any]]]:
        """Return what is to be attached to the user: the names of the calls, and the calls."""
        todo: list[tuple[str, dict[str, str]]] = []
        if document is not None:
            todo.append(("PutUserPolicy", {"PolicyName": plan["policy_name"], "PolicyDocument": document}))
        todo += [("AttachUserPolicy", {"PolicyArn": arn}) for arn in plan.get("managed_policies", "").split()]
        todo += [("AddUserToGroup", {"GroupName": group}) for group in plan.get("groups", "").split()]
        user_name = plan["user_name"]
        return (
            [operation for operation, _ in todo],
            [partial(self.call_once_there, user_name, operation, arguments) for operation, arguments in todo],
        )

    def _settle(self, names: Sequence[str], outcomes: Sequence[Outcome[Any]], handle: dict[str, str]) -> dict[str, str]:
        """Return the access key if all calls worked, else raise the first error, with what has been made."""
        key_outcome = outcomes[0]
        failed = [(name, out.error) for name, out in zip(names, outcomes, strict=True) if out.error is not None]
        if not failed:
            assert key_outcome.value is not None  # noqa: S101 - an outcome without error has a value.
            return dict(key_outcome.value)
        if key_outcome.value is not None:
            handle["access_key_id"] = key_outcome.value["AccessKeyId"]
        operation, error = failed[0]
        failure = self._failure(error, operation, handle)
        if isinstance(failure, PermissionDenied):
            refused = (translate(other, name) for name, other in failed[1:])
            also = [action for other in refused if isinstance(other, PermissionDenied) for action in other.actions]
            if also:
                failure.actions += tuple(also)
                failure.args = (f"{failure}; {', '.join(also)} is missing too",)
        raise failure from scrub(error)

    @staticmethod
    def _failure(error: Exception, operation: str, handle: Mapping[str, str] | None) -> DynsecretsError:
        """Translate an error of provisioning and attach what has been made."""
        failure = translate(error, operation)
        failure.handle = handle
        return failure

    def _identify(self, key: Mapping[str, str], handle: Mapping[str, str]) -> dict[str, str]:
        """Ask who a key belongs to, where the answer that would have told was lost; no permission is needed for it."""
        values = {"ACCESS_KEY_ID": key["AccessKeyId"], "SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        error: Exception | None = None
        for pause in _PAUSES:
            try:
                identity = self.clients.caller_identity(values)
            except Exception as exc:
                error = exc
                time.sleep(pause)
            else:
                return {"Arn": identity["Arn"], "UserId": identity["UserId"]}
        failure = ProvisionError("the answer of CreateUser was lost, and the new key can't tell yet whose it is")
        failure.handle = dict(handle)
        raise failure from (None if error is None else scrub(error))


#: boto3's method for each call that the library makes; named here, so that what is called can be read in one place.
_METHODS: Final = {
    "CreateUser": "create_user",
    "CreateAccessKey": "create_access_key",
    "PutUserPolicy": "put_user_policy",
    "AttachUserPolicy": "attach_user_policy",
    "AddUserToGroup": "add_user_to_group",
    "ListAccessKeys": "list_access_keys",
    "ListUserPolicies": "list_user_policies",
    "DeleteAccessKey": "delete_access_key",
    "DeleteUserPolicy": "delete_user_policy",
    "DetachUserPolicy": "detach_user_policy",
    "RemoveUserFromGroup": "remove_user_from_group",
    "DeleteUser": "delete_user",
    "ListUsers": "list_users",
    "ListAttachedUserPolicies": "list_attached_user_policies",
    "ListGroupsForUser": "list_groups_for_user",
    "DeleteLoginProfile": "delete_login_profile",
    "ListMFADevices": "list_mfa_devices",
    "DeactivateMFADevice": "deactivate_mfa_device",
    "DeleteVirtualMFADevice": "delete_virtual_mfa_device",
    "ListSSHPublicKeys": "list_ssh_public_keys",
    "DeleteSSHPublicKey": "delete_ssh_public_key",
    "ListSigningCertificates": "list_signing_certificates",
    "DeleteSigningCertificate": "delete_signing_certificate",
    "ListServiceSpecificCredentials": "list_service_specific_credentials",
    "DeleteServiceSpecificCredential": "delete_service_specific_credential",
}
