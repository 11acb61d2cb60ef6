"""How a lease is issued: written down, provisioned, written down again, waited for, handed over.

    plan names ─► store: pending ─► provision ─► store: active ─► wait until usable ─► reveal

Whatever goes wrong on the way, an interrupt too, is followed by deleting all that was made so far.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from dynsecrets._internal.log import logger
from dynsecrets._internal.messages import safe_repr
from dynsecrets.engine.attempts import current_attempt
from dynsecrets.engine.lease_registry import LiveLease
from dynsecrets.engine.readiness import wait_until_usable
from dynsecrets.engine.revocation import RevocationOutcome
from dynsecrets.engine.service_clocks import SAME_TIME
from dynsecrets.errors import DynsecretsError, LeaseNotFound, ProvisionError, QuotaExceeded, StoreError
from dynsecrets.model.grant import Grant, Remainder
from dynsecrets.model.lease import Lease
from dynsecrets.model.lease_status import LeaseStatus
from dynsecrets.model.record import LeaseRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from dynsecrets.engine.scheduler import Scheduler
    from dynsecrets.engine.state import EngineState
    from dynsecrets.model.config import DynamicSecretConfig
    from dynsecrets.model.integration import Integration


class Revoking(Protocol):
    """What an issuer needs of the one who revokes: at a lease's end, and where an issue fails."""

    def revoke(self, record: LeaseRecord, integration: Integration) -> RevocationOutcome:
        """Delete a lease now, in a few attempts. Raises ``RevocationError``."""
        ...

    def expire(self, lease_id: str) -> None:
        """Revoke a lease of this process whose TTL is over."""
        ...

    def postpone(
        self, record: LeaseRecord, integration: Integration, error: BaseException, *, handle: Mapping[str, str] | None
    ) -> LeaseRecord:
        """Write down that a revocation failed, and plan the next attempt."""
        ...

    def keep(
        self, record: LeaseRecord, integration: Integration, remainder: Remainder, *, handle: Mapping[str, str] | None
    ) -> RevocationOutcome:
        """Write down what a revocation has left for later, and plan to go on with it then."""
        ...

    def discard(self, record: LeaseRecord) -> LeaseRecord:
        """Write down that nothing of a lease is left. Raises ``StoreError``."""
        ...

    def discard_later(self, record: LeaseRecord) -> None:
        """Do so once the store takes it."""
        ...


