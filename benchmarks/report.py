"""Results: the one table that a run ends with, for a terminal and for the documentation."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks.plot import draw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.rounds import Spread

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "benchmarks.md"
PLOT: Final = DOCUMENT.with_suffix(".svg")
_HEADER: Final = ("What", "Measured", "Baseline", "Ratio, median [min–max]", "Target", "Met")
_INTRODUCTION: Final = (
    "Written by `make bench BENCH_ARGS=--write`. Each figure comes from one run on one machine, beside its baseline in "
    "the same run; what is compared took turns. Look at the ratios: seconds differ from machine to machine."
)
_METHOD: Final = (
    "What is compared takes turns in short rounds; a first round warms up and doesn't count. A ratio is taken within "
    "each round; the table has the median of the rounds and their extremes, and a single value where something is "
    "counted once. Nothing of AWS is called: a stub in a process of its own answers each call after the latency that "
    "is named. No test depends on a time: whatever the figures are, nothing fails."
)


@attrs.frozen(kw_only=True)
class Row:
    """One line: a figure, what it is compared with in the same run, their ratio over the rounds, and the target."""

    what: str
    measured: str
    baseline: str = "–"
    ratio: Spread | None = None
    target: str = "–"
    met: bool | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the line as text."""
        ratio = self.ratio
        shown = "–" if ratio is None else f"{ratio.median:.2f} [{ratio.low:.2f}–{ratio.high:.2f}]"
        met = {None: "–", True: "yes", False: "no"}[self.met]
        return self.what, self.measured, self.baseline, shown, self.target, met

    def at_most(self, limit: float) -> Row:
        """Return the line with the verdict for a ratio whose median must not be over a limit."""
        assert self.ratio is not None
        return attrs.evolve(self, target=f"≤ {limit:g}", met=self.ratio.median <= limit)


def machine() -> str:
    """Say what a run was made on."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("boto3", "botocore", "attrs"))
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    return f"{datetime.now(UTC):%Y-%m-%d}: Python {platform.python_version()}, {libraries}; {system}"


def as_text(rows: Sequence[Row]) -> str:
    """Return the table for a terminal."""
    lines = [_HEADER, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADER))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def as_markdown(rows: Sequence[Row], notes: Sequence[str], seconds: float) -> str:
    """Return the page of the documentation."""
    table = [_line(_HEADER), _line(["---"] * len(_HEADER)), *(_line(row.cells()) for row in rows)]
    missed = [row.what for row in rows if row.met is False]
    verdict = "Every target was met." if not missed else f"Not met: {'; '.join(missed)}."
    parts = [
        "# Benchmarks",
        _INTRODUCTION,
        f"{machine()}. The run took {seconds / 60:.0f} minutes. {verdict}",
        f"![A lease's life as a part of the time of others; the numbers are in the table]({PLOT.name})",
        "\n".join(table),
        "## How it was measured",
        "\n".join(f"- {note}" for note in notes),
        _METHOD,
    ]
    return "\n\n".join(parts) + "\n"


def table_of(page: str) -> list[tuple[str, ...]]:
    """Return the lines of the table of a page, as cells."""
    lines = [line.strip("|").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in cells) for cells in lines[2:]]


def write(rows: Sequence[Row], notes: Sequence[str], seconds: float) -> Path:
    """Write the page of the documentation with its picture, and return where it is."""
    DOCUMENT.write_text(as_markdown(rows, notes, seconds), encoding="utf-8")
    PLOT.write_text(draw(rows), encoding="utf-8")
    return DOCUMENT


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
