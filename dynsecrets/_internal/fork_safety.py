"""How objects come through a fork: locks, threads and connections don't survive one, and must not be shared by it.

An object that starts anew in a child registers one bound method. One whose lock another thread may hold in the middle
of a change registers three: it finishes what it does, and lets go of what can't be shared, *before* the process forks.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import MethodType

    _Hook = MethodType | Callable[[], None]


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
