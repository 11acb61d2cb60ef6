"""The container credentials endpoint: a child's own AWS SDK, in any language, asks it for the key of the moment.

The protocol is AWS's ("Container credential provider" in the AWS SDKs and Tools Reference Guide): GET on a loopback
address, with a token in ``Authorization``; the answer has ``AccessKeyId``, ``SecretAccessKey``, ``Token`` and
``Expiration``, all of them text.

An IAM user has no session token. What SDKs make of that differs, and ``User-Agent`` tells them apart, where they send
one:

================  ===================  ===========================  ============  ==============
SDK               without ``Token``    with an empty one            sends a name  it gets
================  ===================  ===========================  ============  ==============
botocore, PHP     fails or complains   has no session token         not its own   the empty text
JavaScript v3     fails                has no session token         no            the empty text
Go, .NET, C++     has no session       has no session token         some          the empty text
Java, Ruby        has no session       sends it, which AWS refuses  yes           no ``Token``
Rust, Kotlin      fails                sends it, which AWS refuses  no            the empty text
JavaScript v2     fails                fails                        yes           the empty text
================  ===================  ===========================  ============  ==============

So programs with the SDKs of the last two rows are not served by an endpoint where a lease is an IAM user; for them
there is ``aws`` without ``renew``. (Rust's ``json_credentials.rs`` and Kotlin's ``EcsCredentialsProvider`` demand the
session token, and JavaScript v2's ``remote_credentials.js`` one that isn't empty.)


What ``Expiration`` says: not when the lease ends, but until when this process vouches for the
key. A renewed lease's user is deleted an overlap after the swap, long before its TTL, and an SDK that was told the TTL
would go on with it. How SDKs use the date (E), whenever they need credentials:

=============  ===========================  ===============================================================
SDK            asks again from              meanwhile
=============  ===========================  ===============================================================
botocore       E - 15 min; waits: 10 min    uses the old key if asking fails, in the last 10 min raises
JavaScript v3  E - 5 min                    uses the old key for that one request, and up to E
Go v2          E - 5 min                    waits
Java v2        E - 15 min; waits: 1 min     uses the old key up to E - 1 min
=============  ===========================  ===============================================================

So no SDK uses a key for a new request after E, JavaScript may do so up to E exactly, and all that is asked of E is that
the key is alive until E and for the time that a request takes. With the next attempt to renew at N, and the overlap O:

* before N, the key stays until N + O at least (an attempt takes time, and the overlap begins after it);
* from N on, while an attempt is under way, it stays until now + O at least, whenever that is asked;
* after a failed attempt, N is when the next one is due;
* never longer than the lease's own end.

E is half an overlap earlier, for requests that are under way. It is by the local clock, which the SDK compares it with.
With leases of less than 20 minutes the windows of all SDKs are open all the time: they ask for each request, which
costs a millisecond and no call to AWS. E is in whole seconds, as on ECS, and at least a second ahead, or botocore would
take it for a mistake: with leases of less than about 20 seconds it can be late by that.

Where there is no living lease the answer is 503, which all of them try again: botocore twice, a second apart;
JavaScript three times; Java five times (5xx only); Go as its retryer does.
"""

from __future__ import annotations

import contextlib
import hmac
import io
import json
import secrets
import socket
import socketserver
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final, Self

from typing_extensions import override

from dynsecrets._internal.log import logger
from dynsecrets.errors import DynsecretsError
from dynsecrets.model.timestamps import to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from dynsecrets.model.lease import Lease

HOST: Final = "127.0.0.1"
_LARGEST_REQUEST: Final = 8192
_PATIENCE_S: Final = 2.0
#: More than these at a time, and the oldest has to go: one that says nothing must not keep others out.
_MOST_CONNECTIONS: Final = 64
_SOON: Final = timedelta(seconds=2)
#: What an SDK's ``User-Agent`` begins with that needs no session token, and would sign with an empty one.
_WITHOUT_TOKEN: Final = ("aws-sdk-java/", "aws-sdk-ruby")


def expiration(now: datetime, stays_for: timedelta, overlap: timedelta) -> datetime:
    """Return what to tell an SDK, by the local clock, of a key that stays for so long at least."""
    return max(now + stays_for - overlap / 2, now + _SOON).replace(microsecond=0)


