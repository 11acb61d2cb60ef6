"""Stand-ins for what tests can't have for real: time that goes by when told to, and a third party that isn't AWS."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from dynsecrets.clock import SYSTEM_CLOCK
from dynsecrets.integrations.aws.options import PUBLIC_VALUES, IamUserOptions
from dynsecrets.model.events import LeaseEvent
from dynsecrets.model.grant import Grant
from dynsecrets.model.integration import Integration
from dynsecrets.model.lease import Lease
from dynsecrets.testing.fake_clock import PATIENCE_S, START
from dynsecrets.testing.fake_clock import FakeClock as KitClock

__all__ = [
    "PATIENCE_S",
    "START",
    "FakeClock",
    "FakeIntegration",
    "aws_values",
    "make_event",
    "make_lease",
]

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from dynsecrets.clock import Clock
    from dynsecrets.model.config import DynamicSecretConfig


class FakeClock(KitClock):
    """The kit's clock, with time that leaps: nothing is waited for, so that a test can have things meet.

    ``sleep`` advances the clock itself and returns; with ``auto_sleep=False`` it blocks until somebody else has.
    """

    def __init__(self, start: datetime = START, *, auto_sleep: bool = True) -> None:
        super().__init__(start)
        self.auto_sleep = auto_sleep

    def sleep(self, seconds: float) -> None:
        """Advance the clock, or block until it was advanced."""
        if self.auto_sleep:
            super().sleep(seconds)
            return
        with self._changed:
            self.sleeps.append(seconds)
            deadline = self._steady + seconds
        sleeper = threading.Condition()
        with sleeper:
            while (left := deadline - self.steady()) > 0:
                self.wait(sleeper, left)

    def advance(self, by: Any) -> None:
        """Let time go by, and wake who waited for that."""
        self.leap(by)

    def until_waiting(self, threads: int = 1) -> None:
        """Return once so many threads wait on the clock; fail where that doesn't come to pass."""
        with self._changed:
            waiting = self._changed.wait_for(lambda: len(self._waiters) >= threads, PATIENCE_S)
            assert waiting, f"{len(self._waiters)} threads wait on the clock, not {threads}"


class FakeIntegration(Integration):
    """A third party in memory: things with a token, which live until they are revoked. Thread-safe.

    ``live`` holds the things by name, ``calls`` each call as ``(method, thing's name)``. ``fail("revoke", error)`` has
    the next call of a method fail; a callable is called instead, and may raise or wait; ``None`` lets one call pass.
    The steps are those of ``STEPS``: ``"provision"`` fails before the thing is made and ``"provisioned"`` after it,
    ``"revoke"`` before it is gone and ``"revoked"`` after it. ``answers`` are what ``is_usable`` says next, then it
    tells the truth. ``skew`` is how far the third party's clock is ahead.
    """

    options_type = IamUserOptions
    public_values = PUBLIC_VALUES
    probes = 3

    STEPS: Final = ("plan", "provision", "provisioned", "revoke", "revoked", "is_usable")

    def __init__(self, name: str = "fake", *, clock: Clock = SYSTEM_CLOCK, skew: timedelta = timedelta(0)) -> None:
        super().__init__(name)
        self.live: dict[str, Mapping[str, str]] = {}
        self.calls: list[tuple[str, str]] = []
        self.answers: deque[bool] = deque()
        self.skew = skew
        self._clock = clock
        self._lock = threading.Lock()
        self._script: dict[str, deque[BaseException | Callable[[], object] | None]] = {
            step: deque() for step in self.STEPS
        }

    def fail(self, step: str, *errors: BaseException | Callable[[], object] | None) -> None:
        """Script the next calls of a step."""
        with self._lock:
            self._script[step].extend(errors)

    def count(self, method: str) -> int:
        """Return how often a method was called."""
        with self._lock:
            return sum(called == method for called, _ in self.calls)

    def plan(self, config: DynamicSecretConfig) -> dict[str, str]:
        """Choose a name."""
        thing = f"thing-{secrets.token_hex(6)}"
        self._step("plan", thing)
        return {"thing": thing}

    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Make the thing."""
        thing = plan["thing"]
        self._step("provision", thing)
        values = MappingProxyType({"ACCESS_KEY_ID": f"key-of-{thing}", "TOKEN": secrets.token_urlsafe(30)})
        with self._lock:
            self.live[thing] = values
        self._step("provisioned", thing)
        issued_at = self._clock.now() + self.skew
        return Grant(values, issued_at + ttl, {**plan, "key": values["ACCESS_KEY_ID"]}, issued_at=issued_at)

    def revoke(self, handle: Mapping[str, str]) -> None:
        """Delete the thing, if it is there."""
        thing = handle["thing"]
        self._step("revoke", thing)
        with self._lock:
            self.live.pop(thing, None)
        self._step("revoked", thing)

    def is_usable(self, values: Mapping[str, str]) -> bool:
        """Say what was scripted, or else whether the token is one of a living thing."""
        self._step("is_usable", values["ACCESS_KEY_ID"].removeprefix("key-of-"))
        with self._lock:
            if self.answers:
                return self.answers.popleft()
            return any(values["TOKEN"] == living["TOKEN"] for living in self.live.values())

    def _step(self, step: str, thing: str) -> None:
        """Note a call, and do what was scripted for it."""
        with self._lock:
            if step not in ("provisioned", "revoked"):
                self.calls.append((step, thing))
            scripted = self._script[step].popleft() if self._script[step] else None
        if isinstance(scripted, BaseException):
            raise scripted
        if scripted is not None:
            scripted()


def aws_values(secret: str) -> dict[str, str]:
    """Return the values of an imaginary leased IAM user, in no particular order."""
    return {
        "USERNAME": "Dynsecrets-Dynamic-aB3dE6gH9jK2m",
        "SECRET_ACCESS_KEY": secret,
        "ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "USER_ID": "AIDACKCEVSQ6C2EXAMPLE",
        "POLICY_NAME": "dynsecrets-policy-aB3dE6gH9jK2m",
        "ARN": "arn:aws:iam::123456789012:user/dynsecrets/Dynsecrets-Dynamic-aB3dE6gH9jK2m",
    }


def make_lease(
    values: Mapping[str, str],
    *,
    clock: FakeClock | None = None,
    ttl: timedelta = timedelta(minutes=30),
    integration: Integration | None = None,
    revoke: Callable[[Lease], None] = Lease._mark_revoked,
) -> Lease:
    """Return a lease of ``AWS_USER``, granted just now, of values keyed by suffix. No manager knows it."""
    clock = clock or FakeClock()
    return Lease(
        lease_id="1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d",
        name="AWS_USER",
        integration=integration or FakeIntegration(clock=clock),
        grant=Grant(values, clock.now() + ttl, {"user_name": values.get("USERNAME", "")}),
        issued_at=clock.now(),
        expires_at=clock.now() + ttl,
        anchor=clock.steady(),
        steady=clock.steady,
        revoke=revoke,
    )


def make_event(**changes: object) -> LeaseEvent:
    """Return an event."""
    fields: dict[str, Any] = {
        "type": "issued",
        "lease_id": "id-1",
        "name": "AWS_USER",
        "integration": "aws",
        "actor": "ann@host/1",
        "time": START,
    }
    return LeaseEvent(**{**fields, **changes})
