"""The page of the benchmarks: it has every line, every line has its figure, and its picture can be seen."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from benchmarks import report
from benchmarks.__main__ import MEASUREMENTS, expected_rows
from benchmarks.plot import draw
from benchmarks.rounds import Spread, ratios, take_turns
from support.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"
LIFE = "Lease life at 40 ms a call, against Vault's ten calls"


def make_row(what: str = LIFE, **changes: object) -> report.Row:
    """Return a line of a table."""
    fields: dict[str, object] = {"what": what, "measured": "170 ms", "ratio": Spread(0.41, 0.4, 0.43)}
    return report.Row(**fields | changes)  # type: ignore[arg-type]


def test_the_page_has_every_line() -> None:
    """What the documentation shows is a whole run of the measurements that there are, in their order."""
    table = report.table_of(report.DOCUMENT.read_text(encoding="utf-8"))

    assert [cells[0] for cells in table] == expected_rows()


def test_no_figure_is_missing() -> None:
    """Each line of the page has what was measured; with a target, whether it was reached, and against what."""
    for what, measured, _baseline, _ratio, target, met in report.table_of(report.DOCUMENT.read_text(encoding="utf-8")):
        assert any(sign.isdigit() for sign in measured), what
        assert (target == "–") == (met == "–"), what
        assert met in ("yes", "no", "–"), what


def test_the_page_says_what_it_was_made_on() -> None:
    """Machine, date and versions stand in the page, and how each figure was measured."""
    page = report.DOCUMENT.read_text(encoding="utf-8")

    for word in ("Python 3.", "boto3 1.", "botocore 1.", "CPUs", "The run took", report.PLOT.name):
        assert word in page
    assert [measurement.NOTE for measurement in MEASUREMENTS.values() if measurement.NOTE not in page] == []


def test_the_picture_shows_the_page() -> None:
    """The picture has a bar for each comparison of whole lives, with the page's own figures."""
    root = ET.fromstring(report.PLOT.read_text(encoding="utf-8"))  # noqa: S314 - a picture of our own.
    table = report.table_of(report.DOCUMENT.read_text(encoding="utf-8"))

    titles = [title.text or "" for rect in root.iter(f"{SVG}rect") for title in rect.iter(f"{SVG}title")]

    assert titles == [f"{cells[0]}: {cells[3]}" for cells in table if cells[0].startswith("Lease life at")]


def test_a_picture_is_for_light_and_dark_pages() -> None:
    """It is well-formed, whatever the names have in them, and has colours for both."""
    svg = draw([make_row("Lease life at 40 ms a call, against <this> & that"), make_row("something else")])

    root = ET.fromstring(svg)  # noqa: S314 - a picture of our own.

    assert "prefers-color-scheme: dark" in svg
    assert "<this> & that" in [text.text for text in root.iter(f"{SVG}text")]
    assert len([rect for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]) == 1


def test_a_page_comes_back_as_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written can be read again, line by line, and names what was not reached."""
    monkeypatch.setattr(report, "DOCUMENT", tmp_path / "benchmarks.md")
    monkeypatch.setattr(report, "PLOT", tmp_path / "benchmarks.svg")
    rows = [make_row().at_most(0.45), make_row("other | one", target="≤ 1 s", met=False)]

    path = report.write(rows, ["a note"], 65.0)

    page = path.read_text(encoding="utf-8")
    assert [cells[0] for cells in report.table_of(page)] == [LIFE, "other \\| one"]
    assert report.table_of(page)[0][3:] == ("0.41 [0.40–0.43]", "≤ 0.45", "yes")
    assert "Not met: other | one." in page
    assert (tmp_path / "benchmarks.svg").read_text(encoding="utf-8") == draw(rows)


def test_measurements_take_turns() -> None:
    """A round is one value of each, in order; the first round isn't kept, and ratios are those of a round."""
    order: list[str] = []

    def measure(name: str, value: float) -> float:
        order.append(name)
        return value

    values = take_turns({"a": lambda: measure("a", 1.0), "b": lambda: measure("b", 4.0)}, 2)

    assert order == ["a", "b"] * 3
    assert values == {"a": [1.0, 1.0], "b": [4.0, 4.0]}
    assert ratios(values["a"], values["b"]) == Spread(0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["speed"], "there is no measurement 'speed'"),
        (["cpu", "--write"], "--write needs a full run"),
        (["--quick", "--write"], "--write needs a full run"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], says: str) -> None:
    """What can't be measured or written is refused at once, before anything is measured."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert done.returncode == 2
    assert says in done.stderr
