"""The part of the suite for stores that looks at due work, and at who gets it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs
import pytest

from dynsecrets.errors import LeaseNotFound, VersionConflict
from dynsecrets.model.lifecycle import LeaseState
from dynsecrets.testing.store_contract.kit import (
    OTHER_WORKER,
    WORKER,
    StoreSuite,
    at_once,
    claim,
    process_index,
)
from dynsecrets.testing.store_contract.records import MINUTE, NOW, OTHER_PROCESS, PLACE, PROCESS, SECOND, make_record

if TYPE_CHECKING:
    from datetime import timedelta

    from dynsecrets.model.record import LeaseRecord
    from dynsecrets.stores.base import LeaseStore


class WorkSuite(StoreSuite):
    """Due work is found in order, and each lease is one worker's at a time."""

    @pytest.mark.parametrize(
        ("state", "field"),
        [("pending", "created_at"), ("active", "expires_at"), ("revoking", "next_attempt_at")],
    )
    def test_is_due_by_state(self, store: LeaseStore, state: str, field: str) -> None:
        """An unfinished issue is due when made, a live lease at its expiration, a revocation at its next attempt."""
        moment = NOW + 10 * MINUTE
        record = make_record(state=state, **{field: moment})
        store.insert(record)

        assert list(store.due(moment - SECOND / 1_000_000)) == []
        assert list(store.due(moment)) == [record]

    def test_is_never_due_once_revoked(self, store: LeaseStore) -> None:
        """A tombstone is never due."""
        record = make_record(state="revoking")
        store.insert(record)
        store.update(record.revoked(now=NOW))

        assert list(store.due(NOW + 10_000 * MINUTE)) == []

    def test_is_due_by_its_latest_version(self, store: LeaseStore) -> None:
        """An update moves a lease to its new place: it is due then, once, and not before."""
        pending = make_record()
        store.insert(pending)
        active = store.update(pending.activated(handle={}, issued_at=NOW, expires_at=NOW + 30 * MINUTE))

        assert list(store.due(NOW + 29 * MINUTE)) == []
        assert list(store.due(NOW + 31 * MINUTE)) == [active]

    def test_hands_out_the_most_overdue_first(self, store: LeaseStore) -> None:
        """Due work comes by how overdue it is, whatever integration and state it has; ``limit`` cuts the rest."""
        moments = [NOW + i * MINUTE for i in (4, 2, 5, 1, 3)]
        for i, moment in enumerate(moments):
            store.insert(make_record(state="active", expires_at=moment, integration=f"aws-{i % 2}"))

        due = store.due(NOW + 4 * MINUTE)

        assert [record.expires_at for record in due] == sorted(moments)[:4]
        assert list(store.due(NOW + 4 * MINUTE, limit=2)) == list(due[:2])
        assert list(store.due(NOW + 4 * MINUTE, limit=0)) == []
        assert list(store.due(NOW + 4 * MINUTE, limit=99)) == list(due)

    def test_hands_out_due_work_of_integrations(self, store: LeaseStore) -> None:
        """Only leases of the integrations that are named are handed out, and don't use up the limit of others."""
        records = {
            name: make_record(integration=name, created_at=NOW + i * SECOND) for i, name in enumerate(("a", "b", "c"))
        }
        for record in records.values():
            store.insert(record)

        assert list(store.due(NOW + MINUTE, integrations=["c", "b", "x"])) == [records["b"], records["c"]]
        assert list(store.due(NOW + MINUTE, integrations={"c"}, limit=1)) == [records["c"]]
        assert list(store.due(NOW + MINUTE, integrations=())) == []

    def test_claims_for_one_worker(self, store: LeaseStore) -> None:
        """A claim begins the revocation, and keeps other workers away until it lapses."""
        record = make_record(state="active")
        store.insert(record)
        until = NOW + 2 * MINUTE

        claimed = store.claim(record.id, WORKER, until, NOW)

        assert claimed == attrs.evolve(record.claimed(worker=WORKER, until=until), version=record.version + 1)
        assert store.get(record.id) == claimed
        assert store.claim(record.id, OTHER_WORKER, until + MINUTE, until - SECOND) is None
        assert store.get(record.id) == claimed

    def test_lets_claims_lapse(self, store: LeaseStore) -> None:
        """A claim that is over is anybody's: the worker that had it may have died."""
        record = make_record(state="active")
        store.insert(record)
        until = NOW + 2 * MINUTE
        store.claim(record.id, WORKER, until, NOW)

        taken_over = store.claim(record.id, OTHER_WORKER, until + MINUTE, until)

        assert taken_over is not None
        assert taken_over.claimed_by == OTHER_WORKER

    def test_lets_a_worker_claim_again(self, store: LeaseStore) -> None:
        """The worker that has the claim may prolong it."""
        record = make_record(state="active")
        store.insert(record)
        store.claim(record.id, WORKER, NOW + MINUTE, NOW)

        again = store.claim(record.id, WORKER, NOW + 3 * MINUTE, NOW + SECOND)

        assert again is not None
        assert again.next_attempt_at == NOW + 3 * MINUTE

    @pytest.mark.parametrize("ahead", [60 * MINUTE, 525_600 * MINUTE])
    def test_lets_claims_of_wrong_clocks_lapse(self, store: LeaseStore, ahead: timedelta) -> None:
        """A claim that ends later than a claim can is anybody's: a wrong clock made it, and its host may be gone."""
        record = make_record(state="active", expires_at=NOW + 30 * MINUTE)
        store.insert(record)
        store.claim(record.id, OTHER_WORKER, NOW + ahead + 2 * MINUTE, NOW + ahead)

        taken_over = claim(store, record.id)

        assert taken_over.claimed_by == WORKER

    def test_claims_what_is_pending_or_failed(self, store: LeaseStore) -> None:
        """An issue that never ended, and a revocation whose next attempt is later, can be claimed now."""
        pending = make_record()
        failed = make_record(state="revoking", next_attempt_at=NOW + 10 * MINUTE, attempts=3)
        store.insert(pending)
        store.insert(failed)

        assert claim(store, pending.id).state is LeaseState.REVOKING
        assert claim(store, failed.id).attempts == 3

    def test_does_not_claim_what_is_revoked(self, store: LeaseStore) -> None:
        """There is nothing to do for a tombstone."""
        record = make_record(state="revoked")
        store.insert(record)

        assert store.claim(record.id, WORKER, NOW + MINUTE, NOW) is None
        assert store.get(record.id) == record

    def test_does_not_claim_what_it_does_not_have(self, store: LeaseStore) -> None:
        """Claiming an unknown lease raises ``LeaseNotFound``."""
        with pytest.raises(LeaseNotFound):
            store.claim("unknown", WORKER, NOW + MINUTE, NOW)

    def test_is_not_due_while_claimed(self, store: LeaseStore) -> None:
        """Claimed work is due again only when the claim lapses."""
        record = make_record(state="active", expires_at=NOW)
        store.insert(record)
        assert [due.id for due in store.due(NOW)] == [record.id]

        store.claim(record.id, WORKER, NOW + 2 * MINUTE, NOW)

        assert list(store.due(NOW + MINUTE)) == []
        assert [due.id for due in store.due(NOW + 2 * MINUTE)] == [record.id]

    def test_conflicts_with_a_claim_taken_over(self, store: LeaseStore) -> None:
        """A worker that was too slow can't write over what the next one does."""
        record = make_record(state="active")
        store.insert(record)
        slow = claim(store, record.id)
        store.claim(record.id, OTHER_WORKER, NOW + 9 * MINUTE, NOW + 5 * MINUTE)

        with pytest.raises(VersionConflict):
            store.update(slow.revoked(now=NOW + 5 * MINUTE))

    def test_lets_one_of_many_claims_win(self, store: LeaseStore) -> None:
        """Of workers that claim a lease at the same time exactly one gets it, each time."""

        def claim_it(lease_id: str, i: int) -> LeaseRecord | None:
            return store.claim(lease_id, f"{PROCESS}#{i}", NOW + MINUTE, NOW)

        for _ in range(5):
            record = make_record(state="active")
            store.insert(record)

            outcomes = at_once(partial(claim_it, record.id))

            assert [outcome for outcome in outcomes if outcome is not None] == [store.get(record.id)]

    def test_finds_processes(self, store: LeaseStore) -> None:
        """Each process that live leases depend on is named once, if it begins with the place."""
        index = process_index(store)
        elsewhere = make_record(owner="host|other-boot|1|41|1001")
        for record in (
            make_record(),
            make_record(),
            make_record(state="active", held=True, owner=OTHER_PROCESS),
            make_record(state="revoking", owner="x", claimed_by=f"{PLACE}43|1003#7"),
            make_record(state="active", owner=f"{PLACE}44|1004"),
            make_record(state="revoked", owner=f"{PLACE}45|1005"),
            elsewhere,
        ):
            store.insert(record)

        assert sorted(index.processes(PLACE)) == [PROCESS, OTHER_PROCESS, f"{PLACE}43|1003"]
        assert elsewhere.owner in index.processes("")
        assert list(index.processes("nowhere")) == []

    def test_finds_leases_of_a_process(self, store: LeaseStore) -> None:
        """Live leases that depend on a process are found, oldest first, until they depend on it no more."""
        index = process_index(store)
        records = [make_record(created_at=NOW + i * SECOND) for i in (2, 0, 1)]
        for record in (*records, make_record(owner=OTHER_PROCESS), make_record(state="active")):
            store.insert(record)
        expected = sorted(records, key=lambda record: record.created_at)

        assert list(index.of_process(PROCESS)) == expected
        assert list(index.of_process(PROCESS, limit=2)) == expected[:2]

        store.claim(expected[0].id, OTHER_WORKER, NOW + MINUTE, NOW)

        assert list(index.of_process(PROCESS)) == expected[1:]
