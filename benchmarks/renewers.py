"""What thousands of renewers cost: threads, CPU time while nothing is due, and how late they are."""

from __future__ import annotations

import contextlib
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from benchmarks import subjects
from benchmarks.report import Row
from dynsecrets import renewing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.stub import Stub
    from dynsecrets import DynamicSecretConfig, Lease, LeaseManager, LeaseRenewer

_MANY: Final = 10_000
_TTL_S: Final = 120
_FEW: Final = 1_000
_SHORT_TTL_S: Final = 20
_IDLE_S: Final = 3.0
_BUSY: Final = 0.01
_LATE_S: Final = 1.0
#: How many threads the pool of a manager has, unless told otherwise.
_POOL: Final = 16
_THREADS: Final = _POOL + 1
_THREADS_OF: Final = ("dynsecrets-clock", "dynsecrets-worker")
ROWS: Final = tuple(
    f"{_MANY:,} renewers: {what}" for what in ("threads", "CPU while nothing is due", "a renewal is late by")
)
NOTE: Final = (
    "Renewers share one manager, on a store in memory and an integration that calls nobody, so that the library is "
    f"measured. A manager has at most {_POOL} workers and one thread that keeps the time. A renewal is late by what "
    "lies between the moment that `status()` gave for it and the call of `on_renew`."
)


def measure(stub: Stub, *, quick: bool) -> list[Row]:
    """Open many renewers, look on while nothing is due, and wait until each has renewed once."""
    del stub
    number, ttl = (_FEW, _SHORT_TTL_S) if quick else (_MANY, _TTL_S)
    _, config = subjects.memory_config()
    before = _threads()
    late: list[float] = []
    with subjects.open_manager("memory") as manager, ExitStack() as stack:
        renewers = [stack.enter_context(_renewer(config, ttl, manager, late)) for _ in range(number)]
        idle = _busy_share()
        while len(late) < number:
            time.sleep(0.1)
        threads = _threads() - before
        assert all(renewer.status().failures == 0 for renewer in renewers)
    late.sort()
    what = f"{number:,} renewers"
    return [
        Row(what=f"{what}: threads", measured=str(threads), target=f"≤ {_THREADS}", met=threads <= _THREADS),
        Row(
            what=f"{what}: CPU while nothing is due",
            measured=f"{idle:.2%} of one",
            target=f"≤ {_BUSY:.0%}",
            met=idle <= _BUSY,
        ),
        Row(
            what=f"{what}: a renewal is late by",
            measured=f"{late[len(late) // 2] * 1000:.0f} ms (median), {late[-1] * 1000:.0f} ms (the latest)",
            target=f"≤ {_LATE_S:g} s",
            met=late[-1] <= _LATE_S,
        ),
    ]


def _renewer(
    config: DynamicSecretConfig, ttl: int, manager: LeaseManager, late: list[float]
) -> contextlib.AbstractContextManager[LeaseRenewer]:
    """Return a renewer that notes how late its first renewal is."""
    planned: list[datetime] = []

    def renewed(_: Lease) -> None:
        if planned:
            late.append((datetime.now(UTC) - planned.pop()).total_seconds())

    @contextlib.contextmanager
    def opened() -> Iterator[LeaseRenewer]:
        with renewing(config, ttl, manager=manager, on_renew=renewed) as renewer:
            at = renewer.status().next_renewal_at
            assert at is not None
            planned.append(at)
            yield renewer

    return opened()


def _threads() -> int:
    """Return how many threads managers have."""
    return sum(thread.name.startswith(_THREADS_OF) for thread in threading.enumerate())


def _busy_share() -> float:
    """Return the share of one CPU that this process uses while it waits."""
    begun, used = time.perf_counter(), time.process_time()
    time.sleep(_IDLE_S)
    return (time.process_time() - used) / (time.perf_counter() - begun)
