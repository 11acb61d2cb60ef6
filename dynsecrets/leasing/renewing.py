"""``renewing()``: a credential that is always fresh, for as long as a block lasts."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING

from dynsecrets._internal.messages import safe_repr
from dynsecrets.engine.manager import check_manager, engine_of
from dynsecrets.errors import InvalidConfig
from dynsecrets.leasing.renewal_timing import default_overlap
from dynsecrets.leasing.renewer import LeaseRenewer
from dynsecrets.model.config import DynamicSecretConfig
from dynsecrets.model.ttl import TTL, parse_ttl

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynsecrets.engine.manager import LeaseManager
    from dynsecrets.model.lease import Lease


def renewing(
    config: DynamicSecretConfig,
    ttl: TTL | None = None,
    *,
    manager: LeaseManager | None = None,
    overlap: TTL | None = None,
    on_renew: Callable[[Lease], object] | None = None,
    on_error: Callable[[BaseException], object] | None = None,
) -> LeaseRenewer:
    """Return a context manager, for ``with`` and ``async with``, that keeps a lease fresh for the block.

    About two thirds into each TTL a fresh lease is asked for in the background, and once it is usable it takes the
    place of the old one, which is revoked after ``overlap``, so that work in flight can end; no lease outlives its
    own TTL for it. A failed attempt is made again with growing, jittered spacing that fits the TTL; the current lease
    goes on serving until its end. What can't heal by itself (``PermissionDenied``, ``InvalidConfig``) is tried again
    after minutes. A config with ``max_active`` must allow for two leases.

    Args:
        config: The dynamic secret to lease.
        ttl: The time to live of each lease; ``None`` for the config's default.
        manager: The manager to lease with, by default the one that ``lease()`` uses.
        overlap: How long an old lease lives on, a TTL, ``"0s"`` included; by default a tenth of the TTL, at most a
            minute.
        on_renew: Called with each new lease, in a background thread. What it raises is logged and harms nothing.
        on_error: Called with the exception of each failed attempt, in the same way.

    Returns:
        The renewer. Entering it raises what ``LeaseManager.issue`` does.

    Raises:
        InvalidTTL: The TTL or the overlap is not accepted.
        InvalidConfig: Another argument is not accepted.
    """
    if not isinstance(config, DynamicSecretConfig):
        raise InvalidConfig(f"renewing() takes a DynamicSecretConfig, not {safe_repr(config)}")
    check_manager(manager)
    for what, callback in (("on_renew", on_renew), ("on_error", on_error)):
        if callback is not None and (not callable(callback) or inspect.iscoroutinefunction(callback)):
            raise InvalidConfig(f"{what} must be a plain function, which a thread can call, not {safe_repr(callback)}")
    length = config.ttl(ttl)
    ending = (
        default_overlap(length) if overlap is None else parse_ttl(overlap, what="overlap", minimum=0, maximum=length)
    )
    return LeaseRenewer(
        config,
        length,
        engine=partial(engine_of, manager),
        overlap=ending,
        on_renew=on_renew,
        on_error=on_error,
    )
