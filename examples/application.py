"""An application that holds one renewer from its start to its end, as web applications do.

    python examples/application.py [TTL] [REQUESTS]

It uses the AWS account that boto3 finds; set ``AWS_ENDPOINT_URL`` for another endpoint. ``Application`` stands for
``fastapi.FastAPI`` or ``starlette.applications.Starlette``, which take the same ``lifespan`` and the same decorators.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from dynsecrets import DynamicSecretConfig, Integration, renewing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    Handler = Callable[[], Awaitable[dict[str, Any]]]

# Without a policy, a leased user may only ask who it is.
nobody = DynamicSecretConfig("AWS_USER", Integration.aws_iam())


class Application:
    """As much of a web framework as this example needs."""

    def __init__(self, lifespan: Callable[[Application], AbstractAsyncContextManager[None]]) -> None:
        self.lifespan = lifespan
        self.state = SimpleNamespace(ttl="10m")
        self._handlers: dict[str, Handler] = {}

    def get(self, path: str) -> Callable[[Handler], Handler]:
        """Register a handler."""

        def register(handler: Handler) -> Handler:
            self._handlers[path] = handler
            return handler

        return register

    async def request(self, path: str) -> dict[str, Any]:
        """Handle a request."""
        return await self._handlers[path]()


@asynccontextmanager
async def lifespan(app: Application) -> AsyncIterator[None]:
    """Lease at the start, renew while the application runs, and revoke at the end, without blocking the event loop."""
    async with renewing(nobody, app.state.ttl) as renewer:
        app.state.renewer = renewer
        # All requests share this client (boto3's clients are thread-safe). It follows every renewal.
        app.state.sts = renewer.session().client("sts")
        yield


app = Application(lifespan=lifespan)


@app.get("/whoami")
async def whoami() -> dict[str, Any]:
    """Call AWS as the current leased user. With aioboto3, use a client of ``renewer.aio_session()``."""
    identity = await asyncio.to_thread(app.state.sts.get_caller_identity)
    return {"user": identity["Arn"].rpartition("/")[2]}


@app.get("/health")
async def health() -> dict[str, Any]:
    """Report the state of renewal, without a call."""
    status = app.state.renewer.status()
    return {"healthy": status.failures == 0 and app.state.renewer.current.is_valid(), "failures": status.failures}


async def main(ttl: str = "10m", requests: str = "3") -> None:
    """Run the application and send it a few requests, as a server would."""
    app.state.ttl = ttl
    async with app.lifespan(app):
        for _ in range(int(requests)):
            print(await app.request("/whoami"), await app.request("/health"))
            await asyncio.sleep(0.25)
    print("stopped")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
