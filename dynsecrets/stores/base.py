"""What the manager asks of a store of lease records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

    from dynsecrets.model.lifecycle import LeaseState
    from dynsecrets.model.record import LeaseRecord


@runtime_checkable
class LeaseStore(Protocol):
    """Records in, records out, with optimistic versions, due work by time, and claims.

    Any object with these methods will do; a subclass is not needed. Every method must be safe to call from any thread,
    and a store that is shared by processes must be safe to use from all of them. A write is durable when its method
    returns. Whatever goes wrong is raised as :class:`~dynsecrets.StoreError` or one of its kinds.

    A store may have an attribute ``outlives_process``; where it is ``False`` (records die with the process, as in
    memory) a manager that closes revokes all that it issued. A store may also have the two methods of
    :class:`ProcessIndex`; without them the manager finds the leases of dead processes by reading all live records. And
    it may have the method of :class:`FailureIndex`; without it the manager finds failed revocations, whose next attempt
    is at most a minute away, by reading all that is due within that minute.
    """

    def insert(self, record: LeaseRecord) -> None:
        """Keep a new record. Raises ``StoreError`` where its id is taken."""
        ...

    def update(self, record: LeaseRecord) -> LeaseRecord:
        """Replace the stored record of the same id and ``version``; return it as stored, with the next version.

        Raises ``VersionConflict`` where the stored version is another one, ``LeaseNotFound`` where there is none.
        """
        ...

    def get(self, lease_id: str) -> LeaseRecord:
        """Return one record. Raises ``LeaseNotFound``, and ``StoreError`` where it can't be read."""
        ...

    def records(
        self,
        *,
        state: LeaseState | str | None = None,
        name: str | None = None,
        integration: str | None = None,
    ) -> Iterator[LeaseRecord]:
        """Iterate over the records that match, oldest first.

        What can't be read is logged, told to :func:`dynsecrets.stores.unreadable.note_unreadable` and left out.
        """
        ...

    def due(
        self, now: datetime, *, integrations: Collection[str] | None = None, limit: int | None = None
    ) -> Sequence[LeaseRecord]:
        """Return the records whose ``due_at`` is not later than ``now``, the most overdue first.

        ``integrations`` are the names to look for (``None`` for all), ``limit`` is the most to return. It must not
        read what isn't due. What can't be read is logged, told to ``note_unreadable`` and left out.
        """
        ...

    def claim(self, lease_id: str, worker: str, until: datetime, now: datetime) -> LeaseRecord | None:
        """Begin a revocation, for one worker at a time: ``record.claimed(...)``, in one atomic step.

        Returns the record as stored, or ``None`` where another worker's claim holds at ``now`` or the lease is
        revoked already. Raises ``LeaseNotFound``.
        """
        ...

    def count_live(self, name: str) -> int:
        """Return how many leases of a dynamic secret are not revoked, without those that ``ended`` already."""
        ...

    def purge(self, before: datetime) -> int:
        """Forget the tombstones of leases revoked before a moment; return how many."""
        ...

    def close(self) -> None:
        """Let go of files and connections. Closing twice is fine."""
        ...


@runtime_checkable
class ProcessIndex(Protocol):
    """What a store may offer so that leases of dead processes are found without reading all live ones."""

    def processes(self, place: str) -> Sequence[str]:
        """Return each different ``record.process`` that begins with ``place``, of live records."""
        ...

    def of_process(self, process: str, *, limit: int | None = None) -> Sequence[LeaseRecord]:
        """Return the live records with that ``record.process``, oldest first."""
        ...


@runtime_checkable
class FailureIndex(Protocol):
    """What a store may offer so that failed revocations are found before their next attempt, and nothing else is."""

    def failed(self, integration: str, *, limit: int | None = None) -> Sequence[LeaseRecord]:
        """Return the records in ``revoking`` that nobody has claimed, by the time of their next attempt.

        Without those that only wait (``record.waits``): nothing of them has failed.
        """
        ...
