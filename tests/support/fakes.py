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
from dynsecrets.model.grant import Grant, Remainder
from dynsecrets.model.integration import Integration
from dynsecrets.model.lease import Lease
from dynsecrets.model.lease_status import LeaseStatus
from dynsecrets.testing.fake_clock import PATIENCE_S, START, FakeClock

__all__ = [
    "PATIENCE_S",
    "START",
    "BlockingClock",
    "FakeIntegration",
    "UnhurriedClock",
    "aws_values",
    "make_event",
    "make_lease",
    "until_waiting",
]

_GLANCE_S: Final = 0.0005

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dynsecrets.clock import Clock
    from dynsecrets.model.config import DynamicSecretConfig


class BlockingClock(FakeClock):
    """A clock on which whoever sleeps stays where he is until somebody else has let the time go by."""

    def sleep(self, seconds: float) -> None:
        """Block until the time has gone by."""
        with self._changed:
            self.sleeps.append(seconds)
            deadline = self._steady + seconds
        sleeper = threading.Condition()
        with sleeper:
            while (left := deadline - self.steady()) > 0:
                self.wait(sleeper, left)


class UnhurriedClock(FakeClock):
    """A clock on which sleeping takes a moment of real time and none of its own: for threads that wait for others."""

    def sleep(self, seconds: float) -> None:
        """Let other threads go on."""
        threading.Event().wait(_GLANCE_S)


def until_waiting(clock: FakeClock, threads: int = 1) -> None:
    """Return once so many threads wait on a clock; fail where that doesn't come to pass."""
    with clock._changed:
        waiting = clock._changed.wait_for(lambda: len(clock._waiters) >= threads, PATIENCE_S)
        assert waiting, f"{len(clock._waiters)} threads wait on the clock, not {threads}"


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
        #: What ``revoke`` leaves for later, the next times: the thing is gone then if it ended.
        self.remainders: deque[Remainder] = deque()
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
        values = MappingProxyType(self.values_of(thing))
        with self._lock:
            self.live[thing] = values
        self._step("provisioned", thing)
        issued_at = self._clock.now() + self.skew
        return Grant(values, issued_at + ttl, {**plan, "key": values["ACCESS_KEY_ID"]}, issued_at=issued_at)

    def values_of(self, thing: str) -> dict[str, str]:
        """Return what a new thing is revealed by."""
        return {"ACCESS_KEY_ID": f"key-of-{thing}", "TOKEN": secrets.token_urlsafe(30)}

    def revoke(self, handle: Mapping[str, str]) -> Remainder | None:
        """Delete the thing, if it is there."""
        thing = handle["thing"]
        self._step("revoke", thing)
        with self._lock:
            remainder = self.remainders.popleft() if self.remainders else None
            if remainder is None or remainder.ended:
                self.live.pop(thing, None)
        self._step("revoked", thing)
        return remainder

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
    revoke: Callable[[Lease], None] | None = None,
    status: LeaseStatus | None = None,
) -> Lease:
    """Return a lease of ``AWS_USER``, granted just now, of values keyed by suffix. No manager knows it."""
    clock = clock or FakeClock()
    noted = status or LeaseStatus()

    def note(_: Lease) -> None:
        noted.revoked = True

    return Lease(
        lease_id="1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d",
        name="AWS_USER",
        integration=integration or FakeIntegration(clock=clock),
        grant=Grant(values, clock.now() + ttl, {"user_name": values.get("USERNAME", "")}),
        issued_at=clock.now(),
        expires_at=clock.now() + ttl,
        anchor=clock.steady(),
        steady=clock.steady,
        wall=clock.now,
        status=noted,
        revoke=revoke or note,
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
