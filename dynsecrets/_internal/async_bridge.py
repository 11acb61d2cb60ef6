"""Blocking work beside an event loop."""

from __future__ import annotations

import contextvars
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from dynsecrets._internal.concurrency import Errand
from dynsecrets.errors import DynsecretsError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def _keep(_: object) -> None:
    """Undo nothing."""


def refuse_trio() -> None:
    """Raise ``DynsecretsError`` in a task of trio's: its loop would be blocked by what asyncio's is not."""
    trio: Any = sys.modules.get("trio")
    if trio is None:
        return
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return
    raise DynsecretsError(
        "`async with` and pools of dynsecrets run on asyncio, and this is a task of trio; use the plain methods and "
        "`with` in a thread of their own: await trio.to_thread.run_sync(...)"
    )


async def run_in_thread(work: Callable[[], T], undo: Callable[[T], object] = _keep) -> T:
    """Run blocking work in a thread and wait for its end, also when the task is cancelled meanwhile.

    A thread can't be cancelled: what it makes after that is undone, in a thread too, before the cancellation goes on.
    What fails then is a note of the cancellation.
    """
    import asyncio  # Takes longer to load than all of this package, and who calls this has it already.

    refuse_trio()
    errand = Errand(work, undo)
    try:
        # Not a task: asyncio.run() cancels all tasks when it ends, and a cancelled one tells nothing of its thread.
        future = asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, errand.run)
    except RuntimeError:
        # There is no loop, or its threads have ended: nobody is kept waiting.
        return work()
    interrupted: asyncio.CancelledError | None = None
    made = False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as exc:
            if interrupted is None:
                interrupted, made = exc, errand.leave()
        except GeneratorExit:
            # The coroutine is thrown away: it can't wait any longer.
            if made or (interrupted is None and errand.leave()):
                errand.undo()
            raise
    if interrupted is None:
        return future.result()
    try:
        future.result()
        if made:
            await run_in_thread(errand.undo)
    except Exception as failure:
        interrupted.add_note(f"{type(failure).__name__}: {failure}")
    raise interrupted
