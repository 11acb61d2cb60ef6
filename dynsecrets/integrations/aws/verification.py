"""The "Connect" step: who are the credentials, and can they do the job?

A canary user is made and removed. Every action is tried, also after one was refused, so that all that is missing is
named at once; what deletes is tried before there is anything to delete, so that as little as possible is left where
it is refused.

A process that is killed meanwhile leaves a canary that no record knows. It is named like every leased user, so that
``LeaseManager.sweep_orphans`` finds it, it may do nothing, and it has the expiry guard while it has a key.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from dynsecrets._aws.error_codes import code_of
from dynsecrets._internal.concurrency import Outcome
from dynsecrets.errors import PermissionDenied
from dynsecrets.integrations.aws.errors import is_unresolved, scrub, translate
from dynsecrets.integrations.aws.policy_document import render
from dynsecrets.model.grant import Identity
from dynsecrets.model.naming import random_suffix
from dynsecrets.model.timestamps import to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dynsecrets.integrations.aws.iam_api import IamApi

_CANARY_TTL: Final = timedelta(minutes=5)
#: Formed like a key id, and nobody's.
_NO_KEY: Final = "AKIA0000000000000000"


def verify(
    api: IamApi,
    user_arguments: Mapping[str, Any],
    policy_name_prefix: str,
    revoke: Callable[[Mapping[str, str]], None],
) -> Identity:
    """Return who the integration is, or raise an error that names each missing action."""
    canary = _Canary(api, user_arguments, policy_name_prefix, revoke)
    identity = canary.identity()
    canary.run()
    if canary.denied:
        left = f"; the canary user {canary.user_name} is left, delete it by hand" if canary.is_left else ""
        unknown = f" (whether it may {', '.join(canary.unknown)} can't be told before that)" if canary.unknown else ""
        raise PermissionDenied(
            f"{identity.arn} lacks permissions to lease users under {api.path}: {', '.join(canary.denied)}"
            f"{unknown}; grant them, as integration.required_policy() lists{left}",
            actions=canary.denied,
            code="AccessDenied",
        )
    return identity


class _Canary:
    """One user that is made and removed to see whether it can be."""

    def __init__(
        self,
        api: IamApi,
        user_arguments: Mapping[str, Any],
        policy_name_prefix: str,
        revoke: Callable[[Mapping[str, str]], None],
    ) -> None:
        self._iam = api
        self._arguments = user_arguments
        self._revoke = revoke
        self.user_name = api.know(api.username_prefix + random_suffix())
        self._policy_name = policy_name_prefix + random_suffix()
        self.denied: list[str] = []
        self.unknown: list[str] = []
        self.is_left = False
        self._nothing_was_made = True

    def identity(self) -> Identity:
        """Ask STS who the integration's credentials are; no permission is needed for it."""
        asked = Outcome.of(lambda: self._iam.clients.sts().get_caller_identity())
        if asked.error is not None:
            raise translate(asked.error, "GetCallerIdentity") from scrub(asked.error)
        answer: Any = asked.value
        return Identity(account=answer["Account"], arn=answer["Arn"], user_id=answer["UserId"])

    def run(self) -> None:
        """Try every action, and leave nothing, interrupted or not."""
        try:
            self._run()
        except BaseException as error:
            self._remove(error)
            raise

    def _run(self) -> None:
        self._nothing_was_made = False
        self.is_left = self._try("CreateUser", **self._arguments) is not None
        self._try("ListAccessKeys")
        self._try("ListUserPolicies")
        may_delete_key = self._try("DeleteAccessKey", AccessKeyId=_NO_KEY) is not None
        may_delete_policy = self._try("DeleteUserPolicy", PolicyName=self._policy_name) is not None
        policy = {"PolicyName": self._policy_name, "PolicyDocument": render(None, datetime.now(UTC) + _CANARY_TTL)}
        if may_delete_policy:
            guarded = self._try("PutUserPolicy", **policy) is not None
        else:
            guarded = False
            self._try_on_nobody("PutUserPolicy", **policy)
        # The guard comes first and goes last: a key that a killed process leaves behind is refused within minutes.
        if not may_delete_key:
            self._try_on_nobody("CreateAccessKey")
        elif (key_id := self._created_key()) is not None:
            self._try("DeleteAccessKey", AccessKeyId=key_id)
        if guarded:
            self._try("DeleteUserPolicy", PolicyName=self._policy_name)
        if self._try("DeleteUser") is not None:
            self.is_left = False

    def _created_key(self) -> str | None:
        """Return the id of a new key; its secret is nobody's business."""
        made = self._try("CreateAccessKey")
        return made["AccessKey"]["AccessKeyId"] if made else None

    def _try(self, operation: str, **arguments: Any) -> dict[str, Any] | None:
        """Make a call on the canary; ``None`` if it was refused, an empty answer if there was nothing to act on."""
        return self._call(self.user_name, operation, arguments, exists=self.is_left)

    def _try_on_nobody(self, operation: str, **arguments: Any) -> None:
        """Make a call on a user that doesn't exist, since what it would make could not be deleted again."""
        self._call(self._iam.username_prefix + random_suffix(), operation, arguments, exists=False)

    def _call(
        self, user_name: str, operation: str, arguments: dict[str, Any], *, exists: bool
    ) -> dict[str, Any] | None:
        if operation == "DeleteUser":
            outcome = Outcome.of(lambda: self._iam.call_once_free(operation, UserName=user_name))
        else:
            outcome = Outcome.of(lambda: self._iam.call_once_there(user_name, operation, arguments, wait=exists))
        if outcome.error is None:
            return dict(outcome.value or {})
        if code_of(outcome.error) == "NoSuchEntity":
            return {}
        failure = translate(outcome.error, operation)
        if operation == "CreateUser":
            self._nothing_was_made = not self._iam.clients.requests.may_have_worked
        if not isinstance(failure, PermissionDenied):
            raise failure from scrub(outcome.error)
        if not exists and operation != "CreateUser" and is_unresolved(outcome.error, user_name):
            # The answer for a user that doesn't exist where permissions are limited to a path: it says nothing.
            self.unknown.append(f"iam:{operation}")
        else:
            self.denied += [action for action in failure.actions if action not in self.denied]
        return None

    def _remove(self, error: BaseException) -> None:
        """Remove what may have been made, after an error that is not a refusal, or an interrupt; note what is left."""
        if self._nothing_was_made:
            return
        handle = {
            "user_name": self.user_name,
            "path": self._iam.path,
            "policy_name": self._policy_name,
            "asked_at": to_milliseconds(datetime.now(UTC)),
        }
        failed = Outcome.of(lambda: self._revoke(handle)).error
        if failed is not None:
            # No record tells of it, so no reap finds it.
            error.add_note(f"the canary user {self.user_name} may be left, delete it by hand: {failed}")
