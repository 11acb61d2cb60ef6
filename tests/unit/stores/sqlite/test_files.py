"""The files of the store in SQLite: modes, other programs' files, and trouble with disks."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from typing import TYPE_CHECKING

import pytest

from dynsecrets import InvalidConfig, SQLiteLeaseStore, StoreError
from dynsecrets.stores.record_codec import COLUMNS, to_row
from dynsecrets.stores.sqlite.files import identify
from dynsecrets.stores.sqlite.schema import APPLICATION_ID, MIGRATIONS, bring_up_to_date
from support.builders import MINUTE, NOW, make_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

posix_modes = pytest.mark.skipif(os.name != "posix", reason="Windows has no modes")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteLeaseStore]:
    """A store of the test's own."""
    with contextlib.closing(SQLiteLeaseStore(tmp_path / "leases.db")) as store:
        yield store


def mode(path: Path) -> int:
    """Return a file's permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def insert_many(store: SQLiteLeaseStore) -> None:
    """Insert more records than a page takes."""
    for _ in range(100):
        store.insert(make_record())


def write_database(path: Path, *statements: str) -> None:
    """Make a database of another program."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@posix_modes
def test_makes_what_is_missing_for_its_owner_alone(tmp_path: Path) -> None:
    """Folders get mode 0700 and files 0600, whatever the umask says; folders that were there stay as they are."""
    tmp_path.chmod(0o755)
    path = tmp_path / "a" / "b" / "leases.db"
    umask = os.umask(0)
    try:
        with contextlib.closing(SQLiteLeaseStore(path)) as store:
            store.insert(make_record())

            assert {file.name: mode(file) for file in path.parent.iterdir()} == {
                "leases.db": 0o600,
                "leases.db-shm": 0o600,
                "leases.db-wal": 0o600,
            }
    finally:
        os.umask(umask)
    assert (mode(path.parent), mode(path.parent.parent), mode(tmp_path)) == (0o700, 0o700, 0o755)


@posix_modes
def test_shuts_others_out_of_an_old_file(tmp_path: Path) -> None:
    """A file that others could read is theirs no more once the store is used."""
    path = tmp_path / "leases.db"
    path.touch()
    path.chmod(0o644)

    with contextlib.closing(SQLiteLeaseStore(path)) as store:
        store.insert(make_record())

    assert mode(path) == 0o600


@posix_modes
def test_follows_a_link(tmp_path: Path) -> None:
    """A path may be a link to a file elsewhere, also to one that is not made yet."""
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")

    with contextlib.closing(SQLiteLeaseStore(tmp_path / "link.db")) as store:
        store.insert(make_record())

    assert mode(tmp_path / "real.db") == 0o600


def test_takes_an_empty_file(tmp_path: Path) -> None:
    """An empty file is as good as none: someone may have reserved the name."""
    path = tmp_path / "leases.db"
    path.touch()

    with contextlib.closing(SQLiteLeaseStore(path)) as store:
        assert store.due(NOW) == []


def test_leaves_other_databases_alone(tmp_path: Path) -> None:
    """Another program's database is refused, and not changed in any way."""
    path = tmp_path / "other.db"
    write_database(path, "CREATE TABLE leases (id)")
    before = path.read_bytes()

    with contextlib.closing(SQLiteLeaseStore(path)) as store, pytest.raises(StoreError, match="path of its own"):
        store.due(NOW)

    assert path.read_bytes() == before


