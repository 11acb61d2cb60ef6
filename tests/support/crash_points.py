"""A pytest plugin that says at how many points tests have killed a process; reports carry that, also under xdist."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

#: The name under which a test records how many points it has been through.
POINTS: Final = "crash points"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say at how many points a process was killed."""
    told = [
        (f"{Path(report.fspath).stem}::{report.head_line}", number)
        for report in terminalreporter.getreports("passed")
        for name, number in report.user_properties
        if name == POINTS
    ]
    if told:
        number = sum(number for _, number in told)
        terminalreporter.section("crash matrix")
        for name, points in told:
            terminalreporter.line(f"{points:4} {name}")
        terminalreporter.line(f"{number:4} points at which a process was killed; the next reap() left nothing at any")
