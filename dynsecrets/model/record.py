"""What a store keeps of a lease: everything that is needed to clean up, and never a secret. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs

from dynsecrets.errors import InvalidConfig, SecretNotAvailable, StoreError
from dynsecrets.model.backoff import revocation_delay
from dynsecrets.model.lifecycle import LIVE, LONGEST_CLAIM, REQUIRED, STUCK_AFTER, LeaseState, may_become

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A worker is named by its process, this sign, and what tells it from other workers of that process.
WORKER_SEPARATOR = "#"
_LONGEST_ERROR = 500


@attrs.frozen(kw_only=True)
class LeaseRecord:
    """One lease as the store knows it. Immutable: each step of its life makes a new record.

    Times are aware UTC datetimes.

    Attributes:
        id: The lease's id.
        name: The dynamic secret's name.
        integration: The integration's name.
        state: Where the lease stands.
        handle: What the integration needs to revoke it: names and key ids, no secret.
        created_at: When the record was first written, by the clock of the process that wrote it.
        issued_at: When the lease's life began, by the service's clock.
        expires_at: When it is over, by the service's clock.
        revoked_at: When nothing of it was left, by the clock of the process that wrote it.
        ended_at: When it ended, or will end by itself, where ``revoke`` left something for later; it tells such a
            lease from one whose revocation failed.
        attempts: How many revocations in a row failed.
        next_attempt_at: When the next attempt is due, or when a worker's claim lapses.
        last_error: Why the last attempt failed.
        stuck: Whether a person should look.
        owner: The process that asked for the lease.
        held: Whether it ends with that process.
        claimed_by: The worker that revokes it just now.
        metadata: What the caller wanted kept with it.
        version: Grows by one with every write.
    """

    id: str
    name: str
    integration: str
    state: LeaseState = attrs.field(default=LeaseState.PENDING, converter=LeaseState)
    handle: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    created_at: datetime
    issued_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: int = 0
    next_attempt_at: datetime | None = None
    last_error: str | None = None
    stuck: bool = False
    owner: str = ""
    held: bool = False
    claimed_by: str | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    version: int = 1

    @property
    def live(self) -> bool:
        """Whether something of the lease may still exist."""
        return self.state in LIVE

    @property
    def due_at(self) -> datetime | None:
        """When somebody must look at this lease next, or ``None`` for a tombstone.

        An unfinished issue is worth a look at once (whoever looks decides by its age and its owner); a live lease at
        its expiration; a revocation at its next attempt, or when its claim lapses.
        """
        if self.state is LeaseState.PENDING:
            return self.created_at
        if self.state is LeaseState.ACTIVE:
            return self.expires_at
        if self.state is LeaseState.REVOKING:
            return self.next_attempt_at
        return None

    @property
    def process(self) -> str | None:
        """The process whose end makes this lease due at once, or ``None`` where only time does.

        An unfinished issue and a held lease depend on their owner, a revocation on the worker that claimed it.
        """
        if self.state is LeaseState.PENDING or (self.state is LeaseState.ACTIVE and self.held):
            return self.owner
        if self.state is LeaseState.REVOKING and self.claimed_by is not None:
            return self.claimed_by.partition(WORKER_SEPARATOR)[0]
        return None

    def activated(self, *, handle: Mapping[str, str], issued_at: datetime, expires_at: datetime) -> LeaseRecord:
        """Return the record of the lease provisioned.

        Args:
            handle: What revokes it.
            issued_at: When its life began, by the service's clock.
            expires_at: When it is over, by the service's clock.

        Returns:
            The record, ``active``.
        """
        return self._become(LeaseState.ACTIVE, handle=dict(handle), issued_at=issued_at, expires_at=expires_at)

    def claimed(self, *, worker: str, until: datetime) -> LeaseRecord:
        """Return the record with a revocation begun.

        Args:
            worker: Who has begun it.
            until: When the claim lapses, so that the lease is due again if nothing comes of it.

        Returns:
            The record, ``revoking``.
        """
        return self._become(LeaseState.REVOKING, claimed_by=worker, next_attempt_at=until)

    def released(self, *, now: datetime) -> LeaseRecord:
        """Return the record with the claim of a worker that is gone taken off.

        Args:
            now: When it is due: at once.

        Returns:
            The record, ``revoking``.
        """
        return self._become(LeaseState.REVOKING, claimed_by=None, next_attempt_at=now)

    def failed(self, *, now: datetime, error: str, jitter: float, handle: Mapping[str, str]) -> LeaseRecord:
        """Return the record after a revocation that failed.

        Args:
            now: When it failed.
            error: Why; kept in part if it is long.
            jitter: A random number from 0 to 1, which spreads the next attempts.
            handle: What revokes the lease.

        Returns:
            The record, ``revoking``, claimed by nobody.
        """
        attempts = self.attempts + 1
        return self._become(
            LeaseState.REVOKING,
            handle=dict(handle),
            attempts=attempts,
            next_attempt_at=now + revocation_delay(attempts, jitter),
            last_error=error[:_LONGEST_ERROR],
            stuck=attempts >= STUCK_AFTER,
            claimed_by=None,
        )

    def revoked(self, *, now: datetime) -> LeaseRecord:
        """Return the tombstone of the lease. It keeps why it had failed before, but is stuck no more.

        Args:
            now: When nothing of it was left.

        Returns:
            The record, ``revoked``.
        """
        return self._become(LeaseState.REVOKED, revoked_at=now, next_attempt_at=None, claimed_by=None, stuck=False)

    def left(self, *, ended_at: datetime, again_at: datetime, handle: Mapping[str, str]) -> LeaseRecord:
        """Return the record of a lease that ended, or will by itself, and that is to be revoked again later.

        Args:
            ended_at: When it ended, or will: ``again_at``.
            again_at: When ``revoke`` is due again.
            handle: What revokes the lease.

        Returns:
            The record, ``revoking``, claimed by nobody, with no failures.
        """
        return self._become(
            LeaseState.REVOKING,
            handle=dict(handle),
            ended_at=ended_at,
            attempts=0,
            next_attempt_at=again_at,
            stuck=False,
            claimed_by=None,
        )

    @property
    def waits(self) -> bool:
        """Whether all was done that can be done before ``next_attempt_at``; a failed revocation doesn't wait."""
        unclaimed = self.state is LeaseState.REVOKING and self.claimed_by is None
        return unclaimed and self.ended_at is not None and not self.attempts

    @property
    def ended(self) -> bool:
        """Whether the third party refuses the credential already, while something is left to be taken away."""
        if self.state is not LeaseState.REVOKING or self.ended_at is None or self.next_attempt_at is None:
            return False
        return self.ended_at < self.next_attempt_at

    def is_due(self, now: datetime) -> bool:
        """Tell whether somebody must look at the lease.

        Args:
            now: The moment to tell it for.

        Returns:
            Whether ``due_at`` is not later.
        """
        return self.due_at is not None and self.due_at <= now

    def is_claimed(self, now: datetime) -> bool:
        """Tell whether a worker's claim on the lease holds.

        A claim that ends later than a claim can was made by a wrong clock: it holds nobody off.

        Args:
            now: The moment to tell it for.

        Returns:
            Whether other workers must keep away.
        """
        until = self.next_attempt_at
        return self.claimed_by is not None and until is not None and now < until <= now + LONGEST_CLAIM

    def next_version(self) -> LeaseRecord:
        """Return the record as the store keeps it after one more write.

        Returns:
            The same with the next ``version``.
        """
        return self._changed(version=self.version + 1)

    def _changed(self, **changes: Any) -> LeaseRecord:
        """Return the record with some fields changed: ``attrs.evolve`` at half its cost, paid six times in a life."""
        changed = object.__new__(LeaseRecord)
        for put, value in zip(_slots, _values(self), strict=True):
            put(changed, value)
        for name, value in changes.items():
            object.__setattr__(changed, name, value)
        return changed

    def _become(self, state: LeaseState, **changes: Any) -> LeaseRecord:
        """Return the record in another state, with all that this state requires."""
        if not may_become(self.state, state):
            msg = f"a lease can't go from {self.state} to {state}"
            raise StoreError(msg, lease_id=self.id)
        record = self._changed(state=state, **changes)
        for name in REQUIRED[state]:
            if getattr(record, name) is None:
                msg = f"a lease can't be {state} without {name}"
                raise StoreError(msg, lease_id=self.id)
        return record

    @property
    def secret_access_key(self) -> NoReturn:
        """Raise ``SecretNotAvailable``: records hold no secret."""
        self._no_secret()

    def env(self) -> NoReturn:
        """Raise ``SecretNotAvailable``: records hold no secret."""
        self._no_secret()

    def aws_env(self) -> NoReturn:
        """Raise ``SecretNotAvailable``: records hold no secret."""
        self._no_secret()

    def session(self, **_kwargs: object) -> NoReturn:
        """Raise ``SecretNotAvailable``: records hold no secret.

        Args:
            **_kwargs: Whatever the ``session()`` of a lease takes.

        Raises:
            SecretNotAvailable: Always.
        """
        self._no_secret()

    def _no_secret(self) -> NoReturn:
        msg = f"the secret of lease {self.id} was revealed once, to the one who asked for it; request a new lease"
        raise SecretNotAvailable(msg, lease_id=self.id)


_FIELDS: Final = tuple(field.name for field in attrs.fields(LeaseRecord))
_values: Final = attrgetter(*_FIELDS)
_slots: Final = tuple(getattr(LeaseRecord, name).__set__ for name in _FIELDS)


def remaining(expires_at: datetime, now: datetime) -> timedelta:
    """Return how long a lease still lives, never negative."""
    return max(expires_at - now, timedelta(0))


def check_metadata(metadata: Mapping[str, object] | None) -> dict[str, object]:
    """Return what a caller wants kept with a lease, as plain JSON. Raises ``InvalidConfig``."""
    import json

    if metadata is None:
        return {}
    try:
        plain = json.loads(json.dumps(dict(metadata), allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        plain = None
    if plain is None or plain != dict(metadata):
        raise InvalidConfig("metadata must be a mapping of text to what JSON can hold (text, numbers, lists, mappings)")
    return dict(plain)
