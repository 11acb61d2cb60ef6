"""What a pool has ready, and how it is made, kept fresh and handed out.

    make ──► ready ──(a block begins)──► in use ──(it ends)──► revoked
      ▲        │
      └────────┴──(half of its TTL is over)──► stale ──► revoked

Whoever finds nothing ready gets a *waiter*; what is made next goes to the oldest waiter. Leases are made and revoked in
the manager's pool, never under the lock.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from dynsecrets._internal.async_bridge import refuse_trio
from dynsecrets._internal.concurrency import interrupts_itself, past_failures
from dynsecrets._internal.fork_safety import reset_after_fork
from dynsecrets._internal.log import logger
from dynsecrets.engine.revocation import raise_not_revoked
from dynsecrets.errors import DynsecretsError
from dynsecrets.leasing.renewal_timing import retry_after

if TYPE_CHECKING:
    from datetime import timedelta

    from dynsecrets.engine.core import Engine
    from dynsecrets.engine.job import Job
    from dynsecrets.model.config import DynamicSecretConfig
    from dynsecrets.model.lease import Lease

Waiter: TypeAlias = "Future[Lease]"

#: A lease of which less than half is left is not worth handing out.
_WORTH: Final = 0.5
#: Some of the manager's threads are left to others: renewals and expiries must not wait until a large pool is full.
_SHARE: Final = 0.75


@attrs.frozen(eq=False)
class _Ready:
    """A lease that nobody has yet, and until when (by the steady clock) it is worth handing out."""

    lease: Lease
    until: float


class PoolState:
    """The leases of one pool. Thread-safe; a forked child starts with nothing, and fills up when it is first used."""

    def __init__(self, engine: Engine, config: DynamicSecretConfig, size: int, ttl: timedelta) -> None:
        self._engine = engine
        self._config = config
        self._size = size
        self._ttl = ttl
        self._most = max(int(engine.workers * _SHARE), 1)
        self._random = random.SystemRandom()
        self._closed = False
        self._after_fork()
        reset_after_fork(self._after_fork)

    def _after_fork(self) -> None:
        """Have nothing: no lease, nobody who waits, nothing planned or under way."""
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        #: The oldest first. While there are any, nobody waits.
        self._ready: deque[_Ready] = deque()
        self._stale: list[Lease] = []
        self._queue: deque[Waiter] = deque()
        self._making = 0
        self._at_work: set[int] = set()
        self._maintains_soon = False
        self._aging: Job | None = None
        self._failures = 0
        self._retry: Job | None = None

    @property
    def ready(self) -> int:
        """How many leases are ready to be handed out."""
        with self._lock:
            return len(self._ready)

    def acquire(self) -> Lease:
        """Return a ready lease, or wait for one in order. Raises what its making met."""
        with self._lock:
            lease = self._pop()
        if lease is not None:
            return lease
        if self._engine.in_worker() or interrupts_itself():
            # The threads that make leases may all wait like this one, or for it: it makes its own.
            return self._engine.issue_held(self._config, self._ttl)
        waiter = self._queue_up()
        try:
            return waiter.result()
        except BaseException:
            self._leave(waiter)
            raise

    async def acquire_async(self) -> Lease:
        """Do what :meth:`acquire` does; while it waits it takes no thread."""
        import asyncio  # As in run_in_thread.

        refuse_trio()
        with self._lock:
            lease = self._pop()
        if lease is not None:
            return lease
        waiter = self._queue_up()
        try:
            return await asyncio.wrap_future(waiter)
        except BaseException:
            self._leave(waiter)
            raise

    def refill(self) -> None:
        """Have as many leases made as are missing; after a failure, only what somebody waits for."""
        with self._lock:
            count = 0 if self._closed else max(min(self._missing(), self._most - self._making), 0)
            self._making += count
        for _ in range(count):
            self._engine.submit(self._make)

    def close(self) -> None:
        """Hand out nothing more, and revoke what was never handed out, what is just being made too.

        Closing twice is fine. Raises ``RevocationError``.
        """
        with self._lock:
            self._closed = True
            waiting = self._next_waiters(len(self._queue))
            jobs, self._retry, self._aging = (self._retry, self._aging), None, None
        for job in jobs:
            self._engine.cancel(job)
        for waiter in waiting:
            waiter.set_exception(_closed())
        failed: dict[str, BaseException] = {}
        # Twice: whoever is at work may have something that nobody has by then.
        for _ in range(2):
            failed |= past_failures(self._engine.scheduler, {lease.id: lease.revoke for lease in self._drain()})
            with self._lock:
                self._idle.wait_for(lambda: not self._at_work - {threading.get_ident()})
        raise_not_revoked(failed)

    def _queue_up(self) -> Waiter:
        """Return a waiter for the next lease that is made, or for one that came just now. Never blocks."""
        waiter: Waiter = Future()
        with self._lock:
            lease = self._pop()
            if lease is None:
                if self._engine.closed:
                    raise DynsecretsError("the LeaseManager of this pool is closed; make a new one")
                self._queue.append(waiter)
        if lease is None:
            self.refill()
        else:
            waiter.set_result(lease)
        return waiter

    def _pop(self) -> Lease | None:
        """Return the oldest lease that is worth it, and have it replaced. The lock is held."""
        if self._closed:
            raise _closed()
        if not self._ready:
            return None
        now = self._engine.steady()
        if not self._maintains_soon:
            # Planned, and not handed to the pool here, which would take longer.
            self._maintains_soon = True
            self._engine.call_at(now, self._maintain)
        while self._ready:
            first = self._ready.popleft()
            if now < first.until and not first.lease.revoked:
                return first.lease
            self._stale.append(first.lease)
            # The machine may have slept, which the background notices late.
            self._engine.wake()
        return None

    def _leave(self, waiter: Waiter) -> None:
        """Give up a waiter; what came for it at the last moment is for the next one."""
        if waiter.cancel():
            with self._lock:
                if waiter in self._queue:
                    self._queue.remove(waiter)
        else:
            waiter.add_done_callback(self._take_back)

    def _take_back(self, waiter: Waiter) -> None:
        if waiter.exception() is not None:
            return
        if not self._offer(waiter.result(), made=False):
            self._engine.submit(partial(self._revoke, waiter.result()))

    def _next_waiters(self, count: int) -> list[Waiter]:
        """Return the oldest waiters that somebody waits with; from now on they can't be given up. The lock is held."""
        waiters: list[Waiter] = []
        while self._queue and len(waiters) < count:
            waiter = self._queue.popleft()
            if waiter.set_running_or_notify_cancel():
                waiters.append(waiter)
        return waiters

    def _missing(self) -> int:
        """Return how many leases are to be made now. The lock is held."""
        ahead = max(self._size - len(self._ready), 0)
        if self._failures:
            # One is enough to learn whether it works again, and not before its time.
            ahead = min(ahead, 1 if self._retry is None else 0)
        return len(self._queue) + ahead - self._making

    def _make(self) -> None:
        """Make one lease, in the background."""
        if not self._begin(made=True):
            return
        try:
            lease = self._engine.issue_held(self._config, self._ttl)
        except BaseException as error:  # Whoever waits must know of it, whatever it is.
            self._fail(error)
        else:
            self._offer(lease, made=True)
        finally:
            self._end()
        if not self._engine.closed:
            self.refill()

    def _begin(self, *, made: bool = False) -> bool:
        """Note that this thread is at work; ``False`` where the pool is closed and there is nothing to do."""
        with self._lock:
            if self._closed:
                self._making -= made
            else:
                self._at_work.add(threading.get_ident())
            return not self._closed

    def _end(self) -> None:
        with self._lock:
            self._at_work.discard(threading.get_ident())
            self._idle.notify_all()

    def _offer(self, lease: Lease, *, made: bool) -> bool:
        """Hand a lease to whoever waits longest, or keep it ready; what was just made :meth:`close` waits for.

        ``False`` where the pool is closed and nobody will revoke it.
        """
        now = self._engine.steady()
        left = lease.remaining
        # Where it took long to become usable, half of what is left is enough: the next one would be no better.
        until = now + max(left - self._ttl * _WORTH, left * _WORTH).total_seconds()
        retry: Job | None = None
        with self._lock:
            if made:
                self._making -= 1
                self._failures = 0
                retry, self._retry = self._retry, None
            elif self._closed:
                return False
            waiters = self._next_waiters(1)
            if not waiters:
                self._ready.append(_Ready(lease, until))
                self._plan_aging()
        self._engine.cancel(retry)
        for waiter in waiters:
            waiter.set_result(lease)
        return True

    def _fail(self, error: BaseException) -> None:
        """Tell whoever waits longest that a lease could not be made, unless others are being made; fill up later."""
        hopeless = self._engine.closed
        with self._lock:
            self._making -= 1
            waiting = len(self._queue)
            waiters = self._next_waiters(waiting if hopeless else min(max(waiting - self._making, 0), 1))
            # Of many that fail at the same time one counts.
            if self._retry is None and not self._closed:
                self._failures += 1
                pause = retry_after(self._failures, self._ttl, error, self._random.random())
                self._retry = self._engine.call_after(pause, self._try_again)
        for waiter in waiters:
            waiter.set_exception(error)
        if not waiters:
            logger.warning("A lease of %s could not be made ahead: %s", self._config.name, error)

    def _try_again(self) -> None:
        with self._lock:
            self._retry = None
        self.refill()

    def _plan_aging(self) -> None:
        """Plan to look when the next lease gets too old. The lock is held."""
        if self._aging is None and self._ready and not self._closed:
            self._aging = self._engine.call_at(min(one.until for one in self._ready), self._age)

    def _age(self) -> None:
        with self._lock:
            self._aging = None
        self._maintain()

    def _maintain(self) -> None:
        """Have replaced what was taken and what is too old, in the background, and revoke the latter."""
        if not self._begin():
            return
        try:
            now = self._engine.steady()
            with self._lock:
                self._maintains_soon = False
                stale, self._stale = self._stale, []
                stale += [one.lease for one in self._ready if now >= one.until]
                self._ready = deque(one for one in self._ready if now < one.until)
                self._plan_aging()
            self.refill()
            for lease in stale:
                self._revoke(lease)
        finally:
            self._end()

    def _drain(self) -> list[Lease]:
        """Return everything that nobody has."""
        with self._lock:
            leases = [*(one.lease for one in self._ready), *self._stale]
            self._ready.clear()
            self._stale.clear()
        return leases

    def _revoke(self, lease: Lease) -> None:
        """Revoke a lease that nobody got; where that fails, the manager goes on trying."""
        try:
            lease.revoke()
        except DynsecretsError as error:
            logger.warning("%s", error)


def _closed() -> DynsecretsError:
    return DynsecretsError("this pool is closed; make a new one")
