"""Blocking work beside an event loop."""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class _Work(Generic[T]):
    """Blocking work of a task, which may be gone when it is done; then it is undone, in its own thread."""

    def __init__(self, work: Callable[[], T], undo: Callable[[T], object]) -> None:
        self._work = work
        self._undo = undo
        self._lock = threading.Lock()
        self._gone = False
        self._made: list[T] = []

    def run(self) -> T:
        """Do it."""
        result = self._work()
        with self._lock:
            late = self._gone
            if not late:
                self._made.append(result)
        if late:
            self._undo(result)
        return result

    def leave(self) -> None:
        """Say that nobody takes the result any more."""
        with self._lock:
            self._gone = True

    def undo(self) -> None:
        """Undo what was done before the task was gone."""
        for result in self._made:
            self._undo(result)


def _keep(_: object) -> None:
    """Undo nothing."""


async def run_in_thread(work: Callable[[], T], undo: Callable[[T], object] = _keep) -> T:
    """Run blocking work in a thread and wait for its end, also when the task is cancelled meanwhile.

    A thread can't be cancelled: what it makes after that is undone, in a thread too, before the cancellation goes on.
    What fails then is a note of the cancellation.
    """
    import asyncio  # Takes longer to load than all of this package, and who calls this has it already.

    job = _Work(work, undo)
    try:
        # No task: asyncio.run() cancels all tasks when it ends, and a cancelled one would tell nothing of its thread.
        future = asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, job.run)
    except RuntimeError:
        # There is no loop, or its threads have ended: nobody is kept waiting.
        return work()
    interrupted: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as exc:
            interrupted = interrupted or exc
            job.leave()
        except GeneratorExit:
            # The coroutine is thrown away: it can't wait any longer.
            job.leave()
            job.undo()
            raise
    if interrupted is None:
        return future.result()
    try:
        future.result()
        await run_in_thread(job.undo)
    except Exception as failure:
        interrupted.add_note(f"{type(failure).__name__}: {failure}")
    raise interrupted
