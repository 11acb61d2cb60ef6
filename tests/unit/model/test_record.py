"""What a store keeps of a lease, and how it changes."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsecrets import LeaseRecord, SecretNotAvailable, StoreError
from dynsecrets.model.lifecycle import STUCK_AFTER, LeaseState
from dynsecrets.model.record import check_metadata, remaining
from support.builders import make_record

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2022, 2, 15, 17, 4, 54, tzinfo=UTC)
LATER = NOW + timedelta(minutes=30)
SOON = NOW + timedelta(minutes=2)
PLAN = {"user_name": "u"}
HANDLE = {"user_name": "u", "access_key_id": "AKIA"}


def pending(**changes: Any) -> LeaseRecord:
    """Return a record as it is first written."""
    return make_record(**{"id": "id-1", "handle": PLAN, "created_at": NOW, "owner": "me", **changes})


def active(**changes: Any) -> LeaseRecord:
    """Return the record of a lease that lives."""
    return pending(**changes).activated(handle=HANDLE, issued_at=NOW, expires_at=LATER)


def failing(record: LeaseRecord, error: str = "no network") -> LeaseRecord:
    """Return a record after one more failed revocation."""
    return record.failed(now=NOW, error=error, jitter=0.0, handle=HANDLE)


def claimed(record: LeaseRecord, worker: str = "you#7") -> LeaseRecord:
    """Return a record whose revocation a worker has begun."""
    return record.claimed(worker=worker, until=SOON)


class TestSteps:
    """How a record changes."""

    def test_a_lease_begins_pending(self) -> None:
        """A new record is live, has every name that cleaning up needs, and is the first version."""
        record = pending()

        assert (record.state, record.live, record.version) == ("pending", True, 1)
        assert record.handle == PLAN
        assert (record.issued_at, record.expires_at, record.attempts, record.stuck) == (None, None, 0, False)

    def test_provisioned(self) -> None:
        """A provisioned lease is active and has its times and the handle that came with it."""
        record = active()

        assert (record.state, record.live) == ("active", True)
        assert (record.handle, record.issued_at, record.expires_at) == (HANDLE, NOW, LATER)

    def test_claimed(self) -> None:
        """A claimed lease is being revoked by its worker, until the claim lapses."""
        record = claimed(active())

        assert (record.state, record.claimed_by, record.next_attempt_at) == ("revoking", "you#7", SOON)
        assert record.is_claimed(NOW)
        assert not record.is_claimed(SOON)

    def test_a_claim_can_be_taken_over(self) -> None:
        """A revocation that was begun can be begun again by another worker."""
        record = claimed(claimed(active()), "other#1")

        assert record.claimed_by == "other#1"

    def test_failed(self) -> None:
        """A failed revocation is counted, says why, frees the claim, and is due again after a pause."""
        record = failing(claimed(active()))

        assert (record.state, record.attempts, record.last_error) == ("revoking", 1, "no network")
        assert record.next_attempt_at == NOW + timedelta(seconds=1)
        assert record.claimed_by is None
        assert not record.is_claimed(NOW)

    def test_failed_often(self) -> None:
        """After so many failures in a row a lease is stuck, and goes on being due."""
        record = active()
        stuck = []
        for _ in range(STUCK_AFTER + 1):
            record = failing(record)
            stuck.append(record.stuck)

        assert stuck == [False] * (STUCK_AFTER - 1) + [True, True]
        assert record.due_at is not None

    def test_long_errors_are_cut(self) -> None:
        """Of an error no more is kept than a person reads."""
        assert failing(active(), "x" * 10_000).last_error == "x" * 500

    def test_revoked(self) -> None:
        """A tombstone is not live and not due, has no claim, is not stuck, and keeps why it had failed."""
        record = active()
        for _ in range(STUCK_AFTER):
            record = failing(record)
        record = claimed(record).revoked(now=LATER)

        assert (record.state, record.live, record.revoked_at) == ("revoked", False, LATER)
        assert (record.next_attempt_at, record.claimed_by, record.stuck) == (None, None, False)
        assert (record.attempts, record.last_error) == (STUCK_AFTER, "no network")

    @pytest.mark.parametrize(
        "step",
        [
            lambda record: record.activated(handle=HANDLE, issued_at=NOW, expires_at=LATER),
            claimed,
            failing,
            lambda record: record.revoked(now=NOW),
        ],
    )
    def test_a_tombstone_stays_one(self, step: Callable[[LeaseRecord], LeaseRecord]) -> None:
        """A revoked lease can't become anything any more."""
        with pytest.raises(StoreError, match="a lease can't go from revoked to") as caught:
            step(active().revoked(now=NOW))

        assert caught.value.lease_id == "id-1"

    def test_a_lease_is_provisioned_once(self) -> None:
        """An active lease can't be activated again, nor one whose revocation began."""
        for record in (active(), claimed(pending())):
            with pytest.raises(StoreError, match="to active"):
                record.activated(handle=HANDLE, issued_at=NOW, expires_at=LATER)

    def test_a_state_has_what_it_requires(self) -> None:
        """A step that leaves out what its state needs is refused."""
        nothing: Any = None

        with pytest.raises(StoreError, match="a lease can't be active without expires_at"):
            pending().activated(handle=HANDLE, issued_at=NOW, expires_at=nothing)
        with pytest.raises(StoreError, match="a lease can't be revoking without next_attempt_at"):
            active().claimed(worker="you#1", until=nothing)
        with pytest.raises(StoreError, match="a lease can't be revoked without revoked_at"):
            active().revoked(now=nothing)

    def test_steps_leave_the_version_to_the_store(self) -> None:
        """The version is that of what was read; the store raises it when it writes."""
        assert claimed(active(version=5)).version == 5
        assert active(version=5).next_version() == active(version=6)

    @given(st.lists(st.sampled_from(["activate", "claim", "fail", "revoke"]), max_size=10))
    def test_any_sequence_of_steps(self, steps: list[str]) -> None:
        """Whatever is tried in whatever order, a record is live and due until it is a tombstone, and then stays one."""
        record = pending()
        actions: dict[str, Callable[[LeaseRecord], LeaseRecord]] = {
            "activate": lambda found: found.activated(handle=HANDLE, issued_at=NOW, expires_at=LATER),
            "claim": claimed,
            "fail": failing,
            "revoke": lambda found: found.revoked(now=LATER),
        }
        for step in steps:
            try:
                record = actions[step](record)
            except StoreError:
                assert step == "activate" or not record.live
            assert record.live == (record.due_at is not None) == (record.state is not LeaseState.REVOKED)
            assert bool(record.handle)

        assert record.live == ("revoke" not in steps)


