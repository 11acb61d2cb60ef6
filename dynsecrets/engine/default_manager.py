"""The manager that ``lease()`` uses where none is given: made when it is first needed, one for the process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from dynsecrets._internal.fork_safety import reset_after_fork

if TYPE_CHECKING:
    from dynsecrets.engine.manager import LeaseManager


class _Default:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._manager: LeaseManager | None = None
        reset_after_fork(self._after_fork)

    def _after_fork(self) -> None:
        """Keep the manager, which knows how to go on in a child, under a lock that nobody holds."""
        self._lock = threading.Lock()

    def manager(self) -> LeaseManager:
        """Return the manager."""
        with self._lock:
            if self._manager is None:
                from dynsecrets.engine.manager import LeaseManager

                self._manager = LeaseManager()
            return self._manager


_default = _Default()


def default_manager() -> LeaseManager:
    """Return the default manager. Its store is the one that ``DYNSECRETS_STORE`` names when it is first used."""
    return _default.manager()
