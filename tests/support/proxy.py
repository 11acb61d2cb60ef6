"""A reverse proxy in front of a server of the tests: it records every call, and makes the trouble it is told to.

Its clients see HTTP/1.1 with kept connections, as AWS has them. Trouble is scripted with :meth:`Proxy.fail`: the Nth
call of an action is throttled, denied, cut off before or after it took effect, held, or answered with half an answer.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import struct
import threading
import time
import urllib.parse
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Literal, Self, get_args
from xml.sax.saxutils import escape

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

#: What can go wrong besides an answer of ``(code, status)``:
#: ``drop_before`` and ``refuse`` close and reset the connection without passing the call on; ``drop_after`` passes it
#: on, so that it takes effect, and closes without an answer; ``truncate`` sends half of the answer and closes;
#: ``malformed`` sends an answer that is no XML, though all that matters is in it; ``timeout`` never passes the call on,
#: and keeps its caller waiting until the fault is released; ``hold`` passes it on when the fault is released.
Kind = Literal[
    "throttle",
    "500",
    "AccessDenied",
    "NoSuchEntity",
    "refuse",
    "drop_before",
    "drop_after",
    "truncate",
    "malformed",
    "timeout",
    "hold",
]
ANY: Final = "*"

_ANSWERS: Final = {
    "throttle": ("Throttling", 400),
    "500": ("ServiceFailure", 500),
    "AccessDenied": ("AccessDenied", 403),
    "NoSuchEntity": ("NoSuchEntity", 404),
}
_KINDS: Final = get_args(Kind)
_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect"})
_CREDENTIAL: Final = re.compile(r"Credential=([^/,]+)/[^/]*/[^/]*/([^/]+)/")
_CREATE_DATE: Final = re.compile(rb"(<CreateDate>)([^<]+)(</CreateDate>)")
_MALFORMED_LACKS: Final = 20  # Bytes of the end, so that whatever the answer holds is still in it.
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@attrs.define(kw_only=True, eq=False)
class Call:
    """One request that came by: what was asked, by which key, when (monotonic seconds), and how it was answered."""

    action: str
    service: str
    access_key_id: str
    parameters: dict[str, str]
    started: float
    ended: float | None = None
    status: int | None = None
    fault: str | None = None

    @property
    def user_name(self) -> str | None:
        """The ``UserName`` of the request, where it has one."""
        return self.parameters.get("UserName")

    def overlaps(self, other: Call) -> bool:
        """Tell whether two finished calls were under way at the same time."""
        assert self.ended is not None, f"{self.action} is still under way"
        assert other.ended is not None, f"{other.action} is still under way"
        return self.started < other.ended and other.started < self.ended


@attrs.define(kw_only=True, eq=False)
class Fault:
    """Trouble that waits for its call. ``hits`` counts the calls it met, ``arrived`` is set by the first."""

    action: str
    kind: str
    answer: tuple[str, int] | None
    message: str | None
    nth: int
    times: int | None
    when: Callable[[Call], bool] | None
    hits: int = 0
    arrived: threading.Event = attrs.field(factory=threading.Event)
    _released: threading.Event = attrs.field(factory=threading.Event)
    _seen: int = 0

    def release(self) -> None:
        """Let the calls that are held go on, and hold no more."""
        self._released.set()

    def wait(self) -> None:
        """Hold the calling thread until the fault is released."""
        self._released.wait()

    def meets(self, call: Call) -> bool:
        """Count a call, and tell whether it is one to fail."""
        if self.action not in (ANY, call.action) or (self.when is not None and not self.when(call)):
            return False
        self._seen += 1
        if self._seen < self.nth or (self.times is not None and self._seen >= self.nth + self.times):
            return False
        self.hits += 1
        self.arrived.set()
        return True


@attrs.frozen(kw_only=True)
class _Answer:
    """What goes back to the client."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Proxy:
    """A reverse proxy on a free loopback port, running from ``with`` to its end.

    ``latency_s`` is added to every call, ``date_offset_s`` to every date that the service states (its ``Date`` header
    and ``CreateDate``). Both may be changed at any time.
    """

    def __init__(self, target: str, *, latency_s: float = 0.0, date_offset_s: float = 0.0) -> None:
        parts = urllib.parse.urlsplit(target)
        assert parts.hostname is not None, "the target is a URL"
        assert parts.port is not None, "the target has a port"
        self.target = (parts.hostname, parts.port)
        self.latency_s = latency_s
        self.date_offset_s = date_offset_s
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._faults: list[Fault] = []
        self._open: set[socket.socket] = set()
        #: How many connections clients have made so far.
        self.connections = 0
        self._server = _Server(self)
        self.url = "http://{}:{}".format(*self._server.server_address[:2])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="proxy", daemon=True)

    def __enter__(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let everything go that is held, cut every connection, and stop."""
        self.release()
        self._server.shutdown()
        self._thread.join()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    @property
    def calls(self) -> list[Call]:
        """All calls so far, in the order of their arrival."""
        with self._lock:
            return list(self._calls)

    def actions(self, service: str | None = None) -> list[str]:
        """Return the action of each call so far, of one service where given: ``["CreateUser", …]``."""
        return [call.action for call in self.calls if service in (None, call.service)]

    def count(self, action: str) -> int:
        """Return how many calls of an action there were."""
        return self.actions().count(action)

    def clear(self) -> None:
        """Forget the calls so far, and all faults; what is held goes on."""
        self.release()
        with self._lock:
            self._calls.clear()
            self._faults.clear()

    def release(self) -> None:
        """Let everything go that is held."""
        with self._lock:
            faults = list(self._faults)
        for fault in faults:
            fault.release()

    def fail(
        self,
        action: str,
        kind: Kind | tuple[str, int],
        *,
        nth: int = 1,
        times: int | None = 1,
        message: str | None = None,
        when: Callable[[Call], bool] | None = None,
    ) -> Fault:
        """Script trouble for calls of an action (``"*"`` for any), counted from now on.

        The ``nth`` call and those after it, ``times`` in all (``None`` for ever), meet it; with ``when``, only calls
        for which it is true are counted. ``kind`` is one of :data:`Kind`, or an error code and status to answer with.
        botocore retries most of these by itself, so a fault that is to get through needs as many ``times`` as the
        client tries.
        """
        assert isinstance(kind, tuple) or kind in _KINDS, f"unknown kind of fault: {kind}"
        answer = kind if isinstance(kind, tuple) else _ANSWERS.get(kind)
        name = kind[0] if isinstance(kind, tuple) else kind
        fault = Fault(action=action, kind=name, answer=answer, message=message, nth=nth, times=times, when=when)
        with self._lock:
            self._faults.append(fault)
        return fault

    def arrived(self, call: Call) -> Fault | None:
        """Record a call; return the first fault that meets it."""
        with self._lock:
            self._calls.append(call)
            fault = next((fault for fault in self._faults if fault.meets(call)), None)
        if fault is not None:
            call.fault = fault.kind
        return fault

    def connected(self, connection: socket.socket) -> None:
        """Remember a connection, to cut it at the end."""
        with self._lock:
            self.connections += 1
            self._open.add(connection)

    def disconnected(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._lock:
            self._open.discard(connection)

    def shifted(self, answer: _Answer) -> _Answer:
        """Return an answer as a service would give it whose clock is ``date_offset_s`` ahead."""
        if not self.date_offset_s:
            return answer
        offset = timedelta(seconds=self.date_offset_s)
        headers = [
            (name, format_datetime(parsedate_to_datetime(value) + offset, usegmt=True) if name == "date" else value)
            for name, value in answer.headers
        ]
        body = _CREATE_DATE.sub(lambda match: match[1] + _moved(match[2], offset) + match[3], answer.body)
        return _Answer(status=answer.status, headers=headers, body=body)


class _Server(ThreadingHTTPServer):
    """Serves each connection in a thread of its own."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients and the faults break connections all the time."""


class _Handler(BaseHTTPRequestHandler):
    """Serves one connection, with one connection to the target behind it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        """Note the connection."""
        super().setup()
        self.proxy = self.server.proxy
        self.upstream = http.client.HTTPConnection(*self.proxy.target, timeout=60)
        self.proxy.connected(self.connection)

    def finish(self) -> None:
        """Close both connections."""
        self.proxy.disconnected(self.connection)
        self.upstream.close()
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # The name is the base class's.
        """Print nothing."""

    def serve(self) -> None:
        """Record one request, and answer it as its fault wants, if it has one."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        call = _call_of(self.command, self.path, self.headers, body)
        fault = self.proxy.arrived(call)
        try:
            if self.proxy.latency_s:
                time.sleep(self.proxy.latency_s)
            if fault is None:
                self._reply(call, self._forward(body))
            else:
                self._fail(call, fault, body)
        finally:
            call.ended = time.monotonic()

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = serve

    def _fail(self, call: Call, fault: Fault, body: bytes) -> None:
        """Do what a fault says."""
        if fault.answer is not None:
            self._reply(call, self.proxy.shifted(_error(call, fault.answer, fault.message)))
            return
        if fault.kind in ("timeout", "hold"):
            fault.wait()
        if fault.kind == "refuse":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        if fault.kind in ("refuse", "drop_before", "timeout"):
            self._hang_up()
            return
        answer = self._forward(body)
        if fault.kind == "drop_after":
            self._hang_up()
        elif fault.kind == "truncate":
            self._reply(call, answer, send=len(answer.body) // 2)
            self._hang_up()
        elif fault.kind == "malformed":
            self._reply(call, attrs.evolve(answer, body=answer.body[:-_MALFORMED_LACKS]))
        else:
            self._reply(call, answer)

    def _forward(self, body: bytes) -> _Answer:
        """Pass the request on, as it was signed, and return the answer."""
        self.upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.upstream.putheader(name, value)
        self.upstream.putheader("Content-Length", str(len(body)))
        self.upstream.endheaders(body)
        response = self.upstream.getresponse()
        headers = [(name.lower(), value) for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP]
        return self.proxy.shifted(_Answer(status=response.status, headers=headers, body=response.read()))

    def _reply(self, call: Call, answer: _Answer, *, send: int | None = None) -> None:
        """Send an answer in one piece, or just the first ``send`` bytes of its body."""
        call.status = answer.status
        # Noted before it is sent, so that whoever has the answer finds the call ended.
        call.ended = time.monotonic()
        lines = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, '')}"]
        lines += [f"{name}: {value}" for name, value in answer.headers]
        lines += [f"content-length: {len(answer.body)}", "", ""]
        body = b"" if self.command == "HEAD" else answer.body
        self.wfile.write("\r\n".join(lines).encode("latin-1") + body[:send])

    def _hang_up(self) -> None:
        """Close the connection now."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)


def _call_of(method: str, path: str, headers: Any, body: bytes) -> Call:
    """Read from a request what is recorded of it."""
    credential = _CREDENTIAL.search(headers.get("authorization") or "")
    target = headers.get("x-amz-target")
    parameters: dict[str, str] = {}
    if target:
        action = target.rpartition(".")[2]
    else:
        with contextlib.suppress(UnicodeDecodeError):
            parameters = dict(urllib.parse.parse_qsl(body.decode()))
        action = parameters.pop("Action", "") or f"{method} {urllib.parse.urlsplit(path).path}"
    return Call(
        action=action,
        service=credential[2] if credential else "",
        access_key_id=credential[1] if credential else "",
        parameters=parameters,
        started=time.monotonic(),
    )


def _error(call: Call, answer: tuple[str, int], message: str | None) -> _Answer:
    """Return an error as the service words it: XML, or JSON for the services that speak it."""
    code, status = answer
    text = message or _message(call, code)
    headers = [("date", format_datetime(datetime.now(UTC), usegmt=True)), ("x-amzn-requestid", "proxy")]
    if call.service == "dynamodb":
        body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": text})
        return _Answer(
            status=status, headers=[*headers, ("content-type", "application/x-amz-json-1.0")], body=body.encode()
        )
    error = f"<Error><Type>Sender</Type><Code>{escape(code)}</Code><Message>{escape(text)}</Message></Error>"
    body = f"<ErrorResponse>{error}<RequestId>proxy</RequestId></ErrorResponse>"
    return _Answer(status=status, headers=[*headers, ("content-type", "text/xml")], body=body.encode())


def _message(call: Call, code: str) -> str:
    """Return what AWS says with a code."""
    if code == "NoSuchEntity":
        return f"The user with name {call.user_name} cannot be found."
    if code == "AccessDenied":
        what = f"{call.service}:{call.action}"
        return (
            f"User: arn:aws:iam::123456789012:user/integration is not authorized to perform: {what} on resource: "
            f"user {call.user_name} because no identity-based policy allows the {what} action"
        )
    return "Rate exceeded" if code == "Throttling" else f"{code}, as the test wanted"


def _moved(text: bytes, offset: timedelta) -> bytes:
    """Return an XML date some time later."""
    moved = datetime.fromisoformat(text.decode()) + offset
    return moved.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
