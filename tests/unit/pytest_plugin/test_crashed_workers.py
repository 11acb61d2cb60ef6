"""What is made of the records of a worker that ended without telling."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from dynsecrets import MemoryLeaseStore
from dynsecrets.engine.process_identity import ProcessIdentity, current_owner
from dynsecrets.pytest_plugin.crashed_workers import account
from support.builders import make_record

if TYPE_CHECKING:
    from support.accounts import Account


@pytest.fixture
def gone() -> ProcessIdentity:
    """A process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return attrs.evolve(current_owner(), pid=process.pid, started="1")


def kept(store: MemoryLeaseStore, owner: ProcessIdentity, **fields: Any) -> str:
    """Keep a record of a process, made just now; return its id."""
    now = datetime.now(UTC)
    fields = {"state": "active", "created_at": now, "expires_at": now + timedelta(minutes=30), **fields}
    record = make_record(owner=str(owner), **fields)
    store.insert(record)
    return record.id


def test_counts_what_the_process_leased(gone: ProcessIdentity) -> None:
    """Its live leases are leaks, what it revoked is revoked, what others revoked for it is a mended leak."""
    store = MemoryLeaseStore()
    live = kept(store, gone, metadata={"test": "test_a.py::test_it"})
    kept(store, gone, state="revoked")
    mended = kept(store, gone, state="revoked")

    totals = account(store, {gone.pid}, time.time(), [mended])

    assert (totals.issued, totals.revoked) == (3, 1)
    assert {leak.lease_id for leak in totals.leaks} == {live, mended}
    (of_live,) = (str(leak) for leak in totals.leaks if leak.lease_id == live)
    assert "leased by test_a.py::test_it: left by a worker that crashed; the next run that leases revokes it" in of_live


def test_leaves_others_alone(gone: ProcessIdentity) -> None:
    """Records of other processes, of earlier sessions, and of a process that lives are not counted."""
    store = MemoryLeaseStore()
    kept(store, attrs.evolve(gone, pid=gone.pid + 1))
    kept(store, attrs.evolve(gone, host="another"))
    kept(store, gone, created_at=datetime.now(UTC) - timedelta(hours=1))
    kept(store, current_owner())

    assert not account(store, {gone.pid, current_owner().pid}, time.time(), [])


@pytest.mark.usefixtures("aws_env")
def test_leaves_leases_of_other_accounts_to_the_next_run(gone: ProcessIdentity) -> None:
    """Where the credentials at hand are of another account, nothing is deleted."""
    store = MemoryLeaseStore()
    handle = {"user_name": "Dynsecrets-Dynamic-abcdefghijklm", "path": "/dynsecrets/", "account": "999999999999"}
    lease_id = kept(store, gone, handle=handle)

    (leak,) = account(store, {gone.pid}, time.time(), []).leaks

    assert "the next run" in leak.fate
    assert store.get(lease_id).live


def test_bears_with_having_no_credentials(gone: ProcessIdentity) -> None:
    """Where boto3 finds no credentials, the lease is told and left to the next run."""
    store = MemoryLeaseStore()
    handle = {"user_name": "Other-Prefix-abcdefghijklm", "path": "/other/", "account": "999999999999"}
    kept(store, gone, handle=handle)

    (leak,) = account(store, {gone.pid}, time.time(), []).leaks

    assert "the next run" in leak.fate


def test_revokes_in_the_same_account(gone: ProcessIdentity, aws_env: Account) -> None:
    """Where the credentials are of the lease's account, its user is deleted and its record closed."""
    name = "Dynsecrets-Dynamic-nopqrstuvwxyz"
    aws_env.client("iam").create_user(UserName=name, Path="/dynsecrets/")
    store = MemoryLeaseStore()
    handle = {"user_name": name, "path": "/dynsecrets/", "account": aws_env.id}
    lease_id = kept(store, gone, handle=handle)

    (leak,) = account(store, {gone.pid}, time.time(), []).leaks

    assert leak.fate == "left by a worker that crashed; revoked now"
    assert store.get(lease_id).state == "revoked"
    assert aws_env.users() == []