def test_leaves_newer_files_alone(tmp_path: Path) -> None:
    """A file of a newer release is refused, with what to do."""
    path = tmp_path / "leases.db"
    newer = len(MIGRATIONS) + 1
    write_database(path, f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {newer}")

    with contextlib.closing(SQLiteLeaseStore(path)) as store, pytest.raises(StoreError, match="upgrade dynsecrets"):
        store.due(NOW)


def test_marks_its_files(store: SQLiteLeaseStore) -> None:
    """A file says whose it is, and which version its tables have."""
    store.due(NOW)

    assert store._database.fetch("asking", "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert store._database.fetch("asking", "PRAGMA user_version") == [(len(MIGRATIONS),)]


def test_migrates_older_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of an older release is brought up to date when it is opened, and keeps its records."""
    path, record = tmp_path / "leases.db", make_record()
    with contextlib.closing(SQLiteLeaseStore(path)) as store:
        store.insert(record)

    def add_table(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE extra (x)")

    monkeypatch.setattr("dynsecrets.stores.sqlite.schema.MIGRATIONS", (*MIGRATIONS, add_table))
    with contextlib.closing(SQLiteLeaseStore(path)) as store:
        assert store.get(record.id) == record
        assert store._database.fetch("asking", "PRAGMA user_version") == [(len(MIGRATIONS) + 1,)]
        assert store._database.fetch("asking", "SELECT * FROM extra") == []


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_migrates_the_files_of_each_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """A file of each version that there was keeps its records, and can hold what newer ones have."""
    path, live = tmp_path / "leases.db", make_record(state="active", name="A")
    with monkeypatch.context() as patch, contextlib.closing(sqlite3.connect(path)) as older:
        patch.setattr("dynsecrets.stores.sqlite.schema.MIGRATIONS", MIGRATIONS[:version])
        bring_up_to_date(older, path)
        row = dict(zip(COLUMNS, to_row(live), strict=True))
        there = [column[1] for column in older.execute("PRAGMA table_info(leases)")]
        known = {name: value for name, value in row.items() if name in there}
        older.execute(
            f"INSERT INTO leases ({', '.join(known)}) VALUES ({', '.join('?' * len(known))})", [*known.values()]
        )
        older.commit()

    with contextlib.closing(SQLiteLeaseStore(path)) as store:
        assert store.get(live.id) == live
        claimed = store.claim(live.id, "worker", NOW, NOW)
        assert claimed is not None
        store.update(claimed.left(ended_at=NOW, again_at=NOW + MINUTE, handle=live.handle))
        assert (store.count_live("A"), store.get(live.id).ended_at) == (0, NOW)


def test_undoes_half_a_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails leaves the file as it was, and the next use tries again."""
    path = tmp_path / "leases.db"

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE extra (x)")
        connection.execute("no SQL")

    with contextlib.closing(SQLiteLeaseStore(path)) as store:
        with monkeypatch.context() as patch:
            patch.setattr("dynsecrets.stores.sqlite.schema.MIGRATIONS", (*MIGRATIONS, fail))
            with pytest.raises(StoreError):
                store.due(NOW)

        assert store.due(NOW) == []
        assert store._database.fetch("asking", "SELECT count(*) FROM sqlite_master WHERE name = 'extra'") == [(0,)]


def test_refuses_a_file_of_another_kind(tmp_path: Path) -> None:
    """A file that is no database is refused, with what to do, and stays."""
    path = tmp_path / "notes.txt"
    path.write_text("These are my notes, and not at all a database. " * 50)

    with contextlib.closing(SQLiteLeaseStore(path)) as store, pytest.raises(StoreError, match="another path") as caught:
        store.due(NOW)

    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)
    assert path.read_text().startswith("These are my notes")


def test_refuses_a_folder(tmp_path: Path) -> None:
    """A folder is not a file; the error shows a path that would do."""
    with contextlib.closing(SQLiteLeaseStore(tmp_path)) as store, pytest.raises(StoreError, match="is not a file"):
        store.due(NOW)


def test_refuses_a_file_as_a_folder(tmp_path: Path) -> None:
    """Where a folder of the path is a file, the error names the path and keeps its cause."""
    (tmp_path / "file").touch()

    with (
        contextlib.closing(SQLiteLeaseStore(tmp_path / "file" / "leases.db")) as store,
        pytest.raises(StoreError, match=r"leases\.db") as caught,
    ):
        store.due(NOW)

    assert isinstance(caught.value.__cause__, OSError)


def test_says_that_there_is_no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without a name and a home, as containers have them, is told what to set, before anything is made."""

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.chdir(tmp_path)
    for variable in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)

    with pytest.raises(InvalidConfig, match=r"no home.*DYNSECRETS_STORE"):
        SQLiteLeaseStore()

    assert list(tmp_path.iterdir()) == []


def test_says_that_a_home_can_not_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home that can't be written, or isn't a folder, is an error that says what to set."""
    (tmp_path / "null").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "null"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)

    with contextlib.closing(SQLiteLeaseStore()) as store, pytest.raises(StoreError, match=r"null.*DYNSECRETS_STORE"):
        store.insert(make_record())


