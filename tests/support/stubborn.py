"""A third party in memory of which some things can't be deleted, for as long as a test wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynsecrets.testing import FakeClock
from support.fakes import FakeIntegration
from support.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping


class StubbornIntegration(FakeIntegration):
    """The first ``refusals`` things that shall be deleted can't be, however often it is tried."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.refusals = 0
        self._refused: set[str] = set()

    def revoke(self, handle: Mapping[str, str]) -> None:
        """Delete the thing, or refuse to."""
        with self._lock:
            if len(self._refused) < self.refusals and handle["thing"] in self.live:
                self._refused.add(handle["thing"])
            refused = handle["thing"] in self._refused and self.refusals
        if refused:
            raise OSError("not now")
        super().revoke(handle)


def stubborn_world(**options: Any) -> World:
    """Return a world with such a third party."""
    clock = FakeClock()
    return World(clock=clock, integration=StubbornIntegration(clock=clock), **options)
