"""What the library itself costs for a lease life, with an integration that calls nobody."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

from benchmarks import rounds, subjects
from benchmarks.report import Row
from benchmarks.rounds import Spread

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from benchmarks.stub import Stub

NOTE: Final = (
    "The own cost is measured with an integration that makes up its credentials; what such an integration takes by "
    "itself (its names, its `Grant`) is the baseline, and part of what is measured. A read outside of a write counts "
    "as a SQLite transaction too; setting the connection's switch for waiting for the disk is none."
)
_TTL: Final = timedelta(minutes=30)
_MICROSECONDS: Final = 150
_TRANSACTIONS: Final = 5
_LIVES: Final = 20
_SETTLES: Final = 0.3
_SWITCH: Final = "PRAGMA synchronous"
_TRANSACTIONS_ROW: Final = "SQLite transactions of a lease life"
ROWS: Final = (*(f"Own CPU of a lease life, {store} store" for store in subjects.STORES), _TRANSACTIONS_ROW)


def measure(stub: Stub, *, quick: bool) -> list[Row]:
    """Measure the CPU time with each store, and count what SQLite does."""
    del stub
    times = 200 if quick else 500
    integration, config = subjects.memory_config()

    def bare() -> None:
        integration.revoke(integration.provision(integration.plan(config), config, _TTL).handle)

    with subjects.open_manager("memory") as memory, subjects.open_manager("sqlite") as sqlite:
        measures = {
            "bare": rounds.cpu_seconds(bare, times),
            "memory": rounds.cpu_seconds(subjects.life(config, memory), times),
            "sqlite": rounds.cpu_seconds(subjects.life(config, sqlite), times // 4),
        }
        values = rounds.take_turns(measures, 9 if quick else 31)
    rows = [_row(store, values[store], values["bare"]) for store in subjects.STORES]
    return [*rows, _transactions()]


def _row(store: str, values: list[float], bare: list[float]) -> Row:
    spread = Spread.of([value * 1e6 for value in values])
    targeted: dict[str, Any] = {}
    if store == "memory":
        targeted = {"target": f"≤ {_MICROSECONDS} µs", "met": spread.median <= _MICROSECONDS}
    return Row(
        what=f"Own CPU of a lease life, {store} store",
        measured=f"{spread.median:.0f} µs [{spread.low:.0f}–{spread.high:.0f}]",
        baseline=f"integration alone: {Spread.of(bare).median * 1e6:.0f} µs",
        ratio=rounds.ratios(values, bare),
        **targeted,
    )


def _transactions() -> Row:
    """Count the transactions of some lives, and those that wait for the disk."""
    _, config = subjects.memory_config()
    with _traced() as statements, subjects.open_manager("sqlite") as manager:
        life = subjects.life(config, manager)
        life()
        _settle(statements)
        # The first of the statements to come is the one that says what is waited for from here on.
        statements.clear()
        for _ in range(_LIVES):
            life()
        done = list(statements)
    begun = transactions(done)
    each = len(begun) / _LIVES
    waits = sum(waits for _, waits in begun) / _LIVES
    writes = sum(not statement.startswith("SELECT") for statement, _ in begun) / _LIVES
    return Row(
        what=_TRANSACTIONS_ROW,
        measured=f"{each:g}, of which {writes:g} write and {waits:g} wait for the disk",
        target=f"≤ {_TRANSACTIONS}",
        met=each <= _TRANSACTIONS,
    )


def transactions(statements: Iterable[str]) -> list[tuple[str, bool]]:
    """Return the statements that begin a transaction (BEGIN, and each that stands alone), and whether it is synced.

    A ``PRAGMA synchronous`` begins none: it sets a switch of the connection, and neither reads nor writes the file.
    """
    begun: list[tuple[str, bool]] = []
    inside = waits = False
    for statement in map(str.strip, statements):
        verb = statement.split(None, 1)[0].upper()
        if statement.startswith(_SWITCH):
            waits = statement.endswith("FULL")
        elif verb in ("COMMIT", "END", "ROLLBACK"):
            inside = False
        elif not inside:
            inside = verb == "BEGIN"
            begun.append((statement, waits and verb != "SELECT"))
    return begun


@contextmanager
def _traced() -> Iterator[list[str]]:
    """Note every statement that SQLite runs on connections made in a block."""
    import sqlite3

    statements: list[str] = []
    connect = sqlite3.connect

    def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **kwargs)
        connection.set_trace_callback(statements.append)
        return connection

    with mock.patch("sqlite3.connect", traced):
        yield statements


def _settle(statements: list[str]) -> None:
    """Wait for the background, which looks for what is overdue when an integration is first used, to be done."""
    seen = -1
    while seen < len(statements):
        seen = len(statements)
        time.sleep(_SETTLES)
