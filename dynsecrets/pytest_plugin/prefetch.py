"""Leases that are made ahead of the tests that will ask for them."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

from dynsecrets._internal.log import logger
from dynsecrets.errors import DynsecretsError
from dynsecrets.model.config import DynamicSecretConfig
from dynsecrets.testing.moto import in_mock

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from datetime import timedelta

    from dynsecrets.engine.manager import LeaseManager
    from dynsecrets.model.lease import Lease
    from dynsecrets.model.ttl import TTL

#: A pool for each config and TTL that is leased again, and no more than these at a time.
_MOST_POOLS: Final = 4


class Pool(Protocol):
    """Leases of one config that are ready."""

    def lease(self) -> AbstractContextManager[Lease]:
        """Return the block of one of them."""
        ...

    def close(self) -> None:
        """Revoke what nobody used."""
        ...


class MakePool(Protocol):
    """What makes a pool."""

    def __call__(self, config: DynamicSecretConfig, size: int, ttl: timedelta, *, manager: LeaseManager) -> Pool:
        """Make one, and begin to fill it."""
        ...


class Pools:
    """Leases made ahead. Whatever is asked for once only is not made ahead: there may be many such configs."""

    def __init__(self, size: int, make_pool: MakePool) -> None:
        self._make_pool = make_pool
        self._size = size
        self._lock = threading.Lock()
        self._asked: Counter[tuple[DynamicSecretConfig, timedelta]] = Counter()
        self._pools: OrderedDict[tuple[DynamicSecretConfig, timedelta], Pool] = OrderedDict()

    def find(self, manager: LeaseManager, config: DynamicSecretConfig, ttl: TTL | None) -> Pool | None:
        """Return the pool to take a lease of, where there is to be one.

        None in a mock: a lease is made there at once, and one that was made ahead would be of another test's mock.
        None where a config has a cap, which leases that nobody uses would exhaust.
        """
        if not self._size or in_mock() or not isinstance(config, DynamicSecretConfig) or config.max_active is not None:
            return None
        key = (config, config.ttl(ttl))
        unused = None
        with self._lock:
            self._asked[key] += 1
            if self._asked[key] < 2:
                return None
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = self._make_pool(config, self._size, key[1], manager=manager)
                if len(self._pools) > _MOST_POOLS:
                    _, unused = self._pools.popitem(last=False)
            self._pools.move_to_end(key)
        if unused is not None:
            _close(unused)
        return pool

    def close(self) -> None:
        """Revoke what nobody used."""
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
        for pool in pools:
            _close(pool)


def _close(pool: Pool) -> None:
    """Close a pool; what can't be revoked is told at the session's end."""
    try:
        pool.close()
    except DynsecretsError as error:
        logger.error("%s", error)
