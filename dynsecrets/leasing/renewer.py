"""Renewal: a lease that is always fresh, for work that outlives a TTL.

    issue ──► current ──(two thirds of the TTL)──► issue another ──► swap ──(overlap)──► revoke the old one
                 ▲                                                    │
                 └────────────────────────────────────────────────────┘

A renewal is a new user, never an extended one. All renewers of a manager share its one background thread and its pool.

What is planned and what is under way carry the number of their *turn*. Opening, closing and each new plan begin another
one, so whatever comes late (a job that had begun when it was cancelled, an attempt that outlived its block) sees
that it is not meant any more, and gives back what it got.
"""

from __future__ import annotations

import random
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import attrs

from dynsecrets._internal.async_bridge import run_in_thread
from dynsecrets._internal.cleanup import run_cleanup
from dynsecrets._internal.fork_safety import reset_after_fork
from dynsecrets._internal.log import logger
from dynsecrets.errors import DynsecretsError, LeaseExpired
from dynsecrets.leasing.renewal_ledger import RenewalLedger
from dynsecrets.leasing.renewal_timing import first_pause, renewal_after, retry_after
from dynsecrets.model.capabilities import AwsSessions, lack
from dynsecrets.model.lease import is_young, values_by_suffix

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta
    from types import TracebackType

    import boto3

    from dynsecrets.engine.core import Engine
    from dynsecrets.engine.job import Job
    from dynsecrets.model.config import DynamicSecretConfig
    from dynsecrets.model.lease import Lease


@attrs.frozen(kw_only=True)
class RenewalStatus:
    """How a renewer is doing.

    Attributes:
        lease_id: The current lease's id; ``None`` before there is one, and once the renewer is closed.
        expires_at: The end of the current lease, or ``None``.
        next_renewal_at: When the next attempt is due, by the service's clock; ``None`` once the renewer is closed.
        failures: How many attempts in a row have failed.
        last_error: What the last of them met; ``None`` after a success.
    """

    lease_id: str | None
    expires_at: datetime | None
    next_renewal_at: datetime | None
    failures: int
    last_error: BaseException | None


