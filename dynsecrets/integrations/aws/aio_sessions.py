"""Sessions of aioboto3 and aiobotocore that follow a lease; needs one of them, and loads them only when asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynsecrets.integrations.aws.sessions import FollowingCredentials, FollowingProvider, retry_unknown_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from botocore.config import Config
    from botocore.credentials import ReadOnlyCredentials


class _Credentials(FollowingCredentials):
    """The same for aiobotocore, which awaits them."""

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:  # type: ignore[override]  # As aiobotocore's own.
        """Return the keys of one lease."""
        return super().get_frozen_credentials()

    # What aiobotocore has instead of attributes, which it can't await.

    async def get_access_key(self) -> str | None:
        """Return the id of the key."""
        return super().get_frozen_credentials().access_key

    async def get_secret_key(self) -> str | None:
        """Return the secret key."""
        return super().get_frozen_credentials().secret_key

    async def get_token(self) -> str | None:
        """Return the session token, where there is one."""
        return super().get_frozen_credentials().token

    async def get_account_id(self) -> None:
        """Return nothing: it is not known."""


class _Provider(FollowingProvider):
    """The same for aiobotocore, which awaits it."""

    async def load(self) -> Any:  # type: ignore[override]  # As aiobotocore's own.
        """Return the credentials."""
        return super().load()


def following_aio_session(
    read: Callable[[], Mapping[str, str]],
    is_young: Callable[[], bool],
    *,
    region_name: str | None,
    endpoint_url: str | None,
    profile_name: str | None = None,
    client_config: Config | None = None,
    **kwargs: Any,
) -> Any:
    """Return an ``aioboto3.Session`` where that is installed, else an ``aiobotocore.session.AioSession``.

    ``profile_name`` is for settings other than credentials. Raises ``ImportError`` where neither is installed.
    """
    session = _session(profile_name, endpoint_url)
    session.get_component("credential_provider").providers.insert(0, _Provider(_Credentials(read)))
    if client_config is not None:
        session.set_default_client_config(client_config)
    session.register("needs-retry", retry_unknown_key(is_young))
    if region_name is not None:
        session.set_config_variable("region", region_name)
    try:
        import aioboto3
    except ImportError:
        if kwargs:
            msg = f"a session of aiobotocore doesn't take {', '.join(sorted(kwargs))}; install aioboto3 for that"
            raise TypeError(msg) from None
        return session
    return aioboto3.Session(botocore_session=session, region_name=region_name, **kwargs)


def _session(profile_name: str | None, default_endpoint_url: str | None) -> Any:
    """Return a session of aiobotocore whose clients have this endpoint unless they are given another one."""
    try:
        from aiobotocore.session import AioSession
    except ImportError as error:
        msg = "aio_session() needs aioboto3 or aiobotocore; install one of them, or use session() in threads"
        raise ImportError(msg) from error

    class Session(AioSession):  # type: ignore[misc]  # It may not be installed.
        def create_client(self, *args: Any, endpoint_url: str | None = None, **options: Any) -> Any:
            # aioboto3 always passes it on, given or not.
            return super().create_client(*args, endpoint_url=endpoint_url or default_endpoint_url, **options)

    return Session(profile=profile_name)
