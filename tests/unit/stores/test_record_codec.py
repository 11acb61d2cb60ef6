"""Records as rows, and a store in SQLite against one in memory, with whatever hypothesis thinks of."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dynsecrets import DynsecretsError, MemoryLeaseStore, SQLiteLeaseStore
from dynsecrets.stores.record_codec import RowError, from_row, to_key, to_row
from support.builders import MINUTE, NOW, PROCESS, SECOND, full_record, lease_records, make_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dynsecrets import LeaseRecord
    from dynsecrets.stores.base import LeaseStore

_T = TypeVar("_T")
IDS = [str(uuid.UUID(int=i)) for i in range(4)]
WORKERS = [f"{PROCESS}#{i}" for i in range(2)]


@pytest.fixture(scope="module")
def store() -> Iterator[SQLiteLeaseStore]:
    """A store that all examples share."""
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(SQLiteLeaseStore(Path(folder, "l.db"))) as store:
        yield store


@given(lease_records())
def test_rows_are_records(record: LeaseRecord) -> None:
    """Any record comes back from its row as it was."""
    assert from_row(to_row(record)) == record


@given(lease_records())
@settings(max_examples=40)
def test_files_keep_any_record(store: SQLiteLeaseStore, record: LeaseRecord) -> None:
    """Any record comes back from the file as it was."""
    record = attrs.evolve(record, id=f"{record.id} {uuid.uuid4()}")

    store.insert(record)

    assert store.get(record.id) == record


@given(
    st.integers(0, len(to_row(full_record())) - 1), st.none() | st.integers() | st.floats() | st.text() | st.binary()
)
def test_damage_is_an_error_of_its_own(column: int, value: object) -> None:
    """Whatever stands in a column, reading gives a record or says that there is none."""
    row = list(to_row(full_record()))
    row[column] = value

    with contextlib.suppress(RowError):
        from_row(tuple(row))


def test_ids_are_short() -> None:
    """A UUID takes 16 bytes; what only looks like one stays text."""
    assert to_key("00112233-4455-6677-8899-aabbccddeeff") == bytes.fromhex("00112233445566778899aabbccddeeff")
    assert to_key("00112233-4455-6677-8899-aabbccddeefg") == "00112233-4455-6677-8899-aabbccddeefg"
    assert to_key("0011223-34455-6677-8899-aabbccddeeff") == "0011223-34455-6677-8899-aabbccddeeff"


class StoresAgree(RuleBasedStateMachine):
    """A store in a file answers each question like one in memory, errors included."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.file = SQLiteLeaseStore(Path(self.folder.name, "leases.db"))
        self.memory = MemoryLeaseStore()

    def teardown(self) -> None:
        """Remove the file."""
        self.file.close()
        self.folder.cleanup()

    def both(self, question: Callable[[LeaseStore], _T]) -> _T | str:
        """Ask both stores and return their common answer, or the name of their common error."""
        answers: list[_T | str] = []
        for store in (self.memory, self.file):
            try:
                answers.append(question(store))
            except DynsecretsError as error:
                answers.append(type(error).__name__)
        assert answers[0] == answers[1]
        return answers[0]

    @rule(lease_id=st.sampled_from(IDS), name=st.sampled_from("AB"), age=st.integers(0, 5))
    def insert(self, lease_id: str, name: str, age: int) -> None:
        """Insert a record, perhaps one that is there."""
        record = make_record(id=lease_id, name=name, integration=name.lower(), created_at=NOW - age * SECOND)
        self.both(lambda store: store.insert(record))

    @rule(lease_id=st.sampled_from(IDS), late=st.integers(-1, 0), length=st.integers(1, 5), held=st.booleans())
    def activate(self, lease_id: str, late: int, length: int, held: bool) -> None:
        """Activate a lease, perhaps by an old version or one that can't be."""

        def activate(store: LeaseStore) -> LeaseRecord:
            record = store.get(lease_id)
            record = record.activated(handle={"a": "b"}, issued_at=NOW, expires_at=NOW + length * MINUTE)
            return store.update(attrs.evolve(record, held=held, version=record.version + late))

        self.both(activate)

    @rule(lease_id=st.sampled_from(IDS), worker=st.sampled_from(WORKERS), start=st.integers(0, 5))
    def claim(self, lease_id: str, worker: str, start: int) -> None:
        """Claim a lease, perhaps one that is claimed."""
        now = NOW + start * MINUTE
        self.both(lambda store: store.claim(lease_id, worker, now + 2 * MINUTE, now))

    @rule(lease_id=st.sampled_from(IDS), fails=st.booleans())
    def end(self, lease_id: str, fails: bool) -> None:
        """End a revocation, well or not."""

        def end(store: LeaseStore) -> LeaseRecord:
            record = store.get(lease_id)
            if fails:
                return store.update(record.failed(now=NOW, error="no", jitter=0.0, handle=record.handle))
            return store.update(record.revoked(now=NOW))

        self.both(end)

    @rule(seconds=st.integers(0, 1))
    def purge(self, seconds: int) -> None:
        """Forget tombstones."""
        self.both(lambda store: store.purge(NOW + seconds * SECOND))

    @rule(
        minutes=st.integers(0, 8),
        limit=st.none() | st.integers(0, 3),
        names=st.none() | st.sets(st.sampled_from("abc")),
    )
    def due(self, minutes: int, limit: int | None, names: set[str] | None) -> None:
        """Look for due work. Records of one moment may come in either order."""
        now = NOW + minutes * MINUTE
        self.both(lambda store: [record.due_at for record in store.due(now, integrations=names, limit=limit)])

    @invariant()
    def same_records(self) -> None:
        """Both have the same records, counts and processes."""
        self.both(lambda store: sorted(store.records(), key=lambda record: record.id))
        self.both(lambda store: [store.count_live(name) for name in "AB"])
        assert self.file.processes("") == self.memory.processes("")
        assert len(self.file.of_process(PROCESS)) == len(self.memory.of_process(PROCESS))


TestStoresAgree = StoresAgree.TestCase
TestStoresAgree.settings = settings(max_examples=15, stateful_step_count=25)
