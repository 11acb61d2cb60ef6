"""A stub of IAM and STS in a process of its own: it answers each call with canned XML after a given latency.

Run it as a script: it prints its port, and ends when its standard input does. The first part of a request's path is the
latency in milliseconds (``POST /40/``). ``GET /counts`` returns how often each action was called, as JSON. It remembers
nothing else: every user exists and has one key and one inline policy. What it doesn't know is refused, so that a
measurement can't go wrong unseen. One thread that does little, so that it takes next to nothing of the machine.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import sys
import threading
import time
from collections import Counter
from email.utils import formatdate
from typing import Final

_ACTION: Final = re.compile(rb"(?:^|&)Action=(\w+)")
_USER_NAME: Final = re.compile(rb"(?:^|&)UserName=([\w.-]+)")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END: Final = b"\r\n\r\n"
_BASE_32: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

_USER: Final = (
    "<User><Path>/dynsecrets/</Path><UserName>{user}</UserName><UserId>AIDA{unique}</UserId>"
    "<Arn>arn:aws:iam::123456789012:user/dynsecrets/{user}</Arn><CreateDate>{now}</CreateDate></User>"
)
_KEY: Final = (
    "<AccessKey><UserName>{user}</UserName><AccessKeyId>AKIA{unique}</AccessKeyId><Status>Active</Status>"
    "<SecretAccessKey>{secret}</SecretAccessKey><CreateDate>{now}</CreateDate></AccessKey>"
)
_LISTED_KEY: Final = (
    "<AccessKeyMetadata><member><UserName>{user}</UserName><AccessKeyId>AKIA{unique}</AccessKeyId>"
    "<Status>Active</Status><CreateDate>{now}</CreateDate></member></AccessKeyMetadata>"
)
_WHOLE: Final = "<IsTruncated>false</IsTruncated>"
#: The result of each action; ``None`` where it has none.
_RESULTS: Final[dict[str, str | None]] = {
    "CreateUser": _USER,
    "CreateAccessKey": _KEY,
    "PutUserPolicy": None,
    "TagUser": None,
    "ListAccessKeys": _LISTED_KEY + _WHOLE,
    "ListUserPolicies": "<PolicyNames><member>dynsecrets-policy-0123456789abc</member></PolicyNames>" + _WHOLE,
    "ListAttachedUserPolicies": "<AttachedPolicies/>" + _WHOLE,
    "ListGroupsForUser": "<Groups/>" + _WHOLE,
    "DeleteAccessKey": None,
    "DeleteUserPolicy": None,
    "DeleteUser": None,
    "GetCallerIdentity": (
        "<Arn>arn:aws:iam::123456789012:user/bench</Arn><UserId>AIDA{unique}</UserId><Account>123456789012</Account>"
    ),
}


def _document(action: str, result: str | None) -> str:
    """Return the template of an answer as IAM words it."""
    inner = "" if result is None else f"<{action}Result>{result}</{action}Result>"
    return (
        f"<{action}Response>{inner}"
        f"<ResponseMetadata><RequestId>{{request}}</RequestId></ResponseMetadata></{action}Response>"
    )


_ANSWERS: Final = {action: _document(action, result) for action, result in _RESULTS.items()}
_REFUSAL: Final = (
    "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidAction</Code><Message>The stub has no answer to {action}."
    "</Message></Error><RequestId>{request}</RequestId></ErrorResponse>"
)
counts: Counter[str] = Counter()


class Connection(asyncio.Protocol):
    """One client's connection, kept open."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; asyncio sets TCP_NODELAY by itself."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._received += data
        while (end := self._received.find(_END)) >= 0:
            head = bytes(self._received[:end])
            length = _LENGTH.search(head)
            whole = end + len(_END) + (int(length.group(1)) if length else 0)
            if len(self._received) < whole:
                return
            body = bytes(self._received[end + len(_END) : whole])
            del self._received[:whole]
            self._answer(head.split(b" ", 2)[1].decode(), body)

    def _answer(self, path: str, body: bytes) -> None:
        if path == "/counts":
            self._send(_response("200 OK", "application/json", json.dumps(counts)))
            return
        found = _ACTION.search(body)
        action = found.group(1).decode() if found else "nothing"
        counts[action] += 1
        if action in _ANSWERS:
            response = _response("200 OK", "text/xml", _ANSWERS[action].format_map(_details(body)))
        else:
            text = _REFUSAL.format(action=action, request=_request_id())
            response = _response("400 Bad Request", "text/xml", text)
        milliseconds = float(path.split("/")[1])
        if milliseconds:
            asyncio.get_running_loop().call_later(milliseconds / 1000, self._send, response)
        else:
            self._send(response)

    def _send(self, response: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(response)


def _details(body: bytes) -> dict[str, str]:
    """Return what an answer is filled in with."""
    user = _USER_NAME.search(body)
    return {
        "user": user.group(1).decode() if user else "nobody",
        "unique": "".join(secrets.choice(_BASE_32) for _ in range(16)),
        "secret": secrets.token_urlsafe(30),
        "now": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "request": _request_id(),
    }


def _request_id() -> str:
    digits = secrets.token_hex(16)
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _response(status: str, kind: str, text: str) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status}\r\nx-amzn-RequestId: {_request_id()}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nDate: {formatdate(usegmt=True)}\r\n\r\n"
    )
    return head.encode() + body


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    over = asyncio.Event()

    def wait_for_parent() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=wait_for_parent, daemon=True).start()
    await over.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
