"""Many processes on one store and one account: each user is deleted once, and none is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from dynsecrets import LeaseManager
from support.processes import clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from reliability.places import Place
    from support.accounts import Account
    from support.proxy import Proxy

PROCESSES: Final = 6
LEASES: Final = 30
REAPERS: Final = 3
_TESTS: Final = Path(__file__).parents[1]
_CHILD: Final = Path(__file__).with_name("swarm_child.py")


@pytest.fixture
def kind_of_store() -> str:
    """One file."""
    return "sqlite"


def start(action: str, place: Place) -> subprocess.Popen[str]:
    """Start a process of the swarm."""
    return subprocess.Popen(
        [sys.executable, str(_CHILD), action, json.dumps(attrs.asdict(place)), str(LEASES)],
        env=clean_environment(PYTHONPATH=os.pathsep.join((str(_TESTS), str(_TESTS.parent)))),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_each_user_is_deleted_once_and_none_is_lost(
    aws: Account, proxy: Proxy, new_place: Callable[..., Place]
) -> None:
    """Six processes lease thirty users each, and revoke them, let them expire, or leave them; three others reap."""
    place = new_place()
    reapers = [start("reap", place) for _ in range(REAPERS)]
    issuers = [start("issue", place) for _ in range(PROCESSES)]
    while any(issuer.poll() is None for issuer in issuers):
        for reaper in reapers:
            assert reaper.stdin is not None
            assert reaper.stdout is not None
            reaper.stdin.write("\n")
            reaper.stdin.flush()
        for reaper in reapers:
            assert reaper.stdout is not None
            assert reaper.stdout.readline(), "a reaper is gone"
    for process in (*issuers, *reapers):
        process.communicate(timeout=120)
        assert process.returncode == 0
    with LeaseManager(place.open_store()) as manager:
        manager.reap(integrations=[place.integration()])
        records = list(manager.records())
    manager.store.close()

    created = Counter(call.user_name for call in proxy.calls if (call.action, call.status) == ("CreateUser", 200))
    deleted = Counter(call.user_name for call in proxy.calls if (call.action, call.status) == ("DeleteUser", 200))
    tried = Counter(call.user_name for call in proxy.calls if call.action == "DeleteUser")
    assert len(created) == PROCESSES * LEASES
    assert set(created.values()) == {1}
    assert deleted == created
    assert tried == created, "a user was deleted by two at once"
    assert aws.users() == []
    assert Counter(record.state.value for record in records) == {"revoked": PROCESSES * LEASES}
