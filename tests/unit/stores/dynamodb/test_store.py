"""The store in DynamoDB."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

import dynsecrets
from dynsecrets import DynamoDBLeaseStore, InvalidConfig, LeaseNotFound, StoreError, open_store
from dynsecrets.engine.state import EngineState
from dynsecrets.stores.dynamodb.items import SETTINGS_ID, to_item
from dynsecrets.testing import FakeClock, LeaseStoreContract
from support.builders import MINUTE, NOW, OTHER_PROCESS, PLACE, PROCESS, SECOND, full_record, make_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dynsecrets.stores.base import LeaseStore
    from support.dynamodb import DynamoDB

    Watch = Callable[[DynamoDBLeaseStore], list[tuple[str, dict[str, Any]]]]


@pytest.fixture
def store(dynamodb_service: DynamoDB) -> Iterator[DynamoDBLeaseStore]:
    """A store on a table of the test's own, on each service in turn."""
    store = dynamodb_service.make()
    yield store
    store.close()


class Contract(LeaseStoreContract):
    """What a store in DynamoDB adds to the suite."""

    service: DynamoDB

    def make_store(self) -> DynamoDBLeaseStore:
        """Return a store on a new table."""
        return self.service.make()

    def corrupt(self, store: LeaseStore, lease_id: str) -> None:
        """Cut off a record's handle."""
        assert isinstance(store, DynamoDBLeaseStore)
        self.service.tamper(store, lease_id, handle={"S": '{"user_name": '})


class TestContractOnDynalite(Contract):
    """The store is a store on dynalite, where the races are run."""

    @pytest.fixture(autouse=True)
    def _service(self, dynalite: DynamoDB) -> None:
        self.service = dynalite


class TestContractOnMoto(Contract):
    """The store is a store on moto."""

    # moto checks a condition and writes in two steps, with no lock: now and then it lets two of many writers win.
    test_lets_one_of_many_claims_win = None  # type: ignore[assignment]
    test_lets_one_of_many_updates_win = None  # type: ignore[assignment]

    @pytest.fixture(autouse=True)
    def _service(self, moto_dynamodb: DynamoDB) -> None:
        self.service = moto_dynamodb


def test_outlives_its_process(store: DynamoDBLeaseStore) -> None:
    """The table stays, and a store that is closed hinders no other one on the same table."""
    store.insert(record := make_record())
    again = DynamoDBLeaseStore(
        store.table, endpoint_url=store._table._clients.endpoint_url, session=store._table._clients.session()
    )

    store.close()

    assert store.outlives_process
    assert again.get(record.id) == record


@pytest.mark.parametrize("given", [None, "", "a/b", "ä", "x" * 256, b"leases"])
def test_refuses_what_names_no_table(given: Any) -> None:
    """A name is letters, digits and three signs; anything else is refused at once."""
    with pytest.raises(InvalidConfig, match="table"):
        DynamoDBLeaseStore(given)


@pytest.mark.parametrize(
    "arguments",
    [
        {"session": "default"},
        {"region": ""},
        {"endpoint_url": 8000},
        {"endpoint_url": "nowhere"},
        {"botocore_config": {"retries": 1}},
        {"shards": 0},
        {"shards": 65},
        {"shards": True},
        {"shards": "4"},
    ],
)
def test_refuses_arguments_that_cannot_work(arguments: dict[str, Any]) -> None:
    """Wrong arguments are found before the first use, and named."""
    with pytest.raises(InvalidConfig, match=next(iter(arguments))):
        DynamoDBLeaseStore("leases", **arguments)


def test_takes_an_arn_for_the_table() -> None:
    """A table of another account is named by its ARN."""
    arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/leases"

    assert DynamoDBLeaseStore(arn).table == arn


