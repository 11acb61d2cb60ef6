"""The store in DynamoDB in times of trouble: throttled, failing, cut off, denied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from dynsecrets import DynamoDBLeaseStore, LeaseNotFound, StoreError, VersionConflict
from support.builders import MINUTE, NOW, PLACE, PROCESS, make_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.dynamodb import DynamoDB
    from support.proxy import Proxy

WORKER = f"{PROCESS}#1"
THROTTLED = ("ProvisionedThroughputExceededException", 400)
#: Everything that a store does with a table, by the call that matters.
WORK: dict[str, Callable[[DynamoDBLeaseStore], object]] = {
    "GetItem": lambda store: store.get("lease"),
    "PutItem": lambda store: store.insert(make_record()),
    "UpdateItem": lambda store: store.insert(make_record(integration="new")),
    "Query": lambda store: store.due(NOW),
    "BatchGetItem": lambda store: store.due(NOW),
    "Scan": lambda store: list(store.records()),
    "BatchWriteItem": lambda store: store.purge(NOW + MINUTE),
}


@pytest.fixture
def store(moto_dynamodb: DynamoDB, proxy: Proxy, pauses: list[float]) -> Iterator[DynamoDBLeaseStore]:
    """A store with a lease that is due and a tombstone, by way of the proxy; tries follow each other at once."""
    store = moto_dynamodb.make(endpoint_url=proxy.url)
    store.insert(make_record(id="lease", state="active", expires_at=NOW))
    store.insert(make_record(id="tombstone", state="revoked", revoked_at=NOW))
    proxy.clear()
    yield store
    store.close()


@pytest.mark.parametrize("kind", [THROTTLED, ("InternalServerError", 500), "drop_before", "truncate"])
@pytest.mark.parametrize("action", WORK)
def test_tries_again(store: DynamoDBLeaseStore, proxy: Proxy, action: str, kind: Any) -> None:
    """What is throttled, fails within the service, or is cut off, is tried again, and comes out right."""
    fault = proxy.fail(action, kind, times=2)

    WORK[action](store)

    assert fault.hits == 2
    assert store.get("lease").state == "active"


@pytest.mark.parametrize("kind", [THROTTLED, ("InternalServerError", 500), "refuse", ("AccessDeniedException", 400)])
@pytest.mark.parametrize("action", WORK)
def test_says_what_failed(store: DynamoDBLeaseStore, proxy: Proxy, action: str, kind: Any) -> None:
    """Trouble that doesn't end is a ``StoreError`` with the call, the service's code, and botocore's error as cause."""
    proxy.fail(action, kind, times=None)

    with pytest.raises(StoreError, match=f"{action} on table {store.table} failed") as caught:
        WORK[action](store)

    assert isinstance(caught.value.__cause__, ClientError | BotoCoreError)
    assert caught.value.operation == action
    assert caught.value.code == (kind[0] if isinstance(kind, tuple) else None)


def test_says_what_to_do_about_throttling_and_permissions(store: DynamoDBLeaseStore, proxy: Proxy) -> None:
    """Errors that somebody can do something about say what."""
    proxy.fail("GetItem", THROTTLED, times=6)
    with pytest.raises(StoreError, match="capacity"):
        store.get("lease")

    proxy.fail("GetItem", ("AccessDeniedException", 400))
    with pytest.raises(StoreError, match="dynamodb:GetItem on the table") as caught:
        store.get("lease")
    assert caught.value.lease_id == "lease"


