"""What newer Pythons have, for those that don't have it yet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from typing_extensions import override
elif sys.version_info >= (3, 12):
    from typing import override
else:
    _T = TypeVar("_T")

    def override(method: _T) -> _T:
        """Mark a method whose documentation is that of the method it overrides."""
        return method


__all__ = ["override"]
