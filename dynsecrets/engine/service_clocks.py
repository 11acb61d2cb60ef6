"""What time it is by the clock of each third party, as far as its answers have shown."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import attrs

from dynsecrets._internal.concurrency import noting
from dynsecrets._internal.log import logger
from dynsecrets.model.capabilities import TellsTime

if TYPE_CHECKING:
    from datetime import datetime

    from dynsecrets.clock import Clock
    from dynsecrets.model.integration import Integration

#: Clocks that differ by less are taken for the same: dates of services have whole seconds, and answers take time.
SAME_TIME: Final = timedelta(seconds=5)
_SEEN_FOR_S: Final = 3600.0


@attrs.frozen
class _Seen:
    """What a third party's clock showed, and the local clocks at that moment."""

    moment: datetime
    steady: float
    wall: datetime


class ServiceClocks:
    """The third parties' clocks, by the names of their integrations. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Know of no third party's clock, under a lock that nobody holds."""
        self._lock = threading.RLock()
        self._seen: dict[str, _Seen] = {}

    @noting
    def now(self, integration: str) -> datetime:
        """Return the time by the clock of an integration's third party, where it has been seen; else the local time.

        What is written into records is read by other machines, and leases are over by the third party's clock. Where
        the two clocks differ by no more than seconds the local one is used: it is finer.
        """
        wall, steady = self._clock.now(), self._clock.steady()
        with self._lock:
            seen = self._seen.get(integration)
        if seen is None:
            return wall
        there = seen.moment + timedelta(seconds=steady - seen.steady)
        return wall if abs(there - wall) <= SAME_TIME else there

    @noting
    def see(self, integration: str, moment: datetime, steady: float) -> None:
        """Remember what a third party's clock showed when ``clock.steady()`` read ``steady``."""
        wall = self._clock.now() - timedelta(seconds=self._clock.steady() - steady)
        with self._lock:
            self._seen[integration] = _Seen(moment, steady, wall)

    def ask(self, integration: Integration) -> bool:
        """See to it that a third party's clock was seen within the hour; return whether its time is known.

        Where it can't be asked, the local clock counts; and where it has none to ask, that is as good.
        """
        if not isinstance(integration, TellsTime):
            return True
        with self._lock:
            seen = self._seen.get(integration.name)
        if seen is not None and self._is_fresh(seen):
            return True
        try:
            moment = integration.service_time()
            if moment is None:
                return True
            # What is not an aware datetime is found out here, and not wherever the time is needed.
            logger.debug("The clock of %s is ahead by %s", integration.name, moment - self._clock.now())
        except Exception as error:
            logger.warning("The clock of %s could not be read: %s", integration.name, error)
            return False
        self.see(integration.name, moment, self._clock.steady())
        return True

    def _is_fresh(self, seen: _Seen) -> bool:
        """Tell whether what was seen still counts: not for long, nor once the machine has jumped."""
        passed = self._clock.steady() - seen.steady
        jumped = self._clock.now() - seen.wall - timedelta(seconds=passed)
        return passed < _SEEN_FOR_S and abs(jumped) <= SAME_TIME
