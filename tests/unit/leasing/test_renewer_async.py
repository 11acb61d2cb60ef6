"""Renewers and their sessions beside an event loop."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from dynsecrets import LeaseExpired, PermissionDenied, ProvisionError, RevocationError
from support.places import PROGRAMS, ROOT, ROOTS
from support.processes import clean_environment
from support.renewal import RENEWED_S, TTL_S, outage, renewer_of, until
from support.world import Gate, World

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from dynsecrets import LeaseRenewer
    from support.accounts import Account
    from support.proxy import Proxy

#: The interpreter of ``.venv-aio``, read before a fixture hides it with everything else of the library's.
AIO_PYTHON: Final = Path(
    os.environ.get("DYNSECRETS_AIO_PYTHON")
    or ROOT.joinpath(".venv-aio", *(("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")))
)


async def ticking_while(work: Awaitable[Any], gate: Gate) -> int:
    """Return how often the loop turned while some work stood at a gate, which is opened then."""
    task = asyncio.ensure_future(work)
    await asyncio.to_thread(gate.until_reached)
    ticks = 0
    for _ in range(100):
        await asyncio.sleep(0)
        ticks += not task.done()
    gate.open()
    await task
    return ticks


def test_a_block_beside_a_loop(world: World) -> None:
    """``async with`` leases, renews and revokes as ``with`` does."""

    async def work() -> tuple[bool, bool]:
        async with renewer_of(world) as renewer:
            first = renewer.current
            await asyncio.to_thread(world.advance, RENEWED_S)
            return first.is_valid(), renewer.current is not first

    assert asyncio.run(work()) == (True, True)
    assert world.integration.live == {}


@pytest.mark.parametrize("step", ["provision", "revoke"])
def test_the_loop_goes_on_meanwhile(world: World, step: str) -> None:
    """While a renewer is entered and left, which takes calls, other tasks have their turns."""

    async def block(renewer: LeaseRenewer) -> None:
        async with renewer:
            pass

    async def work() -> int:
        gate = Gate()
        world.integration.fail(step, gate)
        return await ticking_while(block(renewer_of(world)), gate)

    assert asyncio.run(work()) == 100


def test_reading_never_waits_for_a_renewal(world: World) -> None:
    """``current`` and ``status()`` answer at once while an attempt hangs; the loop is not blocked by them."""

    async def work() -> bool:
        gate = Gate()
        async with renewer_of(world) as renewer:
            first = renewer.current
            world.integration.fail("provision", gate)
            world.clock.leap(RENEWED_S)
            await asyncio.to_thread(gate.until_reached)
            same = renewer.current is first and renewer.status().lease_id == first.id
            gate.open()
            return same

    assert asyncio.run(work())


def test_a_cancelled_beginning_leaves_nothing(world: World) -> None:
    """A task that is cancelled while it enters is cancelled once what it got is revoked."""

    async def work() -> None:
        gate = Gate()
        world.integration.fail("provision", gate)
        task = asyncio.ensure_future(renewer_of(world).__aenter__())
        await asyncio.to_thread(gate.until_reached)
        task.cancel()
        await asyncio.sleep(0)
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())

    assert world.integration.count("provision") == 1
    assert world.integration.live == {}
    world.advance(TTL_S)
    assert world.integration.count("provision") == 1


def test_a_cancelled_body_is_left_in_order(world: World) -> None:
    """A task that is cancelled inside of the block revokes, cancelled again while it does so too."""

    async def body(inside: asyncio.Event) -> None:
        async with renewer_of(world):
            inside.set()
            await asyncio.Event().wait()

    async def work() -> None:
        gate, inside = Gate(), asyncio.Event()
        task = asyncio.ensure_future(body(inside))
        await inside.wait()
        world.integration.fail("revoke", gate)
        task.cancel()
        await asyncio.to_thread(gate.until_reached)
        task.cancel()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())

    assert world.integration.live == {}


def test_errors_are_those_of_a_plain_block(world: World) -> None:
    """What entering and leaving raise is raised in the task, and an error of the body is not masked."""

    async def enter() -> None:
        async with renewer_of(world):
            pytest.fail("the block must not begin")

    async def leave(error: Exception | None) -> None:
        async with renewer_of(world):
            world.integration.fail("revoke", PermissionDenied("may not"))
            if error is not None:
                raise error

    world.integration.fail("provision", ProvisionError("no answer"))
    with pytest.raises(ProvisionError):
        asyncio.run(enter())
    with pytest.raises(RevocationError):
        asyncio.run(leave(None))
    with pytest.raises(ValueError, match="mine") as caught:
        asyncio.run(leave(ValueError("mine")))
    assert any("could not be revoked" in note for note in caught.value.__notes__)


def test_an_expired_lease_raises_in_a_task_too(world: World) -> None:
    """There is no waiting for a lease that can't be had: whoever asks is told."""

    async def work() -> None:
        async with renewer_of(world) as renewer:
            outage(world)
            await asyncio.to_thread(world.advance, TTL_S)
            with pytest.raises(LeaseExpired):
                _ = renewer.current

    asyncio.run(work())


def test_a_callback_may_talk_to_the_loop(world: World) -> None:
    """``on_renew`` runs in a thread; what it hands to the loop arrives, also while the block is left."""

    async def work() -> list[str]:
        loop, seen = asyncio.get_running_loop(), []

        async def note(lease_id: str) -> None:
            seen.append(lease_id)

        def tell(fresh: Any) -> None:
            asyncio.run_coroutine_threadsafe(note(fresh.id), loop).result()

        async with renewer_of(world, on_renew=tell) as renewer:
            first = renewer.current.id
            world.clock.leap(RENEWED_S)
            # Once the fresh lease is in its place, leaving waits for the callback.
            await asyncio.to_thread(until, lambda: renewer.status().lease_id != first)
        return seen

    assert len(asyncio.run(work())) == 1


def test_without_aiobotocore_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither aioboto3 nor aiobotocore is there, ``aio_session()`` names both."""
    from dynsecrets.integrations.aws.aio_sessions import following_aio_session

    for name in ("aiobotocore", "aiobotocore.session"):
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(ImportError, match="aioboto3 or aiobotocore"):
        following_aio_session(dict, lambda: False, region_name=None, endpoint_url=None)


@pytest.mark.skipif(not AIO_PYTHON.exists(), reason="there is no .venv-aio; `make test` makes it")
@pytest.mark.parametrize("library", ["aioboto3", "aiobotocore"])
def test_an_asynchronous_client_follows(aws: Account, proxy: Proxy, library: str) -> None:
    """A client of ``aio_session()`` is the current user at each call, and bears with a server that is behind."""
    fault = proxy.fail("GetCallerIdentity", ("InvalidClientTokenId", 403), nth=4, times=1)

    done = subprocess.run(
        [str(AIO_PYTHON), "-W", "error", str(PROGRAMS / "aio_program.py"), library],
        env=clean_environment(**aws.environment(url=proxy.url), PYTHONPATH=os.pathsep.join(ROOTS)),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["called"] == answer["current"]
    assert len(set(answer["called"])) == 4
    assert answer["region"] == "eu-west-1"
    assert answer["session"] == ("aioboto3" if library == "aioboto3" else "dynsecrets")
    assert "colour" in answer["refused"]
    key, same, token, account = answer["keys"]
    assert (key, token, account) == (same, None, None)
    assert fault.hits == 1
    assert aws.users() == []
