"""The default of arguments for which ``None`` means something."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Unset(Enum):
    """The type of :data:`UNSET`."""

    UNSET = "unset"

    def __repr__(self) -> str:
        """Show it as what it stands for in signatures."""
        return "..."


UNSET: Final = Unset.UNSET
