"""Tables in plain text: as wide as they must be, and nothing in them that a terminal would obey."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynsecrets.cli.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, columns two blanks apart."""
    cells = [list(heads), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
