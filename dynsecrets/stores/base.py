"""What the manager asks of a store of lease records."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

    from dynsecrets.model.lifecycle import LeaseState
    from dynsecrets.model.record import LeaseRecord


@runtime_checkable
class LeaseStore(Protocol):
    """Records in, records out, with optimistic versions, due work by time, and claims.

    Any object with these methods will do; a subclass is not needed. Every method must be safe to call from any thread,
    and a store that is shared by processes must be safe to use from all of them. A call may also come in the middle of
    another one of the same thread, from a garbage collection or a signal handler: a lock is best one that its thread
    may take again. A write is durable when its method returns. Whatever goes wrong is raised as
    :class:`~dynsecrets.StoreError` or one of its kinds.

    A store may have an attribute ``outlives_process``; where it is ``False`` (records die with the process, as in
    memory) a manager that closes revokes all that it issued. One that many hosts share may have ``spans_hosts = True``:
    then the third party is asked for its time before a process's first record is written. A store may also have the two
    methods of :class:`ProcessIndex`; without them the manager finds the leases of dead processes by reading all live
    records. And it may have the method of :class:`FailureIndex`; without it the manager finds failed revocations, whose
    next attempt is at most a minute away, by reading all that is due within that minute.
    """

    def insert(self, record: LeaseRecord) -> None:
        """Keep a new record.

        Args:
            record: The record; its ``id`` is new.

        Raises:
            StoreError: The id is taken, or the record could not be written.
        """
        ...

    def update(self, record: LeaseRecord) -> LeaseRecord:
        """Replace the stored record of the same ``id`` and ``version``.

        Args:
            record: What to keep. Its ``version`` is that of the stored record; its ``id``, ``name``, ``integration``
                and ``created_at`` are those of the stored record, too: they never change.

        Returns:
            The record as stored, with the next version.

        Raises:
            VersionConflict: The stored version is another one.
            LeaseNotFound: There is no such record.
            StoreError: The record could not be written.
        """
        ...

    def get(self, lease_id: str) -> LeaseRecord:
        """Return one record.

        Args:
            lease_id: The id of the lease.

        Returns:
            The record as it is now. Changing its mappings changes nothing in the store.

        Raises:
            LeaseNotFound: There is no such record.
            StoreError: The record can't be read.
        """
        ...

    def records(
        self,
        *,
        state: LeaseState | str | None = None,
        name: str | None = None,
        integration: str | None = None,
    ) -> Iterator[LeaseRecord]:
        """Iterate over the records that match, oldest first, among those that there are when iterating begins.

        Nothing is locked while the caller works on a record. What can't be read is logged, told to
        :func:`dynsecrets.stores.unreadable.note_unreadable` and left out.

        Args:
            state: The state of the records, ``None`` for any.
            name: The name of their dynamic secret, ``None`` for any.
            integration: The name of their integration, ``None`` for any.

        Returns:
            An iterator, which reads on as it is asked to.

        Raises:
            InvalidConfig: There is no such state.
            StoreError: The store can't be read.
        """
        ...

    def due(
        self, now: datetime, *, integrations: Collection[str] | None = None, limit: int | None = None
    ) -> Sequence[LeaseRecord]:
        """Return the records that somebody must look at, the earliest ``due_at`` first.

        These are the records whose ``due_at`` is not later than ``now``, and those with a claim that ends later than
        ``now`` and :data:`dynsecrets.model.lifecycle.LONGEST_CLAIM`: a wrong clock made it. Nothing else may be read
        for that. What can't be read is logged, told to ``note_unreadable`` and left out, and doesn't count.

        Args:
            now: The present time.
            integrations: The names of integrations to look for, ``None`` for all.
            limit: The most to return, ``None`` for all.

        Returns:
            The records.

        Raises:
            StoreError: The store can't be read.
        """
        ...

    def claim(self, lease_id: str, worker: str, until: datetime, now: datetime) -> LeaseRecord | None:
        """Begin a revocation, for one worker at a time: ``record.claimed(...)``, in one atomic step.

        Args:
            lease_id: The id of the lease.
            worker: The name of who is to revoke it.
            until: When the claim lapses.
            now: The present time; another worker's claim holds if ``record.is_claimed(now)``.

        Returns:
            The record as stored, or ``None`` where another worker's claim holds or the lease is revoked already.

        Raises:
            LeaseNotFound: There is no such record.
            StoreError: The record can't be read or written.
        """
        ...

    def count_live(self, name: str) -> int:
        """Return how many leases of a dynamic secret are not revoked.

        Args:
            name: The name of the dynamic secret.

        Returns:
            Their number, without those that the third party refuses already (``record.ended``).

        Raises:
            StoreError: The store can't be read.
        """
        ...

    def purge(self, before: datetime) -> int:
        """Forget tombstones, many at a time.

        A store may take ``limit``, too, the most to forget (``None`` for all), the oldest first: all stores of the
        library do. The manager then purges in bounded steps; see :func:`purge_some`.

        Args:
            before: The tombstones of leases revoked before this moment are forgotten.

        Returns:
            How many were forgotten.

        Raises:
            StoreError: The store can't be written.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections. Closing twice is fine."""
        ...


@runtime_checkable
class ProcessIndex(Protocol):
    """What a store may offer so that leases of dead processes are found without reading all live ones."""

    def processes(self, place: str) -> Sequence[str]:
        """Return the processes that live leases depend on.

        Args:
            place: What the name of each must begin with.

        Returns:
            Each different ``record.process``, once.
        """
        ...

    def of_process(self, process: str, *, limit: int | None = None) -> Sequence[LeaseRecord]:
        """Return the live records that depend on a process, oldest first.

        What can't be read is logged, told to ``note_unreadable`` and left out, and doesn't count.

        Args:
            process: Their ``record.process``.
            limit: The most to return, ``None`` for all.

        Returns:
            The records.
        """
        ...


@runtime_checkable
class FailureIndex(Protocol):
    """What a store may offer so that failed revocations are found before their next attempt, and nothing else is."""

    def failed(self, integration: str, *, limit: int | None = None) -> Sequence[LeaseRecord]:
        """Return the records in ``revoking`` that nobody has claimed, by the time of their next attempt.

        Those that only wait (``record.waits``) are left out: nothing of them has failed. What can't be read is logged,
        told to ``note_unreadable`` and left out, and doesn't count.

        Args:
            integration: The name of their integration.
            limit: The most to return, ``None`` for all.

        Returns:
            The records.
        """
        ...


def takes_limit(store: LeaseStore) -> bool:
    """Tell whether a store can be asked to forget some tombstones, not all."""
    parameters = signature(store.purge).parameters.values()
    return any(parameter.name == "limit" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def purge_some(store: LeaseStore, before: datetime, limit: int | None) -> int:
    """Forget at most ``limit`` tombstones, or all that are old where the store can't be asked for fewer.

    Args:
        store: Any store.
        before: The tombstones of leases revoked before this moment are forgotten.
        limit: The most to forget, ``None`` for all.

    Returns:
        How many were forgotten.

    Raises:
        StoreError: The store can't be written.
    """
    if limit is None or not takes_limit(store):
        return store.purge(before)
    bounded: Any = store
    return int(bounded.purge(before, limit=limit))
