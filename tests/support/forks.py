"""Forked children of a test."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def start_child(work: Callable[[], object]) -> int:
    """Fork, do some work in the child, which ends without any cleaning up, and return its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def wait_for_child(pid: int) -> None:
    """Wait for a child to end; fail where its work failed."""
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the child failed; its traceback is in the output"


def in_child(work: Callable[[], object]) -> None:
    """Do some work in a forked child; fail where it fails there."""
    wait_for_child(start_child(work))
