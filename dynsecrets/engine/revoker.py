"""How a lease is revoked: claimed, deleted, and tried again until it is gone."""

from __future__ import annotations

import random
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import attrs

from dynsecrets._internal.log import logger
from dynsecrets.engine.process_identity import ProcessState, liveness
from dynsecrets.engine.revocation import RevocationOutcome
from dynsecrets.errors import DynsecretsError, LeaseNotFound, PermissionDenied, RevocationError, StoreError
from dynsecrets.model.backoff import revocation_delay
from dynsecrets.model.grant import Remainder
from dynsecrets.model.lifecycle import CLAIM_LENGTH, LeaseState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynsecrets.engine.scheduler import Scheduler
    from dynsecrets.engine.state import EngineState
    from dynsecrets.model.integration import Integration
    from dynsecrets.model.record import LeaseRecord

#: Pauses after the failed attempts that a caller waits for, in seconds. botocore makes attempts of its own within each.
_PAUSES: Final = (0.5, 1.0)
#: Nothing that was left for later is looked at again before that, whatever the integration says.
_SOONEST: Final = timedelta(seconds=1)
#: Pauses between looks at a revocation that another worker has begun, in seconds; the last one repeats.
_LOOKS: Final = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)


class Revoker:
    """Revokes leases for a manager. Thread-safe."""

    def __init__(self, state: EngineState, scheduler: Scheduler) -> None:
        self._state = state
        self._scheduler = scheduler
        self._random = random.SystemRandom()

    def revoke(self, record: LeaseRecord, integration: Integration) -> RevocationOutcome:
        """Delete a lease, in a few attempts; when this returns it is gone, whoever deleted it, or was released.

        Raises ``RevocationError`` where it can't be done now; the record says so, and the attempts go on in the
        background.
        """
        worker = self._state.new_worker()
        try:
            for pause in _PAUSES:
                try:
                    return self._attempt(record, integration, worker, wait=True)
                except RevocationError as error:
                    if isinstance(error.__cause__, PermissionDenied):
                        raise
                self._state.clock.sleep(pause)
            return self._attempt(record, integration, worker, wait=True)
        except BaseException as error:
            # On an interrupt, too: whoever waits goes away, the background goes on.
            self.postpone(record, integration, error, worker=worker)
            raise

    def expire(self, lease_id: str) -> None:
        """Revoke a lease of this process whose TTL is over; in the background."""
        entry = self._state.leases.get(lease_id)
        if entry is not None:
            self._state.emit("expired", entry.record)
            self.try_again(entry.record, entry.integration)

    def try_again(self, record: LeaseRecord, integration: Integration) -> RevocationError | None:
        """Make one attempt in the background, plan the next one if it fails, and return why."""
        worker = self._state.new_worker()
        try:
            self._attempt(record, integration, worker, wait=True)
        except RevocationError as error:
            self.postpone(record, integration, error, worker=worker)
            return error
        return None

    def retry(self, record: LeaseRecord, integration: Integration) -> None:
        """Make the attempt that was planned when one had failed, unless somebody else has made it since.

        All who have met a lease that can't be revoked plan another attempt; one of them makes it, the others see that
        and wait for the next one.
        """
        try:
            found = self._state.store.get(record.id)
        except (StoreError, LeaseNotFound):
            found = record
        if not found.live:
            self._forget(record.id)
            return
        now = self._state.now(found.integration)
        theirs = found.version != record.version
        if not theirs:
            # It may count failures that the store could not be told.
            found = record
        elif found.is_claimed(now) or (found.claimed_by is None and not found.is_due(now)):
            self._plan(found, integration)
            return
        worker = self._state.new_worker()
        try:
            outcome = self._attempt(found, integration, worker, wait=False)
        except RevocationError as error:
            self.postpone(found, integration, error, worker=worker)
        else:
            if outcome is RevocationOutcome.SKIPPED:
                self._plan(found, integration)

    def reap(
        self, record: LeaseRecord, integration: Integration, *, again_after: timedelta | None = None
    ) -> RevocationOutcome:
        """Make one attempt for a reaper, unless another worker is at it. Errors are kept in the record.

        With ``again_after`` the lease is looked for once more that much later, since it may be made only then.
        """
        worker = self._state.new_worker()
        try:
            outcome = self._attempt(record, integration, worker, wait=False, again_after=again_after)
        except RevocationError as error:
            self.postpone(record, integration, error, worker=worker)
            return RevocationOutcome.FAILED
        if outcome is RevocationOutcome.REVOKED:
            self._state.emit("reaped", record)
        return outcome

    def postpone(
        self,
        record: LeaseRecord,
        integration: Integration,
        error: BaseException,
        *,
        worker: str | None = None,
        handle: Mapping[str, str] | None = None,
    ) -> LeaseRecord:
        """Write down that a revocation failed, plan the next attempt, and return the record that says so.

        ``worker`` is who tried, and ends no claim but its own: another one may have taken over what took too long.
        ``handle`` is what an issue could not roll back, which is known better than the record knows it.
        """
        jitter = self._random.random()
        now = self._state.now(record.integration)
        why = str(error) or type(error).__name__

        def fail(found: LeaseRecord) -> LeaseRecord:
            failed = found.failed(now=now, error=why, jitter=jitter, handle=found.handle if handle is None else handle)
            if found.claimed_by == worker or not found.is_claimed(now):
                return failed
            return attrs.evolve(failed, claimed_by=found.claimed_by, next_attempt_at=found.next_attempt_at)

        late = handle is not None or self._is_late(record)
        try:
            found = self._state.write(record, fail)
            if not found.live and late:
                # The issue took so long that somebody gave it up and closed its record: what is left came after that.
                found = fail(attrs.evolve(record, id=str(uuid.uuid4()), version=1))
                self._state.store.insert(found)
                self._forget(record.id)
            record, late = found, False
        except (StoreError, LeaseNotFound) as store_error:
            logger.error("Lease %s is not revoked, and its record can't say so: %s", record.id, store_error)
            # Counted all the same, so that the attempts get rarer.
            record = fail(record)
        if not record.live:
            self._forget(record.id)
            return record
        self._state.emit("revoke_failed", record, error)
        # An entry is of what the lease was made with, rather than of what somebody wanted to revoke it with.
        entry = self._state.leases.ensure(record, integration)
        entry.late = late
        self._plan(record, entry.integration, revocation_delay(record.attempts, jitter))
        return record

    def _plan(self, record: LeaseRecord, integration: Integration, delay: timedelta = CLAIM_LENGTH) -> None:
        """Plan the next attempt, after ``delay`` or once the record says that it is due, if that is earlier."""
        if record.next_attempt_at is not None:
            delay = min(max(record.next_attempt_at - self._state.now(record.integration), _SOONEST), delay)
        at = self._state.clock.steady() + delay.total_seconds()
        entry = self._state.leases.ensure(record, integration)
        # One plan for a lease, however many tried in vain.
        earlier, entry.retry = (
            entry.retry,
            self._scheduler.call_at(at, lambda: self.retry(record, integration), record.integration),
        )
        if earlier is not None:
            self._scheduler.cancel(earlier)

    def discard(self, record: LeaseRecord) -> LeaseRecord:
        """Write down that nothing of a lease is left. Raises ``StoreError``."""
        self._forget(record.id)
        now = self._state.now(record.integration)
        return self._state.write(record, lambda found: found.revoked(now=now))

    def discard_later(self, record: LeaseRecord, failures: int = 1) -> None:
        """Do so once the store takes it, as long as the process lives; after that a reaper finds nothing to delete."""
        pause = revocation_delay(failures, self._random.random()).total_seconds()
        self._scheduler.call_at(self._state.clock.steady() + pause, lambda: self._discard_again(record, failures))

    def _discard_again(self, record: LeaseRecord, failures: int) -> None:
        try:
            self.discard(record)
        except LeaseNotFound:
            return
        except StoreError as error:
            logger.info("The record of lease %s still doesn't say that it is revoked: %s", record.id, error)
            self.discard_later(record, failures + 1)

    def finish(self, record: LeaseRecord, *, told: bool = False) -> None:
        """Write down that a lease was revoked. Where that fails it is gone all the same, and it is written later.

        ``told``: it ended before, and its listeners were told so then.
        """
        try:
            record = self.discard(record)
        except LeaseNotFound:
            logger.warning("Lease %s is revoked; its record was gone before", record.id)
        except StoreError as error:
            logger.error("Lease %s is revoked, but its record doesn't say so yet: %s", record.id, error)
            self.discard_later(record)
        if not told:
            self._state.emit("revoked", record)

    def keep(
        self,
        record: LeaseRecord,
        integration: Integration,
        remainder: Remainder,
        *,
        handle: Mapping[str, str] | None = None,
    ) -> RevocationOutcome:
        """Write down what a revocation has left for later, and plan to go on with it then.

        ``handle`` is what an issue has rolled back, which is known better than the record knows it.
        """
        now = self._state.now(record.integration)
        again_at = max(remainder.again_at, now + _SOONEST)

        def leave(found: LeaseRecord) -> LeaseRecord:
            ended_at = (now if found.ended_at is None else min(found.ended_at, now)) if remainder.ended else again_at
            return found.left(ended_at=ended_at, again_at=again_at, handle=found.handle if handle is None else handle)

        try:
            kept = self._state.write(record, leave)
        except (StoreError, LeaseNotFound) as error:
            # A claim lapses, so that whoever reaps meets the lease again, and is told the same.
            logger.error("What lease %s has left for later can't be recorded: %s", record.id, error)
            kept = leave(record)
        if not kept.live:
            self._forget(record.id)
            return RevocationOutcome.REVOKED
        self._forget(record.id, revoked=remainder.ended)
        outcome = RevocationOutcome.REVOKED if remainder.ended else RevocationOutcome.RELEASED
        if record.ended_at is None:
            self._state.emit(outcome.value, kept)
        at = self._state.clock.steady() + (again_at - now).total_seconds()
        self._scheduler.call_at(at, lambda: self.try_again(kept, integration))
        return outcome

    def _attempt(
        self,
        record: LeaseRecord,
        integration: Integration,
        worker: str,
        *,
        wait: bool,
        again_after: timedelta | None = None,
    ) -> RevocationOutcome:
        """Make one attempt, or raise ``RevocationError``.

        With ``wait`` it is gone or released when this returns, by whichever worker; without, another one may be at it,
        and it is skipped.
        """
        if record.waits and not record.is_due(self._state.now(record.integration)):
            return RevocationOutcome.REVOKED if record.ended else RevocationOutcome.RELEASED
        claimed = self._claim(record, worker, wait=wait)
        if claimed is None:
            return RevocationOutcome.REVOKED if wait else RevocationOutcome.SKIPPED
        try:
            remainder = integration.revoke(claimed.handle)
        except DynsecretsError as error:
            error.lease_id = record.id
            if isinstance(error, RevocationError):
                raise
            message = f"lease {record.id} could not be revoked: {error}"
            raise RevocationError(message, code=error.code, operation=error.operation, lease_id=record.id) from error
        except Exception as error:
            message = f"lease {record.id} could not be revoked: {type(error).__name__}: {error}"
            raise RevocationError(message, lease_id=record.id) from error
        if again_after is not None and remainder is None:
            remainder = Remainder(ended=True, again_at=self._state.now(record.integration) + again_after)
        if isinstance(remainder, Remainder):
            return self.keep(claimed, integration, remainder)
        self.finish(claimed, told=record.ended)
        return RevocationOutcome.REVOKED

    def release(self, record: LeaseRecord) -> LeaseRecord | None:
        """Take the claim of a worker that is gone off a lease; ``None`` where somebody else has done that."""
        try:
            return self._state.store.update(record.released(now=self._state.now(record.integration)))
        except StoreError as error:
            logger.info("Lease %s is somebody else's to revoke: %s", record.id, error)
            return None

    def _claim(self, record: LeaseRecord, worker: str, *, wait: bool) -> LeaseRecord | None:
        """Begin a revocation, once no other worker is at it; ``None`` if the lease is gone, or is not waited for."""
        state = self._state
        looks = iter(_LOOKS)
        pause = 0.0
        while True:
            now = state.now(record.integration)
            try:
                claimed = state.store.claim(record.id, worker, now + CLAIM_LENGTH, now)
                if claimed is not None:
                    return claimed
                found = state.store.get(record.id)
                if found.state is LeaseState.REVOKED and self._is_late(record):
                    return record
                if found.state is LeaseState.REVOKED:
                    self._forget(record.id)
                    return None
                if found.process is not None and liveness(found.process) is ProcessState.GONE and self.release(found):
                    continue
                if not wait:
                    return None
            except LeaseNotFound:
                # Its record is lost; the lease may not be.
                return record if record.live else None
            except StoreError as error:
                # The credential matters more than the record.
                logger.error("Lease %s is revoked without a claim: %s", record.id, error)
                return record
            pause = next(looks, pause)
            state.clock.sleep(pause)

    def _is_late(self, record: LeaseRecord) -> bool:
        """Tell whether something of a lease may have come to be after its record was closed."""
        entry = self._state.leases.get(record.id)
        return entry is not None and entry.late

    def _forget(self, lease_id: str, *, revoked: bool = True) -> None:
        """Let go of a lease that is gone, or released."""
        entry = self._state.leases.remove(lease_id, revoked=revoked)
        for job in () if entry is None else (entry.job, entry.retry):
            if job is not None:
                self._scheduler.cancel(job)
