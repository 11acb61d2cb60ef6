"""Lease records as items of DynamoDB."""

from __future__ import annotations

import attrs
import pytest
from boto3.dynamodb.types import TypeDeserializer
from hypothesis import assume, given

from dynsecrets import LeaseRecord, StoreError
from dynsecrets.stores.dynamodb.items import INDEXES, behind, from_item, is_key, leases_of, process_of, to_item
from dynsecrets.stores.record_codec import RowError
from support.builders import MINUTE, NOW, PROCESS, full_record, lease_records, make_record


@given(lease_records())
def test_returns_what_was_put_in(record: LeaseRecord) -> None:
    """Any record comes back as it was, times to the microsecond; what can't be kept is refused."""
    assume(is_key(record.id))

    try:
        item = to_item(record, shards=4, token="t")
    except StoreError:
        return

    assert attrs.asdict(from_item(item)) == attrs.asdict(record)


def test_is_spelt_as_boto3_spells_it() -> None:
    """An item reads the same by boto3's own means, and holds nothing but the record, its places and its token."""
    record = full_record()

    item = to_item(record, shards=4, token="t")

    read = {name: TypeDeserializer().deserialize(value) for name, value in item.items()}
    assert (read["id"], read["version"], read["stuck"], read["write_token"]) == (record.id, 12, True, "t")
    assert read["due_queue"].startswith("aws-eu.1#")
    # All that a record has, but what this one lacks; then what it is found by.
    fields = {field.name for field in attrs.fields(LeaseRecord)} - {"revoked_at"}
    assert set(item) == fields | {"due_at", "due_queue", "live_name", "process_queue", "process_key", "write_token"}


def test_stands_in_an_index_with_both_attributes_or_with_none() -> None:
    """Wherever an item has the attribute that an index starts from, it has the one that this index is sorted by."""
    for state in ("pending", "active", "revoking", "revoked"):
        item = to_item(make_record(state=state), shards=4, token="t")

        for index in INDEXES:
            assert index.start not in item or index.kind in item[index.sort]


def test_sorts_the_leases_of_a_process_by_age() -> None:
    """Keys of a process go by age, all begin alike, and lie together."""
    ages = [NOW.replace(year=1), NOW.replace(year=1969), NOW, NOW + MINUTE, NOW.replace(year=9999)]

    keys = [
        to_item(make_record(created_at=moment, owner=PROCESS), shards=4, token="t")["process_key"]["S"]
        for moment in ages
    ]

    assert keys == sorted(keys)
    assert all(key.startswith(leases_of(PROCESS)) and key < behind(PROCESS) for key in keys)
    assert behind(PROCESS) < leases_of(PROCESS + "0")
    assert {process_of(key) for key in keys} == {PROCESS}


@pytest.mark.parametrize(
    "attributes",
    [
        {"id": {"B": b"1"}},
        {"handle": {"S": "[]"}},
        {"stuck": {"S": "no"}},
        {"version": {"N": "one"}},
        {"version": {}},
        {"version": {"N": "1", "S": "1"}},
        {"version": "1"},
        {"attempts": None},
        {"owner": {"NULL": True}},
        {"created_at": {"N": "9" * 38}},
    ],
)
def test_refuses_what_is_no_record(attributes: dict[str, object]) -> None:
    """Whatever is wrong with an item is one error."""
    item = to_item(make_record(), shards=4, token="t") | attributes

    with pytest.raises(RowError):
        from_item(item)


def test_refuses_an_item_that_lacks_something() -> None:
    """An attribute that every record has must be there."""
    item = to_item(make_record(), shards=4, token="t")
    del item["owner"]

    with pytest.raises(RowError):
        from_item(item)