class TestDue:
    """When somebody must look at a lease, and whose end makes it due at once."""

    @pytest.mark.parametrize(
        ("record", "due_at"),
        [
            (pending(), NOW),
            (active(), LATER),
            (claimed(active()), SOON),
            (failing(active()), NOW + timedelta(seconds=1)),
            (active().revoked(now=NOW), None),
        ],
        ids=["pending", "active", "claimed", "failed", "revoked"],
    )
    def test_when(self, record: LeaseRecord, due_at: datetime | None) -> None:
        """An issue is due at once, a lease at its end, a revocation at its next attempt or its claim's end."""
        assert record.due_at == due_at

    @pytest.mark.parametrize(
        ("record", "process"),
        [
            (pending(), "me"),
            (active(), None),
            (active(held=True), "me"),
            (claimed(active(held=True)), "you"),
            (claimed(active(), "a|b|c#d#9"), "a|b|c"),
            (failing(active(held=True)), None),
            (active(held=True).revoked(now=NOW), None),
        ],
        ids=["pending", "active", "held", "claimed", "separators", "failed", "revoked"],
    )
    def test_whose(self, record: LeaseRecord, process: str | None) -> None:
        """An issue and a held lease end with their owner, a claim with its worker's process."""
        assert record.process == process

    def test_what_remains_is_never_negative(self) -> None:
        """What is over has no time left."""
        assert remaining(LATER, NOW) == timedelta(minutes=30)
        assert remaining(NOW, LATER) == timedelta(0)


class TestValue:
    """A record is a value without a secret."""

    @pytest.mark.parametrize(
        "ask",
        [
            lambda record: record.secret_access_key,
            lambda record: record.env(),
            lambda record: record.aws_env(),
            lambda record: record.session(),
            lambda record: record.session(region_name="eu-central-1"),
        ],
    )
    def test_asking_for_the_secret_raises(self, ask: Callable[[LeaseRecord], object]) -> None:
        """A record says that secrets are revealed once, and what to do."""
        with pytest.raises(SecretNotAvailable, match=r"revealed once.*request a new lease") as caught:
            ask(active())

        assert caught.value.lease_id == "id-1"

    def test_it_has_the_documented_fields(self) -> None:
        """A record has what the manager's users may read."""
        documented = (
            "id name integration state handle created_at issued_at expires_at revoked_at attempts next_attempt_at "
            "last_error stuck owner metadata version"
        )

        assert set(documented.split()) <= {field.name for field in attrs.fields(LeaseRecord)}

    def test_its_state_may_be_given_as_text(self) -> None:
        """A state that is read from a store is text; another one than the four is refused."""
        assert pending(state="active").state is LeaseState.ACTIVE
        with pytest.raises(ValueError, match="'gone'"):
            pending(state="gone")

    def test_it_is_immutable_hashable_and_comparable(self) -> None:
        """Equal records are equal and hash alike, and nothing of them can be set."""
        record: Any = active()

        assert record == active()
        assert hash(record) == hash(active())
        assert record != active(id="id-2")
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            record.state = "revoked"

    def test_it_can_be_pickled(self) -> None:
        """A record may go to another process."""
        record = failing(claimed(active(metadata={"job": [1, None]})))

        assert pickle.loads(pickle.dumps(record)) == record  # noqa: S301  # Our own.


def test_metadata_is_plain_json() -> None:
    """Metadata comes back equal, and shares nothing with what was given."""
    given = {"a": [1, {"b": None}], "c": 1.5}

    kept = check_metadata(given)

    assert kept == given
    assert kept["a"] is not given["a"]
    assert check_metadata(None) == check_metadata({}) == {}
