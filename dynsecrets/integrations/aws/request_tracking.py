"""What is known of the effects of a call whose answer did not arrive.

botocore retries by itself, so the answer that a caller sees may be the one to a second request while the first one took
effect too: an EntityAlreadyExists for our own random name, or an access key that nobody knows. Each request that was
sent and not clearly answered is counted here.

And what comes too late is not sent, botocore's own retries included. A process can be suspended between any two
instructions, and a network can be slow for minutes. Meanwhile another process may find the lease's record unfinished,
delete what it names and close it: a user that came to be after that would be known to nobody.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from dynsecrets.clock import SYSTEM_CLOCK
from dynsecrets.model.lifecycle import ABANDONED_AFTER

#: What is sent by then arrives, or fails for lack of time, before anybody may give it up.
SENT_WITHIN: Final = ABANDONED_AFTER - timedelta(seconds=30)
#: The HTTP statuses of a refusal: the request had no effect.
_REFUSED: Final = range(400, 500)
#: Those of an answer that says that it had one.
_WORKED: Final = range(200, 300)


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


class RequestTracker:
    """Counts, for each thread, the requests of its last call by what is known of their effects."""

    def __init__(self) -> None:
        self._calls = threading.local()

    def watch(self, client: Any) -> None:
        """Watch all requests of a client."""
        # Last, for adaptive retries wait for their turn in handlers of the same event.
        client.meta.events.register_last("before-send", self._on_sending)
        client.meta.events.register("response-received", self._on_answer)

    def begin(self, deadline: SendDeadline | None = None) -> None:
        """Start to count a call of this thread, of which nothing may be sent after ``deadline``."""
        self._calls.open = self._calls.worked = 0
        self._calls.deadline = deadline

    @property
    def unclear(self) -> bool:
        """Whether a request of this thread's last call may have taken effect without a clear answer."""
        # Where no client could be made, nothing was counted.
        return bool(getattr(self._calls, "open", 0))

    @property
    def may_have_worked(self) -> bool:
        """Whether this thread's last call may have had an effect, whatever was raised.

        Only a refusal, or a request that never left, proves that it had none: an error can be raised after the answer
        of a request that worked, by a hook of botocore or a time limit's signal.
        """
        return self.unclear or bool(getattr(self._calls, "worked", 0))

    def _on_sending(self, **_kwargs: object) -> None:
        self._calls.open = getattr(self._calls, "open", 0) + 1
        deadline: SendDeadline | None = getattr(self._calls, "deadline", None)
        if deadline is not None:
            deadline.check()

    def _on_answer(
        self,
        response_dict: dict[str, Any] | None = None,
        exception: Exception | None = None,
        **_kwargs: object,
    ) -> None:
        if exception is not None:
            from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError

            # Where no connection was made, nothing was asked for.
            clear = isinstance(
                exception, TooLate | EndpointConnectionError | ConnectTimeoutError | ProxyConnectionError
            )
        else:
            status = 0 if response_dict is None else response_dict["status_code"]
            if status in _WORKED:
                # First of all: an error that is raised between the two lines leaves one too many, not one too few.
                self._calls.worked = getattr(self._calls, "worked", 0) + 1
            clear = status in _WORKED or status in _REFUSED
        if clear:
            self._calls.open -= 1
