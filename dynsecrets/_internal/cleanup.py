"""The end of a block: whatever cleaning up meets, an error of the block itself is the one to be raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynsecrets._internal.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable


def run_cleanup(action: Callable[[], object], error: BaseException | None, what: str = "") -> None:
    """Clean up after a block that ended with ``error``, if not well.

    Where that fails, a block that ended well raises it. An error of the block gets a note instead, which begins with
    ``what``, and the log says so.
    """
    try:
        action()
    except Exception as failure:
        if error is None:
            raise
        logger.error("%s", failure)
        error.add_note(f"{what}{failure}")
