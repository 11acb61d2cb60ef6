"""ministack, a second implementation of AWS: it checks signatures, policies and conditions, and refuses unknown keys.

It pins a botocore of its own, so it lives in an environment of its own, ``.venv-ministack``, which ``make test`` makes.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from support.accounts import Account, new_account_id
from support.places import ROOT
from support.processes import HOST, ServerError, ServerProcess, clean_environment, leashed, request

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON_VARIABLE: Final = "DYNSECRETS_MINISTACK_PYTHON"
_BIN: Final = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")


class MinistackServer:
    """A running ministack."""

    def __init__(self, process: ServerProcess) -> None:
        self.url = process.url
        self.pid = process.pid

    def reset(self) -> None:
        """Forget everything in all accounts."""
        request(f"{self.url}/_ministack/reset", data=b"")

    def new_account(self) -> Account:
        """Return an account with nothing in it, and its root's key.

        To ministack an account id is that key, and the secret is the same for all.
        """
        account_id = new_account_id()
        return Account(url=self.url, id=account_id, access_key_id=account_id, secret_access_key="test")


def ministack_python() -> Path:
    """Return the interpreter that has ministack; raise ``ServerError`` that says how to get it."""
    given = os.environ.get(PYTHON_VARIABLE)
    python = Path(given) if given else ROOT.joinpath(".venv-ministack", *_BIN)
    if not python.exists():
        raise ServerError(f"no ministack at {python}: run `make test`, or name its Python in {PYTHON_VARIABLE}")
    return python


@contextlib.contextmanager
def ministack_server() -> Iterator[MinistackServer]:
    """Run ministack with permissions checked and nothing kept on disk."""
    python = ministack_python()
    process = ServerProcess(
        "ministack",
        lambda _port: leashed(str(python), "ministack"),
        environment=lambda port, folder: clean_environment(
            AUTH="true",
            BIND_HOST=HOST,
            GATEWAY_PORT=str(port),
            LOG_LEVEL="WARNING",
            PERSIST_STATE="0",
            S3_PERSIST="0",
            TMPDIR=folder,
        ),
        health_path="/_ministack/health",
    )
    with process:
        yield MinistackServer(process)
