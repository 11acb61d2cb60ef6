"""How stores come through a fork: no change is half done, and no lock or connection is shared.

A lock that another thread held, or a record that it was writing, would stay that way in a child for good. So each store
finishes what it does, and lets go of what can't be shared, *before* the process forks.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Final

#: How many seconds a fork waits for another thread's call to end. Whoever forks inside a call would wait for itself.
PATIENCE: Final = 5.0


class ForkSafe:
    """The base of stores that have a lock, ``_lock``, and come through forks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._quiet = False
        with _registry:
            _stores.add(self)

    def before_fork(self) -> None:
        """Wait for calls under way to end, and keep new ones waiting."""
        self._quiet = self._lock.acquire(timeout=PATIENCE)
        if self._quiet:
            self._let_go()

    def after_fork_in_parent(self) -> None:
        """Let calls go on."""
        if self._quiet:
            self._quiet = False
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Start with a lock of its own."""
        self._quiet = False
        self._lock = threading.Lock()
        self._forget()

    def _let_go(self) -> None:
        """Close what can't be shared with a child. The lock is held."""

    def _forget(self) -> None:
        """Drop, in the child, what could not be closed in time."""


_stores: weakref.WeakSet[ForkSafe] = weakref.WeakSet()
_registry = threading.Lock()
_forking = threading.local()


def _before() -> None:
    # Held during the fork, so that threads fork one after the other.
    _forking.stores = list(_stores) if _registry.acquire(timeout=PATIENCE) else None
    for store in _forking.stores or ():
        store.before_fork()


def _in_parent() -> None:
    if _forking.stores is not None:
        for store in _forking.stores:
            store.after_fork_in_parent()
        _forking.stores = None
        _registry.release()


def _in_child() -> None:
    global _registry  # noqa: PLW0603 - one registry for the process.
    _registry = threading.Lock()
    _forking.stores = None
    for store in list(_stores):
        store.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
