"""The container credentials endpoint: a child's own AWS SDK, in any language, asks it for the key of the moment.

The protocol is AWS's ("Container credential provider" in the AWS SDKs and Tools Reference Guide): GET on a loopback
address, with a token in ``Authorization``; the answer has ``AccessKeyId``, ``SecretAccessKey``, ``Token`` and
``Expiration``, all of them text. An IAM user has no session token; JavaScript demands one, and the empty text is none
to all of them.

What ``Expiration`` says ------------------------ Not when the lease ends, but until when this process vouches for the
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

import asyncio
import contextlib
import hmac
import json
import secrets
import socket
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

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
_FEW_TURNS: Final = 5
_SOON: Final = timedelta(seconds=2)
_PHRASES: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


def expiration(now: datetime, stays_for: timedelta, overlap: timedelta) -> datetime:
    """Return what to tell an SDK, by the local clock, of a key that stays for so long at least."""
    return max(now + stays_for - overlap / 2, now + _SOON).replace(microsecond=0)


def describe(lease: Lease, until: datetime) -> bytes:
    """Return the answer to an SDK, secret included."""
    keys = lease.aws_env()
    return json.dumps(
        {
            "AccessKeyId": keys["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": keys["AWS_SECRET_ACCESS_KEY"],
            "Token": keys.get("AWS_SESSION_TOKEN", ""),
            "Expiration": to_seconds(until),
        }
    ).encode()


class CredentialsEndpoint:
    """Serves what ``answer`` returns on a loopback port of its own, in a thread of its own, from ``with`` to its end.

    ``answer()`` must not block; where it raises ``DynsecretsError`` there are no credentials now. Only who has the
    token gets an answer. Nothing of a request is logged. A connection that is slow, large or one too many is closed.
    """

    def __init__(self, answer: Callable[[], bytes]) -> None:
        self._answer = answer
        self._token = secrets.token_urlsafe(32)
        self._path = f"/{secrets.token_urlsafe(16)}"
        self._host = b""
        self._connections: dict[asyncio.Task[None], None] = {}
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._socket = socket.socket()
        self._thread = threading.Thread(target=self._run, name="dynsecrets-credentials", daemon=True)

    def __enter__(self) -> Self:
        """Begin to serve."""
        try:
            # The port is open from here on, so nobody has to wait for the thread.
            self._socket.bind((HOST, 0))
            self._socket.listen(_MOST_CONNECTIONS)
            self._host = f"{HOST}:{self._socket.getsockname()[1]}".encode()
            self._thread.start()
        except (OSError, RuntimeError) as error:
            self._close()
            raise DynsecretsError(f"no port of {HOST} could be opened for the child's credentials: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Serve no more; safe to repeat."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join()
        else:
            self._close()

    def environment(self) -> dict[str, str]:
        """Return the variables by which an SDK finds the endpoint, its token included."""
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{self._host.decode()}{self._path}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": self._token,
        }

    def __repr__(self) -> str:
        """Show no token."""
        return f"<CredentialsEndpoint at {self._host.decode()}>"

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._close()

    def _close(self) -> None:
        self._socket.close()
        if not self._loop.is_closed():
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._socket, limit=_LARGEST_REQUEST)
        await self._ended.wait()
        # A connection that was just accepted gets here in a few turns of the loop. It must not find a closed server,
        # which would forget it with its socket open. (Windows' loop has no readers.)
        with contextlib.suppress(NotImplementedError):
            self._loop.remove_reader(self._socket)
        await _turns()
        server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        # What is closed lets go of its socket in the next turn.
        await _turns()
        # What was closed is gone after one more round.
        await asyncio.sleep(0)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._converse(reader, writer))
        self._connections[task] = None
        # Not in the task itself: one that is cancelled before it begins does nothing at all.
        task.add_done_callback(lambda done: self._hang_up(done, writer))
        if len(self._connections) > _MOST_CONNECTIONS:
            next(iter(self._connections)).cancel()

    def _hang_up(self, task: asyncio.Task[None], writer: asyncio.StreamWriter) -> None:
        self._connections.pop(task, None)
        writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, and answer it."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                try:
                    status, body = self._judge(await reader.readuntil(b"\r\n\r\n"))
                except asyncio.LimitOverrunError:
                    status, body = 431, b"{}"
                writer.write(_response(status, body))
                await writer.drain()
                # With half of the connection still open, or what was not read would reset it under the answer.
                writer.write_eof()
        except (OSError, EOFError, TimeoutError):
            return

    def _judge(self, request: bytes) -> tuple[int, bytes]:
        """Return the status and the body for a request: to strangers, no more than that they are."""
        status = self._status(request)
        if status != 200:
            return status, b"{}"
        try:
            return 200, self._answer()
        except DynsecretsError:
            return 503, b'{"code": "NotAvailable", "message": "there is no living lease now; it is being renewed"}'
        except Exception as error:  # The child must get an answer, and the connection its end.
            logger.error("The child's credentials could not be given: %s", type(error).__name__)
            return 503, b"{}"

    def _status(self, request: bytes) -> int:
        line, *fields = request[:-4].split(b"\r\n")
        words = line.split(b" ")
        headers: dict[bytes, bytes] = {}
        for field in fields:
            name, colon, value = field.partition(b":")
            key = name.lower()
            # Whichever of two the other side means, it is not an SDK.
            if not colon or (key in headers and key in (b"host", b"authorization")):
                return 400
            headers[key] = value.strip(b" \t")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return 400
        checks = (
            # A page of the web that has a name for this address sends that name.
            (403, headers.get(b"host", b""), self._host),
            (401, headers.get(b"authorization", b""), self._token.encode()),
            (404, words[1], self._path.encode()),
            (405, words[0], b"GET"),
        )
        refused = (status for status, given, right in checks if not hmac.compare_digest(given, right))
        return next(refused, 200)


async def _turns() -> None:
    for _ in range(_FEW_TURNS):
        await asyncio.sleep(0)


def _response(status: int, body: bytes) -> bytes:
    lines = (
        f"HTTP/1.1 {status} {_PHRASES[status]}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
        *(("Allow: GET",) if status == 405 else ()),
        *(("Retry-After: 1",) if status == 503 else ()),
    )
    return "\r\n".join((*lines, "", "")).encode() + body


def local_now() -> datetime:
    """Return the local clock's time, which SDKs compare with."""
    return datetime.now(UTC)
