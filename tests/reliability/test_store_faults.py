"""The store's answers get lost, too: leases work or are rolled back, and nothing is left that no record knows."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from dynsecrets import DynamicSecretConfig, LeaseManager, StoreError
from dynsecrets.testing import FakeClock
from reliability.skipping import SkippedTime
from support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from reliability.places import Place
    from support.accounts import Account
    from support.moto_server import MotoServer

KINDS: Final = ("500", "drop_before", "drop_after", "truncate")
#: Of a life's writes: pending, active, claimed, revoked.
WRITES: Final = (1, 2, 3, 4)


@pytest.fixture
def kind_of_store() -> str:
    """A table: its writes may be lost, or take effect though their answers are."""
    return "dynamodb"


@pytest.fixture
def table(moto_server: MotoServer) -> Iterator[Proxy]:
    """The way to the table."""
    with Proxy(moto_server.url) as table:
        yield table


@pytest.fixture
def place(new_place: Callable[..., Place], table: Proxy, monkeypatch: pytest.MonkeyPatch, proxy: Proxy) -> Place:
    """An account, and a table by way of a proxy of its own."""
    SkippedTime(monkeypatch, proxy)
    return attrs.evolve(new_place(), dynamodb=table.url)


def live_through(place: Place, integration: AwsIamIntegration) -> None:
    """Issue a lease and revoke it."""
    with closing(place.open_store()) as store, LeaseManager(store) as manager:
        manager.issue(DynamicSecretConfig("AWS_USER", integration, wait=None)).revoke()


def is_write(call: Any) -> bool:
    """Tell whether a call writes a record."""
    return bool(call.action == "PutItem")


@pytest.mark.parametrize(("nth", "kind"), [*product(WRITES, KINDS)])
def test_a_lost_answer_of_the_store_is_no_conflict(
    aws: Account, place: Place, table: Proxy, nth: int, kind: Any
) -> None:
    """A write that was sent twice, since its answer was lost, is known to be our own."""
    integration = place.integration()
    fault = table.fail("*", kind, nth=nth, when=is_write)

    live_through(place, integration)

    assert fault.hits == 1
    assert aws.users() == []
    with closing(place.open_store()) as store:
        assert [record.state for record in store.records()] == ["revoked"]


@pytest.mark.parametrize(("nth", "kind"), [*product(WRITES, ("500", "drop_after"))])
def test_a_store_that_goes_away_leaves_nothing_unknown(
    aws: Account, place: Place, table: Proxy, proxy: Proxy, nth: int, kind: Any
) -> None:
    """Before a lease is handed over that is an error and all is rolled back; after that revoking goes on without."""
    integration = place.integration()
    fault = table.fail("*", kind, nth=nth, times=None, when=is_write)

    if nth <= 2:
        with pytest.raises(StoreError):
            live_through(place, integration)
    else:
        live_through(place, integration)
    users = aws.users()
    table.clear()
    later = timedelta(minutes=31)
    proxy.date_offset_s += later.total_seconds()
    clock = FakeClock(datetime.now(UTC) + later)
    with closing(place.open_store()) as store, LeaseManager(store, clock=clock) as manager:
        manager.reap(integrations=[integration])
        states = {record.state.value for record in store.records()}

    assert fault.hits > 0
    assert users == []
    assert states <= {"revoked"}
