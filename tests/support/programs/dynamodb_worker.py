"""A process that claims leases in DynamoDB: ``dynamodb_worker.py TABLE ENDPOINT NAME``. Not a test."""

from __future__ import annotations

import json
import sys

from dynsecrets import DynamoDBLeaseStore
from support.builders import MINUTE, NOW, make_record


def main(table: str, endpoint_url: str, name: str) -> None:
    """Wait for the start, insert a record, and claim all that stand in the line that starts the race."""
    store = DynamoDBLeaseStore(table, endpoint_url=endpoint_url)
    store.insert(record := make_record())
    print("ready", flush=True)
    wanted = json.loads(sys.stdin.readline())
    claimed = [lease_id for lease_id in wanted if store.claim(lease_id, name, NOW + MINUTE, NOW) is not None]
    print(json.dumps({"inserted": record.id, "claimed": claimed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
