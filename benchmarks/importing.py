"""What ``import dynsecrets`` costs over a bare interpreter, and that it loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import rounds
from benchmarks.report import Row
from benchmarks.rounds import Spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.stub import Stub

NOTE: Final = (
    "The cost of an import is the CPU time of a whole interpreter that imports, less that of one that does not, both "
    "started many times in turn."
)
_ROOT: Final = str(Path(__file__).parent.parent)
_MILLISECONDS: Final = 10
_HEAVY: Final = ("boto3", "botocore", "sqlite3")
#: The statements that are measured, with what each is called in the table.
_IMPORTS: Final = {
    "import dynsecrets": "`import dynsecrets`",
    "from dynsecrets import DynamicSecretConfig, Integration, lease": "the same, with the names of the first example",
}
_TARGETED: Final = "import dynsecrets"
ROWS: Final = tuple(_IMPORTS.values())


def measure(stub: Stub, *, quick: bool) -> list[Row]:
    """Measure each import in pairs of interpreters."""
    del stub
    starts: dict[str, Callable[[], float]] = {"": lambda: _start("")[0]}
    starts |= {statement: lambda statement=statement: _start(statement)[0] for statement in _IMPORTS}  # type: ignore[misc]
    values = rounds.take_turns(starts, 15 if quick else 101)
    return [_row(statement, values[statement], values[""]) for statement in _IMPORTS]


def _row(statement: str, values: list[float], bare: list[float]) -> Row:
    extra = Spread.of([(value - base) * 1000 for value, base in zip(values, bare, strict=True)])
    loaded = [name for name in _start(statement)[1] if name in _HEAVY]
    targeted: dict[str, Any] = {}
    if statement == _TARGETED:
        targeted = {
            "target": f"≤ {_MILLISECONDS} ms more, none of {', '.join(_HEAVY)}",
            "met": extra.median <= _MILLISECONDS and not loaded,
        }
    spread = f"{extra.median:.1f} ms more [{extra.low:.1f}–{extra.high:.1f}]"
    return Row(
        what=_IMPORTS[statement],
        measured=f"{spread}, loads {', '.join(loaded) or 'none of them'}",
        baseline=f"bare interpreter: {Spread.of(bare).median * 1000:.1f} ms",
        ratio=rounds.ratios(values, bare),
        **targeted,
    )


def _start(statement: str) -> tuple[float, list[str]]:
    """Start an interpreter that runs a statement; return its CPU time in seconds and the modules that it loaded."""
    code = (
        f"import sys; sys.path.insert(0, {_ROOT!r})\n{statement}\n"
        "import time; used = time.process_time(); names = list(sys.modules)\n"
        "import json; print(json.dumps([used, names]))"
    )
    output = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout  # noqa: S603
    used, names = json.loads(output)
    return used, names
