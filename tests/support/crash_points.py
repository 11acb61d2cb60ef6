"""A pytest plugin that says how much the proofs went through; reports carry that, also under xdist."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

#: The name under which a test records how many points it has been through.
POINTS: Final = "crash points"
#: The names under which tests record how many calls met trouble, and how many steps the processes of a model took.
FAULTS: Final = "faults"
STEPS: Final = "steps"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say at how many points a process was killed, how many calls met trouble, and how many steps a model took."""
    # What a test records is told when it is torn down, too, and all of it then.
    reports = [report for report in terminalreporter.getreports("") if report.when == "teardown"]
    told = [
        (name, f"{Path(report.fspath).stem}::{report.head_line}", number)
        for report in reports
        for name, number in report.user_properties
        if name in (POINTS, FAULTS, STEPS)
    ]
    if told:
        terminalreporter.section("proofs")
        for name, test, number in told:
            if name == POINTS:
                terminalreporter.line(f"{number:4} {test}")
        for name, what in (
            (POINTS, "points at which a process was killed; whoever came next left nothing at any"),
            (FAULTS, "calls that met trouble"),
            (STEPS, "steps of a model's processes"),
        ):
            total = sum(number for found, _, number in told if found == name)
            if total:
                terminalreporter.line(f"{total:4} {what}")
