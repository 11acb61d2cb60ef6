"""How long a block of a pool takes to begin, against provisioning."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from benchmarks import rounds, subjects
from benchmarks.report import Row
from benchmarks.rounds import Spread
from dynsecrets import LeasePool, lease

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.stub import Stub
    from dynsecrets.leasing.lease_context import LeaseContext

_LATENCY: Final = 40
_SIZE: Final = 30
_FEW: Final = 5
_TIMES_AS_FAST: Final = 1000
_LOOK_EVERY: Final = 0.005
ROWS: Final = ("Entering a pool's block, a burst of blocks", "Entering a pool's block, one block after the other")
NOTE: Final = (
    f"A pool of {_SIZE} is full when its blocks begin, at once or each after the end of the one before it. Entering "
    f"is compared with entering `lease()`, at {_LATENCY} ms a call, handed over at once. Medians of each round."
)


def measure(stub: Stub, *, quick: bool) -> list[Row]:
    """Compare a pool's blocks with those of ``lease()``."""
    _, config = subjects.aws_config(stub.url(_LATENCY))
    with subjects.open_manager("sqlite") as manager, LeasePool(config, _SIZE, manager=manager) as pool:

        def at_once() -> float:
            _until_full(pool)
            with ExitStack() as stack:
                return statistics.median(_enter(pool.lease, stack) for _ in range(_SIZE))

        def one_by_one() -> float:
            _until_full(pool)
            return _separately(pool.lease)

        def without() -> float:
            return _separately(lambda: lease(config, manager=manager))

        measures = {"at once": at_once, "one by one": one_by_one, "without": without}
        values = rounds.take_turns(measures, 3 if quick else 11)
    return [
        _row("a burst of blocks", values["at once"], values["without"], target=_TIMES_AS_FAST),
        _row("one block after the other", values["one by one"], values["without"]),
    ]


def _separately(make: Callable[[], LeaseContext]) -> float:
    """Return the median of a few blocks, each of which ends before the next one begins."""
    taken = []
    for _ in range(_FEW):
        with ExitStack() as stack:
            taken.append(_enter(make, stack))
    return statistics.median(taken)


def _enter(make: Callable[[], LeaseContext], stack: ExitStack) -> float:
    """Enter a block that ends with the stack; return how long that took, in seconds."""
    begun = time.perf_counter()
    context = make()
    leased = context.__enter__()
    taken = time.perf_counter() - begun
    stack.push(context)
    assert leased.is_valid()
    return taken


def _until_full(pool: LeasePool) -> None:
    while pool.ready < _SIZE:
        time.sleep(_LOOK_EVERY)


def _row(what: str, values: list[float], baseline: list[float], *, target: float | None = None) -> Row:
    gain = rounds.ratios(baseline, values)
    return Row(
        what=f"Entering a pool's block, {what}",
        measured=f"{Spread.of(values).median * 1e6:.0f} µs",
        baseline=f"provisioning: {Spread.of(baseline).median * 1000:.0f} ms",
        ratio=gain,
        target="–" if target is None else f"≥ {target:,} times as fast",
        met=None if target is None else gain.median >= target,
    )
