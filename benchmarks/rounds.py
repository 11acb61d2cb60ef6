"""Rounds: what is compared takes turns, so that whatever else the machine does meets all of it alike."""

from __future__ import annotations

import gc
import statistics
import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@attrs.frozen
class Spread:
    """The median of some rounds, and their extremes."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of one value a round."""
        return cls(statistics.median(values), min(values), max(values))


def take_turns(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run all measurements in turn (A B A B …) and return each one's values; a first round warms up and isn't kept."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds + 1):
        gc.collect()
        for name, measure in measures.items():
            value = measure()
            if number:
                values[name].append(value)
    return values


def ratios(values: Sequence[float], baseline: Sequence[float]) -> Spread:
    """Return how a measurement compares with the baseline of the same round, over all rounds."""
    return Spread.of([value / base for value, base in zip(values, baseline, strict=True)])


def seconds(work: Callable[[], object], times: int) -> Callable[[], float]:
    """Return a measurement of how long one of so many repetitions takes."""
    return _per_time(work, times, time.perf_counter)


def cpu_seconds(work: Callable[[], object], times: int) -> Callable[[], float]:
    """Return a measurement of the CPU time that one of so many repetitions takes, in all threads of this process."""
    return _per_time(work, times, time.process_time)


def _per_time(work: Callable[[], object], times: int, clock: Callable[[], float]) -> Callable[[], float]:
    def measure() -> float:
        begun = clock()
        for _ in range(times):
            work()
        return (clock() - begun) / times

    return measure
