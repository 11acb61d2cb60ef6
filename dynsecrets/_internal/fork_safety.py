"""What must be made anew in a forked child: locks, threads and connections don't survive a fork."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """An object with something to make anew in a forked child."""

    def after_fork(self) -> None:
        """Drop what belonged to the parent. Runs in the child, before any other code of it."""
        ...


_objects: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def reset_after_fork(thing: ForkAware) -> None:
    """Have ``thing.after_fork()`` called in every forked child, as long as the object lives."""
    _objects.add(thing)


def _after_fork() -> None:
    for thing in list(_objects):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
