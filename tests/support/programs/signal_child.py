"""A child that writes down each signal that it gets, until it is told how to end.

    python signal_child.py FOLDER [NAME…]

The named signals are caught (all that can be, if none is named). It ends with the status that ``finish`` holds.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

ALL = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT", "SIGTSTP")


def main() -> None:
    """Count signals."""
    folder = Path(sys.argv[1])

    def note(signum: int, _frame: object) -> None:
        with (folder / "signals").open("a") as log:
            log.write(f"{signal.Signals(signum).name}\n")

    for name in sys.argv[2:] or ALL:
        signal.signal(signal.Signals[name], note)
    (folder / "pid").write_text(str(os.getpid()))
    (folder / "ready").touch()
    finish = folder / "finish"
    while not finish.exists():
        time.sleep(0.01)
    sys.exit(int(finish.read_text() or 0))


if __name__ == "__main__":
    main()
