"""How much a reaper reads in DynamoDB to find what is due, among few and among many live leases."""

from __future__ import annotations

import warnings
from collections import Counter
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from benchmarks import subjects
from benchmarks.report import Row
from benchmarks.rounds import Spread
from dynsecrets import DynamoDBLeaseStore, LeaseManager, LeaseRecord
from dynsecrets.clock import SystemClock
from dynsecrets.stores.dynamodb.items import SETTINGS_ID, to_item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.stub import Stub

_FEW: Final = 100
_MANY: Final = 10_000
_DUE: Final = 10
_SHARDS: Final = 4
_TTL: Final = timedelta(minutes=30)
_NOW: Final = datetime(2022, 2, 15, 17, 4, 54, tzinfo=UTC)
_BATCH: Final = 25  # Items of one BatchWriteItem (API reference).
NOTE: Final = (
    "What a reap reads in DynamoDB is counted in the answers, keys in an index and items alike: what a query examines "
    f"is what it returns, since none has a filter. {_DUE} leases are due, the others end evenly spread over "
    f"{_TTL.seconds // 60} minutes. The service is moto, within the process."
)
_WHAT: Final = {
    "due": f"Keys and items read for the due work (`due`), DynamoDB, among {_MANY:,} live",
    "reap": f"Keys and items read by a whole reap of {_DUE}, DynamoDB, among {_MANY:,} live",
}
#: A whole reap looks at a few of the next leases, too: no more than a bounded number, but fewer where few there are.
_TARGETS: Final = {"due": "the same", "reap": "≤ 1.5"}
_LIMITS: Final = {"due": 1.0, "reap": 1.5}
ROWS: Final = tuple(_WHAT.values())


def measure(stub: Stub, *, quick: bool) -> list[Row]:
    """Count what is read among few, and among many."""
    del stub
    number = 1_000 if quick else _MANY
    few, many = count_reads(_FEW), count_reads(number)
    return [
        Row(
            what=what.replace(f"{_MANY:,}", f"{number:,}"),
            measured=str(many[part]),
            baseline=f"among {_FEW}: {few[part]}",
            ratio=Spread.of([many[part] / few[part]]),
            target=_TARGETS[part],
            met=many[part] <= few[part] * _LIMITS[part],
        )
        for part, what in _WHAT.items()
    ]


def count_reads(live: int) -> dict[str, int]:
    """Fill a table with live leases, of which some are due; return how much finding and reaping those reads."""
    integration, _ = subjects.memory_config()
    with _service() as session, closing(DynamoDBLeaseStore("leases", session, shards=_SHARDS)) as store:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            store.create_table()
        client = store._table.client()  # noqa: SLF001 - what is counted are the calls of the store's own client.
        _fill(client, live)
        read: Counter[str] = Counter()
        part = "due"
        client.meta.events.register("after-call.dynamodb", lambda parsed, **_: read.update({part: _items(parsed)}))
        assert len(store.due(_NOW, integrations=["memory"])) == _DUE
        part = "reap"
        with LeaseManager(store, clock=_StoppedClock()) as manager:
            report = manager.reap(integrations=[integration])
        assert (len(report.revoked), report.failed) == (_DUE, [])
    return dict(read)


class _StoppedClock(SystemClock):
    """The machine's clock, but for the time of day."""

    def now(self) -> datetime:
        """Return always the same."""
        return _NOW


@contextmanager
def _service() -> Iterator[Any]:
    """Have a DynamoDB of moto answer the calls of a session."""
    import boto3
    from moto import mock_aws

    with mock_aws():
        yield boto3.Session(aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="example", region_name="us-east-1")  # noqa: S106


def _fill(client: Any, live: int) -> None:
    step = _TTL / max(live - _DUE, 1)
    ends = [_NOW - timedelta(seconds=index + 1) for index in range(_DUE)]
    ends += [_NOW + step * (index + 1) for index in range(live - _DUE)]
    items = [to_item(_record(index, end), shards=_SHARDS, token="made") for index, end in enumerate(ends)]  # noqa: S106
    for start in range(0, live, _BATCH):
        requests = [{"PutRequest": {"Item": item}} for item in items[start : start + _BATCH]]
        client.batch_write_item(RequestItems={"leases": requests})


def _record(index: int, expires_at: datetime) -> LeaseRecord:
    issued_at = expires_at - _TTL
    record = LeaseRecord(
        id=f"00000000-0000-4000-8000-{index:012}",
        name="AWS_USER",
        integration="memory",
        handle={"user_name": "user", "policy_name": "policy"},
        created_at=issued_at,
        owner="somebody@host-1/boot-1/1/1",
    )
    return record.activated(handle=record.handle, issued_at=issued_at, expires_at=expires_at)


def _items(answer: dict[str, Any]) -> int:
    """Return how many keys and items an answer holds; the item of the table's settings is none."""
    found = [*answer.get("Items", ()), *(item for items in answer.get("Responses", {}).values() for item in items)]
    if "Item" in answer:
        found.append(answer["Item"])
    return sum(item["id"]["S"] != SETTINGS_ID for item in found)
