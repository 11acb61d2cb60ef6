"""Lease records in a table of DynamoDB: for fleets of machines that share them."""

from __future__ import annotations

import secrets
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

from dynsecrets._internal.compat import override
from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig
from dynsecrets.model.lifecycle import LIVE as LIVE_STATES
from dynsecrets.model.lifecycle import LONGEST_CLAIM, LeaseState
from dynsecrets.model.ttl import parse_ttl
from dynsecrets.stores.base import FailureIndex, LeaseStore, ProcessIndex
from dynsecrets.stores.common import (
    CLAIM_TRIES,
    changes_too_fast,
    check_state,
    claimed,
    conflict,
    is_due,
    not_found,
    taken,
)
from dynsecrets.stores.dynamodb.items import (
    LIVE,
    PROCESS,
    REVOKED,
    SETTINGS_ID,
    TOKEN,
    due_queue,
    ended_queue,
    failed_queue,
    is_key,
    key_of,
    leases_of,
    to_item,
    to_value,
)
from dynsecrets.stores.dynamodb.queries import Reader
from dynsecrets.stores.dynamodb.table import ConditionFailed, Table
from dynsecrets.stores.dynamodb.table_setup import TableMaker
from dynsecrets.stores.record_codec import to_microseconds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

    import boto3
    from botocore.config import Config

    from dynsecrets.model.record import LeaseRecord
    from dynsecrets.model.ttl import TTL
    from dynsecrets.stores.dynamodb.queries import Settings

_MOST_SHARDS: Final = 64
_NEW: Final = "attribute_not_exists(#id)"
_VERSION: Final = "#version = :version"