@pytest.fixture(params=["said at once", "looked up"])
def refusals(request: pytest.FixtureRequest, store: DynamoDBLeaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the service say what stands in the way of a write, or not: older ones don't."""
    call = store._table.call

    def ask_less(operation: str, **arguments: Any) -> dict[str, Any]:
        arguments.pop("ReturnValuesOnConditionCheckFailure", None)
        return call(operation, **arguments)

    if request.param == "looked up":
        monkeypatch.setattr(store._table, "call", ask_less)


@pytest.mark.usefixtures("refusals")
class TestLostAnswers:
    """A write that took effect, though its answer got lost, is known again."""

    def test_inserts_once(self, store: DynamoDBLeaseStore, proxy: Proxy) -> None:
        """An insert whose answer got lost is there, and is not taken for somebody else's."""
        record = make_record()
        proxy.fail("PutItem", "drop_after")

        store.insert(record)

        assert proxy.count("PutItem") == 2
        assert store.get(record.id) == record

    def test_updates_once(self, store: DynamoDBLeaseStore, proxy: Proxy) -> None:
        """An update whose answer got lost took effect once: it is one version later, and no conflict."""
        record = attrs.evolve(store.get("lease"), last_error="x")
        proxy.fail("PutItem", "drop_after")

        stored = store.update(record)

        assert stored.version == record.version + 1
        assert store.get("lease") == stored

    def test_claims_once(self, store: DynamoDBLeaseStore, proxy: Proxy) -> None:
        """A claim whose answer got lost is the worker's."""
        proxy.fail("PutItem", "drop_after")

        claimed = store.claim("lease", WORKER, NOW + MINUTE, NOW)

        assert claimed == store.get("lease")
        assert claimed.version == 2

    def test_does_not_take_another_write_for_its_own(
        self, store: DynamoDBLeaseStore, moto_dynamodb: DynamoDB, proxy: Proxy
    ) -> None:
        """A write of the same content by somebody else is a conflict, lost answers or not."""
        record = store.get("lease")
        moto_dynamodb.open(store.table).update(record)
        proxy.fail("PutItem", "drop_after")

        with pytest.raises(VersionConflict):
            store.update(record)
        with pytest.raises(LeaseNotFound):
            store.update(make_record())
        with pytest.raises(StoreError, match="already"):
            store.insert(record)

    def test_loses_a_claim_that_another_worker_won(
        self, store: DynamoDBLeaseStore, moto_dynamodb: DynamoDB, proxy: Proxy
    ) -> None:
        """A claim that was held up until somebody else's was written is not this worker's."""
        other = moto_dynamodb.open(store.table)
        call = store._table.call

        def late(operation: str, **arguments: Any) -> dict[str, Any]:
            if operation == "PutItem":
                store._table.call = call  # type: ignore[method-assign]
                other.claim("lease", f"{PLACE}99|1#1", NOW + MINUTE, NOW)
            return call(operation, **arguments)

        store._table.call = late  # type: ignore[method-assign]

        assert store.claim("lease", WORKER, NOW + MINUTE, NOW) is None


def test_counts_a_tombstone_as_purged_or_not(store: DynamoDBLeaseStore, proxy: Proxy) -> None:
    """A deletion whose answer got lost took effect."""
    proxy.fail("BatchWriteItem", "drop_after")

    store.purge(NOW + MINUTE)

    assert [record.id for record in store.records()] == ["lease"]


def test_deletes_what_a_busy_table_has_left(store: DynamoDBLeaseStore) -> None:
    """Tombstones that a throttled table did not delete are asked for again; if it never does, that is an error."""
    call, asked = store._table.call, []

    def busy(operation: str, **arguments: Any) -> dict[str, Any]:
        if operation != "BatchWriteItem":
            return call(operation, **arguments)
        asked.append(arguments["RequestItems"])
        return {"UnprocessedItems": arguments["RequestItems"]} if len(asked) != 2 else call(operation, **arguments)

    store._table.call = busy  # type: ignore[method-assign]
    store.insert(make_record(state="revoked"))

    assert store.purge(NOW + 9 * MINUTE) == 2
    assert len(asked) == 2
    assert asked[0] == asked[1]
    store.insert(make_record(state="revoked"))
    with pytest.raises(StoreError, match="1 items were not deleted"):
        store.purge(NOW + 9 * MINUTE)


def test_reaches_nobody(moto_dynamodb: DynamoDB, pauses: list[float]) -> None:
    """Where nobody listens, the error says where it was tried."""
    store = moto_dynamodb.open(endpoint_url="http://127.0.0.1:9")

    with pytest.raises(StoreError, match=r"Could not connect.*127\.0\.0\.1:9") as caught:
        store.get("lease")

    assert isinstance(caught.value.__cause__, BotoCoreError)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"region": "us-east-1", "endpoint_url": "http://127.0.0.1:9"}, "credentials"),
        ({}, "region"),
    ],
)
def test_says_what_is_missing(arguments: dict[str, str], says: str) -> None:
    """No credentials and no region are found by the first call."""
    store = DynamoDBLeaseStore("leases", **arguments)  # type: ignore[arg-type]

    with pytest.raises(StoreError, match=says):
        store.get("lease")


def test_takes_settings_of_botocore(moto_dynamodb: DynamoDB, proxy: Proxy) -> None:
    """The caller's settings win over the store's own."""
    config = Config(retries={"total_max_attempts": 1}, user_agent_extra="mine")
    store = moto_dynamodb.make(endpoint_url=proxy.url, botocore_config=config)
    fault = proxy.fail("GetItem", ("InternalServerError", 500), times=None)

    with pytest.raises(StoreError):
        store.get("lease")

    assert fault.hits == 1
    assert store._table.client().meta.config.read_timeout == 10
