"""Starting and asking the stub of IAM, which runs in a process of its own so that its work isn't measured."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERVER: Final = Path(__file__).with_name("server.py")
_PATIENCE: Final = 10


class Stub:
    """A stub of IAM that runs."""

    def __init__(self, port: int) -> None:
        self._port = port

    def url(self, milliseconds: float) -> str:
        """Return the endpoint whose calls take so long, in milliseconds."""
        return f"http://127.0.0.1:{self._port}/{milliseconds:g}"

    def counts(self) -> Counter[str]:
        """Return how often each action was called since the start."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        try:
            connection.request("GET", "/counts")
            return Counter(json.load(connection.getresponse()))
        finally:
            connection.close()

    @contextmanager
    def expecting(self, calls: int) -> Iterator[None]:
        """Make sure that a block makes exactly so many calls of IAM: a comparison of other work would mean nothing."""
        before = self.counts()
        yield
        made = self.counts() - before
        # The library's background reads the service's clock once an hour; it is no part of a life.
        made.pop("GetCallerIdentity", None)
        assert made.total() == calls, f"{dict(made)} were called, not {calls} calls"


@contextmanager
def running_stub() -> Iterator[Stub]:
    """Run a stub for the length of a block."""
    process = subprocess.Popen(  # noqa: S603 - our own script.
        [sys.executable, "-I", str(_SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Stub(int(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(_PATIENCE)
