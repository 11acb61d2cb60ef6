"""The CPU time of a lease life, against raw boto3 making the same six calls in the same pairs."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from benchmarks import raw, rounds, subjects
from benchmarks.report import Row
from benchmarks.rounds import Spread

if TYPE_CHECKING:
    from benchmarks.stub import Stub

NOTE: Final = (
    "CPU time is that of all threads of the measuring process, not that of the stub that answers. The raw calls are "
    "made in pairs on two threads as the library makes them, by a client with the same settings."
)
_TARGETS: Final = {"memory": 1.15, "sqlite": 1.3}
_CALLS: Final = 6
#: A round is short: the shorter it is, the more alike is what its measurements meet.
_LIVES: Final = 4
#: In milliseconds: long enough that the calls of a pair are under way at the same time, as they are on AWS.
_LATENCY: Final = 2
ROWS: Final = tuple(f"CPU of a lease life, {store} store" for store in _TARGETS)


def measure(stub: Stub, *, quick: bool) -> list[Row]:
    """Compare with each store."""
    with ExitStack() as stack:
        url = stub.url(_LATENCY)
        integration, config = subjects.aws_config(url)
        paired = raw.PairedLife(raw.iam_client(url, integration.clients.iam()))
        stack.callback(paired.close)
        lives = {"raw": paired} | {
            store: subjects.life(config, stack.enter_context(subjects.open_manager(store))) for store in subjects.STORES
        }
        for life in lives.values():
            with stub.expecting(_CALLS):
                life()
        measures = {name: rounds.cpu_seconds(life, _LIVES) for name, life in lives.items()}
        values = rounds.take_turns(measures, 15 if quick else 100)
    return [_row(store, values[store], values["raw"]) for store in subjects.STORES]


def _row(store: str, values: list[float], baseline: list[float]) -> Row:
    row = Row(
        what=f"CPU of a lease life, {store} store",
        measured=_milliseconds(values),
        baseline=f"the same calls, raw boto3: {_milliseconds(baseline)}",
        ratio=rounds.ratios(values, baseline),
    )
    return row.at_most(_TARGETS[store])


def _milliseconds(values: list[float]) -> str:
    return f"{Spread.of(values).median * 1000:.2f} ms"