def test_loads_boto3_on_first_use_only() -> None:
    """Making a store, by a URL too, loads no boto3 and calls nothing."""
    script = (
        f"import sys; sys.path.insert(0, {str(Path(dynsecrets.__file__).parents[1])!r})\n"
        "from dynsecrets import open_store\n"
        "print(repr(open_store('dynamodb://leases')), {'boto3', 'botocore'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "DynamoDBLeaseStore('leases') set()"


def test_is_opened_by_a_url_with_credentials_of_the_environment(
    dynamodb_service: DynamoDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL names table, region and endpoint; credentials are found as boto3 finds them."""
    made, account = dynamodb_service.make(), dynamodb_service.account
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", account.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", account.secret_access_key)
    made.insert(record := make_record())

    store = open_store(f"dynamodb://{made.table}?region={account.region}&endpoint_url={account.url}")

    assert store.get(record.id) == record
    store.close()


def test_finds_everything_by_a_profile(
    dynamodb_service: DynamoDB, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A profile of boto3 may name credentials, region and endpoint."""
    made, account = dynamodb_service.make(), dynamodb_service.account
    (tmp_path / "config").write_text(
        f"[profile leases]\naws_access_key_id={account.access_key_id}\nregion={account.region}\n"
        f"aws_secret_access_key={account.secret_access_key}\nendpoint_url={account.url}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "leases")
    made.insert(record := make_record())

    store = DynamoDBLeaseStore(made.table)

    assert store.get(record.id) == record
    store.close()


def test_reads_no_more_among_many_leases(dynalite: DynamoDB, watch: Watch) -> None:
    """The number of items read for due work is the same among a hundred live leases and among five thousand."""
    read = []
    for live in (100, 5_000):
        store = dynalite.make()
        overdue = [make_record(id=f"due-{i}", state="active", expires_at=NOW - i * SECOND) for i in range(10)]
        for record in overdue:
            store.insert(record)
        waiting = [
            {"PutRequest": {"Item": to_item(make_record(state="active"), shards=4, token="t")}} for _ in range(live)
        ]
        for i in range(0, live, 25):
            dynalite.client.batch_write_item(RequestItems={store.table: waiting[i : i + 25]})
        calls = watch(store)

        found = [store.due(NOW), store.due(NOW, integrations=["aws"]), store.due(NOW, limit=3)]

        assert [[record.id for record in due] for due in found] == [
            [record.id for record in overdue[::-1]],
            [record.id for record in overdue[::-1]],
            [record.id for record in overdue[:-4:-1]],
        ]
        assert {name for name, _ in calls} == {"GetItem", "Query", "BatchGetItem"}
        read.append(
            (
                len(calls),
                sum(answer.get("ScannedCount", 0) for _, answer in calls),
                sum(len(items) for _, answer in calls for items in answer.get("Responses", {}).values()),
            )
        )
        store.close()

    assert read[0] == read[1]


def test_scans_only_to_list(store: DynamoDBLeaseStore, watch: Watch) -> None:
    """Nothing that runs by itself scans the table; listing does, unless a name and a live state are asked for."""
    calls = watch(store)
    record = make_record(state="active", expires_at=NOW)
    store.insert(record)
    store.insert(make_record(state="revoked"))

    store.due(NOW)
    store.claim(record.id, f"{PROCESS}#1", NOW + MINUTE, NOW)
    store.count_live(record.name)
    store.processes(PLACE)
    store.of_process(PROCESS)
    store.purge(NOW + 2 * MINUTE)
    assert [found.id for found in store.records(state="revoking", name=record.name)] == [record.id]

    assert "Scan" not in {name for name, _ in calls}
    assert [found.id for found in store.records()] == [record.id]
    assert "Scan" in {name for name, _ in calls}


def test_reads_a_process_once_however_many_leases_it_has(store: DynamoDBLeaseStore, watch: Watch) -> None:
    """Finding processes costs as many keys as there are processes, and not leases."""
    for process in (PROCESS, OTHER_PROCESS):
        for _ in range(10):
            store.insert(make_record(owner=process))
    calls = watch(store)

    assert store.processes(PLACE) == [PROCESS, OTHER_PROCESS]

    assert sum(answer.get("Count", 0) for _, answer in calls) == 2


def test_lists_more_than_a_batch(dynalite: DynamoDB, watch: Watch) -> None:
    """Pages of keys and batches of records are put together."""
    store = dynalite.make()
    records = [make_record(created_at=NOW - i * SECOND) for i in range(230)]
    for record in records:
        store.insert(record)
    calls = watch(store)

    found = list(store.records())

    assert found == records[::-1]
    assert [name for name, _ in calls].count("BatchGetItem") == 3
    assert store.due(NOW, limit=120) == records[:-121:-1]
    store.close()


def test_hands_out_records_as_they_are_now(store: DynamoDBLeaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an index still shows is read again: what isn't due any more, or gone, is left out; nothing comes twice."""
    due, claimed, gone = (make_record(state="active", expires_at=NOW) for _ in range(3))
    store.insert(due)
    store.insert(claimed)
    store.claim(claimed.id, f"{PROCESS}#1", NOW + MINUTE, NOW)
    monkeypatch.setattr(store._reader, "_merged", lambda *_: iter([claimed.id, due.id, gone.id, due.id]))

    assert store.due(NOW) == [due]
    assert store.of_process(PROCESS) == [store.get(claimed.id)]


def test_reads_one_by_one_what_a_batch_left(store: DynamoDBLeaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A throttled service answers a part of a batch; the rest is asked for again."""
    records = [make_record(created_at=NOW + i * SECOND) for i in range(5)]
    for record in records:
        store.insert(record)
    call = store._table.call

    def leave_some(operation: str, **arguments: Any) -> dict[str, Any]:
        if operation != "BatchGetItem":
            return call(operation, **arguments)
        (request,) = arguments["RequestItems"].values()
        left = {store.table: {**request, "Keys": [*request["Keys"][2:], {"id": {"S": "gone"}}]}}
        request["Keys"] = request["Keys"][:2]
        return call(operation, **arguments) | {"UnprocessedKeys": left}

    monkeypatch.setattr(store._table, "call", leave_some)

    assert list(store.records()) == records


def test_marks_tombstones_alone_for_dynamodbs_ttl(dynamodb_service: DynamoDB, store: DynamoDBLeaseStore) -> None:
    """The attribute by which DynamoDB deletes is seven days after the revocation, in seconds; no live lease has it."""
    records = [make_record(state=state) for state in ("pending", "active", "revoking")]
    tombstone = make_record(state="revoked", revoked_at=NOW)
    for record in (*records, tombstone):
        store.insert(record)

    assert not any("purge_at" in dynamodb_service.item(store, record.id) for record in records)
    purge_at = int(dynamodb_service.item(store, tombstone.id)["purge_at"]["N"])
    assert 0 <= purge_at - (NOW.timestamp() + 7 * 86_400) < 1


def test_keeps_tombstones_out_of_the_indexes_of_the_living(
    dynamodb_service: DynamoDB, store: DynamoDBLeaseStore
) -> None:
    """A lease leaves each index when it has no business there any more: the indexes are sparse."""
    pending = make_record()
    store.insert(pending)
    store.update(pending.revoked(now=NOW))

    item = dynamodb_service.item(store, pending.id)

    assert {name for name in item if name.endswith(("_queue", "_name", "_key"))} == {"revoked_queue"}


def test_does_not_purge_what_came_to_life_meanwhile(store: DynamoDBLeaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A purge deletes old tombstones only, whatever an index says."""
    live, young = make_record(), make_record(state="revoked", revoked_at=NOW)
    store.insert(live)
    store.insert(young)
    monkeypatch.setattr(store._reader, "before", lambda *_: iter([live.id, young.id, "gone"]))

    assert store.purge(NOW) == 0
    assert {record.id for record in store.records()} == {live.id, young.id}


@pytest.mark.parametrize("lease_id", ["", "x" * 2049, "\udcff", SETTINGS_ID])
def test_has_no_lease_without_a_possible_key(store: DynamoDBLeaseStore, lease_id: str) -> None:
    """An id that can't be a key is not found, and no record can have it."""
    with pytest.raises(LeaseNotFound):
        store.get(lease_id)
    with pytest.raises(LeaseNotFound):
        store.claim(lease_id, "w", NOW, NOW)
    with pytest.raises(StoreError, match="can't be kept"):
        store.insert(make_record(id=lease_id))


def test_is_shared_by_many_hosts(store: DynamoDBLeaseStore) -> None:
    """So a process asks for the third party's time before it writes its first record, which other hosts read."""
    assert EngineState(store, FakeClock(), [], []).spans_hosts


def test_refuses_what_is_too_large(store: DynamoDBLeaseStore) -> None:
    """A record over DynamoDB's limit for an item is refused, with the service's reason."""
    record = make_record(metadata={"note": "too long; " * 50_000})

    with pytest.raises(StoreError, match=r"PutItem.*size") as caught:
        store.insert(record)

    assert (caught.value.code, caught.value.lease_id) == ("ValidationException", record.id)


def test_leaves_attributes_alone_that_it_does_not_know(dynamodb_service: DynamoDB, store: DynamoDBLeaseStore) -> None:
    """An item with more than a record has is read all the same."""
    store.insert(record := full_record())

    dynamodb_service.tamper(store, record.id, colour={"M": {"red": {"NULL": True}}})

    assert store.get(record.id) == record


@pytest.mark.parametrize(
    "attributes",
    [{"state": {"S": "lost"}}, {"version": {"S": "1"}}, {"created_at": {"N": "1.5"}}, {"name": {"NULL": True}}],
)
def test_says_what_is_wrong_with_an_item(
    dynamodb_service: DynamoDB, store: DynamoDBLeaseStore, attributes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is wrong with an item, reading it names the lease, and listing logs that and goes on."""
    store.insert(record := make_record(state="active"))
    store.insert(other := make_record(state="active"))
    dynamodb_service.tamper(store, record.id, **attributes)

    with caplog.at_level(logging.ERROR, logger="dynsecrets"):
        assert list(store.records()) == [other]
    with pytest.raises(StoreError, match=record.id):
        store.get(record.id)
    assert record.id in caplog.text


def test_follows_the_number_of_shards_of_the_table(dynamodb_service: DynamoDB) -> None:
    """The table says how many shards there are; the number grows under stores that are in use, and never shrinks."""
    old = dynamodb_service.make(shards=1)
    records = [make_record(id=f"lease-{i}", created_at=NOW + i * SECOND, owner=f"{PLACE}{i}|1") for i in range(8)]
    for record in records[:4]:
        old.insert(record)

    new = dynamodb_service.make(table=old.table, shards=3)
    for record in records[4:]:
        new.insert(record)
    fewer = dynamodb_service.make(table=old.table, shards=2)

    for store in (old, new, fewer):
        assert store.due(NOW + MINUTE) == records
        assert len(store.processes(PLACE)) == 8
        assert [store.of_process(records[i].owner) for i in (0, 7)] == [[records[0]], [records[7]]]
        store.insert(late := make_record(owner="late"))
        assert new.of_process("late") == [late]
        store.update(late.revoked(now=NOW))
        assert fewer.purge(NOW + SECOND) == 1
    assert len({dynamodb_service.item(new, record.id)["due_queue"]["S"] for record in records}) > 1


def test_works_on_a_table_that_others_made(dynamodb_service: DynamoDB, store: DynamoDBLeaseStore) -> None:
    """Without the item that create_table writes, the first record brings it; before that nothing is due."""
    dynamodb_service.client.delete_item(TableName=store.table, Key={"id": {"S": SETTINGS_ID}})

    assert store.due(NOW) == []
    store.insert(record := make_record())

    assert store.due(NOW) == [record]
    assert set(dynamodb_service.item(store, SETTINGS_ID)) == {"id", "shards", "integrations"}


def test_says_that_the_settings_cannot_be_read(dynamodb_service: DynamoDB, store: DynamoDBLeaseStore) -> None:
    """Settings that somebody broke are an error that names their item: due work must not be overlooked."""
    dynamodb_service.tamper(store, SETTINGS_ID, shards={"S": "many"})

    with pytest.raises(StoreError, match=SETTINGS_ID):
        store.due(NOW)


def test_decides_again_when_a_lease_changes_while_it_is_claimed(
    store: DynamoDBLeaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim stands on the record as it is when it is written; where that never holds still, it is an error."""
    store.insert(record := make_record(state="active"))
    get, changes = store.get, [1] * 3

    def get_late(lease_id: str) -> Any:
        found = get(lease_id)
        if changes:
            changes.pop()
            store.update(attrs.evolve(found, last_error="changed"))
        return found

    monkeypatch.setattr(store, "get", get_late)
    claimed = store.claim(record.id, "w", NOW + MINUTE, NOW)

    assert claimed == get(record.id)
    assert (claimed.version, claimed.last_error) == (5, "changed")
    changes += [1] * 99
    with pytest.raises(StoreError, match="too fast"):
        store.claim(record.id, "w", NOW + 2 * MINUTE, NOW)


def test_shows_its_table_and_nothing_else(dynamodb_service: DynamoDB) -> None:
    """The repr names the table; credentials and endpoint are not in it."""
    assert repr(dynamodb_service.open("leases")) == "DynamoDBLeaseStore('leases')"