class LeaseRenewer:
    """Keeps a lease fresh in the background; made by :func:`dynsecrets.renewing`, and a context manager.

    Entering it leases a credential, leaving it revokes all that it leased; after that it can be entered again. In
    between :attr:`current` is a lease that lives, and :meth:`session` makes boto3 sessions whose clients follow every
    renewal. Never more than two of its users are alive: where an old one can't be revoked, no other is made.
    Thread-safe. In a forked child it leases a credential of the child's own when it is next used.
    """

    def __init__(
        self,
        config: DynamicSecretConfig,
        ttl: timedelta,
        *,
        engine: Callable[[], Engine],
        overlap: timedelta,
        on_renew: Callable[[Lease], object] | None,
        on_error: Callable[[BaseException], object] | None,
    ) -> None:
        self._config = config
        self._ttl = ttl
        self._find_engine = engine
        self._overlap = overlap
        self._on_renew = on_renew
        self._on_error = on_error
        self._random = random.SystemRandom()
        self._found: Engine | None = None
        self._open = False
        self._turn = 0
        self._current: Lease | None = None
        self._forget()
        reset_after_fork(self._after_fork)

    def _forget(self) -> None:
        """Have nothing planned, nothing under way and nothing to revoke."""
        if self._found is not None:
            self._ledger = RenewalLedger(self._found, self._config)
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._job: Job | None = None
        self._ending: Job | None = None
        self._next_at: float | None = None
        self._attempting = False
        self._at_work: set[int] = set()
        self._failures = 0
        self._last_error: BaseException | None = None
        self._inherited = False

    def _after_fork(self) -> None:
        """Own nothing in a forked child: what the parent leased is the parent's to renew and revoke."""
        self._forget()
        self._turn += 1
        self._inherited = self._open

    def __enter__(self) -> Self:
        """Lease a credential and keep it fresh from now on."""
        with self._lock:
            if self._open:
                raise DynsecretsError("this renewer is open already; make another one with renewing(...)")
            self._open = True
            self._turn += 1
            turn = self._turn
            self._current, self._failures, self._last_error = None, 0, None
        try:
            if self._found is None:
                self._found = self._find_engine()
                self._ledger = RenewalLedger(self._found, self._config)
            # An earlier block may have left something that could not be revoked.
            self._ledger.revoke_all_but()
            taken = self._take(self._ledger.issue(self._ttl), turn)
        except BaseException as error:
            # What was half-made is not tried again here: that would only take long.
            self._leave(error, half_made=False)
            raise
        if not taken:
            self._ledger.revoke_all()
            raise DynsecretsError("this renewer was closed while it was opened")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop, and revoke what was leased. An error of the block is not masked by one of revoking.

        An attempt that is under way is waited for, and so is a callback, unless it is the callback that leaves.
        """
        self._leave(error)

    async def __aenter__(self) -> Self:
        """Do what ``with`` does, while the event loop goes on."""
        return await run_in_thread(self.__enter__, undo=lambda _: self._close())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Do what ``with`` does, while the event loop goes on."""
        await run_in_thread(partial(self.__exit__, kind, error, traceback))

    @property
    def current(self) -> Lease:
        """The lease to use now. Asks nobody and never blocks, but where a forked child inherited one that is over.

        Raises:
            LeaseExpired: It is over and could not be renewed in time; attempts go on, and once one succeeds this has
                a lease again.
            DynsecretsError: The renewer is not open.
        """
        with self._lock:
            lease, open_, inherited = self._current, self._open, self._inherited
            due_at = None if self._attempting else self._next_at
        if lease is None or not open_:
            raise DynsecretsError("this renewer is not open; use it inside of its with block")
        if inherited:
            self._adopt(now=not lease.is_valid())
        elif due_at is not None and due_at <= self._engine.steady():
            # The machine may have slept, which the background notices late.
            self._engine.wake()
        if not lease.is_valid():
            return self._newer(lease)
        return lease

    def session(self, **boto3_session_kwargs: Any) -> boto3.Session:
        """Return a ``boto3.Session`` whose clients, once made, follow every renewal.

        Each request is signed with the key of :attr:`current`, both halves of one lease. A request raises
        ``LeaseExpired`` where ``current`` does.

        Args:
            boto3_session_kwargs: Arguments of ``boto3.Session``, and ``endpoint_url``.

        Returns:
            The session.

        Raises:
            InvalidConfig: The integration doesn't make AWS credentials.
        """
        return self._aws().following_session(self._values, self._is_young, **boto3_session_kwargs)

    def aio_session(self, **session_kwargs: Any) -> Any:
        """Return a session of aioboto3, or else of aiobotocore, whose clients follow every renewal.

        Args:
            session_kwargs: Arguments of ``aioboto3.Session`` (of ``AioSession``: ``region_name`` and
                ``profile_name``), and ``endpoint_url``.

        Returns:
            The session.

        Raises:
            ImportError: Neither is installed.
            InvalidConfig: The integration doesn't make AWS credentials.
        """
        return self._aws().following_aio_session(self._values, self._is_young, **session_kwargs)

    def status(self) -> RenewalStatus:
        """Return how renewal is doing. Asks nobody.

        Returns:
            The state of this moment.
        """
        with self._lock:
            lease, at = self._current, self._next_at
            failures, error = self._failures, self._last_error
        return RenewalStatus(
            lease_id=None if lease is None else lease.id,
            expires_at=None if lease is None else lease.expires_at,
            next_renewal_at=None if at is None else self._engine.time_at(self._config, at),
            failures=failures,
            last_error=error,
        )

    def __repr__(self) -> str:
        """Show what is renewed, and no secret."""
        state = "open" if self._open else "closed"
        return f"<LeaseRenewer of {self._config.name}, {state}, {self._failures} failures>"

    def _take(self, lease: Lease, turn: int) -> bool:
        """Make a lease the current one, and plan its renewal and the end of the old one; unless its turn is over."""
        with self._lock:
            if self._turn != turn:
                return False
            old, self._current = self._current, lease
            self._failures, self._last_error = 0, None
            # The third party may have granted less than was asked for.
            life = lease.expires_at - lease.issued_at
            lived = life - lease.remaining
            pause = renewal_after(life, self._random.random()) - lived
            # Where it took most of a lease's life to become usable, the attempts must not follow each other at once.
            self._plan(max(pause, first_pause(self._ttl)))
            if old is not None and old in self._ledger:
                self._engine.cancel(self._ending)
                self._ending = self._engine.call_after(self._overlap, partial(self._ledger.end, old.id))
        return True

    def _plan(self, pause: timedelta | None = None) -> None:
        """Plan the next attempt, by default for now. The lock is held."""
        self._engine.cancel(self._job)
        self._turn += 1
        self._next_at = self._engine.steady() + (0.0 if pause is None else pause.total_seconds())
        self._job = self._engine.call_at(self._next_at, partial(self._renew, self._turn))

    def _adopt(self, *, now: bool) -> None:
        """In a forked child: lease a credential of its own, soon where the parent's serves until then."""
        with self._lock:
            if not self._inherited:
                return
            self._inherited = False
            if not now:
                self._plan()
                return
            self._turn += 1
            turn = self._turn
        self._renew(turn)

    def _newer(self, lease: Lease) -> Lease:
        """Return what took the place of a lease that is over; raise ``LeaseExpired`` where nothing did.

        Where nothing has failed yet (somebody else has ended the lease, or the machine slept) an attempt is made now.
        """
        with self._lock:
            if lease is not self._current and self._current is not None:
                return self._current
            error = self._last_error
            if self._open and error is None and not self._attempting:
                self._plan()
        more = "its LeaseManager was closed" if self._engine.closed else "could not be renewed yet; the attempts go on"
        why = "" if error is None else f" ({error})"
        raise LeaseExpired(f"lease {lease.id} of {lease.name} is over, and {more}{why}", lease_id=lease.id) from error

    def _renew(self, turn: int) -> None:
        """Make one attempt, in the background."""
        me = threading.get_ident()
        with self._lock:
            if self._turn != turn:
                return
            self._attempting = True
            self._at_work.add(me)
        try:
            self._attempt(turn)
        finally:
            with self._lock:
                self._at_work.discard(me)
                self._idle.notify_all()

    def _attempt(self, turn: int) -> None:
        """Replace the current lease, or give the fresh one back where the renewer was closed meanwhile."""
        try:
            # Nothing but the current lease may be alive before another one is made.
            self._ledger.revoke_all_but(keep=self._current)
            lease = self._ledger.issue(self._ttl)
        except BaseException as error:  # Whatever it is, the attempts must go on.
            self._fail(error, turn)
            if not isinstance(error, Exception):
                # In a forked child that waits for its first lease it is the caller's: an interrupt, say.
                raise
            return
        taken = self._take(lease, turn)
        with self._lock:
            self._attempting = False
        if not taken:
            self._ledger.end(lease.id)
            return
        self._engine.emit("renewed", lease)
        self._call(self._on_renew, lease)

    def _fail(self, error: BaseException, turn: int) -> None:
        """Plan the next attempt, and report the failed one."""
        with self._lock:
            self._attempting = False
            if self._turn != turn:
                return
            self._failures += 1
            self._last_error = error
            failures = self._failures
            self._plan(retry_after(failures, self._ttl, error, self._random.random()))
        logger.warning("A lease of %s could not be renewed (attempt %d): %s", self._config.name, failures, error)
        self._call(self._on_error, error)

    def _call(self, callback: Callable[[Any], object] | None, argument: object) -> None:
        """Call back; what that raises is logged and harms nothing."""
        if callback is None:
            return
        try:
            callback(argument)
        except BaseException:
            logger.exception("A callback of the renewer of %s failed", self._config.name)

    def _leave(self, error: BaseException | None, *, half_made: bool = True) -> None:
        """Close it; an error that is on its way is not masked by one of closing."""
        run_cleanup(partial(self._close, half_made=half_made), error)

    def _close(self, *, half_made: bool = True) -> None:
        """Stop renewing, wait for an attempt under way, and revoke all that is left."""
        with self._lock:
            self._open = False
            self._turn += 1
            self._current = None
            self._next_at = None
            jobs, self._job, self._ending = (self._job, self._ending), None, None
        if self._found is None:
            return
        for job in jobs:
            self._found.cancel(job)
        try:
            with self._lock:
                self._idle.wait_for(lambda: not self._at_work - {threading.get_ident()})
        except BaseException:
            # Whoever waited goes away; the background goes on.
            self._ledger.revoke_later()
            raise
        self._ledger.revoke_all(half_made=half_made)

    def _aws(self) -> AwsSessions:
        """Return the integration, where it makes sessions."""
        integration = self._config.integration
        if not isinstance(integration, AwsSessions):
            raise lack(integration.name, AwsSessions)
        return integration

    def _values(self) -> dict[str, str]:
        """Return the current lease's values, keyed by suffix, all of one lease."""
        return values_by_suffix(self.current)

    def _is_young(self) -> bool:
        """Tell whether a server may be behind that doesn't know the current key."""
        lease = self._current
        return lease is not None and is_young(lease)

    @property
    def _engine(self) -> Engine:
        if self._found is None:
            raise DynsecretsError("this renewer is not open; use it inside of its with block")
        return self._found
