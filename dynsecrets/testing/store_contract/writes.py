"""The part of the suite for stores that looks at what is written."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from dynsecrets.errors import LeaseNotFound, SecretNotAvailable, StoreError, VersionConflict
from dynsecrets.model.lifecycle import LeaseState
from dynsecrets.testing.store_contract.kit import THREADS, StoreSuite, at_once, claim, ids
from dynsecrets.testing.store_contract.records import MINUTE, NOW, full_record, make_record

if TYPE_CHECKING:
    from dynsecrets.stores.base import LeaseStore


class WritingSuite(StoreSuite):
    """What goes in comes out, and only the next version of a record replaces it."""

    @pytest.mark.parametrize("state", list(LeaseState))
    def test_returns_what_was_inserted(self, store: LeaseStore, state: LeaseState) -> None:
        """A record of any state comes back as it was, with what it lacks."""
        record = make_record(state=state)

        store.insert(record)

        assert store.get(record.id) == record

    def test_keeps_every_field(self, store: LeaseStore) -> None:
        """Microseconds, any Unicode, nested metadata and large numbers come back as they were."""
        record = full_record()

        store.insert(record)

        assert attrs.asdict(store.get(record.id)) == attrs.asdict(record)

    def test_keeps_ids_that_are_no_uuids(self, store: LeaseStore) -> None:
        """Ids are any text, and those that differ in case or dashes differ."""
        plain = str(uuid.uuid4())
        records = [make_record(id=given) for given in (plain, plain.upper(), plain.replace("-", ""), "x", "ä b/c#1")]

        for record in records:
            store.insert(record)

        assert [store.get(record.id) for record in records] == records

    def test_shares_nothing_with_the_caller(self, store: LeaseStore) -> None:
        """Changing the mappings of a record that was put in, or handed out, changes nothing in the store."""
        metadata: dict[str, Any] = {"tags": ["a"]}
        record = make_record(metadata=metadata)
        store.insert(record)

        metadata["tags"].append("b")
        store.get(record.id).metadata["tags"].append("c")

        assert store.get(record.id).metadata == {"tags": ["a"]}

    def test_refuses_an_id_that_is_taken(self, store: LeaseStore) -> None:
        """A second record of the same id is refused, and the first one stays."""
        record = make_record()
        store.insert(record)

        with pytest.raises(StoreError, match=record.id):
            store.insert(make_record(id=record.id, name="OTHER"))

        assert store.get(record.id) == record

    def test_does_not_know_other_ids(self, store: LeaseStore) -> None:
        """Reading an unknown id raises ``LeaseNotFound``, which names it."""
        store.insert(make_record())
        unknown = str(uuid.uuid4())

        with pytest.raises(LeaseNotFound, match=unknown) as caught:
            store.get(unknown)

        assert caught.value.lease_id == unknown

    def test_has_no_secret(self, store: LeaseStore) -> None:
        """What a store hands out has no secret, and says so."""
        record = make_record(state="active")
        store.insert(record)

        with pytest.raises(SecretNotAvailable):
            _ = store.get(record.id).secret_access_key

    def test_updates_to_the_next_version(self, store: LeaseStore) -> None:
        """An update returns the record as stored: as given, one version later."""
        pending = make_record(metadata={"a": 1})
        store.insert(pending)
        active = pending.activated(handle={"user_name": "u"}, issued_at=NOW, expires_at=NOW + MINUTE)

        stored = store.update(active)

        assert stored == attrs.evolve(active, version=pending.version + 1)
        assert store.get(pending.id) == stored

    def test_goes_through_a_whole_life(self, store: LeaseStore) -> None:
        """Issue, a failed and a successful revocation: each step sees the one before."""
        store.insert(make_record(id="life"))
        active = store.get("life").activated(handle={"user_name": "u"}, issued_at=NOW, expires_at=NOW + MINUTE)
        store.update(active)
        claimed = claim(store, "life", now=NOW + MINUTE)
        failed = claimed.failed(now=NOW + MINUTE, error="AccessDenied", jitter=0.5, handle={"user_name": "u"})
        store.update(failed)
        again = claim(store, "life", now=NOW + 2 * MINUTE)

        store.update(again.revoked(now=NOW + 2 * MINUTE))

        tombstone = store.get("life")
        assert (tombstone.state, tombstone.attempts, tombstone.version) == (LeaseState.REVOKED, 1, 6)
        assert tombstone.last_error == "AccessDenied"

    def test_refuses_an_old_version(self, store: LeaseStore) -> None:
        """An update from a version that is not the stored one raises ``VersionConflict`` and changes nothing."""
        record = make_record()
        store.insert(record)
        stored = store.update(record)

        with pytest.raises(VersionConflict) as caught:
            store.update(attrs.evolve(record, name="OTHER"))

        assert caught.value.lease_id == record.id
        assert store.get(record.id) == stored

    def test_refuses_a_version_that_never_was(self, store: LeaseStore) -> None:
        """A version from the future is a conflict like one from the past."""
        record = make_record()
        store.insert(record)

        with pytest.raises(VersionConflict):
            store.update(attrs.evolve(record, version=99))

    def test_does_not_update_what_it_does_not_have(self, store: LeaseStore) -> None:
        """Updating an unknown record raises ``LeaseNotFound``, and makes none."""
        record = make_record()

        with pytest.raises(LeaseNotFound):
            store.update(record)

        assert list(store.records()) == []

    def test_lets_one_of_many_updates_win(self, store: LeaseStore) -> None:
        """Of updates of one version at the same time one succeeds, and all others are conflicts."""
        record = make_record()
        store.insert(record)

        outcomes = at_once(lambda i: store.update(attrs.evolve(record, last_error=f"thread {i}")))

        won = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
        assert won == [store.get(record.id)]
        assert sum(isinstance(outcome, VersionConflict) for outcome in outcomes) == THREADS - 1

    def test_keeps_what_many_threads_insert(self, store: LeaseStore) -> None:
        """Nothing is lost when many threads insert at once."""
        batches = [[make_record() for _ in range(5)] for _ in range(THREADS)]

        def insert(i: int) -> None:
            for record in batches[i]:
                store.insert(record)

        outcomes = at_once(insert)

        assert outcomes == [None] * THREADS
        assert ids(store.records()) == {record.id for batch in batches for record in batch}
