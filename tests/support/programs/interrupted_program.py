"""A program that interrupts itself, twice each time, wherever it is: leasing three things, again and again.

Prints how often it was interrupted while it leased, and how many leases were left then.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import random
import signal
import sys
import threading
import time

from dynsecrets.engine.batch import lease_all
from dynsecrets.engine.manager import engine_of
from support.world import World

ROUNDS = int(sys.argv[1])
LONGEST_PAUSE_S = 0.003
PATIENCE_S = 60


class Sender:
    """Sends two signals at random moments of each round; the handler raises for those of this round."""

    def __init__(self) -> None:
        self.armed = 0
        self._main = threading.get_ident()
        self._random = random.Random(5)
        self._begin, self._sent = threading.Event(), threading.Event()
        signal.signal(signal.SIGUSR1, self.handle)
        threading.Thread(target=self._run, daemon=True).start()

    def handle(self, number: int, frame: object) -> None:
        """Interrupt."""
        if self.armed:
            self.armed -= 1
            raise KeyboardInterrupt

    def begin(self) -> None:
        """Begin a round."""
        self.armed = 2
        self._begin.set()

    def end(self) -> None:
        """End it, when both were sent; whatever they meet now is not looked at."""
        while not self._sent.is_set():
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(0.0001)
        self.armed = 0
        self._sent.clear()

    def _run(self) -> None:
        while True:
            self._begin.wait()
            self._begin.clear()
            for longest in (LONGEST_PAUSE_S, LONGEST_PAUSE_S / 4):
                time.sleep(self._random.uniform(0, longest))
                signal.pthread_kill(self._main, signal.SIGUSR1)
            self._sent.set()


def lease_once(sender: Sender) -> tuple[bool, int]:
    """Lease, and tell whether that was interrupted, and how much lives in the end that nobody has."""
    interrupted = False
    with World() as world:
        configs = [world.config(name=name) for name in ("ONE", "TWO", "THREE")]
        with contextlib.suppress(KeyboardInterrupt):
            sender.begin()
            try:
                lease_all(engine_of(world.manager), configs, None, held=True)
            except KeyboardInterrupt:
                interrupted = True
        sender.end()
        deadline = time.monotonic() + PATIENCE_S
        while interrupted and world.integration.live and time.monotonic() < deadline:
            time.sleep(0.001)
        left = len(world.integration.live) if interrupted else 0
    return interrupted, left


def main() -> None:
    """Do it often."""
    faulthandler.dump_traceback_later(PATIENCE_S * 2, exit=True)
    sender = Sender()
    results = [lease_once(sender) for _ in range(ROUNDS)]
    print(json.dumps({"interrupted": sum(was for was, _ in results), "left": sum(left for _, left in results)}))


main()
