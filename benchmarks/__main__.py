"""The command: run the measurements, print one table, and write it to the documentation where asked to."""

from __future__ import annotations

import argparse
import os
import time
from typing import Final

from benchmarks import (
    bookkeeping,
    cpu,
    importing,
    items_read,
    many,
    own_cost,
    pool,
    reaping,
    renewers,
    report,
    round_trips,
    spreading,
    waking,
)
from benchmarks.stub import running_stub

MEASUREMENTS: Final = {
    "round-trips": round_trips,
    "cpu": cpu,
    "own-cost": own_cost,
    "import": importing,
    "many": many,
    "bookkeeping": bookkeeping,
    "reaping": reaping,
    "items-read": items_read,
    "pool": pool,
    "renewers": renewers,
    "waking": waking,
    "spreading": spreading,
}


def expected_rows() -> list[str]:
    """Return what the lines of a full run are called, in their order."""
    return [what for measurement in MEASUREMENTS.values() for what in measurement.ROWS]


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what a lease costs.")
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"some of: {', '.join(MEASUREMENTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look in about two minutes")
    parser.add_argument("--write", action="store_true", help=f"write the table to {report.DOCUMENT}; needs a full run")
    asked = parser.parse_args()
    unknown = [name for name in asked.only if name not in MEASUREMENTS]
    if unknown:
        parser.error(f"there is no measurement {unknown[0]!r}; give some of {', '.join(MEASUREMENTS)}")
    if asked.write and (asked.quick or asked.only):
        parser.error("--write needs a full run, without --quick and without names")
    # The stub is on this machine; no proxy stands before it.
    os.environ["NO_PROXY"] = "127.0.0.1"
    rows: list[report.Row] = []
    notes: list[str] = []
    started = time.perf_counter()
    with running_stub() as stub:
        for name in asked.only or MEASUREMENTS:
            measurement = MEASUREMENTS[name]
            begun = time.perf_counter()
            rows += measurement.measure(stub, quick=asked.quick)
            notes.append(measurement.NOTE)
            print(f"{name}: measured in {time.perf_counter() - begun:.0f} s", flush=True)
    print(f"\n{report.machine()}\n\n{report.as_text(rows)}\n")
    print("\n".join(f"- {note}" for note in notes))
    if asked.write:
        assert [row.what for row in rows] == expected_rows(), "a measurement's ROWS are not what it measures"
        print(f"\nwritten to {report.write(rows, notes, time.perf_counter() - started)}")


if __name__ == "__main__":
    main()
