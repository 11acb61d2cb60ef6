"""Servers in processes of their own: started on a free loopback port, waited for, and ended by their pid."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

HOST = "127.0.0.1"
_TRIES = 3
_POLL_S = 0.02
_STOP_S = 5.0
_LOG_TAIL = 4000
#: The number of the system call, which older C libraries have no function for.
_TGKILL = {"x86_64": 234, "aarch64": 131}


class ServerError(Exception):
    """A server that did not start; the message ends with what it printed."""


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def kept_port() -> Iterator[int]:
    """A free loopback port that is nobody else's until the block ends, by when a server is to have it.

    Else two servers that start at the same time might be given the same one, and the slower be taken for up: the other
    answers. Linux lets a server listen where another socket is bound, if neither minds and that one doesn't listen.
    """
    if sys.platform != "linux":
        yield free_port()
        return
    with socket.socket() as keeper:
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind((HOST, 0))
        yield int(keeper.getsockname()[1])


def tell_thread(pid: int, signum: int) -> None:
    """Send a signal to one thread of a process that isn't its main one, as the kernel may choose to (Linux)."""
    thread = max(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir())
    assert thread != pid, f"{pid} has one thread"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_TGKILL[platform.machine()], pid, thread, signum):
        raise OSError(ctypes.get_errno(), "tgkill")


def wait_until(condition: Callable[[], bool], what: str, *, timeout_s: float = 60.0) -> None:
    """Return as soon as a condition holds; raise ``TimeoutError`` that says ``what`` did not come to pass."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        time.sleep(_POLL_S)


def clean_environment(**extra: str) -> dict[str, str]:
    """Return this process's environment for a child: without AWS's and the library's variables, with ``extra``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "DYNSECRETS_", "MOTO_"))}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", **extra}


def request(url: str, *, data: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
    """Send a plain GET, or a POST where there is ``data``, to a server of the tests and return the answer's body."""
    with urllib.request.urlopen(urllib.request.Request(url, data, dict(headers or {})), timeout=60) as answer:  # noqa: S310  # The URL is always one of the tests' own.
        return bytes(answer.read())


def leashed(python: str, module: str, *arguments: str) -> list[str]:
    """Return how to run a module as a server that ends with this process, however that ends."""
    return [python, str(Path(__file__).with_name("leashed.py")), module, *arguments]


class ServerProcess:
    """One server, running from ``with`` to its end; ``url`` is where."""

    def __init__(
        self,
        name: str,
        command: Callable[[int], Sequence[str]],
        *,
        environment: Callable[[int, str], Mapping[str, str]],
        health_path: str,
    ) -> None:
        """Say how to start it: ``command(port)``, ``environment(port, folder)`` and a path that answers when it is up.

        The folder is the server's own for temporary files, and is removed with it.
        """
        self._name = name
        self._command = command
        self._environment = environment
        self._health_path = health_path
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix=f"dynsecrets-{name}-", ignore_cleanup_errors=True)
        self.url = ""

    @property
    def pid(self) -> int:
        """The pid of the running server."""
        assert self._process is not None, f"{self._name} is not running"
        return self._process.pid

    def __enter__(self) -> Self:
        """Start the server; try again with another port where it ends at once (someone else may have taken it)."""
        for left in reversed(range(_TRIES)):
            try:
                self._start()
            except ServerError:
                self._stop()
                if not left:
                    self._folder.cleanup()
                    raise
            else:
                break
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        self._stop()
        self._folder.cleanup()

    def _start(self) -> None:
        with kept_port() as port:
            self._start_on(port)

    def _start_on(self, port: int) -> None:
        self.url = f"http://{HOST}:{port}"
        with open(self._log_path, "wb") as log:
            self._process = subprocess.Popen(
                self._command(port),
                env=dict(self._environment(port, self._folder.name)),
                cwd=self._folder.name,
                stdin=subprocess.PIPE,  # See leashed.py.
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until(self._up_or_over, f"{self._name} on {self.url}")
        except TimeoutError as exc:
            raise ServerError(f"{exc}\n{self._log_tail()}") from exc
        if self._process.poll() is not None:
            raise ServerError(f"{self._name} ended at its start: {self._process.returncode}\n{self._log_tail()}")

    def _up_or_over(self) -> bool:
        """Tell whether waiting is over: the server answers, or has ended."""
        if self._process is None or self._process.poll() is not None:
            return True
        try:
            request(self.url + self._health_path)
        except (OSError, http.client.HTTPException):
            return False
        return True

    def _stop(self) -> None:
        """Ask the process to end, then make it."""
        if self._process is None:
            return
        with self._process as process:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        self._process = None

    @property
    def _log_path(self) -> Path:
        return Path(self._folder.name, "server.log")

    def _log_tail(self) -> str:
        """Return the end of what the server printed."""
        with contextlib.suppress(OSError), open(self._log_path, encoding="utf-8", errors="replace") as log:
            return log.read()[-_LOG_TAIL:]
        return ""
