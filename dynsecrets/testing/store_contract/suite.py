"""The suite that every store of lease records must pass, a third party's too.

    from dynsecrets.testing import LeaseStoreContract

    class TestMyStore(LeaseStoreContract):
        def make_store(self):
            return MyStore(...)

It needs pytest, and no plugin or fixture of anybody.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

from dynsecrets.errors import InvalidConfig, LeaseNotFound, StoreError
from dynsecrets.model.lifecycle import LeaseState
from dynsecrets.stores.base import LeaseStore, takes_limit
from dynsecrets.testing.store_contract.claims import WorkSuite
from dynsecrets.testing.store_contract.kit import WORKER, claim, ids
from dynsecrets.testing.store_contract.records import MINUTE, NOW, SECOND, make_record
from dynsecrets.testing.store_contract.writes import WritingSuite


class LeaseStoreContract(WritingSuite, WorkSuite):
    """Subclass it under a name that starts with ``Test`` and define :meth:`make_store`."""

    def test_is_a_store(self, store: LeaseStore) -> None:
        """A store has all methods of the protocol, and says whether its records outlive the process."""
        assert isinstance(store, LeaseStore)
        assert getattr(store, "outlives_process", True) in (True, False)

    def test_lists_the_oldest_first(self, store: LeaseStore) -> None:
        """Records come by age, in whatever order they were inserted."""
        records = [make_record(created_at=NOW + i * SECOND) for i in (3, 1, 2, 0)]

        for record in records:
            store.insert(record)

        assert [record.created_at for record in store.records()] == [NOW + i * SECOND for i in range(4)]

    def test_lists_what_is_asked_for(self, store: LeaseStore) -> None:
        """Filters by state, name and integration can be combined; a state may be given as text."""
        kept = {
            key: make_record(state=key[0], name=key[1], integration=key[2])
            for key in [(s, n, i) for s in LeaseState for n in ("A", "B") for i in ("one", "two")]
        }
        for record in kept.values():
            store.insert(record)

        for state, name, integration in [
            (None, None, None),
            ("active", None, None),
            (LeaseState.REVOKED, "A", None),
            (None, "B", "two"),
            ("pending", "A", "one"),
            (None, None, "none"),
        ]:
            found = ids(store.records(state=state, name=name, integration=integration))
            assert found == {
                record.id
                for (s, n, i), record in kept.items()
                if state in (None, s) and name in (None, n) and integration in (None, i)
            }

    def test_refuses_a_state_that_is_none(self, store: LeaseStore) -> None:
        """A misspelt state is an error, not an empty answer."""
        with pytest.raises(InvalidConfig, match="activ"):
            list(store.records(state="activ"))

    def test_lists_while_records_change(self, store: LeaseStore) -> None:
        """Whoever iterates may write meanwhile: each record that stays is seen once, and nothing waits or breaks."""
        records = [make_record(created_at=NOW + i * SECOND) for i in range(10)]
        for record in records:
            store.insert(record)

        seen = [store.update(record).id for record in store.records()]

        assert seen == [record.id for record in records]

    def test_counts_what_lives(self, store: LeaseStore) -> None:
        """Every state but ``revoked`` counts, for the name that is asked for."""
        for state in LeaseState:
            store.insert(make_record(state=state, name="A"))
        store.insert(make_record(name="B"))

        assert [store.count_live(name) for name in ("A", "B", "C")] == [3, 1, 0]

        claimed = claim(store, next(store.records(state="pending", name="B")).id)
        store.update(claimed.revoked(now=NOW))

        assert store.count_live("B") == 0

    def test_counts_what_still_works(self, store: LeaseStore) -> None:
        """What ended counts no more, though something of it is left; what was released counts until it ends."""
        later = NOW + 10 * MINUTE
        ended, released = make_record(state="active", name="A"), make_record(state="active", name="A")
        for record, ended_at in ((ended, NOW), (released, later)):
            store.insert(record)
            claimed = claim(store, record.id)
            store.update(claimed.left(ended_at=ended_at, again_at=later, handle=record.handle))

        kept = {record.id: record for record in store.records(state="revoking", name="A")}

        assert store.count_live("A") == 1
        assert {lease_id: record.ended_at for lease_id, record in kept.items()} == {ended.id: NOW, released.id: later}
        assert ids(store.due(later - SECOND)) == set()
        assert ids(store.due(later)) == {ended.id, released.id}

    def test_forgets_old_tombstones_only(self, store: LeaseStore) -> None:
        """What was revoked before the moment is forgotten; later tombstones and live leases, however old, stay."""
        old = [make_record(state="revoked", revoked_at=NOW - i * MINUTE) for i in (1, 2)]
        young = make_record(state="revoked", revoked_at=NOW)
        live = [make_record(state=state, created_at=NOW - 999 * MINUTE) for state in LeaseState if state != "revoked"]
        for record in (*old, young, *live):
            store.insert(record)

        purged = store.purge(NOW)

        assert purged == 2
        assert ids(store.records()) == {young.id, *(record.id for record in live)}
        assert store.purge(NOW) == 0
        with pytest.raises(LeaseNotFound):
            store.get(old[0].id)

    def test_forgets_as_many_as_it_is_asked_to(self, store: LeaseStore) -> None:
        """``limit`` bounds how many tombstones are forgotten, the oldest first, where a store takes it."""
        if not takes_limit(store):
            pytest.skip("this store forgets all old tombstones at once")
        bounded: Any = store
        records = [make_record(state="revoked", revoked_at=NOW - i * MINUTE) for i in (3, 1, 2)]
        for record in records:
            store.insert(record)

        assert bounded.purge(NOW, limit=0) == 0
        assert bounded.purge(NOW, limit=2) == 2
        assert ids(store.records()) == {records[1].id}
        assert bounded.purge(NOW, limit=2) == 1

    def test_leaves_out_what_cannot_be_read(self, store: LeaseStore, caplog: pytest.LogCaptureFixture) -> None:
        """An unreadable record is logged and hides no other one, also where only some are asked for."""
        records = [make_record(created_at=NOW + i * SECOND) for i in range(4)]
        for record in records:
            store.insert(record)
        for record in records[:2]:
            self.corrupt_or_skip(store, record.id)

        with caplog.at_level(logging.ERROR, logger="dynsecrets"):
            assert list(store.due(NOW + MINUTE, limit=1)) == [records[2]]
            assert list(store.due(NOW + MINUTE)) == records[2:]
            assert list(store.records()) == records[2:]

        assert records[0].id in caplog.text

    def test_says_which_record_cannot_be_read(self, store: LeaseStore) -> None:
        """Reading or claiming an unreadable record raises a ``StoreError`` that names it."""
        record = make_record()
        store.insert(record)
        self.corrupt_or_skip(store, record.id)

        with pytest.raises(StoreError, match=record.id):
            store.get(record.id)
        with pytest.raises(StoreError, match=record.id):
            store.claim(record.id, WORKER, NOW + MINUTE, NOW)

    def test_closes_twice(self, store: LeaseStore) -> None:
        """Closing a store that is closed does nothing."""
        store.insert(make_record())

        store.close()
        store.close()

    def test_says_that_it_is_closed(self, store: LeaseStore) -> None:
        """Using a closed store raises a ``StoreError``."""
        store.close()

        with pytest.raises(StoreError):
            store.insert(make_record())
        with pytest.raises(StoreError):
            store.due(NOW)
