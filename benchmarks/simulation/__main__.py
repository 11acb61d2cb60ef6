"""The command: simulate, print the tables, and write them into the page of the documentation where asked to."""

from __future__ import annotations

import argparse

from benchmarks.simulation.accounts import Fleet
from benchmarks.simulation.page import DOCUMENT, sections, write
from dynsecrets.model.ttl import parse_ttl


def main() -> None:
    """Simulate what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulation", description="Simulate what a fleet that leases at a rate needs of AWS."
    )
    parser.add_argument("--rate", type=float, default=100.0, help="leases a second (default: 100)")
    parser.add_argument("--ttl", default="30m", help="for how long each lives (default: 30m)")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (default: 1)")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {DOCUMENT.name}")
    asked = parser.parse_args()
    fleet = Fleet(asked.rate, parse_ttl(asked.ttl).total_seconds())
    made = sections(fleet, seed=asked.seed)
    if asked.write:
        if (fleet, asked.seed) != (Fleet(), parser.get_default("seed")):
            parser.error("--write is for the default rate, TTL and seed")
        print(f"written to {write(made)}")
    else:
        print("\n\n".join(made.values()))


if __name__ == "__main__":
    main()
