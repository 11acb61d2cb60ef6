"""The store's file is removed, moved or replaced while the store is in use: no live record is lost with it."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from dynsecrets import SQLiteLeaseStore, StoreError
from support.builders import MINUTE, NOW, make_record
from support.forking import in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows keeps open files where they are")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteLeaseStore]:
    """A store in a folder of its own, with a tombstone and a live record, ``"live"``."""
    with contextlib.closing(SQLiteLeaseStore(tmp_path / "folder" / "leases.db")) as store:
        store.insert(make_record(state="revoked"))
        store.insert(make_record(id="live"))
        yield store


def remove_folder(path: Path) -> None:
    """Remove all, as ``git clean`` does."""
    shutil.rmtree(path.parent)


def remove_file(path: Path) -> None:
    """Remove the file alone."""
    path.unlink()


def remove_log(path: Path) -> None:
    """Remove the write-ahead log, in which the records may be."""
    path.with_name("leases.db-wal").unlink()


def remove_index(path: Path) -> None:
    """Remove the index of the log."""
    path.with_name("leases.db-shm").unlink()


def move(path: Path) -> None:
    """Move the file away."""
    path.rename(path.with_name("moved.db"))


def replace(path: Path) -> None:
    """Put another store's file in its place."""
    other = path.with_name("other.db")
    with contextlib.closing(SQLiteLeaseStore(other)) as store:
        store.insert(make_record(id="other"))
    other.rename(path)


ACCIDENTS = [remove_folder, remove_file, remove_log, remove_index, move, replace]


def seen_by_others(store: SQLiteLeaseStore) -> set[str]:
    """Return the ids of the live records that another process would find."""
    with contextlib.closing(SQLiteLeaseStore(store.path)) as other:
        return {record.id for record in other.records() if record.live}


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_a_new_lease_is_written_where_others_find_it(
    store: SQLiteLeaseStore, caplog: pytest.LogCaptureFixture, accident: Callable[[Path], None]
) -> None:
    """Before a lease is written down the accident is noticed, told, and mended: all that lives is in the new file."""
    accident(store.path)

    store.insert(make_record(id="new"))

    others = {"other"} if accident is replace else set[str]()
    assert seen_by_others(store) == {"live", "new"} | others
    assert "removed or replaced" in caplog.text


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_looking_for_due_work_mends_it(store: SQLiteLeaseStore, accident: Callable[[Path], None]) -> None:
    """A process that leases nothing more, but reaps now and then, doesn't keep its records to itself."""
    accident(store.path)

    due = store.due(NOW)

    assert "live" in {record.id for record in due}
    assert "live" in seen_by_others(store)


@pytest.mark.parametrize("end", ["close", "fork"])
def test_the_last_to_know_writes_it_down(store: SQLiteLeaseStore, end: str) -> None:
    """Records that nobody else can read any more are written down before the file is closed."""
    remove_folder(store.path)

    if end == "close":
        store.close()
    else:
        in_child(lambda: None)

    assert seen_by_others(store) == {"live"}


def test_closing_makes_no_file_for_nothing(store: SQLiteLeaseStore) -> None:
    """Where no lease is live there is nothing to write down."""
    store.update(store.get("live").revoked(now=NOW))
    remove_folder(store.path)

    store.close()

    assert not store.path.parent.exists()


def test_the_later_version_stays(store: SQLiteLeaseStore) -> None:
    """What others have written about a lease since is not written over."""
    with contextlib.closing(SQLiteLeaseStore(store.path)) as other:
        other.due(NOW)
        remove_folder(store.path)
        store.insert(make_record(id="new"))
        claimed = store.claim("live", "worker", NOW + MINUTE, NOW)

        other.insert(make_record(id="newest"))

        assert other.get("live") == claimed
    assert seen_by_others(store) == {"live", "new", "newest"}


def test_an_error_comes_before_anything_is_provisioned(store: SQLiteLeaseStore) -> None:
    """Where no file can be made a new lease is refused; what was known is written down once one can be made."""
    remove_folder(store.path)
    store.path.parent.write_text("in the way")

    with pytest.raises(StoreError, match="DYNSECRETS_STORE"):
        store.insert(make_record(id="refused"))
    store.path.parent.unlink()
    store.insert(make_record(id="new"))

    assert seen_by_others(store) == {"live", "new"}


def test_says_what_it_could_not_write_down(store: SQLiteLeaseStore, caplog: pytest.LogCaptureFixture) -> None:
    """Closing raises nothing, but never lets go of records silently."""
    remove_folder(store.path)
    store.path.parent.write_text("in the way")

    store.close()

    assert "1 live records" in caplog.text
