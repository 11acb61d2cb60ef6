"""Run a module as a program, as ``python -m`` does, and end it when whoever started it is gone.

A test run that is killed can't end its servers. They read a pipe that it holds, their standard input, which closes
whatever became of it. For any Python, and with the standard library alone: ministack's environment has nothing of ours.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading


def _end_with_the_pipe() -> None:
    """Wait until nobody holds the other end, and leave at once."""
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    del sys.argv[0], sys.path[0]  # This file, and its folder, whose modules are not the program's.
    threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
