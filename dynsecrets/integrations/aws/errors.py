"""Errors of AWS and botocore, translated in one place."""

from __future__ import annotations

import re
from typing import Final

from dynsecrets._aws.error_codes import BAD_CREDENTIALS, DENIED, code_of, text_of
from dynsecrets.errors import (
    DynsecretsError,
    InvalidConfig,
    PermissionDenied,
    ProvisionError,
    QuotaExceeded,
    RevocationError,
)

_ACTION: Final = re.compile(r"perform:? ([a-z0-9-]+:[A-Za-z]+)")
_USERS_QUOTA: Final = 5000
#: IAM User Guide, "Compare AWS STS credentials": what GetSessionToken and GetFederationToken can't call.
_NO_IAM_FOR_SESSIONS: Final = (
    ". Where they have a session token: IAM refuses the keys of GetSessionToken unless they were made with MFA, and "
    "those of GetFederationToken always; use the long-lived keys (aws-vault exec --no-session), a profile with "
    "mfa_serial, or a role"
)
_LEFT_OUT: Final = "the service's answer could not be read (it is left out here, since it may hold a secret)"


def is_missing(error: BaseException, user_name: str) -> bool:
    """Tell whether an error says that the *user* doesn't exist (not a group or policy that was to be attached)."""
    return code_of(error) == "NoSuchEntity" and user_name in str(error)


def is_unresolved(error: BaseException, user_name: str) -> bool:
    """Tell whether permission was refused on a user that IAM may not have found.

    Where permissions are limited to a path, IAM can't tell the path of a user that doesn't exist: it refuses, and names
    the resource ``user NAME`` instead of by an ARN. It may name an existing user like that too, so this proves nothing.
    """
    return code_of(error) in DENIED and f"resource: user {user_name}" in str(error)


def is_conflict(error: BaseException | None) -> bool:
    """Tell whether IAM refuses to delete something because of what hangs on it."""
    return error is not None and code_of(error) == "DeleteConflict"


def is_unreadable(error: BaseException) -> bool:
    """Tell whether what arrived is not an answer of the service: its end is missing, or a proxy wrote it."""
    from botocore.parsers import ResponseParserError

    return isinstance(error, ResponseParserError)


def translate(error: Exception, operation: str, *, revoking: bool = False) -> DynsecretsError:
    """Return the library's error for one of botocore's; raise it ``from scrub(error)``."""
    if isinstance(error, DynsecretsError):
        return error
    code = code_of(error)
    says = _message(error)
    if code in DENIED:
        match = _ACTION.search(str(error))
        action = match.group(1) if match else f"iam:{operation}"
        return PermissionDenied(
            f"the integration's credentials may not {action}: {says}; grant it, as integration.required_policy() lists",
            actions=(action,),
            code=code,
            operation=operation,
        )
    if code == "LimitExceeded" and not revoking:
        return QuotaExceeded(_quota(operation, says), code=code, operation=operation)
    if code == "MalformedPolicyDocument":
        return InvalidConfig(f"AWS does not accept the policy of this config: {says}", code=code, operation=operation)
    if code in BAD_CREDENTIALS:
        says += "; check the integration's own credentials with integration.verify()"
        if code == "InvalidClientTokenId" and operation != "GetCallerIdentity":
            says += _NO_IAM_FOR_SESSIONS
    kind = RevocationError if revoking else ProvisionError
    return kind(f"{operation} failed: {says}", code=code, operation=operation)


def scrub(error: Exception) -> Exception:
    """Return an error that can be shown: itself, or a stand-in where it quotes an answer with a secret."""
    from botocore.exceptions import ClientError
    from botocore.parsers import ResponseParserError

    if isinstance(error, ClientError | DynsecretsError):
        return error
    if isinstance(error, ResponseParserError):
        return ResponseParserError(_LEFT_OUT)
    # The chain of an error shows what it came from, so a parser's error must not hide behind another one.
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if isinstance(link, ResponseParserError) or "SecretAccessKey" in str(link):
            return ResponseParserError(_LEFT_OUT)
        link = link.__cause__ or link.__context__
    return error


def _message(error: Exception) -> str:
    """Return what went wrong, without botocore's preamble and without answers that hold secrets."""
    answer = text_of(error)
    if answer:
        return answer
    shown = scrub(error)
    return f"{type(shown).__name__}: {shown}".rstrip(": ")


def _quota(operation: str, says: str) -> str:
    """Say what a quota means for leases, with its arithmetic."""
    if operation != "CreateUser":
        return f"AWS allows no more: {says}"
    rate = _USERS_QUOTA / (30 * 60)
    return (
        f"the account holds as many IAM users as AWS allows: {says}. The quota is {_USERS_QUOTA:,} users an account "
        "and can't be raised; leases alive are their rate times their TTL: at 30 minutes that is "
        f"{rate:.1f} leases a second ({_USERS_QUOTA:,} / 1,800 s). "
        "Shorten TTLs, revoke early, or spread over accounts"
    )
