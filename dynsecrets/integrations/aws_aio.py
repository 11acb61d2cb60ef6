"""Sessions of aioboto3 and aiobotocore that follow a lease; needs one of them, and loads them only when asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynsecrets.integrations.aws_credentials import FollowingCredentials, FollowingProvider
from dynsecrets.integrations.aws_session import retry_unknown_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def following_aio_session(
    read: Callable[[], Mapping[str, str]],
    is_young: Callable[[], bool],
    *,
    region_name: str | None,
    endpoint_url: str | None,
    profile_name: str | None = None,
    **kwargs: Any,
) -> Any:
    """Return an ``aioboto3.Session`` where that is installed, else an ``aiobotocore.session.AioSession``.

    ``profile_name`` is for settings other than credentials. Raises ``ImportError`` where neither is installed.
    """
    try:
        from aiobotocore.session import AioSession
    except ImportError as error:
        msg = "aio_session() needs aioboto3 or aiobotocore; install one of them, or use session() in threads"
        raise ImportError(msg) from error

    class Credentials(FollowingCredentials):
        async def get_frozen_credentials(self) -> Any:  # type: ignore[override]
            return FollowingCredentials.get_frozen_credentials(self)

    class Provider(FollowingProvider):
        async def load(self) -> Any:  # type: ignore[override]
            return FollowingProvider.load(self)

    class Session(AioSession):  # type: ignore[misc]
        def create_client(self, service_name: str, *args: Any, **options: Any) -> Any:
            # aioboto3 always passes it on, given or not.
            if options.get("endpoint_url") is None:
                options["endpoint_url"] = endpoint_url
            return super().create_client(service_name, *args, **options)

    session = Session(profile=profile_name)
    session.get_component("credential_provider").providers.insert(0, Provider(Credentials(read)))
    session.register("needs-retry", retry_unknown_key(is_young))
    if region_name is not None:
        session.set_config_variable("region", region_name)
    try:
        import aioboto3
    except ImportError:
        if kwargs:
            msg = f"a session of aiobotocore takes no {', '.join(sorted(kwargs))}; install aioboto3 for that"
            raise TypeError(msg) from None
        return session
    return aioboto3.Session(botocore_session=session, region_name=region_name, **kwargs)
