"""What a timetable is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Job:
    """Something to do at a time; ``action`` is ``None`` once it has begun or is cancelled."""

    __slots__ = ("action", "at", "idle", "key")

    def __init__(self, at: float, key: str | None, action: Callable[[], object] | None, *, idle: bool = False) -> None:
        self.at: float = at
        self.key: str | None = key
        self.idle: bool = idle
        self.action: Callable[[], object] | None = action
