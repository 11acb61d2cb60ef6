"""Forked children of a test: they run one function, and hand back what that returned where somebody waits for it."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

#: A child that hangs is ended after so many seconds.
_LONGEST_S: Final = 20

needs_fork: Final = pytest.mark.skipif(not hasattr(os, "fork"), reason="forking is POSIX's")


def in_child(call: Callable[[], Any]) -> Any:
    """Call a function in a forked child and return its result; fail with the child's traceback where it raises."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover  # The child ends without writing its coverage.
        os.close(reading)
        signal.alarm(_LONGEST_S)
        try:
            answer: tuple[bool, Any] = (True, call())
        except BaseException:  # The parent is to see it, whatever it is.
            answer = (False, traceback.format_exc())
        with open(writing, "wb") as pipe:
            pipe.write(pickle.dumps(answer))
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert data, f"the child ended without an answer: {os.waitstatus_to_exitcode(status)}"
    worked, result = pickle.loads(data)  # noqa: S301  # It comes from our own child.
    assert worked, result
    return result


def start_child(work: Callable[[], object]) -> int:
    """Fork, do some work in the child, which ends without any cleaning up, and return its pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 1  # pragma: no cover  # As above.
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
