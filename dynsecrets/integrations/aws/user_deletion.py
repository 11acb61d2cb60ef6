"""Deleting a leased user: three calls where the record knows its names, a thorough second look where it doesn't.

The key dies in the first round trip, whatever comes after. (Before that just a user that this process has not named
itself is asked for, where the credentials may: its path proves that it is ours.) DeleteUser is what proves the end: IAM
refuses it with DeleteConflict while anything hangs on the user (IAM API reference, DeleteUser), and for a moment after
that, so what was overlooked is found.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dynsecrets._aws.error_codes import code_of, service_date
from dynsecrets._internal.log import logger
from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import DynsecretsError, PermissionDenied, RevocationError
from dynsecrets.integrations.aws.errors import is_conflict, is_unresolved, scrub, translate
from dynsecrets.integrations.aws.request_tracking import SendDeadline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dynsecrets._internal.concurrency import Fanout
    from dynsecrets.integrations.aws.iam_api import IamApi

#: What the thorough way looks for in every case, with the default permissions.
_BASIC: Final = (
    ("ListAccessKeys", "AccessKeyMetadata", "DeleteAccessKey", {"AccessKeyId": "AccessKeyId"}),
    ("ListUserPolicies", "PolicyNames", "DeleteUserPolicy", {"PolicyName": None}),
)
#: What a leased user with a broad policy can have made for itself; looked for when IAM says that something is left.
_EXTRAS: Final = (
    ("ListAttachedUserPolicies", "AttachedPolicies", "DetachUserPolicy", {"PolicyArn": "PolicyArn"}),
    ("ListGroupsForUser", "Groups", "RemoveUserFromGroup", {"GroupName": "GroupName"}),
    ("ListMFADevices", "MFADevices", "DeactivateMFADevice", {"SerialNumber": "SerialNumber"}),
    ("ListSSHPublicKeys", "SSHPublicKeys", "DeleteSSHPublicKey", {"SSHPublicKeyId": "SSHPublicKeyId"}),
    ("ListSigningCertificates", "Certificates", "DeleteSigningCertificate", {"CertificateId": "CertificateId"}),
    (
        "ListServiceSpecificCredentials",
        "ServiceSpecificCredentials",
        "DeleteServiceSpecificCredential",
        {"ServiceSpecificCredentialId": "ServiceSpecificCredentialId"},
    ),
)
#: How long to wait between looks at a user that may not be visible yet, in seconds; the last one repeats.
_PAUSES: Final = (0.25, 0.5, 1.0, 2.0)
_MORE_LOOKS: Final = 40
#: What the serial number of a virtual MFA device, which is an ARN, has and that of a piece of hardware hasn't.
_VIRTUAL_DEVICE: Final = ":mfa/"
#: How much longer than a new user takes to be known everywhere is waited for here; dates have whole seconds, too.
_SLACK: Final = timedelta(seconds=15)
#: A date that lies this far in the future was written by a clock that is set right by now: AWS refuses requests that
#: are signed by one that is five minutes off (IAM User Guide, "Troubleshoot Signature Version 4").
_SET_BACK: Final = timedelta(minutes=5)


class UserDeletion:
    """One revocation of one user."""

    def __init__(self, api: IamApi, fanout: Fanout, *, settles_after: timedelta, plan_settles_after: timedelta) -> None:
        self._iam = api
        self._settles_after = settles_after
        self._plan_settles_after = plan_settles_after
        self._fanout = fanout
        #: Refused actions that stand against the deletion, and those that would have told what does.
        self._denied: list[str] = []
        self._unseen: list[str] = []
        self._devices: list[str] = []
        self._swept = 0
        self._deadline = SendDeadline()

    def run(self, handle: Mapping[str, str]) -> None:
        """Delete what a handle names. Raises ``RevocationError`` where it can't be done now."""
        if not handle:
            return
        user_name = self._within_reach(handle)
        try:
            self._check_path(user_name)
            self._delete(user_name, handle)
            self._iam.forget(user_name)
        except DynsecretsError:
            raise
        except Exception as exc:
            raise self._failure(exc, "DeleteUser") from scrub(exc)

    def _delete(self, user_name: str, handle: Mapping[str, str]) -> None:
        left = timedelta(0)
        for pause in (*_PAUSES, *[_PAUSES[-1]] * _MORE_LOOKS):
            answer = self._first_round(user_name, handle)
            if answer is None:
                answer = self._try("DeleteUser", UserName=user_name)
            if is_conflict(answer):
                self._sweep(user_name, _BASIC)
                answer = self._try("DeleteUser", patiently=True, UserName=user_name)
            if is_conflict(answer):
                found = self._sweep_extras(user_name)
                answer = self._try("DeleteUser", patiently=found, UserName=user_name)
            if answer is None:
                return
            absent = code_of(answer) == "NoSuchEntity" or (
                is_unresolved(answer, user_name) and self._is_absent(user_name, handle)
            )
            if not absent:
                failure = self._failure(answer, "DeleteUser")
                raise failure from failure.__cause__ or scrub(answer)
            # Not even where a request of ours had no clear answer: it may have done nothing, and the next one have met
            # a server that doesn't know the user yet. And one of a process that is gone may still be under way.
            left = self._unsettled_for(handle, answer)
            if left <= timedelta(0):
                self._check_account(handle)
                return
            if left > self._settles_after + _SLACK:
                # So long that whoever revokes does better to come again.
                break
            time.sleep(pause)
        raise RevocationError(
            f"AWS knows no user {safe_repr(user_name)}, which may still come to be, so short a time after it was asked "
            f"for; it is looked for again, and in {left.total_seconds():.0f} s its absence is proof"
        )

    def _first_round(self, user_name: str, handle: Mapping[str, str]) -> Exception | None:
        """Delete all that is known to hang on the user, at the same time; ``NoSuchEntity`` if there is no user."""
        todo: list[tuple[str, dict[str, str]]] = []
        key_id = handle.get("access_key_id")
        if key_id:
            todo.append(("DeleteAccessKey", {"AccessKeyId": key_id}))
        if "policy_name" in handle:
            todo.append(("DeleteUserPolicy", {"PolicyName": handle["policy_name"]}))
        todo += [("DetachUserPolicy", {"PolicyArn": arn}) for arn in handle.get("managed_policies", "").split()]
        todo += [("RemoveUserFromGroup", {"GroupName": group}) for group in handle.get("groups", "").split()]
        if key_id is None:
            # A key may exist that nobody knows: look, before all else.
            missing = self._sweep(user_name, _BASIC)
            if missing is not None:
                return missing
            todo = [(operation, names) for operation, names in todo if operation != "DeleteUserPolicy"]
        self._all(user_name, todo)
        return None

    def _try(self, operation: str, *, patiently: bool = False, **arguments: Any) -> Exception | None:
        """Make a call; return what stood against it."""
        try:
            (self._iam.call_once_free if patiently else self._iam.call)(operation, **arguments)
        except Exception as exc:  # judged by the caller.
            return exc
        return None

    def _is_absent(self, user_name: str, handle: Mapping[str, str]) -> bool:
        """Find out whether a user that can't be deleted is there at all, with the permissions that leasing needs.

        Its name is free if it can be taken: the user that this makes has no key and no policy, and is deleted again. It
        has the tags and the boundary of the leased one, since the account may demand them. It is not made once others
        may have taken this revocation over.
        """
        try:
            arguments = self._iam.user_arguments(handle)
            self._iam.call("CreateUser", deadline=self._deadline, UserName=user_name, **arguments)
        except Exception:  # it exists, or nothing can be told; the refusal stands.
            return False
        return self._try("DeleteUser", UserName=user_name) is None

    def _sweep(
        self, user_name: str, kinds: Sequence[tuple[str, str, str, Mapping[str, str | None]]]
    ) -> Exception | None:
        """List what hangs on the user, page by page, and delete it; return ``NoSuchEntity`` if there is no user."""
        listings = self._fanout.together(
            [partial(self._iam.listed, lister, member, UserName=user_name) for lister, member, _, _ in kinds]
        )
        todo: list[tuple[str, dict[str, str]]] = []
        failed: list[tuple[str, Exception]] = []
        for (lister, _, deleter, names), listing in zip(kinds, listings, strict=True):
            if listing.error is not None:
                failed.append((lister, listing.error))
            for found in listing.value or ():
                arguments = {name: found if key is None else found[key] for name, key in names.items()}
                todo.append((deleter, arguments))
                if _VIRTUAL_DEVICE in arguments.get("SerialNumber", ""):
                    self._devices.append(arguments["SerialNumber"])
        missing = [error for _, error in failed if code_of(error) == "NoSuchEntity"]
        if len(missing) == len(kinds):
            # One server that knows the user, though nothing hangs on it, says more than others that don't.
            return missing[0]
        self._swept += len(todo)
        self._all(user_name, todo)
        self._note_all(failed, self._unseen)
        return None

    def _sweep_extras(self, user_name: str) -> bool:
        """Delete what only a user itself, or somebody else, can have added; tell whether anything was."""
        before = self._swept
        try:
            self._sweep(user_name, _EXTRAS)
        except DynsecretsError as error:
            # Not every partition has every kind. DeleteUser tells whether it mattered.
            logger.info("Not all that may hang on user %s could be looked for: %s", user_name, error)
        refused_login = self._try("DeleteLoginProfile", UserName=user_name)
        if refused_login is not None:
            self._note_all([("DeleteLoginProfile", refused_login)], self._unseen)
        for device in self._devices:
            # A device that was deactivated stands against nothing, and would stay in the account for ever.
            refused = self._try("DeleteVirtualMFADevice", patiently=True, SerialNumber=device)
            if refused is not None and code_of(refused) != "NoSuchEntity":
                logger.warning("The virtual MFA device %s of user %s is left: %s", device, user_name, scrub(refused))
        return refused_login is None or self._swept > before

    def _all(self, user_name: str, todo: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Make calls at the same time; what is missing already is fine, all else is noted or raised."""
        calls: list[Callable[[], Any]] = [
            partial(self._iam.call, operation, UserName=user_name, **names) for operation, names in todo
        ]
        outcomes = zip(todo, self._fanout.together(calls), strict=True)
        self._note_all(
            [(operation, outcome.error) for (operation, _), outcome in outcomes if outcome.error is not None],
            self._denied,
        )

    def _note_all(self, failed: Sequence[tuple[str, Exception]], refused: list[str]) -> None:
        """Keep refused actions for the end, so that everything else is still tried; raise the first other error."""
        others: list[tuple[Exception, DynsecretsError]] = []
        for operation, error in failed:
            if code_of(error) == "NoSuchEntity":
                continue
            translated = translate(error, operation, revoking=True)
            if isinstance(translated, PermissionDenied):
                refused += [action for action in translated.actions if action not in refused]
            else:
                others.append((error, translated))
        if others:
            error, translated = others[0]
            raise translated from scrub(error)

    def _failure(self, error: Exception, operation: str) -> DynsecretsError:
        """Return the error of a revocation, caused by a ``PermissionDenied`` that names all that was refused.

        What could not be looked for is named beside a conflict, which may come of it, and is never the reason given.
        """
        translated = translate(error, operation, revoking=True)
        actions = list(self._denied)
        if isinstance(translated, PermissionDenied):
            actions += [action for action in translated.actions if action not in actions]
        unseen = self._unseen if is_conflict(error) else []
        if not actions and not unseen:
            return translated
        denied = PermissionDenied(
            f"the integration's credentials may not {', '.join([*actions, *unseen])}",
            actions=[*actions, *unseen],
            code="AccessDenied",
            operation=operation,
        )
        denied.__cause__ = scrub(error)
        if actions:
            why = f"{denied}; grant it, or delete the user by hand ({translated})"
        else:
            why = (
                f"{translated}; something hangs on it that can't be found, or deleted, without "
                f"{', '.join(unseen)}: grant that, or delete the user by hand"
            )
        failure = RevocationError(f"the user can't be deleted: {why}", code=code_of(error), operation=operation)
        failure.__cause__ = denied
        return failure

    def _within_reach(self, handle: Mapping[str, str]) -> str:
        """Return the user's name if it is one of this integration's: records can be wrong, or tampered with."""
        user_name = handle.get("user_name", "")
        if not self._iam.is_ours(user_name) or handle.get("path") != self._iam.path:
            raise self._out_of_reach(f"user {safe_repr(user_name)} under path {safe_repr(handle.get('path'))}")
        return user_name

    def _check_path(self, user_name: str) -> None:
        """Refuse to touch a user that AWS has under another path than the record."""
        if self._iam.is_elsewhere(user_name):
            raise self._out_of_reach(f"user {safe_repr(user_name)}, which AWS has under another path,")

    def _out_of_reach(self, what: str) -> RevocationError:
        return RevocationError(
            f"{what} is not one of this integration's ({self._iam.path}{self._iam.username_prefix}…), so nothing was "
            "deleted; revoke it with the integration that made it, or look into who changed the record"
        )

    def _check_account(self, handle: Mapping[str, str]) -> None:
        """Refuse to believe "no such user" in another account than the one that the user was made in."""
        made_in = handle.get("account")
        if made_in is None:
            return
        here = self._iam.clients.account()
        if here != made_in:
            raise RevocationError(
                f"user {safe_repr(handle['user_name'])} was made in account {made_in}, and the "
                "integration's credentials "
                f"are of account {here}; revoke it with those of account {made_in}"
            )

    def _unsettled_for(self, handle: Mapping[str, str], answer: Exception) -> timedelta:
        """Return for how long "no such user" is not to be believed yet."""
        since, now = handle.get("created_at"), service_date(getattr(answer, "response", None))
        settles_after = self._settles_after
        if since is None or now is None:
            # By a local clock, which may have been set back since.
            since, now = since or handle.get("asked_at"), datetime.now(UTC)
            if since is None:
                since, settles_after = handle.get("planned_at"), self._plan_settles_after
        try:
            age = now - datetime.fromisoformat(since or "")
        except ValueError:
            return timedelta(0)
        return timedelta(0) if age < -_SET_BACK else settles_after - age
