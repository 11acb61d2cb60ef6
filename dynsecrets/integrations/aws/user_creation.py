"""Making a leased user: CreateUser, then its key and all that hangs on it at the same time.

botocore repeats a call whose answer didn't arrive, so the last answer isn't the whole story: EntityAlreadyExists for
our own random name means that it worked the first time, and a key may exist that nobody knows.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import attrs

from dynsecrets._aws.error_codes import code_of, service_date
from dynsecrets.errors import PermissionDenied, ProvisionError
from dynsecrets.integrations.aws.errors import scrub, translate
from dynsecrets.integrations.aws.iam_api import PROPAGATION_DELAYS, account_of
from dynsecrets.integrations.aws.options import user_options
from dynsecrets.integrations.aws.policy_document import render
from dynsecrets.integrations.aws.request_tracking import SendDeadline
from dynsecrets.model.grant import Grant
from dynsecrets.model.masking import Secret
from dynsecrets.model.timestamps import floor_to_millisecond, to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dynsecrets._internal.concurrency import Fanout, Outcome
    from dynsecrets.integrations.aws.iam_api import IamApi
    from dynsecrets.model.config import DynamicSecretConfig


@attrs.frozen
class AccessKey:
    """The two halves of an access key, the second one boxed.

    It leaves the call of CreateAccessKey like this: what other calls raise carries frames, which trackers of errors
    print with their variables.
    """

    id: str
    secret: Secret

    @classmethod
    def boxed(cls, answer: Mapping[str, Any]) -> Self:
        """Return the key that an answer of CreateAccessKey holds."""
        return cls(answer["AccessKey"]["AccessKeyId"], Secret(answer["AccessKey"]["SecretAccessKey"]))


class UserCreation:
    """One provisioning of one user."""

    def __init__(self, api: IamApi, fanout: Fanout, plan: Mapping[str, str]) -> None:
        self._api = api
        self._fanout = fanout
        self._plan = plan
        self._user_name = plan["user_name"]
        self._requests = api.clients.requests
        #: What may have been made so far, for whoever cleans up: all of the plan, unless more is known.
        self._handle = dict(plan)

    def run(self, config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Create what was planned. Whatever is raised has what was made as its ``handle``; empty is nothing."""
        try:
            return self._run(config, ttl)
        except BaseException as exc:
            # An interrupt, too: who cleans up after it need not look for what can't be there.
            exc.handle = dict(self._handle)  # type: ignore[attr-defined]  # Read by whoever rolls back.
            raise

    def _run(self, config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        user = self._created()
        answered = time.monotonic()
        created = user["CreateDate"].astimezone(UTC)
        issued_at = floor_to_millisecond(created)
        expires_at = issued_at + ttl
        self._handle = self._with(created_at=to_milliseconds(created))
        if "Arn" in user:
            self._handle["account"] = account_of(user["Arn"])
            self._api.clients.remember_account(self._handle["account"])

        options = user_options(config)
        document = render(options.policy, expires_at if options.expiry_guard else None)
        names, calls = self._attachments(document)
        make_key: Callable[[], Any] = self._create_key
        outcomes: list[Outcome[Any]] = self._fanout.together([make_key, *calls])
        key = self._settle(["CreateAccessKey", *names], outcomes)
        if "Arn" not in user:
            user |= self._identify(key)
        return Grant(
            {
                "ACCESS_KEY_ID": key.id,
                "ARN": user["Arn"],
                "POLICY_NAME": self._plan.get("policy_name", ""),
                "SECRET_ACCESS_KEY": key.secret.reveal(),
                "USERNAME": self._user_name,
                "USER_ID": user["UserId"],
            },
            expires_at,
            self._handle,
            timedelta(seconds=time.monotonic() - answered),
            issued_at,
        )

    def _with(self, **known: str) -> dict[str, str]:
        """Return a handle of all that was planned, and what is known since instead of when it was planned."""
        return {key: value for key, value in self._plan.items() if key != "planned_at"} | known

    def _created(self) -> dict[str, Any]:
        """Create the user; know, where that fails, whether one may have been made all the same."""
        try:
            return self._create_user()
        except BaseException as exc:
            asked_at = to_milliseconds(datetime.now(UTC))
            self._handle = self._with(asked_at=asked_at) if self._requests.may_have_worked else {}
            if not isinstance(exc, Exception):
                raise
            raise translate(exc, "CreateUser") from scrub(exc)

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

    def _create_key(self) -> AccessKey:
        """Create the access key, and see to it that there is no other that nobody knows."""
        try:
            key = AccessKey.boxed(self._api.call_once_there(self._user_name, "CreateAccessKey", {}))
        except Exception as exc:
            # Two keys is the limit: both are answers that were lost.
            if code_of(exc) != "LimitExceeded":
                raise
            self._delete_other_keys(keep=None)
            key = AccessKey.boxed(self._api.call("CreateAccessKey", UserName=self._user_name))
        if self._requests.unclear:
            self._delete_other_keys(keep=key.id)
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

    def _settle(self, names: Sequence[str], outcomes: Sequence[Outcome[Any]]) -> AccessKey:
        """Return the access key if all calls worked, else raise the first error."""
        key: AccessKey | None = outcomes[0].value
        if key is not None:
            self._handle["access_key_id"] = key.id
        failed = [(name, out.error) for name, out in zip(names, outcomes, strict=True) if out.error is not None]
        if not failed:
            assert key is not None  # noqa: S101 - an outcome without error has a value.
            return key
        operation, error = failed[0]
        failure = translate(error, operation)
        if isinstance(failure, PermissionDenied):
            refused = (translate(other, name) for name, other in failed[1:])
            also = [action for other in refused if isinstance(other, PermissionDenied) for action in other.actions]
            if also:
                failure.actions += tuple(also)
                failure.args = (f"{failure}; {', '.join(also)} is missing too",)
        raise failure from scrub(error)

    def _identify(self, key: AccessKey) -> dict[str, str]:
        """Ask who a key belongs to, where the answer that would have told was lost; no permission is needed for it."""
        error: Exception | None = None
        for delay in PROPAGATION_DELAYS:
            try:
                identity = self._api.clients.caller_identity({"ACCESS_KEY_ID": key.id, "SECRET_ACCESS_KEY": key.secret})
            except Exception as exc:
                error = exc
                time.sleep(delay)
            else:
                self._handle["account"] = identity["Account"]
                return {"Arn": identity["Arn"], "UserId": identity["UserId"]}
        failure = ProvisionError("the answer of CreateUser was lost, and the new key can't tell yet whose it is")
        raise failure from (None if error is None else scrub(error))
