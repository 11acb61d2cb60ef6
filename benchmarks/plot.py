"""The picture of a run, for light and dark pages: how long a lease's life takes, as a part of what others take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.report import Row

_ROW: Final = re.compile(r"Lease life at (\d+) ms a call, against (.+)")
_LEFT: Final = 56
_RIGHT: Final = 12
_TOP: Final = 64
_HEIGHT: Final = 220
_BAR: Final = 34
_GAP: Final = 26
_BOTTOM: Final = 46
_CLASSES: Final = ("a", "b", "c", "d")
#: The picture has a ground of its own: a page may be light where the reader's system is dark. The legend is in order.
_STYLE: Final = """
.ground { fill: #ffffff }
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 14px } .small { font-size: 11px }
.line { stroke: #8c959f; stroke-width: 1 } .one { stroke: #1f2328; stroke-dasharray: 4 3 } .range { stroke: #1f2328 }
.a { fill: #0969da } .b { fill: #8250df } .c { fill: #9a6700 } .d { fill: #1a7f37 }
@media (prefers-color-scheme: dark) {
  .ground { fill: #0d1117 }
  text { fill: #e6edf3 } .line { stroke: #6e7681 } .one, .range { stroke: #e6edf3 }
  .a { fill: #58a6ff } .b { fill: #bc8cff } .c { fill: #d29922 } .d { fill: #3fb950 }
}
"""


def draw(rows: Sequence[Row]) -> str:
    """Return the picture: for each latency a bar for each baseline, its median ratio, with the extremes as a line."""
    groups: dict[str, list[tuple[str, Row]]] = {}
    for row in rows:
        found = _ROW.fullmatch(row.what)
        if found and row.ratio is not None:
            groups.setdefault(found[1], []).append((found[2], row))
    names = list(dict.fromkeys(name for group in groups.values() for name, _ in group))
    highest = max((row.ratio.high for group in groups.values() for _, row in group if row.ratio), default=1.0)
    most = max(1.2, -(-highest // 0.2) * 0.2)
    width = _LEFT + _RIGHT + sum(len(group) * _BAR + _GAP for group in groups.values())
    parts = [_axis(most, width), _legend(names)]
    x = _LEFT + _GAP / 2
    for latency, group in groups.items():
        for name, row in group:
            parts.append(_bar(x, most, _CLASSES[names.index(name) % len(_CLASSES)], row))
            x += _BAR
        middle = x - len(group) * _BAR / 2
        parts.append(_text(middle, _TOP + _HEIGHT + 18, f"{latency} ms a call", "middle"))
        x += _GAP
    title = "A lease's life (issue and revoke), as a part of the time of:"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_TOP + _HEIGHT + _BOTTOM}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n"
        f'<rect class="ground" width="{width}" height="{_TOP + _HEIGHT + _BOTTOM}"/>\n'
        f'<text class="title" x="{_LEFT}" y="20">{escape(title)}</text>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _y(value: float, most: float) -> float:
    return _TOP + _HEIGHT * (1 - value / most)


def _bar(x: float, most: float, style: str, row: Row) -> str:
    spread = row.ratio
    assert spread is not None
    top, middle = _y(spread.median, most), x + (_BAR - 4) / 2
    bar = (
        f'<rect class="{style}" x="{x:g}" y="{top:.1f}" width="{_BAR - 4}" height="{_TOP + _HEIGHT - top:.1f}">'
        f"<title>{escape(row.what)}: {spread.median:.2f} [{spread.low:.2f}–{spread.high:.2f}]</title></rect>"
    )
    span = (
        f'<line class="range" x1="{middle:g}" x2="{middle:g}" y1="{_y(spread.low, most):.1f}" '
        f'y2="{_y(spread.high, most):.1f}"/>'
    )
    label = _text(middle, _y(spread.high, most) - 4, f"{spread.median:.2f}", "middle", "small")
    return f"{bar}\n{span}\n{label}"


def _axis(most: float, width: float) -> str:
    lines = []
    for fifth in range(round(most / 0.2) + 1):
        value = fifth * 0.2
        y = _y(value, most)
        style = "line one" if fifth == round(1 / 0.2) else "line"
        lines.append(f'<line class="{style}" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(_text(_LEFT - 6, y + 4, f"{value:.1f}", "end", "small"))
    return "\n".join(lines)


def _legend(names: Sequence[str]) -> str:
    parts = []
    x = float(_LEFT)
    for index, name in enumerate(names):
        parts.append(f'<rect class="{_CLASSES[index % len(_CLASSES)]}" x="{x:g}" y="34" width="12" height="12"/>')
        parts.append(_text(x + 18, 44, name, "start", "small"))
        x += 36 + 6.2 * len(name)
    return "\n".join(parts)


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    shown = f' class="{style}"' if style else ""
    return f'<text{shown} x="{x:g}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
