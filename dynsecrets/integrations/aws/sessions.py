"""boto3 sessions on leased users: they bear with servers that don't know a young key yet, and follow renewals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import boto3
import botocore.session
from botocore.credentials import CredentialProvider, Credentials, ReadOnlyCredentials, RefreshableCredentials
from typing_extensions import override

from dynsecrets._aws.error_codes import UNKNOWN_KEY
from dynsecrets.model.masking import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from botocore.config import Config

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
#: What botocore makes of a refusal without a body: the HTTP status.
_UNNAMED: Final = frozenset({"400", "403"})
#: So often such a request is sent again, within three seconds.
_UNNAMED_ATTEMPTS: Final = 5


class TolerantSession(boto3.Session):
    """A session whose clients, while its key is young, ask again when a server doesn't know the key.

    IAM is eventually consistent: some front ends learn of a key seconds after others. Clients and resources get
    ``endpoint_url`` where none is given to them. Like any ``boto3.Session`` it is not to be shared between threads; its
    clients are.
    """

    def __init__(
        self,
        *,
        is_young: Callable[[], bool],
        endpoint_url: str | None,
        client_config: Config | None = None,
        **kwargs: Any,
    ) -> None:
        if client_config is not None and kwargs.get("botocore_session") is None:
            kwargs["botocore_session"] = botocore.session.Session()
            kwargs["botocore_session"].set_default_client_config(client_config)
        super().__init__(**kwargs)
        self._endpoint_url = endpoint_url
        self.events.register("needs-retry", retry_unknown_key(is_young))  # type: ignore[arg-type]  # It may answer.

    @override
    def client(self, *args: Any, **kwargs: Any) -> Any:
        """Make a client, as ``boto3.Session.client`` does."""
        return super().client(*args, **self._with_endpoint(args, kwargs))

    @override
    def resource(self, *args: Any, **kwargs: Any) -> Any:
        """Make a resource, as ``boto3.Session.resource`` does."""
        return super().resource(*args, **self._with_endpoint(args, kwargs))

    def _with_endpoint(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        # endpoint_url is the sixth positional argument of both methods.
        if self._endpoint_url is None or len(args) > 5 or kwargs.get("endpoint_url") is not None:
            return kwargs
        return {**kwargs, "endpoint_url": self._endpoint_url}


class FollowingCredentials(RefreshableCredentials):
    """Credentials that are, at each request, what ``read`` returns then: both halves of one lease.

    botocore would refresh 15 and 10 minutes before an end, which for a short lease is always, and in the thread of some
    request; here whoever ``read`` asks decides. A request is signed with what :meth:`get_frozen_credentials` returns,
    once for each attempt.
    """

    def __init__(self, read: Callable[[], Mapping[str, str | Secret]]) -> None:
        self._read = read
        self.method = "dynsecrets"
        # Never to be refreshed: what is read is fresh.
        self._expiry_time = None

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return the keys of one lease."""
        return frozen(self._read())

    # botocore's own class has attributes here; read through these, the two halves may be of two leases.
    access_key = property(lambda self: self.get_frozen_credentials().access_key)
    secret_key = property(lambda self: self.get_frozen_credentials().secret_key)
    token = property(lambda self: self.get_frozen_credentials().token)
    account_id = property(lambda _: None)  # botocore's own may be None, too.

    def get_deferred_property(self, property_name: str) -> Callable[[], Any]:
        """Return how to read a property when it is needed, as botocore asks for it."""
        return lambda: getattr(self, property_name)


class FollowingProvider(CredentialProvider):
    """Finds credentials first of all, and always the same ones."""

    METHOD: str | None = "dynsecrets"

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> Credentials:
        """Return the credentials."""
        return self._credentials


def frozen(values: Mapping[str, str | Secret]) -> ReadOnlyCredentials:
    """Return a lease's values as botocore's pair of keys."""
    names = ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")
    plain = (value.reveal() if isinstance(value, Secret) else value for value in map(values.get, names))
    return ReadOnlyCredentials(*plain)


def following_session(
    read: Callable[[], Mapping[str, str]], *, client_config: Config | None = None, **kwargs: Any
) -> TolerantSession:
    """Return a session whose clients sign each request with what ``read`` returns then."""
    session = botocore.session.Session()
    if client_config is not None:
        session.set_default_client_config(client_config)
    session.get_component("credential_provider").providers.insert(0, FollowingProvider(FollowingCredentials(read)))
    return TolerantSession(botocore_session=session, **kwargs)


def retry_unknown_key(is_young: Callable[[], bool]) -> Callable[..., float | None]:
    """Return a handler of botocore's ``needs-retry`` event that has young keys tried again."""

    def handle(
        response: Any = None, attempts: int = 1, request_dict: Mapping[str, Any] | None = None, **_kwargs: object
    ) -> float | None:
        """Return how long to wait before the request is sent again, or ``None`` to leave it at that."""
        code = None if response is None else response[1].get("Error", {}).get("Code")
        # The answer to a HEAD has no body that could say why it was refused, so it may just as well be for good.
        unnamed = code in _UNNAMED and attempts <= _UNNAMED_ATTEMPTS and (request_dict or {}).get("method") == "HEAD"
        if (code not in UNKNOWN_KEY and not unnamed) or not is_young():
            return None
        return float(min(_FIRST_PAUSE * 2 ** min(attempts - 1, 10), _LONGEST_PAUSE))

    return handle
