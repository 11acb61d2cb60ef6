"""``lease()``: a credential for the length of a block or a call."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from dynsecrets._internal.async_bridge import run_in_thread
from dynsecrets._internal.cleanup import run_cleanup
from dynsecrets._internal.messages import safe_repr
from dynsecrets.engine.manager import check_manager, engine_of
from dynsecrets.errors import DynsecretsError, InvalidConfig
from dynsecrets.leasing.decorator import decorate
from dynsecrets.leasing.open_blocks import OpenBlocks, caller
from dynsecrets.model.config import UNSET, DynamicSecretConfig, Unset, check_wait
from dynsecrets.model.record import check_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
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

    Entering gives a :class:`~dynsecrets.Lease`, a new one each time; leaving revokes it, however the block ended. A
    block that takes longer than the TTL goes on without its lease. Requests, threads, tasks and generators may share
    one: each block ends its own lease, whichever thread or task it is left in; where it can't be told which block is
    left, an error says so and each ends at its TTL. It decorates functions, generator functions and coroutine
    functions too: a lease for each call, passed as ``lease`` to those that have a parameter of that name.
    Thread-safe. A forked child that leaves the block doesn't revoke its parent's lease.

    Args:
        config: The dynamic secret to lease.
        ttl: The longest that a lease lives: whole seconds, a ``timedelta`` or text like ``"15m"``; ``None`` for the
            config's default.
        manager: The manager to lease with; by default one for the process, on the default store.
        wait: How to wait until a lease works, instead of the config's way.
        metadata: What is kept with the record: what JSON can hold, no secrets.

    Returns:
        The context manager. Entering it raises what ``LeaseManager.issue`` does. Leaving it raises ``RevocationError``
        where the lease could not be revoked and the block itself ended well; an error of the block is never replaced,
        but gets a note.

    Raises:
        InvalidTTL: The TTL is not accepted.
        InvalidConfig: Another argument is not accepted.
    """
    if not isinstance(config, DynamicSecretConfig):
        raise InvalidConfig(f"lease() takes a DynamicSecretConfig, not {safe_repr(config)}")
    check_manager(manager)
    length = config.ttl(ttl)
    until = wait if isinstance(wait, Unset) else check_wait(wait)

    def issue() -> Lease:
        return engine_of(manager).issue_held(config, length, wait=until, metadata=check_metadata(metadata))

    return LeaseContext(issue)


class LeaseContext:
    """What :func:`lease` returns. Each entry, a nested one too, is a new lease."""

    def __init__(self, issue: Callable[[], Lease]) -> None:
        self._issue = issue
        #: Leases with the processes that entered: a forked child that leaves the block revokes nothing.
        self._open: OpenBlocks[tuple[Lease, int]] = OpenBlocks(lambda entry: not entry[0].is_valid())

    def __enter__(self) -> Lease:
        """Lease a credential."""
        block = caller()
        leased = self._issue()
        self._open.push(block, (leased, os.getpid()))
        return leased

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Revoke it."""
        self._leave(caller(), error)

    def __aenter__(self) -> Coroutine[Any, Any, Lease]:
        """Lease a credential; the event loop goes on meanwhile."""
        return self._enter_async(caller())

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Coroutine[Any, Any, None]:
        """Revoke it, also when the task is cancelled while it waits."""
        return run_in_thread(partial(self._leave, caller(), error))

    async def _enter_async(self, block: object) -> Lease:
        leased = await self._issue_async()
        self._open.push(block, (leased, os.getpid()))
        return leased

    async def _issue_async(self) -> Lease:
        return await run_in_thread(self._issue, undo=lambda late: _revoke(late, None))

    def _leave(self, block: object, error: BaseException | None) -> None:
        """Revoke the lease of a block, without masking the block's own error."""
        try:
            leased, pid = self._open.pop(block)
        except DynsecretsError as failure:
            if error is None:
                raise
            error.add_note(str(failure))
            return
        if pid == os.getpid():
            _revoke(leased, error)

    def __call__(self, function: Callable[..., T]) -> Callable[..., T]:
        """Decorate a function: a lease for each call. Callers don't give ``lease``, so its parameters are not typed."""
        if not callable(function):
            raise InvalidConfig(f"lease() decorates functions, not {safe_repr(function)}")
        return decorate(function, lambda: LeaseContext(self._issue))


def _revoke(leased: Lease, error: BaseException | None) -> None:
    """Revoke a lease at the end of its block."""
    run_cleanup(leased.revoke, error, f"Lease {leased.id} could not be revoked when the block ended: ")
