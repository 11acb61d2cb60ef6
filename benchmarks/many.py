"""Many leases at once, against one after the other."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from benchmarks import rounds, subjects
from benchmarks.report import Row
from benchmarks.rounds import Spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.stub import Stub

_MANY: Final = 200
_FEW: Final = 10
_LATENCY: Final = 40
_TIMES_AS_FAST: Final = 8
_LOOK_EVERY: Final = 0.005
ROWS: Final = (f"{_MANY} leases at once",)
NOTE: Final = (
    f"{_MANY} leases are issued by one `issue_many` and revoked by `close(revoke=True)`, at {_LATENCY} ms a call, on a "
    f"SQLite file. The time of {_MANY} lives one after the other is extrapolated from {_FEW} in the same round."
)


def measure(stub: Stub, *, quick: bool) -> list[Row]:
    """Compare, and look how many threads there are meanwhile."""
    _, config = subjects.aws_config(stub.url(_LATENCY))
    peaks: list[int] = []

    def one_by_one() -> float:
        with subjects.open_manager("sqlite") as manager:
            return rounds.seconds(subjects.life(config, manager), _FEW)() * _MANY

    def at_once() -> float:
        with subjects.open_manager("sqlite") as manager, _counting_threads(peaks):
            begun = time.perf_counter()
            leases = manager.issue_many(config, _MANY)
            manager.close(revoke=True)
            taken = time.perf_counter() - begun
        assert len({lease.access_key_id for lease in leases}) == _MANY
        assert all(lease.revoked for lease in leases)
        return taken

    values = rounds.take_turns({"serial": one_by_one, "at once": at_once}, 2 if quick else 5)
    gain = rounds.ratios(values["serial"], values["at once"])
    return [
        Row(
            what=f"{_MANY} leases at once",
            measured=f"{Spread.of(values['at once']).median:.2f} s, at most {max(peaks)} threads more",
            baseline=f"one after the other: {Spread.of(values['serial']).median:.1f} s (extrapolated)",
            ratio=gain,
            target=f"≥ {_TIMES_AS_FAST} times as fast",
            met=gain.median >= _TIMES_AS_FAST,
        )
    ]


@contextmanager
def _counting_threads(peaks: list[int]) -> Iterator[None]:
    """Note the largest number of threads during a block, over what there was before."""
    over = threading.Event()
    before = threading.active_count() + 1
    peak = 0

    def look() -> None:
        nonlocal peak
        while not over.wait(_LOOK_EVERY):
            peak = max(peak, threading.active_count() - before)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        peaks.append(peak)