def describe(lease: Lease, until: datetime, user_agent: str = "") -> bytes:
    """Return the answer to an SDK, secret included."""
    keys = lease.aws_env()
    answer = {
        "AccessKeyId": keys["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": keys["AWS_SECRET_ACCESS_KEY"],
        "Token": keys.get("AWS_SESSION_TOKEN", ""),
        "Expiration": to_seconds(until),
    }
    if not answer["Token"] and user_agent.startswith(_WITHOUT_TOKEN):
        del answer["Token"]
    return json.dumps(answer).encode()


class CredentialsEndpoint:
    """Serves what ``answer`` returns on a loopback port of its own, in threads of its own, from ``with`` to its end.

    ``answer(user_agent)`` must not block; where it raises ``DynsecretsError`` there are no credentials now. Only who
    has the token gets an answer. Nothing of a request is logged. A connection that is slow, large or one too many is
    closed.
    """

    def __init__(self, answer: Callable[[str], bytes]) -> None:
        self._answer = answer
        self._token = secrets.token_urlsafe(32)
        self._path = f"/{secrets.token_urlsafe(16)}"
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        """Begin to serve."""
        try:
            self._server = _Server(self._answer, self._token, self._path)
        except (OSError, RuntimeError) as error:
            raise DynsecretsError(f"no port of {HOST} could be opened for the child's credentials: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Serve no more; safe to repeat."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def environment(self) -> dict[str, str]:
        """Return the variables by which an SDK finds the endpoint, its token included."""
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{self._host}{self._path}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": self._token,
        }

    def __repr__(self) -> str:
        """Show no token."""
        return f"<CredentialsEndpoint at {self._host}>"

    @property
    def _host(self) -> str:
        return "nowhere" if self._server is None else self._server.host


class _Server(socketserver.ThreadingTCPServer):
    """A port, and the connections to it. Not an ``HTTPServer``, which would look its host's name up."""

    request_queue_size = _MOST_CONNECTIONS

    def __init__(self, answer: Callable[[str], bytes], token: str, path: str) -> None:
        super().__init__((HOST, 0), _Handler)
        self.host = f"{HOST}:{self.server_address[1]}"
        self.answer, self.token, self.path = answer, token, path
        self.connections: dict[Any, None] = {}
        self._lock = threading.Lock()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="dynsecrets-credentials", daemon=True)
        try:
            # The port is open from here on, so nobody has to wait for the thread.
            self._thread.start()
        except RuntimeError:
            self.server_close()
            raise

    def _run(self) -> None:
        # Not ``serve_forever``, which looks twice a second whether it is to end.
        while not self._over:
            self.handle_request()

    def close(self) -> None:
        """Close the port and the connections, and wait for their threads."""
        self._over = True
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, self.server_address[1]), _PATIENCE_S).close()
        self._thread.join()
        with self._lock:
            for connection in self.connections:
                _hang_up(connection)
        self.server_close()

    @override
    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self.connections[request] = None
            if len(self.connections) > _MOST_CONNECTIONS:
                _hang_up(next(iter(self.connections)))
        super().process_request(request, client_address)

    @override
    def close_request(self, request: Any) -> None:
        with self._lock:
            self.connections.pop(request, None)
        super().close_request(request)

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a connection that fails is its client's."""


def _hang_up(connection: socket.socket) -> None:
    """Have whoever reads from a connection see its end."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One request and its answer: to strangers, no more than that they are."""

    server: _Server
    protocol_version = "HTTP/1.1"

    @override
    def handle(self) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        head = b""
        while b"\r\n\r\n" not in head and len(head) <= _LARGEST_REQUEST:
            # For all of it, not for each piece.
            self.connection.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self.connection.recv(_LARGEST_REQUEST)
            if not data:
                return
            head += data
        self.rfile = io.BytesIO(head)
        self.raw_requestline = self.rfile.readline().strip() or b"-"
        if len(head) > _LARGEST_REQUEST:
            self._send(431)
        elif self.parse_request():
            self._judge()

    @override
    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self._send(400)

    def _judge(self) -> None:
        status = self._status()
        if status != 200:
            self._send(status)
            return
        try:
            self._send(200, self.server.answer(self.headers.get("User-Agent", "")))
        except DynsecretsError:
            self._send(503, b'{"code": "NotAvailable", "message": "there is no living lease now; it is being renewed"}')
        except Exception as error:  # The child must get an answer, and the connection its end.
            logger.error("The child's credentials could not be given: %s", type(error).__name__)
            self._send(503)

    def _status(self) -> int:
        # Whichever of two the other side means, it is not an SDK.
        twice = any(len(self.headers.get_all(name, [])) > 1 for name in ("Host", "Authorization"))
        if twice or self.headers.defects or not self.request_version.startswith("HTTP/1."):
            return 400
        checks = (
            # A page of the web that has a name for this address sends that name.
            (403, self.headers.get("Host", ""), self.server.host),
            (401, self.headers.get("Authorization", ""), self.server.token),
            (404, self.path, self.server.path),
            (405, self.command, "GET"),
        )
        refused = (status for status, given, right in checks if not _same(given, right))
        return next(refused, 200)

    def _send(self, status: int, body: bytes = b"{}") -> None:
        # To a request of version 0.9 no head would be sent.
        self.request_version = self.protocol_version
        self.send_response_only(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        more = {405: {"Allow": "GET"}, 503: {"Retry-After": "1"}}.get(status, {})
        for name, value in {**headers, "Connection": "close", **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _same(given: str, right: str) -> bool:
    """Tell whether two texts are equal, in a time that says nothing of where they differ."""
    return hmac.compare_digest(given.encode("latin-1", "replace"), right.encode())


def local_now() -> datetime:
    """Return the local clock's time, which SDKs compare with."""
    return datetime.now(UTC)
