"""Waiting until a fresh credential works: IAM is eventually consistent, and a lease that fails is of no use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dynsecrets.errors import DynsecretsError, NotUsableInTime
from dynsecrets.model.ttl import format_ttl

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from dynsecrets.clock import Clock
    from dynsecrets.model.lease import Lease

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0


def wait_until_usable(
    lease: Lease,
    probe: Callable[[], bool],
    timeout: timedelta,
    clock: Clock,
    *,
    in_a_row: int,
    patient: bool,
    wanted: Callable[[], object] = bool,
) -> None:
    """Ask until the answer is yes ``in_a_row`` times; between failures, wait a little longer each time.

    ``wanted`` raises once nobody waits any more.

    Raises ``NotUsableInTime`` when ``timeout`` or the lease's own life is over. Errors of the probe go through; but
    where it is ``patient``, a ``DynsecretsError`` counts as "not yet" and is the cause of that.
    """
    limit = min(timeout, lease.remaining)
    deadline = clock.steady() + limit.total_seconds()
    pause = _FIRST_PAUSE
    successes = 0
    trouble: DynsecretsError | None = None
    while True:
        wanted()
        try:
            works = probe()
        except DynsecretsError as error:
            if not patient:
                raise
            works, trouble = False, error
        successes = successes + 1 if works else 0
        if successes >= in_a_row:
            return
        left = deadline - clock.steady()
        if left <= 0:
            raise NotUsableInTime(
                f"lease {lease.id} did not work within {format_ttl(limit)} and was revoked; "
                "raise wait_timeout, or pass wait=None to be handed leases at once",
                lease_id=lease.id,
            ) from trouble
        if not works:
            clock.sleep(min(pause, left))
            pause = min(pause * 2, _LONGEST_PAUSE)
