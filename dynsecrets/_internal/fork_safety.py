"""How objects come through a fork: locks, threads and connections don't survive one, and must not be shared by it.

An object that starts anew in a child registers one bound method. One whose lock another thread may hold in the middle
of a change registers three: it finishes what it does, and lets go of what can't be shared, *before* the process forks.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dynsecrets.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import MethodType

    _Hook = MethodType | Callable[[], None]

#: How many seconds a fork waits for another thread's call to end.
PATIENCE: Final = 5.0
#: How many seconds a call waits for another thread's. Longer than any call takes: whoever waits for longer waits for a
#: thread that waits for it, and an error ends that.
_LONGEST_CALL: Final = 60.0


class _Hooks(NamedTuple):
    in_child: Callable[[Any], object]
    before: Callable[[Any], object] | None
    in_parent: Callable[[Any], object] | None


#: By object, weakly, so that nobody lives longer for it.
_hooks: weakref.WeakKeyDictionary[object, _Hooks] = weakref.WeakKeyDictionary()


def reset_after_fork(reset: _Hook, *, before: _Hook | None = None, in_parent: _Hook | None = None) -> None:
    """Have a bound method called in every forked child, before any other code of it, as long as its object lives.

    ``before`` is called in the parent before it forks, ``in_parent`` there after that; methods of the same object.
    """
    _hooks[reset.__self__] = _Hooks(*map(_function, (reset, before, in_parent)))  # type: ignore[union-attr]


def _function(hook: Any) -> Any:
    return None if hook is None else hook.__func__


class ForkSafeLock:
    """The base of objects with a lock, ``_lock``, that come through forks and may be entered again.

    A garbage collection or a signal may have any code run in the middle of a call, and that may call again: so the
    lock is one that its thread may take again. ``_inside`` is true while a call is under way.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._inside = False
        self._forking: int | None = None
        reset_after_fork(self._after_fork, before=self._before_fork, in_parent=self._after_fork_in_parent)

    def _take_lock(self) -> None:
        """Take the lock. Raises ``StoreError`` where another thread never lets go of it."""
        if not self._lock.acquire(timeout=_LONGEST_CALL):
            raise StoreError("the store is kept busy by another thread, which may be waiting for this one; try again")

    def _before_fork(self) -> None:
        """Wait for calls under way to end, and keep new ones waiting."""
        if self._lock.acquire(timeout=PATIENCE):
            self._forking = threading.get_ident()
            if not self._inside:
                self._let_go()

    def _after_fork_in_parent(self) -> None:
        """Let calls go on."""
        if self._forking == threading.get_ident():
            self._forking = None
            self._lock.release()

    def _after_fork(self) -> None:
        """Start, in the child, with a lock of its own."""
        self._forking = None
        self._inside = False
        self._lock = threading.RLock()
        self._forget()

    def _let_go(self) -> None:
        """Close what can't be shared with a child. The lock is held."""

    def _forget(self) -> None:
        """Drop, in the child, what could not be closed in time."""


def _before() -> None:
    for thing, hooks in list(_hooks.items()):
        if hooks.before is not None:
            hooks.before(thing)


def _in_parent() -> None:
    for thing, hooks in list(_hooks.items()):
        if hooks.in_parent is not None:
            hooks.in_parent(thing)


def _in_child() -> None:
    for thing, hooks in list(_hooks.items()):
        hooks.in_child(thing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