class Issuer:
    """Issues leases for a manager. Thread-safe."""

    def __init__(self, state: EngineState, revoker: Revoking, scheduler: Scheduler) -> None:
        self._state = state
        self._revoker = revoker
        self._scheduler = scheduler

    def issue(
        self,
        config: DynamicSecretConfig,
        ttl: timedelta,
        *,
        wait: Any,
        metadata: Mapping[str, Any],
        held: bool,
    ) -> Lease:
        """Issue one lease. What is given has been checked."""
        self._check_cap(config, allowed=(config.max_active or 0) - 1)
        if self._state.spans_hosts:
            # Other hosts judge by their clocks whether this issue was given up. They must not be told a wrong time.
            self._state.clocks.ask(config.integration)
        record = LeaseRecord(
            id=str(uuid.uuid4()),
            name=config.name,
            integration=config.integration.name,
            handle=config.integration.plan(config),
            created_at=self._state.now(config.integration.name),
            owner=self._state.owner,
            held=held,
            metadata=metadata,
        )
        attempt = current_attempt()
        attempt.begin(record.id, record.name)
        self._state.begin_issue(record.id)
        try:
            lease = self._provision(config, ttl, record)
            self._wait(config, lease, wait)
        finally:
            self._state.end_issue(record.id)
            attempt.finish(record.id)
        return lease

    def _provision(self, config: DynamicSecretConfig, ttl: timedelta, record: LeaseRecord) -> Lease:
        """Write down a pending record, provision what it names, and remember that as a live lease."""
        integration, clock = config.integration, self._state.clock
        handle: Mapping[str, str] = {}
        try:
            self._state.store.insert(record)
            # Counted again now that it is written down: two at once may have seen room for one.
            self._check_cap(config, allowed=config.max_active or 0)
            self._state.emit("requested", record)
            handle = record.handle
            asked = clock.steady()
            grant = _granted(record, config, ttl)
            answered = clock.steady()
            grant.check_handle(integration.public_values)
            handle = grant.handle
            anchor = asked if grant.age is None else max(asked, answered - grant.age.total_seconds())
            # Else nobody can tell at which moment of a long call the third party's clock was read.
            certain = answered - asked <= SAME_TIME.total_seconds() or grant.age is not None
            issued_at = self._issued_at(integration, grant, anchor, certain=certain)
            # What a third party grants beyond the TTL is not the caller's.
            expires_at = min(grant.expires_at, issued_at + ttl)
            _check_life(record, issued_at, expires_at)
            status = LeaseStatus()
            lease = Lease(
                lease_id=record.id,
                name=config.name,
                integration=integration,
                grant=grant,
                issued_at=issued_at,
                expires_at=expires_at,
                anchor=anchor,
                steady=clock.steady,
                wall=clock.now,
                status=status,
                revoke=self._revoking(integration, status),
            )
            record = self._state.store.update(
                record.activated(handle=grant.handle, issued_at=issued_at, expires_at=expires_at)
            )
            entry = LiveLease(record, integration, status)
            self._state.leases.add(entry)
            at = anchor + (expires_at - issued_at).total_seconds()
            entry.job = self._scheduler.call_at(at, lambda: self._revoker.expire(record.id), integration.name)
        except BaseException as error:
            made = getattr(error, "handle", None)
            self._roll_back(record, config, made if isinstance(made, Mapping) else handle, error)
            raise
        self._state.emit("issued", record)
        return lease

    def _issued_at(self, integration: Integration, grant: Grant, anchor: float, *, certain: bool) -> datetime:
        """Return when a lease's life began, by the third party's clock where anything tells it."""
        if grant.issued_at is not None:
            if certain:
                self._state.clocks.see(integration.name, grant.issued_at, anchor)
            return grant.issued_at
        self._state.clocks.ask(integration)
        now = self._state.now(integration.name)
        return now - timedelta(seconds=self._state.clock.steady() - anchor)

    def _revoking(self, integration: Integration, status: LeaseStatus) -> Callable[[Lease], None]:
        """Return what revokes a lease of an integration."""

        def revoke(lease: Lease) -> None:
            entry = self._state.leases.get(lease.id)
            if entry is not None:
                self._revoker.revoke(entry.record, entry.integration)
            elif not lease.revoked:
                # In a forked child, where the registry was emptied, or once it was released: the record knows.
                try:
                    found = self._state.store.get(lease.id)
                except LeaseNotFound:
                    if not status.released:
                        raise
                    # Tombstones are forgotten after a while: what was released is over.
                    status.revoked, status.released = True, False
                    return
                released = found.live and self._revoker.revoke(found, integration) is RevocationOutcome.RELEASED
                status.revoked, status.released = not released, released

        return revoke

    def _roll_back(
        self, record: LeaseRecord, config: DynamicSecretConfig, handle: Mapping[str, str], error: BaseException
    ) -> None:
        """Delete what was made. The error that led here stays the one that is raised; it tells what is left to do."""
        _name_lease(error, record.id)
        self._state.emit("issue_failed", record, error)
        remainder: Remainder | None = None
        try:
            if handle:
                remainder = config.integration.revoke(handle)
        except BaseException as failure:
            record = self._revoker.postpone(record, config.integration, failure, handle=handle)
            # What is left may have got a record of its own.
            _name_lease(error, record.id)
            _tell_pending(error, record, failure)
            if not isinstance(failure, Exception):
                _name_lease(failure, record.id)
                raise
            return
        if remainder is not None:
            self._revoker.keep(record, config.integration, remainder, handle=handle)
            return
        try:
            self._revoker.discard(record)
        except LeaseNotFound:
            logger.info("Lease %s was rolled back; it has no record", record.id)
        except StoreError as failure:
            logger.error("Lease %s was rolled back, but its record doesn't say so yet: %s", record.id, failure)
            if handle:
                # Else nothing was made, or not even written: while a store is down, these must not pile up.
                self._revoker.discard_later(record)

    def _wait(self, config: DynamicSecretConfig, lease: Lease, wait: Any) -> None:
        """Hand over once the lease works; revoke it where it doesn't."""
        if wait is None:
            return
        entry = self._state.leases.get(lease.id)
        try:
            probe = lease.check if wait == "usable" else lambda: bool(wait(lease))
            wait_until_usable(
                lease,
                probe,
                config.wait_timeout,
                self._state.clock,
                in_a_row=config.integration.probes,
                patient=wait == "usable",
                wanted=current_attempt().check,
            )
        except BaseException as error:
            _name_lease(error, lease.id)
            if entry is not None:
                self._state.emit("issue_failed", entry.record, error)
            try:
                lease.revoke()
            except DynsecretsError as failure:
                if entry is not None:
                    _tell_pending(error, entry.record, failure)
            except BaseException as failure:
                _name_lease(failure, lease.id)
                raise
            raise
        if entry is not None:
            self._state.emit("usable", entry.record)

    def _check_cap(self, config: DynamicSecretConfig, *, allowed: int) -> None:
        """Raise ``QuotaExceeded`` if more than ``allowed`` leases of a config live, where it has a cap."""
        if config.max_active is None:
            return
        live = self._state.store.count_live(config.name)
        if live > allowed:
            raise QuotaExceeded(
                f"{config.name} has {min(live, config.max_active)} live leases, and its max_active is "
                f"{config.max_active}; revoke some, or raise the cap"
            )


