"""How the table of a store in DynamoDB is made."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import InvalidTTL, StoreError
from dynsecrets.stores.dynamodb.table_setup import TableMaker
from support.builders import NOW, make_record

if TYPE_CHECKING:
    from dynsecrets.stores.dynamodb.table import Table
    from support.dynamodb import DynamoDB
    from support.proxy import Proxy


class SlowTable:
    """A table whose descriptions, scripted, come one after the other; the last one stays."""

    name = "leases"

    def __init__(self, real: Table, *descriptions: dict[str, Any] | None) -> None:
        self._real = real
        self._descriptions = list(descriptions)

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Answer DescribeTable from the script, where ``None`` is a table that isn't known; pass the others on."""
        if operation != "DescribeTable" or not self._descriptions:
            return self._real.call(operation, **arguments)
        description = self._descriptions[0] if len(self._descriptions) == 1 else self._descriptions.pop(0)
        if description is None:
            raise StoreError("DescribeTable failed", code="ResourceNotFoundException")
        return {"Table": description}


def test_makes_a_table_that_costs_nothing_when_idle(moto_dynamodb: DynamoDB) -> None:
    """The table is billed on demand, its indexes hold keys alone, and DynamoDB deletes old tombstones."""
    store = moto_dynamodb.make()

    table = moto_dynamodb.client.describe_table(TableName=store.table)["Table"]
    ttl = moto_dynamodb.client.describe_time_to_live(TableName=store.table)["TimeToLiveDescription"]

    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert {index["IndexName"] for index in table["GlobalSecondaryIndexes"]} == {"due", "live", "process", "revoked"}
    assert {index["Projection"]["ProjectionType"] for index in table["GlobalSecondaryIndexes"]} == {"KEYS_ONLY"}
    assert ttl == {"TimeToLiveStatus": "ENABLED", "AttributeName": "purge_at"}


def test_warns_where_there_is_no_ttl(dynalite: DynamoDB) -> None:
    """A service without UpdateTimeToLive gets a table that works, and the caller is told what it lacks, at his line."""
    store = dynalite.open()

    with pytest.warns(UserWarning, match="no UpdateTimeToLive") as caught:
        store.create_table()

    assert [warning.filename for warning in caught] == [__file__]
    store.insert(record := make_record())
    assert store.due(NOW) == [record]


def test_can_be_repeated(dynamodb_service: DynamoDB) -> None:
    """Making a table that is there changes nothing, and loses nothing."""
    store = dynamodb_service.make()
    store.insert(record := make_record())

    again = dynamodb_service.make(table=store.table)

    assert again.get(record.id) == record
    assert again.due(NOW) == [record]


def test_is_made_once_by_many(dynalite: DynamoDB) -> None:
    """Any number may make the table at the same time, and all can use it then."""
    first = dynalite.open()
    stores = [first, *(dynalite.open(first.table) for _ in range(3))]
    barrier = threading.Barrier(len(stores))
    makers = [TableMaker(store._table, shards=4) for store in stores]

    def make(i: int) -> None:
        stores[i]._table.client()
        barrier.wait()
        makers[i]._enable_ttl = lambda: None  # type: ignore[method-assign]  # dynalite's warning isn't for threads.
        makers[i].make(timedelta(seconds=30))
        stores[i].insert(make_record())

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(make, range(len(stores))))

    assert len(list(stores[0].records())) == len(stores)


def test_waits_until_everything_is_active(moto_dynamodb: DynamoDB) -> None:
    """Table and indexes are waited for, with growing pauses; a table may not be known everywhere at first."""
    made = moto_dynamodb.make()
    active = moto_dynamodb.client.describe_table(TableName=made.table)["Table"]
    first, *others = active["GlobalSecondaryIndexes"]
    unfinished = {**active, "GlobalSecondaryIndexes": [{**first, "IndexStatus": "CREATING"}, *others]}
    pauses: list[float] = []
    table = SlowTable(made._table, None, {"TableStatus": "CREATING"}, unfinished, active)

    TableMaker(table, shards=4, sleep=pauses.append).make(timedelta(seconds=30))  # type: ignore[arg-type]

    assert len(pauses) == 3
    assert pauses == sorted(pauses)


