"""Which entry of a shared context manager is left: each block is known by where it stands in the program.

``with`` doesn't say it. A block is left by the frame that entered it, whichever thread or task that frame runs in: so
one object serves requests that end in other threads than they began in, and generators that take turns. Where
something else than a ``with`` statement enters, as an ``ExitStack`` or a class's own ``__enter__`` does, the object
whose method that is stands for the frame. What matches nothing is the one entry that is open; where there are several,
nobody can tell.
"""

from __future__ import annotations

import inspect
import threading
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from dynsecrets._internal.fork_safety import reset_after_fork
from dynsecrets.errors import DynsecretsError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: Methods that enter or leave for somebody else: what they are methods of stays, they themselves don't.
_FOR_OTHERS: Final = frozenset({"__enter__", "__exit__", "__aenter__", "__aexit__"})


def caller() -> object:
    """Return what stands for the block that is entered or left by the method that calls this."""
    frame = inspect.currentframe()
    for _ in range(2):
        frame = None if frame is None else frame.f_back
    if frame is None:
        return None
    code = frame.f_code
    if code.co_argcount and (frame.f_globals.get("__name__") == "contextlib" or code.co_name in _FOR_OTHERS):
        return frame.f_locals.get(code.co_varnames[0])
    return frame


class OpenBlocks(Generic[T]):
    """What a context manager has open. Thread-safe, and safe to enter again in a garbage collection."""

    def __init__(self, over: Callable[[T], bool]) -> None:
        self._over = over
        self._after_fork()
        reset_after_fork(self._after_fork)
        self._entries: list[tuple[object, T]] = []

    def _after_fork(self) -> None:
        """Go on under a lock that nobody holds."""
        self._lock = threading.RLock()

    def push(self, block: object, thing: T) -> None:
        """Note what a block has."""
        with self._lock:
            self._entries.append((block, thing))

    def pop(self, block: object) -> T:
        """Return what the block that is left had, the innermost first. Raises ``DynsecretsError``."""
        with self._lock:
            places = [place for place, (owner, _) in enumerate(self._entries) if owner is block]
            if places:
                return self._entries.pop(places[-1])[1]
            if len(self._entries) == 1:
                return self._entries.pop()[1]
            count = len(self._entries)
            # One that is over needs not be told from the others: there is nothing left to revoke.
            place = next((place for place, (_, thing) in enumerate(self._entries) if self._over(thing)), None)
            if place is not None:
                del self._entries[place]
        if not count:
            raise RuntimeError("this block is left more often than it was entered")
        raise DynsecretsError(
            f"{count} blocks of one lease() object are open, and it can't be told which of them is left; none is "
            "revoked now, each ends at its TTL. Enter and leave by `with`, or make a lease() for each"
        )
