"""Claims that no clock can have meant: every store of ours finds them among what is due."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from dynsecrets import MemoryLeaseStore, SQLiteLeaseStore
from support.builders import MINUTE, NOW, make_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta
    from pathlib import Path

    from dynsecrets import LeaseStore
    from support.dynamodb import DynamoDB


@pytest.fixture(params=["memory", "sqlite", "dynamodb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LeaseStore]:
    """Each kind of store in turn."""
    if request.param == "dynamodb":
        service: DynamoDB = request.getfixturevalue("moto_dynamodb")
        with closing(service.make()) as made:
            yield made
        return
    opened: MemoryLeaseStore | SQLiteLeaseStore = (
        MemoryLeaseStore() if request.param == "memory" else SQLiteLeaseStore(tmp_path / "leases.db")
    )
    with closing(opened):
        yield opened


@pytest.mark.parametrize("ahead", [60 * MINUTE, 525_600 * MINUTE])
def test_a_claim_of_a_wrong_clock_is_due(store: LeaseStore, ahead: timedelta) -> None:
    """It ends later than a claim can, so it keeps nobody away; a sound one does until its end."""
    record, sound = (make_record(state="active", expires_at=NOW + 30 * MINUTE) for _ in range(2))
    store.insert(record)
    store.insert(sound)
    wrong = store.claim(record.id, "elsewhere", NOW + ahead + 2 * MINUTE, NOW + ahead)
    store.claim(sound.id, "here", NOW + 2 * MINUTE, NOW)

    assert list(store.due(NOW)) == [wrong]
    assert list(store.due(NOW, integrations=["aws"], limit=1)) == [wrong]

    store.claim(record.id, "here", NOW + 2 * MINUTE, NOW)

    assert list(store.due(NOW + MINUTE)) == []
    assert {found.id for found in store.due(NOW + 2 * MINUTE)} == {record.id, sound.id}
