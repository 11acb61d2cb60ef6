"""The measurements measure what they say: each is run small, and what it counts is right."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest

from benchmarks import items_read, raw, reaping, spreading, subjects, waking
from benchmarks.own_cost import transactions
from benchmarks.stub import running_stub
from dynsecrets import SQLiteLeaseStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.stub import Stub

_FULL: Final = "PRAGMA synchronous = FULL"
_NORMAL: Final = "PRAGMA synchronous = NORMAL"


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    """The stub of IAM that the benchmarks measure with."""
    with running_stub() as stub:
        yield stub


def test_each_side_makes_its_calls(stub: Stub) -> None:
    """Vault's life is ten calls, Phase's nine, and the library's six, as are those of raw boto3 in pairs."""
    url = stub.url(0)
    integration, config = subjects.aws_config(url)
    client = raw.iam_client(url, integration.clients.iam())

    with subjects.open_manager("memory") as manager, closing(raw.PairedLife(client)) as paired:
        for calls, life in (
            (10, raw.serial(client)),
            (9, raw.PhasesLife(url, integration.clients.iam())),
            (6, paired),
            (6, subjects.life(config, manager)),
        ):
            with stub.expecting(calls):
                life()


def test_unexpected_calls_are_told(stub: Stub) -> None:
    """A comparison of other work than was meant fails."""
    integration, _ = subjects.aws_config(stub.url(0))
    client = raw.iam_client(stub.url(0), integration.clients.iam())

    with pytest.raises(AssertionError, match="not 6 calls"), stub.expecting(6):
        raw.serial_life(client)


def test_transactions_are_counted() -> None:
    """A transaction is what BEGIN opens, or a statement alone; the switch for waiting for the disk is none."""
    statements = [
        _FULL,
        "INSERT INTO leases VALUES (1)",
        _NORMAL,
        "BEGIN IMMEDIATE",
        "SELECT 1",
        "UPDATE leases SET id = 1",
        "COMMIT",
        "\n SELECT 2",
    ]

    assert transactions(statements) == [
        ("INSERT INTO leases VALUES (1)", True),
        ("BEGIN IMMEDIATE", False),
        ("SELECT 2", False),
    ]


def test_a_filled_file_is_a_stores(tmp_path: Path) -> None:
    """The records that are written past the store are as the store writes them, and what is due is added apart."""
    file = tmp_path / "leases.db"

    reaping.fill(file, 120)
    reaping.add_due(file)

    with closing(SQLiteLeaseStore(file)) as store:
        records = list(store.records())
        assert len(records) == store.count_live("AWS_USER") == 130
        assert len({record.process for record in records}) == 51
        assert len(store.due(reaping.NOW)) == 10


def test_a_reaper_of_a_filled_file_reaps_what_is_due(tmp_path: Path) -> None:
    """Each round revokes the ten, whatever the time is."""
    file = tmp_path / "leases.db"
    reaping.fill(file, 50)

    rounds = []
    for _ in range(2):
        reaping.add_due(file)
        done = reaping.reap(file)
        rounds.append((done["revoked"], done["failed"], done["seconds"] > 0))

    assert rounds == [(10, 0, True)] * 2


def test_finding_due_work_reads_what_is_due() -> None:
    """On DynamoDB, as many keys and items are read for what is due among many as among few: two for each."""
    few, many = (items_read.count_reads(live)["due"] for live in (20, 200))

    assert few == many == 20


def test_wakes_come_from_renewals() -> None:
    """While nothing is due nobody wakes, and many renewers wake the one thread no more often than one does."""
    quiet, woken, threads = waking.count_wakes(50, 20)
    _, alone, _ = waking.count_wakes(1, 20)

    assert (quiet, threads) == (0, 1)
    assert 0 < woken <= alone


def test_keys_that_spread_are_waited_for() -> None:
    """With one front end a lease is handed over once it works, at most a poll later, and never before."""
    waits = spreading.simulate(1, 50)

    assert all(0 <= wait.handed_over - wait.works <= spreading.POLL_S for wait in waits)
    assert {wait.behind for wait in waits} == {0.0}


def test_many_front_ends_are_simulated() -> None:
    """With several a lease may be handed over while some are behind, and that is told; a seed decides all."""
    waits = spreading.simulate(5, 50)

    assert waits == spreading.simulate(5, 50)
    assert waits != spreading.simulate(5, 50, seed=1)
    assert any(wait.behind for wait in waits)
    assert all(wait.first_success <= wait.handed_over for wait in waits)
