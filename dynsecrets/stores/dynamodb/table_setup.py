"""How the table of a store is made: its keys, its indexes, and DynamoDB's own TTL for tombstones."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any, Final

from dynsecrets.errors import StoreError
from dynsecrets.stores.dynamodb.items import INDEXES, SETTINGS_ID, TTL_ATTRIBUTE, key_of, to_value
from dynsecrets.stores.dynamodb.table import ConditionFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from dynsecrets.stores.dynamodb.table import Table

#: What services answer that have no such call: dynalite and others, and those that answer in HTTP's own words.
_NO_SUCH_CALL: Final = frozenset(
    {"UnknownOperationException", "UnsupportedOperationException", "NotImplemented", "InvalidAction", "501"}
)
_TYPES: Final = {"id": "S"} | {index.start: "S" for index in INDEXES} | {index.sort: index.kind for index in INDEXES}
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0


class TableMaker:
    """Makes a table, or finds it made. Everything it does can be repeated, and done by many at once."""

    def __init__(self, table: Table, *, shards: int, sleep: Callable[[float], object] = time.sleep) -> None:
        self._table = table
        self._shards = shards
        self._sleep = sleep

    def make(self, timeout: timedelta) -> None:
        """Make the table where there is none, wait until it and its indexes can be used, and set it up."""
        try:
            self._table.call("CreateTable", **_definition())
        except StoreError as error:
            # It is there already; or this call made it, and was repeated because its answer got lost.
            if error.code != "ResourceInUseException":
                raise
        self._check(self._wait(timeout))
        self._raise_shards()
        self._enable_ttl()

    def _wait(self, timeout: timedelta) -> dict[str, Any]:
        """Return the description of the table once it is active."""
        pause = _FIRST_PAUSE_S
        deadline = time.monotonic() + timeout.total_seconds()
        while True:
            description = self._describe()
            parts = [description, *description.get("GlobalSecondaryIndexes", ())]
            if all(part.get("TableStatus", part.get("IndexStatus")) in ("ACTIVE", None) for part in parts):
                return description
            if time.monotonic() + pause > deadline:
                status = description.get("TableStatus", "an index is being made")
                raise StoreError(
                    f"table {self._table.name} was not ready within {timeout.total_seconds():g} s ({status}): "
                    "call create_table() again to go on waiting"
                )
            self._sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _describe(self) -> dict[str, Any]:
        try:
            description: dict[str, Any] = self._table.call("DescribeTable")["Table"]
        except StoreError as error:
            # A table that was made a moment ago may not be known everywhere (API reference, DescribeTable).
            if error.code != "ResourceNotFoundException":
                raise
            return {"TableStatus": "NOT FOUND"}
        return description

    def _check(self, description: dict[str, Any]) -> None:
        """Raise ``StoreError`` where a table of that name is there which can't be the store's."""
        types = {item["AttributeName"]: item["AttributeType"] for item in description["AttributeDefinitions"]}
        found = {index["IndexName"]: index["KeySchema"] for index in description.get("GlobalSecondaryIndexes", ())}
        wrong = [] if _same_keys(description["KeySchema"], ["id"], types) else ["its key is not 'id' (text)"]
        wrong += [
            f"it lacks the index {index.name!r} on {index.start!r} (text) and {index.sort!r} "
            f"({'number' if index.kind == 'N' else 'text'})"
            for index in INDEXES
            if not _same_keys(found.get(index.name, []), [index.start, index.sort], types)
        ]
        if wrong:
            raise StoreError(
                f"table {self._table.name} is there, but was not made for lease records: {'; '.join(wrong)}. "
                "Give the store another name, and create_table() makes the table"
            )

    def _raise_shards(self) -> None:
        """Write down how many shards there are; never fewer than before, or what is in the others is lost."""
        try:
            self._table.call(
                "UpdateItem",
                Key=key_of(SETTINGS_ID),
                UpdateExpression="SET #shards = :shards",
                ConditionExpression="attribute_not_exists(#shards) OR #shards < :shards",
                ExpressionAttributeNames={"#shards": "shards"},
                ExpressionAttributeValues={":shards": to_value(self._shards)},
            )
        except ConditionFailed:
            return

    def _enable_ttl(self) -> None:
        """Have DynamoDB delete old tombstones by itself; warn where the service can't."""
        specification = {"Enabled": True, "AttributeName": TTL_ATTRIBUTE}
        try:
            self._table.call("UpdateTimeToLive", TimeToLiveSpecification=specification)
        except StoreError as error:
            if error.code in _NO_SUCH_CALL:
                warnings.warn(
                    f"table {self._table.name} is made, but the service has no UpdateTimeToLive: old tombstones stay "
                    "until purge() deletes them, which every reap() calls",
                    UserWarning,
                    stacklevel=4,
                )
            elif "already enabled" not in str(error):
                raise


def _definition() -> dict[str, Any]:
    """Return the arguments of CreateTable."""
    return {
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": kind} for name, kind in _TYPES.items()],
        "KeySchema": _keys("id"),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": index.name,
                "KeySchema": _keys(index.start, index.sort),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for index in INDEXES
        ],
    }


def _keys(*names: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(names, ("HASH", "RANGE"), strict=False)]


def _same_keys(schema: list[dict[str, str]], names: list[str], types: dict[str, str]) -> bool:
    """Tell whether a schema has these keys, of the types that they have here."""
    found = [(key["KeyType"], key["AttributeName"], types[key["AttributeName"]]) for key in schema]
    wanted = [(key["KeyType"], key["AttributeName"], _TYPES[key["AttributeName"]]) for key in _keys(*names)]
    return sorted(found) == sorted(wanted)
