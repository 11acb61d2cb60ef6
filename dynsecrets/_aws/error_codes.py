"""The codes by which AWS's services say what went wrong, and what else an answer tells. Loads no botocore."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from datetime import datetime

DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
#: What the services answer for a key that they don't know, or know no more: the query services, S3, the JSON
#: services and EC2 in this order (IAM User Guide and API references, "Common errors").
UNKNOWN_KEY: Final = frozenset(
    {"InvalidClientTokenId", "InvalidAccessKeyId", "UnrecognizedClientException", "AuthFailure"}
)
BAD_CREDENTIALS: Final = UNKNOWN_KEY | {"SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException"}
THROTTLED: Final = frozenset(
    {"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException", "Throttling"}
)
#: What passes by itself within seconds, and botocore doesn't retry: somebody else (IAM's own replication, too) is
#: changing the same entity (IAM API reference, "Common errors" of CreateUser and DeleteLoginProfile).
PASSING: Final = frozenset({"ConcurrentModification", "EntityTemporarilyUnmodifiable"})


def code_of(error: BaseException) -> str | None:
    """Return the service's own code of an error, or ``None`` where the service didn't answer."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return None
    code = response.get("Error", {}).get("Code")
    return str(code) if code else None


def text_of(error: BaseException) -> str:
    """Return what the service says of an error, as ``Code: message``; empty where the service didn't answer."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict) or "Error" not in response:
        return ""
    # botocore reads an empty element as None.
    answer = response["Error"]
    return ": ".join(str(answer[part]) for part in ("Code", "Message") if answer.get(part))


def service_date(response: dict[str, Any] | None) -> datetime | None:
    """Return the service's own time from the ``Date`` header of an answer, aware."""
    headers = (response or {}).get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return parsedate_to_datetime(headers["date"])
    except (KeyError, TypeError, ValueError):
        return None