def test_says_that_a_file_is_damaged(tmp_path: Path) -> None:
    """A damaged file is reported, with a way out."""
    path = tmp_path / "leases.db"
    with contextlib.closing(SQLiteLeaseStore(path)) as store:
        for _ in range(50):
            store.insert(make_record())
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))

    with contextlib.closing(SQLiteLeaseStore(path)) as store, pytest.raises(StoreError, match=r"move it away.*sweep"):
        list(store.records())


@pytest.mark.parametrize(
    ("pragma", "advice"),
    [("query_only = ON", "read-only"), ("max_page_count = 1", "disk is full")],
)
def test_says_why_nothing_can_be_written(store: SQLiteLeaseStore, pragma: str, advice: str) -> None:
    """A read-only file and a full disk are told apart; what was written before is still there."""
    record = make_record()
    store.insert(record)
    store._database.fetch("limiting", f"PRAGMA {pragma}")

    with pytest.raises(StoreError, match=f"{store.path}.*{advice}") as caught:
        insert_many(store)

    assert isinstance(caught.value.__cause__, sqlite3.Error)
    assert store.get(record.id) == record


def test_says_that_others_keep_the_file_locked(store: SQLiteLeaseStore) -> None:
    """A writer that never ends is reported once the patience is over; reading goes on meanwhile."""
    record = make_record()
    store.insert(record)
    store._database.fetch("hurrying", "PRAGMA busy_timeout = 0")

    with contextlib.closing(sqlite3.connect(store.path)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreError, match="locked"):
            store.claim(record.id, "worker", NOW, NOW)
        assert store.get(record.id) == record

        other.rollback()
    assert store.claim(record.id, "worker", NOW, NOW) is not None


def test_gives_up_on_a_new_file_that_stays_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening waits for other processes, but not for ever."""
    monkeypatch.setattr("dynsecrets.stores.sqlite.files.BUSY_TIMEOUT", 0.05)
    path = tmp_path / "leases.db"

    with contextlib.closing(sqlite3.connect(path)) as other, contextlib.closing(SQLiteLeaseStore(path)) as store:
        other.execute("BEGIN EXCLUSIVE")

        with pytest.raises(StoreError, match="locked"):
            store.due(NOW)

        other.rollback()
        assert store.due(NOW) == []


def test_closes_whatever_happens(store: SQLiteLeaseStore, caplog: pytest.LogCaptureFixture) -> None:
    """Trouble with closing the file is logged, and hides no error of whoever closes the store."""

    class Stubborn(sqlite3.Connection):
        def close(self) -> None:
            super().close()
            raise sqlite3.OperationalError("no")

    store._database._connection = sqlite3.connect(":memory:", factory=Stubborn)
    store._database._identity = identify(store.path)

    store.close()

    assert "not closed cleanly" in caplog.text


def test_goes_on_where_there_is_no_write_ahead_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that can't have the log in shared memory is slower, and says so."""
    path = tmp_path / "leases.db"

    class Elsewhere(sqlite3.Connection):
        def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:
            return super().execute(sql.replace("= WAL", "= DELETE"), *arguments)  # type: ignore[arg-type]

    connect = sqlite3.connect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, **kwargs, factory=Elsewhere))
        with contextlib.closing(SQLiteLeaseStore(path)) as store:
            store.insert(make_record())

    assert "write-ahead" in caplog.text
