"""The tables of a simulation, and where they stand in the page of the documentation."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks.simulation import accounts, reapers, table
from benchmarks.simulation.accounts import USERS, WRITES, Fleet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "explanation" / "internet-scale.md"
#: AWS publishes no rate for IAM's writes: what is assumed, in writes a second of one account.
WRITE_RATES: Final = (5, 10, 20, 50)
#: Above what would just do: a queue at its limit grows without end.
_HEADROOM: Final = (1.0, 1.05, 1.2)
#: The headroom that an answer is given with.
_ENOUGH: Final = 1.2
_SHARDS: Final = (1, 2, 4, 8)
_DEFAULT_SHARDS: Final = 4
_REAPERS: Final = (1, 2, 3, 4)
_TTLS: Final = {"5 min": 300, "15 min": 900, "30 min": 1800, "1 h": 3600, "8 h": 28800}
_BLOCK: Final = "<!-- simulated: {name} -->\n\n{text}\n\n<!-- end -->"
_FOUND: Final = re.compile(r"<!-- simulated: (\w+) -->\n\n(.*?)\n\n<!-- end -->", re.DOTALL)


@attrs.frozen
class _Units:
    """What a lease writes to the table, and where that meets first, with the default number of shards."""

    per_lease: float = 0.0
    first: str = ""
    full_at: float = 0.0
    needed: int | str = 0


def sections(fleet: Fleet, *, seed: int, size: float = 1.0) -> dict[str, str]:
    """Simulate, and return each table by its name. ``size`` shortens everything, for tests."""
    least, users = _users(fleet, seed=seed, size=size)
    needed, writes = _writes(fleet, seed=seed, size=size)
    unit, shards = _shards(fleet, seed=seed, size=size)
    crew, kept = _reapers(fleet, seed=seed, size=size)
    return {
        "short": _short(fleet, users=least, by_writes=needed, unit=unit, crew=crew),
        "users": users,
        "writes": writes,
        "ttls": _ttls(),
        "shards": shards,
        "reapers": kept,
    }


def read(page: str) -> dict[str, str]:
    """Return the tables that stand in a page, by their names."""
    return dict(_FOUND.findall(page))


def write(made: Mapping[str, str]) -> Path:
    """Put the tables into the page, in the places of those that are there."""
    page = DOCUMENT.read_text(encoding="utf-8")
    assert read(page).keys() == made.keys(), "the page has not one place for each table"
    page = _FOUND.sub(lambda found: _BLOCK.format(name=found[1], text=made[found[1]]), page)
    DOCUMENT.write_text(page, encoding="utf-8")
    return DOCUMENT


def _users(fleet: Fleet, *, seed: int, size: float) -> tuple[int, str]:
    """Add accounts until no lease is refused; return how many that takes, and the table."""
    number = max(1, math.ceil(fleet.live / USERS))
    lines = []
    while True:
        found = accounts.count_users(fleet, number, ttls=1 + 2 * size, seed=seed)
        share = f"{fleet.live / number:,.0f}"
        lines.append((str(number), share, f"{found.peak:,}", f"{found.refused:,}"))
        if not found.refused:
            break
        number += 1
    return number, _table(("accounts", "users in each, on the average", "most in one", "leases refused"), lines)


def _writes(fleet: Fleet, *, seed: int, size: float) -> tuple[dict[int, int], str]:
    """Return how many accounts each assumed rate of writes takes, and the table."""
    needed = {}
    lines = []
    for rate in WRITE_RATES:
        just = fleet.rate * WRITES / rate
        for headroom in _HEADROOM:
            number = max(1, math.ceil(just * headroom))
            waits = accounts.wait_for_writes(fleet, number, rate, ttls=1 + 2 * size, seed=seed)
            lines.append((str(rate), str(number), _seconds(waits.issue), _seconds(waits.late)))
        needed[rate] = max(1, math.ceil(just * _ENOUGH))
        lines[-1] = (*lines[-1][:1], f"**{number}**", *lines[-1][2:])
    heads = ("writes a second of one account", "accounts", "to issue: median, 99 %", "to revoke: median, 99 %")
    return needed, _table(heads, lines)


def _shards(fleet: Fleet, *, seed: int, size: float) -> tuple[_Units, str]:
    """Return what a lease writes to the table, and what of that meets in one place."""
    lines = []
    needed = 0
    unit = _Units()
    for shards in _SHARDS:
        rng = random.Random(seed)  # noqa: S311 - a simulation.
        total, places = table.busiest(rng, shards=shards, ttl=fleet.ttl, lives=max(100, int(2000 * size)))
        first = max(places, key=lambda name: places[name])
        full_at = table.PARTITION / places[first]
        load = [f"{places[name] * fleet.rate:,.0f}" for name in ("due", "live", "process", "revoked")]
        lines.append((str(shards), *load, f"{first}, at {full_at:,.0f} leases a second"))
        if not needed and fleet.rate * _ENOUGH <= full_at:
            needed = shards
        if shards == _DEFAULT_SHARDS:
            unit = _Units(total, first, full_at)
    heads = ("shards", "due", "live", "process", "revoked", "first to be full")
    return attrs.evolve(unit, needed=needed or "more configs than one"), _table(heads, lines)


def _reapers(fleet: Fleet, *, seed: int, size: float) -> tuple[int, str]:
    """Return how many reapers keep up, and the table."""
    lines = []
    enough = 0
    for number in _REAPERS:
        kept = reapers.keep_up(fleet, number, minutes=max(3, int(30 * size)), seed=seed)
        if not enough and kept.worst <= 2 * reapers.EVERY_S:
            enough = number
        late = f"{kept.median:,.0f} s", f"{kept.worst:,.0f} s"
        lines.append((str(number), *late, f"{kept.lost:.0%}"))
    heads = ("reapers", "late by: median", "worst", "attempts that met another's claim")
    return enough or _REAPERS[-1] + 1, _table(heads, lines)


def _ttls() -> str:
    """Return what one account can do, by arithmetic."""
    heads = ("each lease lives", "leases a second of one account, by its users", "writes a second that they make")
    lines = [(name, f"{USERS / seconds:.2f}", f"{USERS * WRITES / seconds:.1f}") for name, seconds in _TTLS.items()]
    return _table(heads, lines)


def _short(fleet: Fleet, *, users: int, by_writes: Mapping[int, int], unit: _Units, crew: int) -> str:
    """Return the answer, before its reasons."""
    even = USERS * WRITES / fleet.ttl
    by_rate = "; ".join(
        f"{max(users, number)} at {rate} writes a second ({'users' if users >= number else 'writes'})"
        for rate, number in by_writes.items()
    )
    minutes = fleet.ttl / 60
    live = f"At {fleet.rate:g} leases a second that live {minutes:g} minutes each, {fleet.live:,.0f} live at a time."
    of_accounts = (
        f"- **Accounts:** at least {users}, for the users alone. IAM's writes may be short first: that depends on how "
        f"many an account takes, which AWS doesn't say. It is {by_rate}. In brackets is what decides; the two are even "
        f"at {even:.1f} writes a second."
    )
    of_shards = (
        f"- **Shards:** {unit.needed} would do; the default is {_DEFAULT_SHARDS}. A lease writes {unit.per_lease:.0f} "
        f"units in its life, so {unit.per_lease * fleet.rate:,.0f} a second in all, of {table.NEW_TABLE:,} that a new "
        f"on-demand table takes at once. With {_DEFAULT_SHARDS} shards the first place to be full is the index "
        f"`{unit.first}`, at {unit.full_at:,.0f} leases a second of one config."
    )
    of_reapers = (
        f"- **Reapers:** {crew} of {reapers.WORKERS} threads each, if no holder revoked anything; with holders that "
        "do, one, in case of accidents."
    )
    return f"{live}\n\n{of_accounts}\n{of_shards}\n{of_reapers}"


def _seconds(pair: tuple[float, float]) -> str:
    return f"{pair[0]:.1f} s, {pair[1]:.1f} s"


def _table(heads: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    rows = [heads, ("---",) * len(heads), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
