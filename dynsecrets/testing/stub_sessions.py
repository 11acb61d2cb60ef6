"""``boto3`` sessions on users that exist in memory only: they act as AWS would, and never call it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from dynsecrets.errors import DynsecretsError
from dynsecrets.testing.moto import in_mock

if TYPE_CHECKING:
    from collections.abc import Callable

    import boto3

#: What services answer for a key that they don't know, by their protocols (API references, "Common errors").
_UNKNOWN_KEY: Final = {"query": "InvalidClientTokenId", "ec2": "AuthFailure", "rest-xml": "InvalidAccessKeyId"}
_UNKNOWN_KEY_ELSEWHERE: Final = "UnrecognizedClientException"


def guard(session: boto3.Session, admit: Callable[[], str | None]) -> boto3.Session:
    """Have ``admit()`` asked before each call of the session's clients, and let none of them leave this machine.

    ``admit`` returns why the user may not call, as ``"unknown"`` or ``"denied"``, and ``None`` where it may; what it
    raises is what the caller gets.
    """

    def before(model: Any, **_: object) -> None:
        why = admit()
        if why is not None:
            raise _refusal(why, model)

    session.events.register_first("before-parameter-build", before)
    session.events.register_last("before-send", _stay_here)
    return session


def service_error(code: str, message: str, operation: str, status: int) -> Exception:
    """Return an error as botocore raises it for a service's answer."""
    from botocore.exceptions import ClientError

    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)


def _refusal(why: str, model: Any) -> Exception:
    if why == "denied":
        message = "User is not authorized to perform this, with an explicit deny in an identity-based policy"
        return service_error("AccessDenied", message, model.name, 403)
    protocol = model.service_model.metadata.get("protocol")
    code = _UNKNOWN_KEY.get(protocol, _UNKNOWN_KEY_ELSEWHERE)
    return service_error(code, "The security token included in the request is invalid.", model.name, 403)


def _stay_here(request: Any, **_: object) -> None:
    """Refuse to send a request to anything but this machine; moto's answer, where it mocks, comes before sending."""
    if in_mock() or _is_local(urlsplit(request.url).hostname or ""):
        return
    msg = (
        f"a lease of a MemoryIntegration doesn't call {urlsplit(request.url).hostname}: answer its calls with "
        "botocore's Stubber or moto's mock_aws, or give session() the endpoint_url of a server on this machine"
    )
    raise DynsecretsError(msg)


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
