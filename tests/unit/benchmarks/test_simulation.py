"""The simulation of a large fleet, and the page that shows what it says."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.simulation.accounts import USERS, Fleet, Writes, count_users, wait_for_writes
from benchmarks.simulation.page import DOCUMENT, read, sections
from benchmarks.simulation.reapers import EVERY_S, keep_up
from benchmarks.simulation.table import life, units
from support.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Fleet(rate=2.0, ttl=60.0)


def test_the_page_shows_what_the_simulation_says() -> None:
    """Every table of the page is what the script makes of the same seed, to the letter."""
    page = read(DOCUMENT.read_text(encoding="utf-8"))

    made = sections(Fleet(), seed=1)

    assert page == made


def test_the_script_simulates_any_fleet(tmp_path: Path) -> None:
    """The command prints the tables of the fleet that it is given, and changes no file."""
    before = DOCUMENT.read_bytes()

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.simulation", "--rate", "0.5", "--ttl", "2m"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    assert done.stdout.startswith("At 0.5 leases a second that live 2 minutes each, 60 live at a time.")
    assert DOCUMENT.read_bytes() == before


def test_only_the_default_fleet_is_written() -> None:
    """Another fleet's tables don't get into the page by mistake."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.simulation", "--rate", "0.5", "--ttl", "2m", "--write"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert done.returncode == 2
    assert "--write is for the default" in done.stderr


def test_a_seed_decides_everything() -> None:
    """The same seed gives the same tables, another one others."""
    tables = [sections(SMALL, seed=seed, size=0.1) for seed in (1, 1, 2)]

    assert tables[0] == tables[1]
    assert tables[0] != tables[2]


def test_an_account_refuses_more_users_than_it_holds() -> None:
    """With room to spare none is refused; without, never more than the quota is there."""
    fleet = Fleet(rate=USERS / 10, ttl=11.0)

    full, spare = (count_users(fleet, accounts, ttls=2, seed=1) for accounts in (1, 2))

    assert full.peak == USERS
    assert full.refused > 0
    assert spare.peak < USERS
    assert spare.refused == 0


def test_writes_wait_for_their_turn() -> None:
    """A bucket holds a second's worth of writes; from then on they come at its rate, and it fills again."""
    bucket = Writes(10)

    taken = [bucket.take(0.0, 1) for _ in range(12)]

    assert taken[:10] == [0.0] * 10
    assert taken[10:] == pytest.approx([0.1, 0.2])
    assert bucket.take(5.0, 10) == 5.0


def test_throttling_delays_leases() -> None:
    """An account that takes just what is needed has leases wait; with plenty, they take two round trips."""
    tight, plenty = (wait_for_writes(SMALL, 1, rate, ttls=30, seed=1) for rate in (12, 1000))

    assert tight.issue[1] > 1
    assert plenty.issue == pytest.approx((0.2, 0.2))
    assert plenty.late == pytest.approx((0.2, 0.2))


def test_a_life_is_four_writes_of_the_stores_items() -> None:
    """Four items of less than a kilobyte are four units; of the indexes, the one of due work has the most."""
    items = life(random.Random(1), shards=1, ttl=1800.0)

    table, places = units(items)

    assert table == len(items) == 4
    assert dict(places) == {("due", "aws#0"): 6, ("live", "AWS_USER"): 2, ("process", "0"): 2, ("revoked", "0"): 1}


def test_more_shards_leave_less_in_one_place() -> None:
    """The due work of many leases is spread over the shards; the index by name is not."""
    rng = random.Random(1)

    found = {place for _ in range(50) for place in units(life(rng, shards=4, ttl=1800.0))[1]}

    assert {place for index, place in found if index == "due"} == {"aws#0", "aws#1", "aws#2", "aws#3"}
    assert {place for index, place in found if index == "live"} == {"AWS_USER"}


def test_reapers_keep_up_or_fall_behind() -> None:
    """One that is fast enough is late by its interval at most; what is too much for it gets later and later."""
    slow, busy = (keep_up(Fleet(rate=rate), 1, minutes=5, seed=1) for rate in (5, 200))
    shared = keep_up(Fleet(rate=200), 4, minutes=5, seed=1)

    assert slow.worst < EVERY_S + 5
    assert slow.lost == 0
    assert busy.worst > 2 * EVERY_S
    assert busy.left > 0
    assert shared.worst < busy.worst
    assert shared.left == 0
    assert shared.lost > 0


def test_the_page_says_what_is_assumed() -> None:
    """Each source that the page names is linked, and none is without a use."""
    text = DOCUMENT.read_text(encoding="utf-8")

    named = set(re.findall(r"\]\[([\w-]+)\]", text))
    given = set(re.findall(r"^\[([\w-]+)\]: https://", text, re.MULTILINE))

    assert named == given
