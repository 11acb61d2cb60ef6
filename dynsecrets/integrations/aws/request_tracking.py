"""What is known of the effects of a call whose answer did not arrive.

botocore retries by itself, so the answer that a caller sees may be the one to a second request while the first one took
effect too: an EntityAlreadyExists for our own random name, or an access key that nobody knows. Each request that was
sent and not clearly answered is counted here. And what comes too late is not sent, botocore's own retries included.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from dynsecrets.integrations.aws.send_deadline import TooLate

if TYPE_CHECKING:
    from dynsecrets.integrations.aws.send_deadline import SendDeadline

#: From this HTTP status on, the service doesn't say whether the request took effect.
_UNCLEAR_STATUS: Final = 500


class RequestTracker:
    """Counts, for each thread, the requests of its current call, and those with a clear answer."""

    def __init__(self) -> None:
        self._calls = threading.local()

    def watch(self, client: Any) -> None:
        """Watch all requests of a client."""
        # Last, for adaptive retries wait for their turn in handlers of the same event.
        client.meta.events.register_last("before-send", self._on_sending)
        client.meta.events.register("response-received", self._on_answer)

    def begin(self, deadline: SendDeadline | None = None) -> None:
        """Start to count a call of this thread, of which nothing may be sent after ``deadline``."""
        self._calls.open = 0
        self._calls.deadline = deadline

    @property
    def unclear(self) -> bool:
        """Whether a request of this thread's last call may have taken effect without a clear answer."""
        # Where no client could be made, nothing was counted.
        return bool(getattr(self._calls, "open", 0))

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
            clear = response_dict is not None and response_dict["status_code"] < _UNCLEAR_STATUS
        if clear:
            self._calls.open -= 1
