"""Time that is skipped instead of slept, where AWS is called for real."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from datetime import tzinfo

    import pytest

    from support.proxy import Proxy


class SkippedTime:
    """Has botocore's retries and the integration skip their pauses; the service's clock, at a proxy, goes on meanwhile.

    ``skipped`` is how long they would have slept in all, in seconds.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, proxy: Proxy) -> None:
        self.skipped = 0.0
        self._proxy = proxy
        self._lock = threading.Lock()
        own = SimpleNamespace(sleep=self.sleep, time=self.time, monotonic=time.monotonic)
        for module in ("iam_api", "user_creation", "user_deletion"):
            monkeypatch.setattr(f"dynsecrets.integrations.aws.{module}.time", own)
        for module in ("user_creation", "user_deletion"):
            monkeypatch.setattr(f"dynsecrets.integrations.aws.{module}.datetime", self._datetime())
        monkeypatch.setattr("botocore.endpoint.time", own)
        # Adaptive retries wait for their turn on a condition.
        monkeypatch.setattr("botocore.retries.bucket.time", own)
        monkeypatch.setattr(
            "botocore.retries.bucket.threading", SimpleNamespace(Lock=threading.Lock, Condition=self._condition)
        )

    def sleep(self, seconds: float) -> None:
        """Be later at once."""
        with self._lock:
            self.skipped += seconds
            self._proxy.date_offset_s += seconds

    def time(self) -> float:
        """Return the time, what was skipped included."""
        return time.time() + self.skipped

    def _datetime(self) -> type[datetime]:
        """Return the local clock that goes with it."""
        skipped = self

        class Later(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return super().now(tz) + timedelta(seconds=skipped.skipped)

        return Later

    def _condition(self, lock: Any) -> threading.Condition:
        condition = threading.Condition(lock)
        condition.wait = self.sleep  # type: ignore[method-assign,assignment]
        return condition