class DynamoDBLeaseStore(LeaseStore, ProcessIndex, FailureIndex):
    """Keeps lease records in a table of DynamoDB, which any number of machines may share.

    Credentials, region and endpoint are found as by any boto3 client, unless they are given. Nothing is called before
    the first use. :meth:`create_table` makes the table.

    Due work is found by an index, so it costs what is due, not what is stored, and one query for each integration and
    shard; an index, though, is a moment behind the table. What an index finds is read again as it is now before it is
    handed out; what was written a moment ago may be found a moment later; and :meth:`count_live` may count a moment
    late, so that ``max_active`` is exact only up to what is requested at the very same time. :meth:`records` is for
    people and for cleaning up after accidents: it reads the whole table (for the ids), then what matches, in steps;
    with a ``name`` and a ``state`` that is not ``revoked`` it reads the live leases of that name, by an index.

    A record is durable when its method returns. Where a call ends in a ``StoreError`` because no answer came, what it
    was to write may be there all the same: read again.

    Safe to use from any thread; used before and after a fork, in the parent and in the child, each process has
    connections of its own. The credentials need these actions on the table and on its ``index/*``:
    ``dynamodb:GetItem``, ``BatchGetItem``, ``Query``, ``PutItem``, ``UpdateItem``, ``BatchWriteItem``, and ``Scan``
    where :meth:`records` is used; for :meth:`create_table` also ``CreateTable``, ``DescribeTable`` and
    ``UpdateTimeToLive``.

    Args:
        table: The name of the table, or its ARN.
        session: The session that makes the client. By default a new one.
        endpoint_url: The endpoint, where it is not AWS's own.
        region: The region of the table. By default the session's.
        botocore_config: What is merged over the store's own settings: five retries, time-outs of 5 and 10 seconds.
        shards: The number of parts, 1 to 64, that each queue of the table has; four take some thousand writes a
            second. The table remembers the number, and all stores on it follow that, whatever they were given;
            ``create_table()`` of a store with a larger one raises it, at any time. It never shrinks.

    Raises:
        InvalidConfig: One of these is not accepted.
    """

    #: The table stays, so a manager that closes leaves its leases to whoever comes next.
    outlives_process = True
    #: Processes of many hosts share it, whose clocks differ.
    spans_hosts = True

    def __init__(
        self,
        table: str,
        session: boto3.Session | None = None,
        endpoint_url: str | None = None,
        *,
        region: str | None = None,
        botocore_config: Config | None = None,
        shards: int = 4,
    ) -> None:
        if type(shards) is not int or not 1 <= shards <= _MOST_SHARDS:
            raise InvalidConfig(f"shards {safe_repr(shards)} must be a whole number from 1 to {_MOST_SHARDS}")
        self._table = Table(table, session=session, region=region, endpoint_url=endpoint_url, config=botocore_config)
        self._shards = shards
        self._reader = Reader(self._table, shards=shards)
        # What this process knows to be written down in the table.
        self._known: Settings | None = None

    @property
    def table(self) -> str:
        """The name of the table, or its ARN, as it was given."""
        return self._table.name

    def create_table(self, *, wait_timeout: TTL = "5m") -> None:
        """Make the table with its indexes where there is none, and wait until it can be used.

        Can be repeated, and called by many at once. The table is billed on demand; DynamoDB itself deletes tombstones
        that are seven days old (its TTL, on ``purge_at``, which nothing else has). Warns (``UserWarning``) where the
        service has no UpdateTimeToLive, and goes on.

        Args:
            wait_timeout: How long to wait, as a TTL.

        Raises:
            InvalidTTL: That is not a TTL.
            StoreError: A table of that name is there which was made for something else, or it isn't ready in time.
        """
        timeout = parse_ttl(wait_timeout, what="wait_timeout")
        self._known = None
        TableMaker(self._table, shards=self._shards).make(timeout)

    def insert(self, record: LeaseRecord) -> None:
        try:
            self._put(record, _NEW, {"#id": "id"}, {})
        except ConditionFailed as error:
            raise taken(record.id) from error

    def update(self, record: LeaseRecord) -> LeaseRecord:
        updated = record.next_version()
        try:
            self._replace(updated)
        except ConditionFailed as error:
            raise (conflict(record) if error.item else not_found(record.id)) from error
        return updated

    def get(self, lease_id: str) -> LeaseRecord:
        item = self._reader.item(lease_id) if is_key(lease_id) else None
        if item is None:
            raise not_found(lease_id)
        return self._reader.record(item)

    def records(
        self,
        *,
        state: LeaseState | str | None = None,
        name: str | None = None,
        integration: str | None = None,
    ) -> Iterator[LeaseRecord]:
        wanted = check_state(state)
        if name and wanted in LIVE_STATES:
            ids: Iterator[str] = chain(self._reader.all_of(LIVE, name), self._reader.all_of(LIVE, ended_queue(name)))
        else:
            given = {"state": wanted and wanted.value, "name": name, "integration": integration}
            ids = iter(self._reader.scan({key: value for key, value in given.items() if value is not None}))
        return (
            record
            for record in self._reader.records(ids)
            if wanted in (None, record.state)
            and name in (None, record.name)
            and integration in (None, record.integration)
        )

    def due(
        self, now: datetime, *, integrations: Collection[str] | None = None, limit: int | None = None
    ) -> list[LeaseRecord]:
        moment = to_microseconds(now)
        settings = self._reader.settings()
        names = settings.integrations if integrations is None else set(integrations)
        queues = [due_queue(name, shard) for name in names for shard in range(settings.shards)]
        latest = to_microseconds(now + LONGEST_CLAIM)
        found = self._reader.records(self._reader.due(queues, moment, latest, limit), limit)
        # The index may be behind: what was claimed a moment ago isn't due any more.
        still = (record for record in found if is_due(record, now))
        return sorted(_first(still, limit), key=_due_at)

    def claim(self, lease_id: str, worker: str, until: datetime, now: datetime) -> LeaseRecord | None:
        for _ in range(CLAIM_TRIES):
            record = claimed(self.get(lease_id), worker, until, now)
            if record is None:
                return None
            try:
                self._replace(record)
            except ConditionFailed:
                continue  # Changed since it was read: decide again.
            return record
        raise changes_too_fast(lease_id)

    def count_live(self, name: str) -> int:
        return self._reader.count(LIVE, name)

    def purge(self, before: datetime, *, limit: int | None = None) -> int:
        # Without this DynamoDB's own TTL deletes tombstones, some days later.
        moment = to_microseconds(before)
        shards = map(str, range(self._reader.settings().shards))
        old = self._reader.records(self._reader.before(REVOKED, shards, moment, limit), limit)
        # Whatever an index says: what is a tombstone as it is read now stays one.
        tombstones = (record for record in old if not record.live and record.revoked_at and record.revoked_at < before)
        gone = [record.id for record in islice(tombstones, None if limit is None else max(limit, 0))]
        self._table.delete([key_of(lease_id) for lease_id in gone])
        return len(gone)

    @override
    def processes(self, place: str) -> list[str]:
        shards = self._reader.settings().shards
        return sorted({process for shard in range(shards) for process in self._reader.processes(str(shard), place)})

    @override
    def of_process(self, process: str, *, limit: int | None = None) -> list[LeaseRecord]:
        shards = map(str, range(self._reader.settings().shards))
        ids = self._reader.beginning(PROCESS, shards, leases_of(process), limit)
        return _first((record for record in self._reader.records(ids, limit) if record.process == process), limit)

    @override
    def failed(self, integration: str, *, limit: int | None = None) -> list[LeaseRecord]:
        found = self._reader.records(self._reader.all_of(PROCESS, failed_queue(integration), limit), limit)
        return _first((record for record in found if _has_failed(record, integration)), limit)

    def close(self) -> None:
        self._table.close()

    def __repr__(self) -> str:
        return f"DynamoDBLeaseStore({self._table.name!r})"

    def _replace(self, record: LeaseRecord) -> None:
        """Write a record over the version before it. Raises ``ConditionFailed``, with the item that is there."""
        self._put(record, _VERSION, {"#version": "version"}, {":version": to_value(record.version - 1)})

    def _put(self, record: LeaseRecord, condition: str, names: dict[str, str], values: dict[str, Any]) -> None:
        """Write a record if a condition holds. Raises ``ConditionFailed``, with the item that is there.

        A write that worked, but whose answer got lost, is repeated by botocore; then its condition doesn't hold any
        more, because of itself: the token tells.
        """
        token = secrets.token_hex(8)
        item = to_item(record, shards=self._register(record.integration).shards, token=token)
        arguments: dict[str, Any] = {"ExpressionAttributeNames": names}
        if values:
            arguments["ExpressionAttributeValues"] = values
        try:
            self._table.call(
                "PutItem",
                lease_id=record.id,
                Item=item,
                ConditionExpression=condition,
                # Saves the look at what is there, where the service knows it.
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **arguments,
            )
        except ConditionFailed as error:
            there = error.item or self._reader.item(record.id)
            if there is None or there.get(TOKEN) != to_value(token):
                raise ConditionFailed(there) from error.__cause__

    def _register(self, integration: str) -> Settings:
        """See to it that the table knows an integration, before it has anything due; return the settings."""
        known = self._known
        if known is None or integration not in known.integrations:
            answer = self._table.call(
                "UpdateItem",
                Key=key_of(SETTINGS_ID),
                UpdateExpression="SET #shards = if_not_exists(#shards, :shards) ADD #integrations :integrations",
                ExpressionAttributeNames={"#shards": "shards", "#integrations": "integrations"},
                ExpressionAttributeValues={
                    ":shards": to_value(self._shards),
                    ":integrations": to_value({integration}),
                },
                ReturnValues="ALL_NEW",
            )
            known = self._known = self._reader.to_settings(answer["Attributes"])
        return known


def _first(records: Iterator[LeaseRecord], limit: int | None) -> list[LeaseRecord]:
    return list(islice(records, None if limit is None else max(limit, 0)))


def _has_failed(record: LeaseRecord, integration: str) -> bool:
    """Tell whether a record is still one: an index may be behind."""
    unclaimed = record.state is LeaseState.REVOKING and record.claimed_by is None
    return unclaimed and not record.waits and record.integration == integration


def _due_at(record: LeaseRecord) -> Any:
    return record.due_at
