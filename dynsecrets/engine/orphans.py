"""Sweeping: finding leased users that no record knows, after a store was lost."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from dynsecrets._internal.concurrency import past_failures
from dynsecrets._internal.log import logger
from dynsecrets.errors import RevocationError, StoreError
from dynsecrets.model.capabilities import Listable, TellsTime, lack
from dynsecrets.model.timestamps import to_milliseconds
from dynsecrets.stores.unreadable import noting_unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dynsecrets.engine.scheduler import Scheduler
    from dynsecrets.engine.state import EngineState
    from dynsecrets.model.grant import Found
    from dynsecrets.model.integration import Integration
    from dynsecrets.model.record import LeaseRecord

#: What is younger may be in the making: its record can be written and not be visible yet, or be in another store.
YOUNGEST: Final = timedelta(minutes=10)


@attrs.frozen(kw_only=True)
class SweepReport:
    """What a sweep found.

    Attributes:
        found: The names of those that no record knows.
        deleted: Those of them that were deleted; none in a dry run.
        failed: Those that could not be.
        unreadable: The ids of leases whose records can't be read: their users may be among ``found``, so nothing is
            deleted while there are any.
    """

    found: list[str] = attrs.field(factory=list)
    deleted: list[str] = attrs.field(factory=list)
    failed: list[str] = attrs.field(factory=list)
    unreadable: list[str] = attrs.field(factory=list)


def sweep(state: EngineState, scheduler: Scheduler, integration: Integration, *, dry_run: bool) -> SweepReport:
    """Find what no record knows, and delete it unless it is a dry run."""
    if not isinstance(integration, Listable):
        raise lack(integration.name, Listable)
    # Listed first, records second: what is issued in between is known by its record.
    listed = list(integration.find_all())
    # Asked for now, and raised where it can't be: by a local clock that is wrong everything would look old.
    there = integration.service_time() if isinstance(integration, TellsTime) else None
    now = there or state.now(integration.name)
    oldest = now - YOUNGEST
    with noting_unreadable() as unreadable:
        known = set(_known(state.store.records(), integration))
    orphans = [found for found in listed if found.name not in known and found.created_at <= oldest]
    report = SweepReport(found=[orphan.name for orphan in orphans], unreadable=unreadable)
    if dry_run:
        return report
    if unreadable:
        raise StoreError(
            f"nothing was swept: the records of leases {', '.join(unreadable)} can't be read, so their users look like "
            "orphans; repair these records, or delete them where their users are gone, and sweep again"
        )
    errors = past_failures(scheduler, {each.name: partial(_delete, integration, each) for each in orphans})
    for name in report.found:
        if name in errors:
            logger.error("Orphan %s could not be deleted: %s", name, errors[name])
            report.failed.append(name)
        else:
            logger.info("Orphan %s was deleted", name)
            report.deleted.append(name)
    return report


def _delete(integration: Integration, orphan: Found) -> None:
    """Delete an orphan. One that ends by itself later is not deleted: the next sweep finds what is left of it."""
    remainder = integration.revoke(orphan.handle)
    if remainder is not None and not remainder.ended:
        raise RevocationError(f"it can't be ended before {to_milliseconds(remainder.again_at)}, when it ends by itself")


def _known(records: Iterable[LeaseRecord], integration: Listable) -> Iterator[str]:
    """Iterate over what live leases are named, by whichever integration: one account may be known by many names."""
    for record in records:
        if record.live:
            yield from record.handle.values()
            # Of another integration's handle this may make nothing.
            with contextlib.suppress(LookupError, TypeError, ValueError):
                yield integration.name_of(record.handle)
