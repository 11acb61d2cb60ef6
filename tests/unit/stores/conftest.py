"""Stores in DynamoDB, on two implementations of it: moto and dynalite."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from support.dynalite import dynalite_server
from support.dynamodb import DynamoDB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dynsecrets import DynamoDBLeaseStore
    from support.moto_server import MotoServer


@pytest.fixture(scope="session")
def moto_dynamodb(moto_server: MotoServer) -> DynamoDB:
    """DynamoDB as moto has it."""
    return DynamoDB.of(moto_server.new_account())


@pytest.fixture(scope="session")
def dynalite() -> Iterator[DynamoDB]:
    """DynamoDB as dynalite has it, one for each process of the test run."""
    with dynalite_server() as account:
        yield DynamoDB.of(account)


@pytest.fixture(params=["moto_dynamodb", "dynalite"])
def dynamodb_service(request: pytest.FixtureRequest) -> DynamoDB:
    """Each of them in turn."""
    service = request.getfixturevalue(request.param)
    assert isinstance(service, DynamoDB)
    return service


@pytest.fixture
def watch() -> Callable[[DynamoDBLeaseStore], list[tuple[str, dict[str, Any]]]]:
    """Return how to watch a store: by a list to which each call is added with its answer."""

    def watch(store: DynamoDBLeaseStore) -> list[tuple[str, dict[str, Any]]]:
        calls: list[tuple[str, dict[str, Any]]] = []

        def note(model: Any, parsed: dict[str, Any], **_: Any) -> None:
            calls.append((model.name, parsed))

        store._table.client().meta.events.register("after-call.dynamodb", note)
        return calls

    return watch


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Have botocore note its pauses between tries instead of making them."""
    pauses: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=pauses.append))
    return pauses
