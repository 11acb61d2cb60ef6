"""Imports point one way, as the page on the architecture says."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

import dynsecrets

_ROOT: Final = Path(dynsecrets.__file__).parent
#: The layers from the bottom up; what is in none of them is what people touch, at the top.
LAYERS: Final = (
    {
        *("clock", "errors", "events", "forks", "iam_grammar", "in_thread", "leases", "log", "masking", "naming"),
        *("owner", "policy", "quoting", "records", "renewal", "rendering", "states", "timestamps", "ttl", "unset"),
        *("closing", "config", "fanout"),
    },
    {"integrations", "stores"},
    {
        *("backstage", "books", "holdings", "issuing", "manager", "reaping", "renewers", "revoking", "scheduler"),
        *("stock", "sweeping", "usability"),
    },
)
#: The base of integrations has no I/O, and the model's configs and leases name it; stores share one list of codes.
_ALLOWED: Final = {"integrations.base", "integrations.aws_errors"}
TOP: Final = len(LAYERS)


def layer(module: str) -> int:
    """Return how high a module of the package stands."""
    return next((number for number, names in enumerate(LAYERS) if module.partition(".")[0] in names), TOP)


def imports(path: Path) -> set[str]:
    """Return the modules of the package that a module imports when it is loaded."""
    statements = ast.parse(path.read_text(encoding="utf-8")).body
    return {
        node.module.partition(".")[2]
        for node in statements
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dynsecrets.") and node.module
    }


@pytest.mark.parametrize("path", sorted(_ROOT.rglob("*.py")), ids=lambda path: path.relative_to(_ROOT).as_posix())
def test_no_module_imports_upwards(path: Path) -> None:
    """A module loads its own layer and those below; what it needs from above it loads when it is called."""
    here = layer(path.relative_to(_ROOT).with_suffix("").as_posix().replace("/", "."))

    upwards = {name for name in imports(path) if layer(name) > here and name not in _ALLOWED}

    assert upwards == set()


def test_integrations_and_stores_are_apart() -> None:
    """Neither knows the other, but for the codes by which AWS refuses."""
    crossing = {
        (path.stem, name)
        for folder, other in (("integrations", "stores"), ("stores", "integrations"))
        for path in (_ROOT / folder).glob("*.py")
        for name in imports(path)
        if name.partition(".")[0] == other
    }

    assert crossing <= {("dynamodb_client", "integrations.aws_errors")}
