"""Every error that the library raises, under one root.

An error says what was given, what is accepted and what to do. None of them carries a secret, and all of them can be
pickled (an error often crosses a process boundary, a lease never does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class DynsecretsError(Exception):
    """The root of all errors of this library.

    Args:
        message: What was given, what is accepted, and what to do.
        code: The service's own error code, like ``"AccessDenied"``; ``None`` where there is none.
        operation: The call that failed, like ``"CreateUser"``; ``None`` where none did.
        lease_id: The lease that it was for, where there is one.
    """

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        operation: str | None = None,
        lease_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.operation = operation
        self.lease_id = lease_id
        #: What a failed ``Integration.provision`` had made, for the one who cleans up: ``None`` if it can't be told
        #: (everything that was planned may exist), an empty mapping if nothing was made.
        self.handle: Mapping[str, str] | None = None


class InvalidTTL(DynsecretsError, ValueError):
    """A time to live that is not one; the message quotes it and says what is accepted."""


class InvalidConfig(DynsecretsError, ValueError):
    """A config, name, policy, path, store URL or argument that cannot work, found before any call to AWS."""


class ProvisionError(DynsecretsError):
    """A lease could not be provisioned; what had been made for it is deleted or recorded for deletion."""


class RevocationError(DynsecretsError):
    """A lease could not be revoked now; its record says so and the attempts go on."""


class PermissionDenied(DynsecretsError):
    """The integration's credentials may not do what the job needs.

    Args:
        message: What was refused, and what to do.
        actions: The actions that are missing, all of them as far as it can be told.
        code: The service's own error code.
        operation: The call that was refused.
        lease_id: The lease that it was for, where there is one.
    """

    def __init__(
        self,
        message: str = "",
        *,
        actions: Iterable[str] = (),
        code: str | None = None,
        operation: str | None = None,
        lease_id: str | None = None,
    ) -> None:
        super().__init__(message, code=code, operation=operation, lease_id=lease_id)
        self.actions: tuple[str, ...] = tuple(actions)


class QuotaExceeded(DynsecretsError):
    """A quota of the service, or the config's own ``max_active``, allows no more leases now."""


class LeaseExpired(DynsecretsError):
    """The lease is over and no fresh one could be had."""


class LeaseNotFound(DynsecretsError, LookupError):
    """The store has no record of that lease."""


class SecretNotAvailable(DynsecretsError):
    """A secret is revealed once, to the one who asked for the lease; request a new lease."""


class StoreError(DynsecretsError):
    """The store of lease records could not be read or written."""


class VersionConflict(StoreError):
    """The record was changed by someone else since it was read; read it again."""


class NotUsableInTime(DynsecretsError):
    """The lease did not start to work within ``wait_timeout`` (or its own life) and was revoked."""
