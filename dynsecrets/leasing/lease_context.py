"""``lease()``: a credential for the length of a block or a call."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dynsecrets._internal.async_bridge import run_in_thread
from dynsecrets._internal.cleanup import run_cleanup
from dynsecrets._internal.fork_safety import reset_after_fork
from dynsecrets._internal.messages import safe_repr
from dynsecrets.engine.manager import check_manager, engine_of
from dynsecrets.errors import InvalidConfig
from dynsecrets.leasing.decorator import decorate
from dynsecrets.model.config import DynamicSecretConfig, check_wait
from dynsecrets.model.record import check_metadata
from dynsecrets.model.unset import UNSET, Unset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from dynsecrets.engine.manager import LeaseManager
    from dynsecrets.model.config import Wait
    from dynsecrets.model.lease import Lease
    from dynsecrets.model.ttl import TTL

T = TypeVar("T")


def lease(
    config: DynamicSecretConfig,
    ttl: TTL | None = None,
    *,
    manager: LeaseManager | None = None,
    wait: Wait | Unset = UNSET,
    metadata: Mapping[str, Any] | None = None,
) -> LeaseContext:
    """Return a context manager, for ``with`` and ``async with``, that leases a credential for the block.

    Entering gives a :class:`~dynsecrets.Lease`, a new one each time; leaving revokes it, however the block ended.
    ``ttl`` is the longest that it lives (whole seconds, a ``timedelta`` or text like ``"15m"``; ``None`` means the
    config's default): a block that takes longer goes on without it. ``wait`` overrides the config's, ``metadata`` is
    kept with the record.

    It decorates functions, generator functions and coroutine functions too: a lease for each call, passed as ``lease``
    to those that have a parameter of that name.

    Raises ``InvalidTTL`` and ``InvalidConfig`` at once. Entering raises what ``LeaseManager.issue`` does. Leaving
    raises ``RevocationError`` where the lease could not be revoked and the block itself ended well; an error of the
    block is never replaced, but gets a note. Thread-safe. A forked child that leaves the block doesn't revoke its
    parent's lease.
    """
    if not isinstance(config, DynamicSecretConfig):
        raise InvalidConfig(f"lease() takes a DynamicSecretConfig, not {safe_repr(config)}")
    check_manager(manager)
    length = config.ttl(ttl)
    until = wait if isinstance(wait, Unset) else check_wait(wait)

    def issue() -> Lease:
        return engine_of(manager).issue_held(config, length, wait=until, metadata=check_metadata(metadata))

    return LeaseContext(issue)


class _Open(Generic[T]):
    """What a context has open, by the thread and task that entered it, innermost last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stacks: dict[object, list[T]] = {}
        reset_after_fork(self._after_fork)

    def _after_fork(self) -> None:
        """Go on under a lock that nobody holds."""
        self._lock = threading.Lock()

    def push(self, thing: T) -> None:
        with self._lock:
            self._stacks.setdefault(_whereabouts(), []).append(thing)

    def pop(self) -> T:
        """Return what was entered last here; or, for a block that is left in another task, anywhere."""
        with self._lock:
            here = _whereabouts()
            key = here if here in self._stacks else next(reversed(self._stacks), None)
            if key is None:
                msg = "this block is left more often than it was entered"
                raise RuntimeError(msg)
            stack = self._stacks[key]
            thing = stack.pop()
            if not stack:
                del self._stacks[key]
            return thing


class LeaseContext:
    """What :func:`lease` returns. Each entry, a nested one too, is a new lease."""

    def __init__(self, issue: Callable[[], Lease]) -> None:
        self._issue = issue
        self._open: _Open[tuple[Lease, int]] = _Open()

    def __enter__(self) -> Lease:
        """Lease a credential."""
        leased = self._issue()
        self._open.push((leased, os.getpid()))
        return leased

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Revoke it."""
        leased, pid = self._open.pop()
        if pid == os.getpid():
            _revoke(leased, error)

    async def __aenter__(self) -> Lease:
        """Lease a credential; the event loop goes on meanwhile."""
        leased = await run_in_thread(self._issue, undo=lambda late: _revoke(late, None))
        self._open.push((leased, os.getpid()))
        return leased

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Revoke it, also when the task is cancelled while it waits."""
        leased, pid = self._open.pop()
        if pid == os.getpid():
            await run_in_thread(lambda: _revoke(leased, error))

    def __call__(self, function: Callable[..., T]) -> Callable[..., T]:
        """Decorate a function: a lease for each call. Callers don't give ``lease``, so its parameters are not typed."""
        if not callable(function):
            raise InvalidConfig(f"lease() decorates functions, not {safe_repr(function)}")
        return decorate(function, lambda: LeaseContext(self._issue))


def _revoke(leased: Lease, error: BaseException | None) -> None:
    """Revoke a lease at the end of its block, without masking the block's own error."""
    run_cleanup(leased.revoke, error, f"Lease {leased.id} could not be revoked when the block ended: ")


def _whereabouts() -> object:
    """Tell threads and tasks apart."""
    # Not imported for it: it takes longer to load than all of this package, and without it there are no tasks.
    asyncio = sys.modules.get("asyncio")
    try:
        task = None if asyncio is None else asyncio.current_task()
    except RuntimeError:
        task = None
    return (threading.get_ident(), None if task is None else id(task))
