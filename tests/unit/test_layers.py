"""Imports point down the floors of the house, wherever they stand: at load time, in functions, in annotations."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import dynsecrets

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT: Final = Path(dynsecrets.__file__).parent
#: The floors from the ground up, by the names of folders and of the few modules beside them. A floor is a group of
#: rooms that don't know each other; a folder of a folder is a room of its own where it is named.
FLOORS: Final[tuple[tuple[str, ...], ...]] = (
    ("errors", "_version"),
    ("clock", "_internal"),
    ("model", "_aws"),
    ("stores", "integrations"),
    ("engine",),
    ("leasing", "testing"),
    ("child_process",),
    ("delivery",),
    ("project_file", "server"),
    ("cli", "pytest_plugin", "pytest_entry"),
    ("__main__", "__init__"),
)
_PLACES: Final = {room: (floor, room) for floor, rooms in enumerate(FLOORS) for room in rooms}
#: The one arrow up: the class ``Integration`` says what its factories return, and loads that when they are called.
_FACTORIES: Final = "model/integration.py"


def room(module: str) -> tuple[int, str]:
    """Return the floor and the room of a module, named without the package."""
    first = module.partition(".")[0]
    assert first in _PLACES, f"{module} stands on no floor: name its folder in FLOORS"
    return _PLACES[first]


def imports(path: Path) -> Iterator[str]:
    """Iterate over the package's modules that a module imports anywhere, named without the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively, which this test doesn't follow"
            if node.module == "dynsecrets":
                yield "__init__"
            elif node.module and node.module.startswith("dynsecrets."):
                yield node.module.partition(".")[2]
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.startswith("dynsecrets."):
                    yield name.name.partition(".")[2]


def module_of(path: Path) -> str:
    """Return a module's name without the package."""
    return path.relative_to(_ROOT).with_suffix("").as_posix().replace("/", ".")


@pytest.mark.parametrize("path", sorted(_ROOT.rglob("*.py")), ids=lambda path: path.relative_to(_ROOT).as_posix())
def test_no_module_imports_upwards(path: Path) -> None:
    """A module knows its own room and the floors below, and nothing of its neighbours or of what is above."""
    if path == _ROOT / "__init__.py":
        return  # The face names everything, and loads it when it is asked for.
    floor, own = room(module_of(path))

    others = {name: room(name) for name in imports(path)}

    wrong = {name for name, (there, its) in others.items() if there > floor or (there == floor and its != own)}
    if path.relative_to(_ROOT).as_posix() == _FACTORIES:
        wrong = {name for name in wrong if not name.startswith("integrations.")}
    assert wrong == set()
