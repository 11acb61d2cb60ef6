"""What an integration may be able to do beside leasing: a small protocol each, asked for by ``isinstance``. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from dynsecrets.errors import InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    import boto3

    from dynsecrets.model.grant import Found, Identity


class Unsupported(InvalidConfig, NotImplementedError):
    """An integration was asked for what it can't do; the message says for what, and what to do."""


# Integrations and configs stand above this module: it knows the former by name, and the latter as ``Any``.
@runtime_checkable
class Probes(Protocol):
    """It can tell whether a credential works."""

    def is_usable(self, values: Mapping[str, str]) -> bool:
        """Tell whether a credential works by now, by using it. ``values`` are keyed by suffix and hold its secret."""
        ...


@runtime_checkable
class TellsTime(Protocol):
    """It can be asked what time it is at the third party."""

    def service_time(self) -> datetime | None:
        """Return the third party's own time, aware, or ``None`` where the local clock is as good.

        Asked for rarely, by reapers: a lease is over by the clock of the one who made it.
        """
        ...


@runtime_checkable
class Listable(Protocol):
    """It can list what it has provisioned."""

    def find_all(self) -> Iterable[Found]:
        """Iterate over all that this integration has provisioned and that exists, known to a store or not."""
        ...

    def name_of(self, handle: Mapping[str, str]) -> str:
        """Return the name under which :meth:`find_all` lists what a handle stands for."""
        ...


@runtime_checkable
class Verifiable(Protocol):
    """It can prove that it can do its job."""

    def verify(self, *configs: Any) -> Identity:
        """Say who the credentials are and prove that they can do the job for these configs."""
        ...


@runtime_checkable
class FindsCredentials(Protocol):
    """It works with credentials of its own, which a person may have to open."""

    def find_credentials(self) -> None:
        """Find them now, in the calling thread: a code or a password may be asked for. Called often."""
        ...


@runtime_checkable
class NeedsIamPolicy(Protocol):
    """Its own credentials are AWS's, and need a policy."""

    def required_policy(
        self, *configs: Any, account_id: str = "*", partition: str = "aws", sweep: bool = False
    ) -> dict[str, Any]:
        """Return the least-privilege policy that the integration needs to serve these configs."""
        ...


@runtime_checkable
class AwsSessions(Protocol):
    """What it leases are AWS credentials, for which there are sessions.

    A class that inherits from this one has to implement :meth:`session` only.
    """

    def session(self, values: Mapping[str, str], is_young: Callable[[], bool], **kwargs: Any) -> boto3.Session:
        """Return a ``boto3.Session`` on a credential; while ``is_young()`` some servers may not know it."""
        ...

    def following_session(
        self, read: Callable[[], Mapping[str, str]], is_young: Callable[[], bool], **kwargs: Any
    ) -> boto3.Session:
        """Return a ``boto3.Session`` whose clients sign each request with what ``read`` returns then."""
        return self.session(read(), is_young, **kwargs)

    def following_aio_session(
        self, read: Callable[[], Mapping[str, str]], is_young: Callable[[], bool], **kwargs: Any
    ) -> Any:
        """Return the same of aioboto3 or aiobotocore. Raises ``ImportError`` where neither is installed."""
        del read, is_young, kwargs
        return _no_aio_session(self)

    def aws_settings(self) -> Mapping[str, str | None]:
        """Return the ``region_name`` and the ``endpoint_url`` that sessions, and SDKs of children, get."""
        return {}


def _no_aio_session(integration: AwsSessions) -> Any:
    """Refuse. Raised in the method itself, this would make an abstract one of it."""
    raise Unsupported(f"{type(integration).__name__} makes no sessions of aioboto3 or aiobotocore; use those of boto3")


@runtime_checkable
class Remakeable(Protocol):
    """It can be made anew by another process, to clean up after the one that crashed."""

    def settings(self) -> Mapping[str, Any]:
        """Return the keyword arguments of its class, as JSON has them and none a secret.

        Credentials are left out: the process that makes it finds them as it finds its own.
        """
        ...


@runtime_checkable
class CallsService(Protocol):
    """It calls a service over HTTP, at an address that it can tell."""

    def endpoint(self) -> str:
        """Return the URL that its calls go to. Nothing is called."""
        ...


_LACKS: Final[Mapping[type, str]] = {
    Listable: "can't list what it has provisioned; for that its class implements find_all() and name_of()",
    Verifiable: "can't be verified; for that its class implements verify()",
    NeedsIamPolicy: "needs no IAM policy, or its class would implement required_policy()",
    AwsSessions: "doesn't make AWS credentials, so there is no boto3 session of them; use the lease's values",
}


def find_credentials(integrations: Iterable[object]) -> None:
    """Have integrations find their own credentials here and now.

    To be called in the thread of the one who asks for something, before others have to do with it: nobody can leave a
    prompt that stands in a thread where no signal is heard.
    """
    for integration in {id(integration): integration for integration in integrations}.values():
        if isinstance(integration, FindsCredentials):
            integration.find_credentials()


def lack(integration: str, capability: type) -> Unsupported:
    """Return the error to raise where an integration, by its name, doesn't have a capability."""
    return Unsupported(f"the integration {integration!r} {_LACKS[capability]}")
