"""Makes a terminal its own, then becomes a command: ``python on_terminal.py /dev/pts/N COMMAND…``, in a new session."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # The leader of a session gets the first terminal that it opens (POSIX).
    terminal = os.open(sys.argv[1], os.O_RDWR)
    for number in range(3):
        os.dup2(terminal, number)
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - there is no shell to be had.
