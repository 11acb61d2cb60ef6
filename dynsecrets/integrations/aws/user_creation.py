"""Making a leased user: CreateUser, then its key and all that hangs on it at the same time.

botocore repeats a call whose answer didn't arrive, so the last answer isn't the whole story: EntityAlreadyExists for
our own random name means that it worked the first time, and a key may exist that nobody knows.
"""

from __future__ import annotations

import time
from datetime import UTC, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from dynsecrets._aws.error_codes import code_of, service_date
from dynsecrets._internal.concurrency import Outcome
from dynsecrets.errors import DynsecretsError, PermissionDenied, ProvisionError
from dynsecrets.integrations.aws.errors import scrub, translate
from dynsecrets.integrations.aws.iam_api import PROPAGATION_DELAYS
from dynsecrets.integrations.aws.options import user_options
from dynsecrets.integrations.aws.policy_document import render
from dynsecrets.integrations.aws.request_tracking import SendDeadline
from dynsecrets.model.grant import Grant
from dynsecrets.model.timestamps import floor_to_millisecond, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dynsecrets._internal.concurrency import Fanout
    from dynsecrets.integrations.aws.iam_api import IamApi
    from dynsecrets.model.config import DynamicSecretConfig


class UserCreation:
    """One provisioning of one user."""

    def __init__(self, api: IamApi, fanout: Fanout, plan: Mapping[str, str]) -> None:
        self._api = api
        self._fanout = fanout
        self._plan = plan
        self._user_name = plan["user_name"]

    def run(self, config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Create what was planned. An error that is raised has what was made as its ``handle``."""
        creation = Outcome.of(self._create_user)
        if creation.error is not None:
            # Where no request is left without a clear answer, it's certain that nothing was made.
            made: dict[str, str] | None = None if self._api.clients.requests.unclear else {}
            raise self._failure(creation.error, "CreateUser", made) from scrub(creation.error)
        answered = time.monotonic()
        user = creation.value or {}
        created = user["CreateDate"].astimezone(UTC)
        issued_at = floor_to_millisecond(created)
        expires_at = issued_at + ttl
        handle = {key: value for key, value in self._plan.items() if key != "planned_at"}
        handle["created_at"] = to_milliseconds(created)
        if "Arn" in user:
            handle["account"] = user["Arn"].split(":")[4]

        options = user_options(config)
        document = render(options.policy, expires_at if options.expiry_guard else None)
        names, calls = self._attachments(document)
        key_call: Callable[[], Any] = self._create_key
        outcomes: list[Outcome[Any]] = self._fanout.together([key_call, *calls])
        key = self._settle(["CreateAccessKey", *names], outcomes, handle)

        handle["access_key_id"] = key["AccessKeyId"]
        if "Arn" not in user:
            user |= self._identify(key, handle)
        values = {
            "ACCESS_KEY_ID": key["AccessKeyId"],
            "ARN": user["Arn"],
            "POLICY_NAME": self._plan.get("policy_name", ""),
            "SECRET_ACCESS_KEY": key["SecretAccessKey"],
            "USERNAME": self._user_name,
            "USER_ID": user["UserId"],
        }
        return Grant(values, expires_at, handle, timedelta(seconds=time.monotonic() - answered), issued_at)

    def _create_user(self) -> dict[str, Any]:
        """Create the user, unless it is too late for that."""
        arguments = {"UserName": self._user_name, **self._api.user_arguments(self._plan)}
        deadline = SendDeadline(self._plan.get("planned_at"))
        try:
            user: dict[str, Any] = dict(self._api.call("CreateUser", deadline=deadline, **arguments)["User"])
        except Exception as exc:
            date = service_date(getattr(exc, "response", None))
            # Nobody else has a name of 13 random characters: it worked the first time, and the answer was lost.
            if code_of(exc) == "EntityAlreadyExists" and date is not None:
                return {"CreateDate": date}
            raise
        return user

    def _create_key(self) -> dict[str, str]:
        """Create the access key, and see to it that there is no other that nobody knows."""
        try:
            key: dict[str, str] = self._api.call_once_there(self._user_name, "CreateAccessKey", {})["AccessKey"]
        except Exception as exc:
            # Two keys is the limit: both are answers that were lost.
            if code_of(exc) != "LimitExceeded":
                raise
            self._delete_other_keys(keep=None)
            key = self._api.call("CreateAccessKey", UserName=self._user_name)["AccessKey"]
        if self._api.clients.requests.unclear:
            self._delete_other_keys(keep=key["AccessKeyId"])
        return key

    def _delete_other_keys(self, keep: str | None) -> None:
        """Delete the keys of the user whose secrets never arrived."""
        for listed in self._api.listed("ListAccessKeys", "AccessKeyMetadata", UserName=self._user_name):
            if listed["AccessKeyId"] != keep:
                self._api.call("DeleteAccessKey", UserName=self._user_name, AccessKeyId=listed["AccessKeyId"])

    def _attachments(self, document: str | None) -> tuple[list[str], list[Callable[[], Any]]]:
        """Return what is to be attached to the user: the names of the calls, and the calls."""
        plan = self._plan
        todo: list[tuple[str, dict[str, str]]] = []
        if document is not None:
            todo.append(("PutUserPolicy", {"PolicyName": plan["policy_name"], "PolicyDocument": document}))
        todo += [("AttachUserPolicy", {"PolicyArn": arn}) for arn in plan.get("managed_policies", "").split()]
        todo += [("AddUserToGroup", {"GroupName": group}) for group in plan.get("groups", "").split()]
        return (
            [operation for operation, _ in todo],
            [partial(self._api.call_once_there, self._user_name, operation, names) for operation, names in todo],
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
        for pause in PROPAGATION_DELAYS:
            try:
                identity = self._api.clients.caller_identity(values)
            except Exception as exc:
                error = exc
                time.sleep(pause)
            else:
                return {"Arn": identity["Arn"], "UserId": identity["UserId"]}
        failure = ProvisionError("the answer of CreateUser was lost, and the new key can't tell yet whose it is")
        failure.handle = dict(handle)
        raise failure from (None if error is None else scrub(error))
