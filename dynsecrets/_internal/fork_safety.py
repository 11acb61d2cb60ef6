"""What must be made anew in a forked child: locks, threads and connections don't survive a fork."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import MethodType

#: By object, weakly, so that nobody lives longer for it.
_resets: weakref.WeakKeyDictionary[object, Callable[[Any], object]] = weakref.WeakKeyDictionary()


def reset_after_fork(reset: MethodType | Callable[[], None]) -> None:
    """Have a bound method called in every forked child, before any other code of it, as long as its object lives."""
    _resets[reset.__self__] = reset.__func__  # type: ignore[union-attr]  # Typing has no word for a bound method.


def _after_fork() -> None:
    for thing, reset in list(_resets.items()):
        reset(thing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
