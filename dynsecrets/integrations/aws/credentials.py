"""Credentials that botocore asks for again at each request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.credentials import CredentialProvider, Credentials, ReadOnlyCredentials, RefreshableCredentials

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class FollowingCredentials(RefreshableCredentials):
    """Credentials that are, at each request, what ``read`` returns then: both halves of one lease.

    botocore would refresh 15 and 10 minutes before an end, which for a short lease is always, and in the thread of some
    request; here whoever ``read`` asks decides. A request is signed with what :meth:`get_frozen_credentials` returns,
    once for each attempt.
    """

    def __init__(self, read: Callable[[], Mapping[str, str]]) -> None:
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


def frozen(values: Mapping[str, str]) -> ReadOnlyCredentials:
    """Return a lease's values as botocore's pair of keys."""
    return ReadOnlyCredentials(values["ACCESS_KEY_ID"], values["SECRET_ACCESS_KEY"], values.get("SESSION_TOKEN"))