def _granted(record: LeaseRecord, config: DynamicSecretConfig, ttl: timedelta) -> Grant:
    """Have an integration provision a lease; what it raises of its own is raised as a ``ProvisionError``."""
    try:
        grant = config.integration.provision(record.handle, config, ttl)
    except DynsecretsError:
        raise
    except Exception as error:
        failure = ProvisionError(
            f"lease {record.id} could not be provisioned: {type(error).__name__}: {error}", lease_id=record.id
        )
        failure.handle = getattr(error, "handle", None)
        raise failure from error
    if not isinstance(grant, Grant):
        raise ProvisionError(f"the integration {record.integration} returned no Grant but {safe_repr(grant)}")
    return grant


def _check_life(record: LeaseRecord, issued_at: datetime, expires_at: datetime) -> None:
    """Raise ``ProvisionError`` for a grant that was over when it came."""
    if expires_at <= issued_at:
        raise ProvisionError(
            f"what {record.integration} granted for lease {record.id} was over when it came; if its clock isn't this "
            "machine's, its grants must have issued_at, or it must implement service_time()"
        )


def _name_lease(error: BaseException, lease_id: str) -> None:
    """Say in an error, whoever's it is, which lease it is of: a renewer must know what it may have left."""
    # Few classes of errors take no attributes.
    with contextlib.suppress(AttributeError, TypeError):
        error.lease_id = lease_id  # type: ignore[attr-defined]  # Errors of third parties have no such attribute yet.


def _tell_pending(error: BaseException, record: LeaseRecord, failure: BaseException) -> None:
    """Say in an error that cleaning up after it is still to be done."""
    note = (
        f"cleaning up lease {record.id} is pending, since that failed too ({failure}); its record is kept, and the "
        "attempts go on in the background and in every reap()"
    )
    if isinstance(error, DynsecretsError):
        error.args = (f"{error}; {note}",)
    else:
        error.add_note(note)
