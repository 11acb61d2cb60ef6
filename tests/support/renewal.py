"""Renewers and pools in a world of fake time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from dynsecrets import LeasePool, ProvisionError, renewing
from dynsecrets.testing import FakeClock
from support.fakes import PATIENCE_S, FakeIntegration
from support.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from dynsecrets import DynamicSecretConfig, Grant, LeaseRenewer

TTL: Final = "10m"
TTL_S: Final = 600
#: At this age a lease of ``TTL`` is renewed for certain, and the old one revoked for certain.
RENEWED_S: Final = 421
ENDED_S: Final = 61
OUTAGE: Final = "no answer"


class CountedIntegration(FakeIntegration):
    """A third party that knows the most things that were alive at the same time, and when it was asked for each."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.most = 0
        self.asked_at: list[float] = []

    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Make a thing, and count."""
        self.asked_at.append(self._clock.steady())
        try:
            return super().provision(plan, config, ttl)
        finally:
            # Counted before anything that failed is rolled back.
            with self._lock:
                self.most = max(self.most, len(self.live))


def counted_world(**options: Any) -> World:
    """Return a world with such a third party."""
    clock = FakeClock()
    return World(clock=clock, integration=CountedIntegration(clock=clock), **options)


def renewer_of(world: World, ttl: Any = TTL, *, config: dict[str, Any] | None = None, **options: Any) -> LeaseRenewer:
    """Return a renewer of the world's manager."""
    return renewing(world.config(**(config or {})), ttl, manager=world.manager, **options)


def pool_of(world: World, size: int = 3, ttl: Any = TTL, **config: Any) -> LeasePool:
    """Return a pool of the world's manager, full where it can be."""
    pool = LeasePool(world.config(**config), size, ttl, manager=world.manager)
    world.settle()
    return pool


def outage(world: World, calls: int = 1000, step: str = "provision") -> Callable[[], None]:
    """Have the third party fail from now on; return what ends that."""
    world.integration.fail(step, *(ProvisionError(OUTAGE) for _ in range(calls)))
    return world.integration._script[step].clear  # type: ignore[no-any-return]


def until(condition: Callable[[], bool]) -> None:
    """Return as soon as a condition holds that other threads bring about; fail where they don't."""
    glance = threading.Event()
    for _ in range(int(PATIENCE_S * 1000)):
        if condition():
            return
        glance.wait(0.001)
    raise AssertionError("the background does not bring it about")
