"""dynalite is what the tests of the store take it for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from support import dynalite as server
from support.processes import ServerError

if TYPE_CHECKING:
    from support.dynamodb import DynamoDB


@pytest.mark.parametrize("operation", ["transact_write_items", "update_time_to_live"])
def test_lacks_what_the_store_must_do_without(dynalite: DynamoDB, operation: str) -> None:
    """It has neither transactions nor a TTL, so what passes on it needs neither."""
    arguments: dict[str, dict[str, Any]] = {
        "transact_write_items": {"TransactItems": [{"Delete": {"TableName": "leases", "Key": {"id": {"S": "1"}}}}]},
        "update_time_to_live": {
            "TableName": "leases",
            "TimeToLiveSpecification": {"Enabled": True, "AttributeName": "purge_at"},
        },
    }

    with pytest.raises(ClientError, match="UnknownOperationException"):
        getattr(dynalite.client, operation)(**arguments[operation])


def test_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it isn't installed, the error says what installs it."""
    monkeypatch.setattr(server, "_CLI", Path("nowhere", "cli.js"))

    with pytest.raises(ServerError, match=r"nowhere.*make test"):
        server.dynalite_command(8000)