def test_does_not_wait_for_ever(moto_dynamodb: DynamoDB) -> None:
    """A table that isn't ready in time is an error that says so, and how to go on."""
    table = SlowTable(moto_dynamodb.open()._table, {"TableStatus": "CREATING"})

    with pytest.raises(StoreError, match=r"not ready within 0.01 s \(CREATING\).*create_table"):
        TableMaker(table, shards=4).make(timedelta(milliseconds=10))  # type: ignore[arg-type]


def test_refuses_a_time_out_that_is_none(moto_dynamodb: DynamoDB) -> None:
    """The time-out is a TTL."""
    with pytest.raises(InvalidTTL, match="wait_timeout"):
        moto_dynamodb.open().create_table(wait_timeout="soon")


def test_refuses_a_table_of_something_else(dynamodb_service: DynamoDB) -> None:
    """A table that was made for something else is not touched; the error says all that is wrong."""
    store = dynamodb_service.open()
    dynamodb_service.client.create_table(
        TableName=store.table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "due_at", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "due_queue", "AttributeType": "S"},
            {"AttributeName": "due_at", "AttributeType": "S"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "due",
                "KeySchema": [
                    {"AttributeName": "due_queue", "KeyType": "HASH"},
                    {"AttributeName": "due_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )

    with pytest.raises(StoreError) as caught:
        store.create_table()

    for wrong in (store.table, "its key is not 'id'", "'due' on 'due_queue' (text) and 'due_at' (number)", "'live'"):
        assert wrong in str(caught.value)
    assert dynamodb_service.client.scan(TableName=store.table)["Count"] == 0


@pytest.mark.parametrize("what", ["table", "index"])
def test_says_how_to_get_a_table(dynamodb_service: DynamoDB, what: str) -> None:
    """Using a table that is not there, or lacks an index, names ``create_table()``."""
    store = dynamodb_service.open()
    if what == "index":
        dynamodb_service.client.create_table(
            TableName=store.table,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )

    with pytest.raises(StoreError, match=r"create_table\(\)"):
        store.due(NOW, integrations=["aws"])


@pytest.mark.parametrize(
    ("code", "message", "goes_on"),
    [
        ("ValidationException", "TimeToLive is already enabled", True),
        ("ValidationException", "TimeToLive is active on a different AttributeName: expires", False),
        ("AccessDeniedException", "no", False),
    ],
)
def test_is_content_with_a_ttl_that_is_on(
    moto_dynamodb: DynamoDB, proxy: Proxy, code: str, message: str, goes_on: bool
) -> None:
    """A TTL that is on already is fine; one on another attribute, or a missing permission, is an error."""
    store = moto_dynamodb.open(endpoint_url=proxy.url)
    proxy.fail("UpdateTimeToLive", (code, 400), message=message)

    if goes_on:
        store.create_table()
    else:
        with pytest.raises(StoreError, match=f"UpdateTimeToLive on table .* failed: {code}: {message}"):
            store.create_table()


def test_says_what_keeps_it_from_making_a_table(moto_dynamodb: DynamoDB, proxy: Proxy) -> None:
    """Any other trouble is an error that names the call and the action to allow."""
    store = moto_dynamodb.open(endpoint_url=proxy.url)
    proxy.fail("CreateTable", ("AccessDeniedException", 400))
    proxy.fail("DescribeTable", ("AccessDeniedException", 400), times=None)

    with pytest.raises(StoreError, match="dynamodb:CreateTable"):
        store.create_table()
    with pytest.raises(StoreError, match="dynamodb:DescribeTable"):
        store.create_table()


def test_survives_a_lost_answer(moto_dynamodb: DynamoDB, proxy: Proxy, pauses: list[float]) -> None:
    """A CreateTable that worked, and is tried again because its answer got lost, is no error."""
    store = moto_dynamodb.open(endpoint_url=proxy.url)
    proxy.fail("CreateTable", "drop_after")

    store.create_table()

    assert proxy.count("CreateTable") == 2
    store.insert(make_record())
