"""Signals that the kernel gives to other threads wake the main thread all the same."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from dynsecrets._internal.signal_relay import hearing_signals

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@contextlib.contextmanager
def another_thread() -> Iterator[threading.Thread]:
    """A thread that waits until the block ends."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        yield thread
    finally:
        end.set()
        thread.join()


@pytest.fixture
def heard() -> Iterator[SimpleQueue[int]]:
    """What a handler of SIGUSR1 has got."""
    queue: SimpleQueue[int] = SimpleQueue()
    before = signal.signal(signal.SIGUSR1, lambda number, _: queue.put(number))
    yield queue
    signal.signal(signal.SIGUSR1, before)


def test_what_another_thread_gets_wakes_the_main_one(heard: SimpleQueue[int]) -> None:
    """A main thread that waits without an end hears a signal that the kernel gave to somebody else, each time."""
    with another_thread() as thread, hearing_signals():
        for _ in range(20):
            assert thread.ident is not None
            waiting = threading.Timer(0.01, signal.pthread_kill, (thread.ident, signal.SIGUSR1))
            waiting.start()

            assert heard.get() == signal.SIGUSR1
            waiting.join()


def test_what_was_there_before_is_put_back(heard: SimpleQueue[int]) -> None:
    """The handler, and the descriptor that an event loop reads, are theirs again; meanwhile it gets what it would."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    reader.settimeout(60)
    handler = signal.getsignal(signal.SIGURG)
    before = signal.set_wakeup_fd(writer.fileno())
    try:
        with hearing_signals():
            os.kill(os.getpid(), signal.SIGUSR1)
            assert signal.SIGUSR1 in reader.recv(100)

        assert signal.set_wakeup_fd(before) == writer.fileno()
        assert signal.getsignal(signal.SIGURG) == handler
        assert heard.get() == signal.SIGUSR1
    finally:
        signal.set_wakeup_fd(before)
        reader.close()
        writer.close()


def test_in_another_thread_nothing_is_changed() -> None:
    """Only the main thread can be woken."""
    seen: list[object] = []
    handler = signal.getsignal(signal.SIGURG)

    def look() -> None:
        with hearing_signals():
            seen.append(signal.getsignal(signal.SIGURG))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()

    assert seen == [handler]
