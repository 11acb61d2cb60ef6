"""Until when a request that creates a user may be sent: well before others take it for abandoned.

A process can be suspended between any two instructions, and a network can be slow for minutes. Meanwhile another
process may find the lease's record unfinished, delete what it names and close it: a user that came to be after that
would be known to nobody.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from dynsecrets.clock import SYSTEM_CLOCK
from dynsecrets.model.lifecycle import ABANDONED_AFTER

#: What is sent by then arrives, or fails for lack of time, before anybody may give it up.
SENT_WITHIN: Final = ABANDONED_AFTER - timedelta(seconds=30)


class TooLate(Exception):
    """A request was not sent, since its time is over. Not raised to users: the library's own error is made of it."""


class SendDeadline:
    """The end of :data:`SENT_WITHIN`, counted from when a request was planned (by default: from now).

    Counted twice: on the wall clock, which is what others compare the record with and which may be set back; and on a
    clock that never jumps and goes on while the machine sleeps.
    """

    def __init__(self, planned_at: str | None = None) -> None:
        now = datetime.now(UTC)
        try:
            self._planned_at = now if planned_at is None else datetime.fromisoformat(planned_at)
        except ValueError:
            self._planned_at = now
        self._begun = SYSTEM_CLOCK.steady()

    def check(self) -> None:
        """Raise ``TooLate`` where nothing may be sent any more."""
        steady = timedelta(seconds=SYSTEM_CLOCK.steady() - self._begun)
        if max(datetime.now(UTC) - self._planned_at, steady) >= SENT_WITHIN:
            raise TooLate(
                f"the request was not sent, since it was planned more than {SENT_WITHIN.total_seconds():.0f} seconds "
                "ago and others may have given it up by now; try again"
            )
