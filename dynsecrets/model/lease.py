"""A lease in the hands of the one who asked for it: the only place where its secret exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from dynsecrets.model.aws_values import AwsValues
from dynsecrets.model.capabilities import AwsSessions, Probes, lack
from dynsecrets.model.timestamps import to_milliseconds

if TYPE_CHECKING:
    import boto3

    from dynsecrets.model.grant import Grant
    from dynsecrets.model.integration import Integration
    from dynsecrets.model.lease_status import LeaseStatus

#: For how long after its creation some of AWS's servers may not know a key (seen: up to ten seconds).
YOUNG_FOR: Final = timedelta(seconds=15)
_ZERO: Final = timedelta(0)
#: How far the wall clock gets ahead of the monotonic one only where the latter stood still, or the former was set.
_RESTORED: Final = timedelta(minutes=1)


class Timer(Protocol):
    """What a lease reads the time with: seconds that only ever grow."""

    def __call__(self) -> float:
        """Return the seconds."""
        ...


class Lease(AwsValues, Mapping[str, str]):
    """One leased credential: an immutable mapping of its ``NAME_*`` values.

    For a config named ``AWS_USER`` the keys are ``AWS_USER_ACCESS_KEY_ID``, ``AWS_USER_ARN``,
    ``AWS_USER_LEASE_EXPIRATION``, ``AWS_USER_LEASE_ID``, ``AWS_USER_POLICY_NAME``, ``AWS_USER_SECRET_ACCESS_KEY``,
    ``AWS_USER_USERNAME`` and ``AWS_USER_USER_ID``, in this order. A lease is made by ``lease()`` and
    ``LeaseManager.issue``.

    Its ``repr``, what is logged of it, and pytest's explanation of a failed comparison show no secret. It can't be
    pickled or copied: a lease belongs to the one that asked for it. Safe to share between threads. Times are the
    service's, not the local clock's.
    """

    __slots__ = (
        "__weakref__",
        "_anchor",
        "_expires_at",
        "_id",
        "_integration",
        "_issued_at",
        "_name",
        "_revoke",
        "_status",
        "_steady",
        "_values",
        "_wall",
        "_wall_anchor",
    )

    def __init__(
        self,
        *,
        lease_id: str,
        name: str,
        integration: Integration,
        grant: Grant,
        issued_at: datetime,
        expires_at: datetime,
        anchor: float,
        steady: Timer,
        wall: Callable[[], datetime],
        status: LeaseStatus,
        revoke: Callable[[Lease], None],
    ) -> None:
        """Hold what was granted. ``anchor`` is what ``steady()`` read at ``issued_at``; ``wall`` is the local time."""
        shown = integration.public_values
        values = {
            suffix: str.__str__(secret.reveal()) if suffix in shown else secret.reveal()
            for suffix, secret in grant.values.items()
        }
        values["LEASE_ID"] = lease_id
        values["LEASE_EXPIRATION"] = to_milliseconds(expires_at)
        self._id = lease_id
        self._name = name
        self._integration = integration
        self._values = {f"{name}_{suffix}": values[suffix] for suffix in sorted(values)}
        self._issued_at = issued_at
        self._expires_at = expires_at
        self._anchor = anchor
        self._steady = steady
        self._wall = wall
        self._wall_anchor = wall() - timedelta(seconds=steady() - anchor)
        self._revoke = revoke
        self._status = status

    def __getitem__(self, key: str) -> str:
        """Return one value by its full name."""
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, sorted."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._values)

    def __hash__(self) -> int:
        """Hash by the lease's id."""
        return hash(self._id)

    @property
    def id(self) -> str:
        """The lease's id, a UUID4."""
        return self._id

    @property
    def name(self) -> str:
        """The name of the dynamic secret, which the values' names begin with."""
        return self._name

    @property
    def issued_at(self) -> datetime:
        """When it was made, by the service's clock (aware, UTC)."""
        return self._issued_at

    @property
    def expires_at(self) -> datetime:
        """When it is over, by the service's clock (aware, UTC)."""
        return self._expires_at

    @property
    def remaining(self) -> timedelta:
        """How long it still lives, never negative. The local clock may be off, or be set back; this isn't.

        Where the wall clock is far ahead of the monotonic one, time has gone by that the latter doesn't know of: the
        machine was restored from a snapshot. (Or somebody has set the clock forward: then a lease is given up early,
        and still not revoked before its end.)
        """
        lived = timedelta(seconds=self._steady() - self._anchor)
        by_the_wall = self._wall() - self._wall_anchor
        if by_the_wall - lived > _RESTORED:
            lived = by_the_wall
        return max(self._expires_at - self._issued_at - lived, _ZERO)

    @property
    def expired(self) -> bool:
        """Whether its TTL is over."""
        return not self.remaining

    @property
    def revoked(self) -> bool:
        """Whether this process knows it to be revoked; :meth:`check` asks the third party."""
        return self._status.revoked

    @property
    def released(self) -> bool:
        """Whether :meth:`revoke` gave it back, and the third party can't end it before its own end."""
        return self._status.released

    def is_valid(self) -> bool:
        """Tell whether it is neither expired nor revoked, as far as this process knows. Asks nobody.

        Returns:
            Whether it is valid.
        """
        return not self.revoked and not self.expired

    def check(self) -> bool:
        """Tell whether it is valid and works, by asking the third party with the leased credential itself.

        ``False`` after revocation, whoever revoked it (a deleted key may still work for a few seconds: IAM is
        eventually consistent). Where the integration can't tell whether it works, it is taken to.

        Returns:
            Whether it works.

        Raises:
            ProvisionError: The third party can't be asked.
        """
        if not self.is_valid():
            return False
        integration = self._integration
        return not isinstance(integration, Probes) or integration.is_usable(values_by_suffix(self))

    def env(self) -> dict[str, str]:
        """Return the ``NAME_*`` values, secret included.

        Returns:
            A plain ``dict`` of plain text, which belongs to the caller.
        """
        return {key: str.__str__(value) for key, value in self._values.items()}

    def session(self, **boto3_session_kwargs: Any) -> boto3.Session:
        """Return a ``boto3.Session`` on the leased user.

        It has the region and endpoint of the integration. While the lease is young, its clients ask again when a server
        doesn't know the key yet.

        Args:
            **boto3_session_kwargs: Those of ``boto3.Session``, and ``endpoint_url``; they win.

        Returns:
            The session.

        Raises:
            NotImplementedError: What is leased is not an AWS credential. It is an ``InvalidConfig`` too.
        """
        integration = self._integration
        if not isinstance(integration, AwsSessions):
            raise lack(integration.name, AwsSessions)
        return integration.session(values_by_suffix(self), partial(is_young, self), **boto3_session_kwargs)

    def revoke(self) -> None:
        """Delete what is leased now. Doing it again is fine.

        What the third party can't end before its time stays valid until then: :attr:`released` is true then, and
        :attr:`revoked` false.

        Raises:
            RevocationError: It can't be done now; its record says so, and the attempts go on in the background.
        """
        self._revoke(self)

    def __repr__(self) -> str:
        """Show who and until when, and no secret."""
        state = "revoked" if self.revoked else "expired" if self.expired else "valid"
        public = "USERNAME" in self._integration.public_values
        who = self._values.get(f"{self._name}_USERNAME", "") if public else ""
        return f"<Lease {self._name} {self._id} {who} until {to_milliseconds(self._expires_at)}, {state}>"

    # What sentry-sdk asks for before it walks a mapping.
    __sentry_repr__ = __repr__

    def __format__(self, spec: str) -> str:
        """Format what ``str()`` shows."""
        return format(repr(self), spec)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be pickled or copied."""
        msg = (
            f"lease {self._id} can't be pickled or copied: it belongs to the one that asked for it; "
            "let each process request a lease of its own, or hand over env() deliberately"
        )
        raise TypeError(msg)

    def _value(self, suffix: str) -> str:
        """Return a value by its suffix."""
        try:
            return self._values[f"{self._name}_{suffix}"]
        except KeyError:
            msg = f"the integration {self._integration.name!r} grants no {suffix}"
            raise AttributeError(msg) from None


def values_by_suffix(lease: Lease) -> dict[str, str]:
    """Return the values of a lease keyed by suffix, as integrations know them."""
    return {key[len(lease.name) + 1 :]: value for key, value in lease.items()}


def is_young(lease: Lease) -> bool:
    """Tell whether a server may be behind that doesn't know the key: not for long, and not once it is over."""
    return lease.is_valid() and lease.expires_at - lease.issued_at - lease.remaining < YOUNG_FOR
