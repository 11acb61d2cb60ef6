"""boto3 clients, made once a process: boto3's sessions are not thread-safe, and connections don't survive a fork."""

from __future__ import annotations

import os
import re
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from dynsecrets._internal.fork_safety import reset_after_fork
from dynsecrets._internal.messages import safe_repr
from dynsecrets._version import __version__
from dynsecrets.errors import InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import boto3
    from botocore.config import Config

#: A label of a host name, as botocore takes it: AWS has regions in partitions that nobody lists here.
_REGION: Final = re.compile(r"(?!-|[0-9]+\Z)[A-Za-z0-9-]{1,63}(?<!-)")


class ClientCache:
    """Makes the clients of one session when they are first asked for, and keeps them.

    Safe to use from any thread, and on both sides of a fork: a child makes clients of its own. ``make_session`` is
    called once; ``settings`` are those of every client's ``Config``, and what ``config`` says wins over them.
    """

    def __init__(
        self,
        make_session: Callable[[], boto3.Session],
        *,
        endpoint_url: str | None,
        config: Config | None,
        settings: Mapping[str, Any],
    ) -> None:
        self._make_session = make_session
        self._session: boto3.Session | None = None
        self.endpoint_url: Final = endpoint_url
        self._config = config
        self._settings = {"user_agent_extra": f"dynsecrets/{__version__}", "max_pool_connections": 64, **settings}
        self._lock = threading.RLock()
        self._clients: dict[str, Any] = {}
        reset_after_fork(self._after_fork)

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        self._clients = {}

    def session(self) -> boto3.Session:
        """Return the session, made by the first who asks."""
        if self._session is None:
            with self._lock:
                if self._session is None:
                    self._session = self._make_session()
        return self._session

    def find_credentials(self) -> None:
        """Have boto3 find the credentials, which all clients share, in the calling thread."""
        find = getattr(self.session(), "get_credentials", None)
        with self._lock:
            credentials = find() if callable(find) else None
        if credentials is not None:
            # Of a role they are asked for only now.
            credentials.get_frozen_credentials()

    def get(self, kind: str, make: Callable[[], Any]) -> Any:
        """Return the client of a kind, made by the first who asks."""
        client = self._clients.get(kind)
        if client is None:
            with self._lock:
                client = self._clients.get(kind)
                if client is None:
                    client = self._clients[kind] = make()
        return client

    def make(self, service: str, region: str | None, *, session: boto3.Session | None = None, **settings: Any) -> Any:
        """Make a new client, of another session and with other settings where these are given."""
        from botocore.config import Config

        session = session or self.session()
        library = self._settings if not _says_how_to_retry(session) else {**self._settings, "retries": None}
        config = Config(**{**library, **settings})
        make: Callable[..., Any] = session.client
        return make(
            service,
            region_name=region,
            endpoint_url=self.endpoint_url,
            config=config if self._config is None else config.merge(self._config),
        )

    def close(self) -> None:
        """Close the connections. Closing twice is fine."""
        with self._lock:
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.close()


def default_session(region: str | None = None) -> boto3.Session:
    """Return the session that ``boto3.client`` uses where the program has set one up, else a new one."""
    import boto3

    return boto3.DEFAULT_SESSION or boto3.Session(region_name=region)


def profile_of(session: boto3.Session) -> str | None:
    """Return the name of the profile that a session has its settings from, or ``None`` where it names none."""
    # boto3 calls it "default" where there is none, and another session would look for one of that name.
    return None if session.profile_name == "default" else session.profile_name


def endpoint_of(session: boto3.Session) -> str | None:
    """Return the endpoint of all services that a session's profile names, unless it is told to ignore that."""
    profile = _settings_of(session)
    ignored = str(profile.get("ignore_configured_endpoint_urls")).lower() == "true"
    return None if ignored else profile.get("endpoint_url")


def _says_how_to_retry(session: boto3.Session) -> bool:
    """Tell whether the environment or the session's profile has settings of retries, which win over the library's."""
    profile = _settings_of(session)
    return any(os.environ.get(f"AWS_{name.upper()}") or profile.get(name) for name in ("max_attempts", "retry_mode"))


def _settings_of(session: boto3.Session) -> Mapping[str, Any]:
    """Return what the AWS config files say under a session's profile; boto3 has no way to ask the session itself."""
    import botocore.session

    settings: Mapping[str, Any] = botocore.session.Session(profile=profile_of(session)).get_scoped_config()
    return settings


def method_of(client: Any, operation: str) -> Callable[..., Any]:
    """Return a client's method for an operation, which is named as in the API ("CreateUser")."""
    from botocore import xform_name

    method: Callable[..., Any] = getattr(client, xform_name(operation))
    return method


def check_client_options(session: object, region: object, endpoint_url: object, botocore_config: object) -> None:
    """Raise ``InvalidConfig`` for a session, region, endpoint or config that no client could be made with."""
    if session is not None and not callable(getattr(session, "client", None)):
        raise InvalidConfig(f"session must be a boto3.Session, not of type {type(session).__name__}")
    if region is not None and (not isinstance(region, str) or not _REGION.fullmatch(region)):
        raise InvalidConfig(f'region {safe_repr(region)} is not accepted; give one like "eu-central-1"')
    if endpoint_url is not None:
        parts = urlsplit(endpoint_url) if isinstance(endpoint_url, str) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidConfig(
                f'endpoint_url {safe_repr(endpoint_url)} is not accepted; give one like "http://host:5000"'
            )
    if botocore_config is not None and not callable(getattr(botocore_config, "merge", None)):
        raise InvalidConfig(f"botocore_config must be a botocore.config.Config, not {safe_repr(botocore_config)}")
