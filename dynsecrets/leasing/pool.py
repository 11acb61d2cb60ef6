"""Leases made ahead, so that a block starts in microseconds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from dynsecrets._internal.async_bridge import refuse_trio, run_in_thread
from dynsecrets._internal.cleanup import run_cleanup
from dynsecrets._internal.messages import safe_repr
from dynsecrets.engine.manager import check_manager, engine_of
from dynsecrets.errors import InvalidConfig
from dynsecrets.leasing.decorator import decorate
from dynsecrets.leasing.lease_context import LeaseContext
from dynsecrets.leasing.pool_state import PoolState
from dynsecrets.model.config import DynamicSecretConfig

if TYPE_CHECKING:
    from types import TracebackType

    from dynsecrets.engine.manager import LeaseManager
    from dynsecrets.model.lease import Lease
    from dynsecrets.model.ttl import TTL

F = TypeVar("F", bound=Callable[..., Any])


class LeasePool:
    """Keeps fresh, usable leases ready: ``with pool.lease() as creds:``.

    Each is handed out once, to one caller, and revoked when its block ends; another one is made in the background. A
    lease that got too old while it waited is replaced. A burst larger than the pool waits for leases to be made, and
    is served in order. Filling begins at once, in the background. ``close()``, and leaving the pool's own ``with`` or
    ``async with`` block, revokes what was never handed out. Thread-safe. A forked child fills a pool of its own; the
    parent's leases are never handed out there.

    Args:
        config: The dynamic secret to lease.
        size: How many leases are kept ready.
        ttl: The time to live of each, counted from its making: half of it may be over when it is handed out. ``None``
            for the config's default.
        manager: The manager to lease with, by default the one that ``lease()`` uses.

    Raises:
        InvalidConfig: An argument is not accepted.
        InvalidTTL: The TTL is not accepted.
    """

    def __init__(
        self,
        config: DynamicSecretConfig,
        size: int,
        ttl: TTL | None = None,
        *,
        manager: LeaseManager | None = None,
    ) -> None:
        if not isinstance(config, DynamicSecretConfig):
            raise InvalidConfig(f"LeasePool takes a DynamicSecretConfig, not {safe_repr(config)}")
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise InvalidConfig(f"size {safe_repr(size)} is not accepted; give a whole number of at least 1")
        check_manager(manager)
        length = config.ttl(ttl)
        self._config = config
        self._size = size
        self._state = PoolState(engine_of(manager), config, size, length)
        self._state.refill()

    def lease(self) -> LeaseContext:
        """Return a context manager, for ``with`` and ``async with``, that hands over one ready lease.

        Each entry takes another one, leaving it revokes it. Where none is ready, entering waits for one, and raises
        what its making met.

        Returns:
            The context manager. It decorates functions too, as what ``lease()`` returns does.
        """
        return _PooledContext(self._state)

    @property
    def ready(self) -> int:
        """How many leases are ready to be handed out."""
        return self._state.ready

    def close(self) -> None:
        """Revoke what was never handed out, and hand out nothing more; what is in use ends with its blocks.

        Waits for what is just being made, and revokes it too. Closing twice is fine.

        Raises:
            RevocationError: Something could not be revoked.
        """
        self._state.close()

    def __enter__(self) -> Self:
        """Return the pool."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the pool; an error of the block is not masked by one of closing."""
        run_cleanup(self.close, error)

    async def __aenter__(self) -> Self:
        """Return the pool."""
        refuse_trio()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Do what ``with`` does, while the event loop goes on."""
        await run_in_thread(partial(self.__exit__, kind, error, traceback))

    def __repr__(self) -> str:
        """Show what is pooled."""
        return f"<LeasePool of {self._config.name}, {self.ready} of {self._size} ready>"


class _PooledContext(LeaseContext):
    """What :meth:`LeasePool.lease` returns."""

    def __init__(self, state: PoolState) -> None:
        super().__init__(state.acquire)
        self._state = state

    async def _issue_async(self) -> Lease:
        """Take a ready lease at once; where there is none, wait without a thread: there may be many who wait."""
        return await self._state.acquire_async()

    def __call__(self, function: F) -> F:
        """Decorate a function: another lease for each call."""
        if not callable(function):
            raise InvalidConfig(f"lease() decorates functions, not {safe_repr(function)}")
        return cast("F", decorate(function, lambda: _PooledContext(self._state)))
