"""Follows a renewer with one asynchronous client, and prints as JSON whom each call was made as.

It runs in an environment of its own (``.venv-aio``): ``aio_program.py [aiobotocore]``, on the account that the
environment names. With the argument aioboto3 is hidden.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from dynsecrets import DynamicSecretConfig, Integration, LeaseManager, MemoryLeaseStore, renewing
from dynsecrets.testing import FakeClock
from support.fakes import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable

RENEWALS = 3
RENEWED_S = 421
OVERLAP_S = 61


def until(condition: Callable[[], bool]) -> None:
    """Return as soon as a condition holds; fail where it doesn't come to hold."""
    glance = threading.Event()
    for _ in range(int(PATIENCE_S * 100)):
        if condition():
            return
        glance.wait(0.01)
    raise AssertionError("the background does not bring it about")


async def follow(session_client: Any, clock: FakeClock, renewed: threading.Event, renewer: Any) -> dict[str, Any]:
    """Call between renewals."""
    called, current = [], []
    async with session_client("sts") as sts:
        for _ in range(RENEWALS + 1):
            identity = await sts.get_caller_identity()
            old = renewer.current
            called.append(identity["Arn"])
            current.append(old.arn)
            renewed.clear()
            clock.leap(RENEWED_S)
            assert await asyncio.to_thread(renewed.wait, PATIENCE_S), renewer.status()
            # No earlier than that: the claim of one revocation would lapse while it is under way.
            clock.leap(OVERLAP_S)
            await asyncio.to_thread(until, partial(getattr, old, "revoked"))
        return {"called": called, "current": current, "region": sts.meta.region_name}


async def credentials_of(session: Any) -> list[Any]:
    """Return what other libraries read of a session's credentials, but for the secret."""
    credentials = await session.get_credentials()
    frozen = await credentials.get_frozen_credentials()
    assert await credentials.get_secret_key() == frozen.secret_key
    pair = [await credentials.get_access_key(), frozen.access_key]
    return [*pair, await credentials.get_token(), await credentials.get_account_id()]


async def main() -> None:
    """Make the session and say what it is."""
    clock, renewed = FakeClock(), threading.Event()
    config = DynamicSecretConfig("AWS_USER", Integration.aws_iam())
    with LeaseManager(MemoryLeaseStore(), clock=clock) as manager:
        async with renewing(config, "10m", manager=manager, on_renew=lambda _: renewed.set()) as renewer:
            session = renewer.aio_session(region_name="eu-west-1")
            refused = None
            try:
                renewer.aio_session(colour="red")
            except TypeError as error:
                refused = str(error)
            keys = await credentials_of(session)
            client = session.client if hasattr(session, "client") else session.create_client
            answer = await follow(client, clock, renewed, renewer)
    print(
        json.dumps({**answer, "keys": keys, "session": type(session).__module__.partition(".")[0], "refused": refused})
    )


if __name__ == "__main__":
    if "aiobotocore" in sys.argv[1:]:
        sys.modules["aioboto3"] = None  # type: ignore[assignment]
    asyncio.run(main())
