"""What is made of the records of a worker that ended without telling."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from dynsecrets import Integration, MemoryLeaseStore
from dynsecrets.engine.process_identity import ProcessIdentity, current_owner
from dynsecrets.pytest_plugin.crashed_workers import Announcement, CrashedWorker, account, crashed_workers
from dynsecrets.testing import MemoryIntegration
from support.builders import make_record

if TYPE_CHECKING:
    from pathlib import Path

    from support.accounts import Account

NAME = "Dynsecrets-Dynamic-nopqrstuvwxyz"


@pytest.fixture
def gone() -> ProcessIdentity:
    """A process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return attrs.evolve(current_owner(), pid=process.pid, started="1")


def crashed(owner: ProcessIdentity, *integrations: Integration) -> list[CrashedWorker]:
    """Return one worker that crashed."""
    return [CrashedWorker(str(owner), integrations)]


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

    totals = account(store, crashed(gone), [mended])

    assert (totals.issued, totals.revoked) == (3, 1)
    assert {leak.lease_id for leak in totals.leaks} == {live, mended}
    (of_live,) = (str(leak) for leak in totals.leaks if leak.lease_id == live)
    assert "leased by test_a.py::test_it: left by a worker that crashed; the next run that leases revokes it" in of_live


def test_what_ends_later_is_no_leak(gone: ProcessIdentity) -> None:
    """A lease that the worker gave back before it crashed was revoked as far as that can be."""
    store, now = MemoryLeaseStore(), datetime.now(UTC)
    kept(store, gone, state="revoking", ended_at=now, next_attempt_at=now + timedelta(hours=1))

    totals = account(store, crashed(gone))

    assert (totals.issued, totals.revoked, totals.leaks) == (1, 1, [])


def test_leaves_others_alone(gone: ProcessIdentity) -> None:
    """Records of other processes, of another one with the same pid, and of a process that lives are not counted."""
    store = MemoryLeaseStore()
    kept(store, attrs.evolve(gone, pid=gone.pid + 1))
    kept(store, attrs.evolve(gone, host="another"))
    kept(store, attrs.evolve(gone, started="2"))
    kept(store, current_owner())

    assert not account(store, crashed(gone) + crashed(current_owner()))


def test_revokes_with_the_integration_of_that_name(gone: ProcessIdentity) -> None:
    """Whatever third party a lease is of: the worker's integration revokes it, and leaves to others what is theirs."""
    store, ours = MemoryLeaseStore(), MemoryIntegration("ours")
    lease_id = kept(store, gone, integration="ours", handle={"memory_user": "a"})
    other_id = kept(store, gone, integration="theirs", handle={"memory_user": "b"})

    fates = {leak.lease_id: leak.fate for leak in account(store, crashed(gone, ours)).leaks}

    assert "revoked now" in fates[lease_id]
    assert "the next run" in fates[other_id]
    assert [(call.method, call.username) for call in ours.calls] == [("revoke", "a")]


@pytest.mark.parametrize(
    ("name", "path"),
    [(NAME, "/admins/"), ("Boss-nopqrstuvwxyz", "/dynsecrets/"), ("Boss-nopqrstuvwxyz", "/admins/")],
)
def test_a_changed_record_deletes_nobody(gone: ProcessIdentity, aws_env: Account, name: str, path: str) -> None:
    """A user that the worker's integration doesn't call its own lives, whatever path and name the record has."""
    aws_env.client("iam").create_user(UserName=name, Path=path)
    store = MemoryLeaseStore()
    kept(store, gone, integration="aws", handle={"user_name": name, "path": path, "account": aws_env.id})

    (leak,) = account(store, crashed(gone, Integration.aws_iam())).leaks

    assert "the next run" in leak.fate
    assert aws_env.client("iam").get_user(UserName=name)["User"]["Path"] == path


@pytest.mark.usefixtures("aws_env")
def test_leaves_leases_of_other_accounts_to_the_next_run(gone: ProcessIdentity) -> None:
    """Where the credentials at hand are of another account, nothing is deleted."""
    store = MemoryLeaseStore()
    handle = {"user_name": NAME, "path": "/dynsecrets/", "account": "999999999999"}
    lease_id = kept(store, gone, integration="aws", handle=handle)

    (leak,) = account(store, crashed(gone, Integration.aws_iam())).leaks

    assert "the next run" in leak.fate
    assert store.get(lease_id).live


def test_bears_with_having_no_credentials(gone: ProcessIdentity) -> None:
    """Where boto3 finds no credentials, the lease is told and left to the next run."""
    store = MemoryLeaseStore()
    handle = {"user_name": NAME, "path": "/dynsecrets/", "account": "999999999999"}
    kept(store, gone, integration="aws", handle=handle)

    (leak,) = account(store, crashed(gone, Integration.aws_iam())).leaks

    assert "the next run" in leak.fate


def test_revokes_in_the_same_account(gone: ProcessIdentity, aws_env: Account) -> None:
    """Where the credentials are of the lease's account, its user is deleted and its record closed."""
    aws_env.client("iam").create_user(UserName=NAME, Path="/dynsecrets/")
    store = MemoryLeaseStore()
    handle = {"user_name": NAME, "path": "/dynsecrets/", "account": aws_env.id}
    lease_id = kept(store, gone, integration="aws", handle=handle)

    (leak,) = account(store, crashed(gone, Integration.aws_iam())).leaks

    assert leak.fate == "left by a worker that crashed; revoked now"
    assert store.get(lease_id).state == "revoked"
    assert aws_env.users() == []


def test_a_worker_tells_what_its_integrations_are_like(tmp_path: Path) -> None:
    """Who it is and how its integrations are set up, without the credentials that they were given."""
    announcement = Announcement(str(tmp_path / "told"), "gw0")
    secret = "EXAMPLE-wJalrXUtnFEMI-not-to-be-told"
    announcement.add(
        Integration.aws_iam(
            "mine",
            access_key_id="AKIAIOSFODNN7EXAMPLE",
            secret_access_key=secret,
            region="eu-central-1",
            endpoint_url="http://127.0.0.1:9",
            path="/tests/",
            username_prefix="Test-",
            policy_name_prefix="test-",
        )
    )
    announcement.add(MemoryIntegration())
    written = (tmp_path / "told" / "gw0.json").read_text()

    (worker,) = crashed_workers(str(tmp_path / "told"), finished=["gw1"])

    assert worker.owner == str(current_owner())
    (made,) = worker.integrations
    assert repr(made) == "Integration.aws_iam('mine', path='/tests/', username_prefix='Test-')"
    assert (made.clients.region, made.clients.endpoint_url) == ("eu-central-1", "http://127.0.0.1:9")  # type: ignore[attr-defined]
    assert "AKIAIOSFODNN7EXAMPLE" not in written
    assert secret not in written
    assert not (tmp_path / "told").exists()


def test_a_worker_that_has_ended_well_is_not_among_them(tmp_path: Path) -> None:
    """What has told all that it leased is looked for no more, nor is what nobody can make here."""
    Announcement(str(tmp_path / "told"), "gw0").add(MemoryIntegration())
    told = {"owner": "somebody", "integrations": [["tests_of_somebody:Database", {"name": "db"}]]}
    (tmp_path / "told" / "gw1.json").write_text(json.dumps(told))

    assert crashed_workers(str(tmp_path / "told"), finished=["gw0"]) == [CrashedWorker("somebody")]
