"""DynamoDB as the store sees it: one client a process, calls on one table, and errors of the library's own."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from dynsecrets._aws.client_cache import ClientCache, check_client_options, default_session, method_of
from dynsecrets._aws.error_codes import DENIED, THROTTLED, code_of, text_of
from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import boto3
    from botocore.config import Config

_TABLE: Final = re.compile(r"(arn:[a-z0-9-]+:dynamodb:[a-z0-9-]*:[0-9]*:table/)?[A-Za-z0-9_.-]{1,255}")
_BATCH: Final = 25  # Items of one BatchWriteItem (API reference).
_BATCH_TRIES: Final = 5  # Each of which botocore repeats with pauses, where all of it is throttled.
_REFUSED: Final = "ConditionalCheckFailedException"
_SETTINGS: Final = {
    # Not "adaptive": that slows down all calls of a process for one table partition that is busy.
    "retries": {"mode": "standard", "total_max_attempts": 6},
    "connect_timeout": 5,
    "read_timeout": 10,
}


class ConditionFailed(Exception):
    """A write whose condition did not hold; ``item`` is what stood there, ``None`` where the service didn't say."""

    def __init__(self, item: Mapping[str, Any] | None) -> None:
        super().__init__("the condition of a write did not hold")
        self.item = item


class Table:
    """Makes calls on one table. Safe to use from any thread, and on both sides of a fork.

    Credentials, region and endpoint are found as by any boto3 client, unless they are given. boto3 is loaded by the
    first call. botocore tries each call again that was throttled, cut off, or failed within the service.
    """

    def __init__(
        self,
        name: str,
        *,
        session: boto3.Session | None,
        region: str | None,
        endpoint_url: str | None,
        config: Config | None,
    ) -> None:
        if not isinstance(name, str) or not _TABLE.fullmatch(name):
            raise InvalidConfig(
                f"table {safe_repr(name)} is not the name of a table: give letters, digits, '_', '-' and '.', "
                "or the table's ARN"
            )
        check_client_options(session, region, endpoint_url, config)
        self.name = name
        self._region = region
        self._closed = False
        self._clients = ClientCache(
            lambda: session or default_session(), endpoint_url=endpoint_url, config=config, settings=_SETTINGS
        )

    def call(self, operation: str, *, lease_id: str | None = None, **arguments: Any) -> dict[str, Any]:
        """Make a call on the table (``operation`` is the API's own name) and return the answer.

        Raises ``ConditionFailed`` where the condition of a write doesn't hold, else ``StoreError``.
        """
        if not operation.startswith("Batch"):
            arguments["TableName"] = self.name
        with self._explaining(operation, lease_id):
            answer: dict[str, Any] = method_of(self.client(), operation)(**arguments)
        return answer

    def delete(self, keys: list[dict[str, Any]]) -> None:
        """Delete items, many at a time. Raises ``StoreError``."""
        for start in range(0, len(keys), _BATCH):
            left = [{"DeleteRequest": {"Key": key}} for key in keys[start : start + _BATCH]]
            for _ in range(_BATCH_TRIES):
                answer = self.call("BatchWriteItem", RequestItems={self.name: left})
                left = [
                    request for unprocessed in answer.get("UnprocessedItems", {}).values() for request in unprocessed
                ]
                if not left:
                    break
            else:
                raise StoreError(f"table {self.name} takes no more calls just now: {len(left)} items were not deleted")

    def pages(self, operation: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Make a call that answers in pages; yield each when it is asked for. Raises ``StoreError``."""
        from botocore import xform_name

        with self._explaining(operation):
            pages = iter(self.client().get_paginator(xform_name(operation)).paginate(TableName=self.name, **arguments))
        while True:
            with self._explaining(operation):
                page = next(pages, None)
            if page is None:
                return
            yield page

    @contextmanager
    def _explaining(self, operation: str, lease_id: str | None = None) -> Iterator[None]:
        """Raise the library's errors instead of botocore's."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # botocore's errors have no common root, and making a client reads files.
            if code_of(error) == _REFUSED:
                raise ConditionFailed(getattr(error, "response", {}).get("Item")) from error
            raise self._explain(error, operation, lease_id) from error

    def client(self) -> Any:
        """Return the client of this process."""
        if self._closed:
            raise StoreError(f"the store is closed: make a new DynamoDBLeaseStore for {self.name}")
        return self._clients.get("dynamodb", lambda: self._clients.make("dynamodb", self._region))

    def close(self) -> None:
        """Close the connections. Closing twice is fine."""
        self._closed = True
        self._clients.close()

    def _explain(self, error: Exception, operation: str, lease_id: str | None) -> StoreError:
        """Return the library's error for one of botocore's: what failed, and what to do."""
        code = code_of(error)
        says = text_of(error) or f"{type(error).__name__}: {error}"
        hint = ""
        if code == "ResourceNotFoundException" or "specified index" in says:
            hint = "; there is no such table in that account and region, or it lacks an index: create_table() makes it"
        elif code in DENIED:
            hint = f"; the credentials need dynamodb:{operation} on the table and on its index/*"
        elif code in THROTTLED:
            hint = "; the table takes no more calls just now, after several tries: raise its capacity, or use on-demand"
        message = f"{operation} on table {self.name} failed: {says.rstrip(': ')}{hint}"
        return StoreError(message, code=code, operation=operation, lease_id=lease_id)
