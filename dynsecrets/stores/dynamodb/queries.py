"""How records are found in DynamoDB: keys by an index, then the items themselves, as they are now."""

from __future__ import annotations

from heapq import merge
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

import attrs

from dynsecrets._internal.log import logger
from dynsecrets.errors import StoreError
from dynsecrets.stores.dynamodb.items import (
    DUE,
    PROCESS,
    SETTINGS_ID,
    behind,
    from_item,
    key_of,
    process_of,
    to_value,
)
from dynsecrets.stores.record_codec import RowError
from dynsecrets.stores.unreadable import note_unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dynsecrets.model.record import LeaseRecord
    from dynsecrets.stores.dynamodb.items import Index, Item
    from dynsecrets.stores.dynamodb.table import Table

_BATCH: Final = 100  # Items of one BatchGetItem (API reference).
_AT_MOST: Final = "#sort <= :sort"
_BELOW: Final = "#sort < :sort"
_BEGINS: Final = "begins_with(#sort, :sort)"


@attrs.frozen
class Settings:
    """What all users of a table must agree on: the number of shards; and the integrations that ever wrote to it."""

    shards: int
    integrations: frozenset[str] = frozenset()


class Reader:
    """Finds records. Safe to use from any thread."""

    def __init__(self, table: Table, *, shards: int) -> None:
        self._table = table
        self._default = Settings(shards)

    def settings(self) -> Settings:
        """Return the settings of the table; one small item."""
        return self.to_settings(self.item(SETTINGS_ID))

    def to_settings(self, item: Item | None) -> Settings:
        """Read the item of the settings. Where there is none, nothing was written yet."""
        if item is None:
            return self._default
        try:
            shards = int(item["shards"]["N"]) if "shards" in item else self._default.shards
            integrations = item["integrations"]["SS"] if "integrations" in item else ()
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"the item {SETTINGS_ID!r} of table {self._table.name} can't be read: {error!r}"
            ) from error
        return Settings(shards, frozenset(integrations))

    def item(self, lease_id: str) -> Item | None:
        """Return an item as it is now, or ``None``."""
        answer = self._table.call("GetItem", lease_id=lease_id, Key=key_of(lease_id), ConsistentRead=True)
        return answer.get("Item")

    def record(self, item: Item) -> LeaseRecord:
        """Return the record of an item. Raises ``StoreError`` where it can't be read."""
        try:
            return from_item(item)
        except RowError as error:
            lease_id = item["id"]["S"]
            msg = f"the record of lease {lease_id} in table {self._table.name} can't be read: {error}"
            raise StoreError(msg, lease_id=lease_id) from error

    def records(self, ids: Iterable[str], limit: int | None = None) -> Iterator[LeaseRecord]:
        """Read records in the order of their ids, about as many at a time as are wanted; log what can't be read.

        What is gone by now is left out, and so is an id that comes again.
        """
        size = _BATCH if limit is None else max(1, min(limit, _BATCH))
        left = _distinct(ids)
        while chunk := list(islice(left, size)):
            items = self._items(chunk)
            for lease_id in chunk:
                if lease_id not in items:
                    continue
                try:
                    yield self.record(items[lease_id])
                except StoreError as error:
                    logger.error("%s", error)
                    note_unreadable(lease_id)

    def _items(self, ids: Iterable[str]) -> dict[str, Item]:
        """Read many items at once, as they are now."""
        request = {"Keys": [key_of(lease_id) for lease_id in ids], "ConsistentRead": True}
        answer = self._table.call("BatchGetItem", RequestItems={self._table.name: request})
        items: list[Item] = [item for found in answer["Responses"].values() for item in found]
        for left in answer.get("UnprocessedKeys", {}).values():
            # What a throttled service left is read one by one: those calls botocore repeats, with pauses.
            alone = [self.item(key["id"]["S"]) for key in left["Keys"]]
            items += [item for item in alone if item is not None]
        return {item["id"]["S"]: item for item in items}

    def scan(self, filters: Mapping[str, str]) -> list[str]:
        """Read the whole table for the ids of records whose attributes are these, the oldest first."""
        arguments: dict[str, Any] = {
            "ConsistentRead": True,
            "ProjectionExpression": "#id, #created_at",
            "ExpressionAttributeNames": {f"#{name}": name for name in ("id", "created_at", *filters)},
        }
        if filters:
            arguments["FilterExpression"] = " AND ".join(f"#{name} = :{name}" for name in filters)
            arguments["ExpressionAttributeValues"] = {f":{name}": to_value(value) for name, value in filters.items()}
        found = []
        for page in self._table.pages("Scan", **arguments):
            found += [(_number(item.get("created_at")), item["id"]["S"]) for item in page["Items"]]
        return [lease_id for _, lease_id in sorted(found) if lease_id != SETTINGS_ID]

    def due(self, queues: Iterable[str], moment: int, latest: int, limit: int | None) -> Iterator[str]:
        """Find the ids that are due at a moment, the earliest first, and of claims those that end later than any can.

        Claims stand first in each queue, by their end with a minus sign: all keys of them are read, and no more items.
        """
        claims: list[tuple[int, str]] = []
        queued = [self._behind_claims(self._part(DUE, queue, _AT_MOST, moment, limit), claims) for queue in queues]
        overdue = merge(*queued)
        first = list(islice(overdue, 1))
        lapsed = sorted(claim for claim in claims if claim[0] <= moment or claim[0] > latest)
        return (lease_id for _, lease_id in merge(chain(first, overdue), lapsed))

    def _behind_claims(
        self, part: Iterator[tuple[Any, str]], claims: list[tuple[int, str]]
    ) -> Iterator[tuple[Any, str]]:
        """Take the claims out of a part of the index of due work; they are what comes first."""
        for moment, lease_id in part:
            if moment < 0:
                claims.append((-moment, lease_id))
            else:
                yield moment, lease_id

    def before(self, index: Index, starts: Iterable[str], moment: int, limit: int | None) -> Iterator[str]:
        """Find the ids in these parts of an index that are earlier than a moment, the earliest first."""
        return self._merged(index, starts, _BELOW, moment, limit)

    def beginning(self, index: Index, starts: Iterable[str], text: str, limit: int | None) -> Iterator[str]:
        """Find the ids in these parts of an index that are sorted by a text that begins so, in that order."""
        return self._merged(index, starts, _BEGINS, text, limit)

    def all_of(self, index: Index, start: str, limit: int | None = None) -> Iterator[str]:
        """Find all ids in a part of an index, in order, about as many at a time as are wanted."""
        return self._merged(index, [start], limit=limit)

    def count(self, index: Index, start: str) -> int:
        """Count what is in a part of an index."""
        pages = self._table.pages("Query", Select="COUNT", **_query(index, start))
        return sum(page["Count"] for page in pages)

    def processes(self, start: str, place: str) -> Iterator[str]:
        """Find the processes in a part of the index that begin so, leaping from each to the next."""
        condition, bound = ("#sort >= :sort", place) if place else (None, "")
        while True:
            arguments = _query(PROCESS, start, condition, bound)
            keys = self._table.call("Query", Limit=1, **arguments)["Items"]
            process = process_of(keys[0][PROCESS.sort]["S"]) if keys else None
            if process is None or not process.startswith(place):
                return
            yield process
            condition, bound = "#sort > :sort", behind(process)

    def _merged(
        self,
        index: Index,
        starts: Iterable[str],
        condition: str | None = None,
        bound: str | float = "",
        limit: int | None = None,
    ) -> Iterator[str]:
        """Find ids in parts of an index, in the order by which all are sorted; read no more than is asked for."""
        parts = [self._part(index, start, condition, bound, limit) for start in starts]
        return (lease_id for _, lease_id in merge(*parts))

    def _part(
        self, index: Index, start: str, condition: str | None, bound: str | float, limit: int | None
    ) -> Iterator[tuple[Any, str]]:
        arguments = _query(index, start, condition, bound)
        if limit is not None:
            arguments["Limit"] = max(1, limit)
        for page in self._table.pages("Query", **arguments):
            for key in page["Items"]:
                (sort,) = key[index.sort].values()
                yield int(sort) if index.kind == "N" else sort, key["id"]["S"]


def _query(index: Index, start: str, condition: str | None = None, bound: str | float = "") -> dict[str, Any]:
    """Return the arguments of a Query."""
    arguments: dict[str, Any] = {
        "IndexName": index.name,
        "KeyConditionExpression": "#start = :start",
        "ExpressionAttributeNames": {"#start": index.start},
        "ExpressionAttributeValues": {":start": to_value(start)},
    }
    if condition is not None:
        arguments["KeyConditionExpression"] += f" AND {condition}"
        arguments["ExpressionAttributeNames"]["#sort"] = index.sort
        arguments["ExpressionAttributeValues"][":sort"] = to_value(bound)
    return arguments


def _distinct(ids: Iterable[str]) -> Iterator[str]:
    """Leave out ids that came before: an index may show an item in two places while it moves."""
    seen = set[str]()
    for lease_id in ids:
        if lease_id not in seen:
            seen.add(lease_id)
            yield lease_id


def _number(value: Mapping[str, str] | None) -> int:
    """Return the number of an attribute; of an unreadable one, the least."""
    try:
        return int((value or {})["N"])
    except (KeyError, TypeError, ValueError):
        return 0
