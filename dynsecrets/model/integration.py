"""What an integration is: three methods, and nothing else of the library knows the third party behind them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig
from dynsecrets.model.masking import Secret
from dynsecrets.model.naming import check_integration_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import boto3
    from botocore.config import Config

    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from dynsecrets.model.config import DynamicSecretConfig

_SUFFIX: Final = re.compile(r"[A-Z][A-Z0-9_]*")
#: Values that are names, not secrets; every other value of a grant is shown masked.
PUBLIC_SUFFIXES: Final = frozenset(
    {"ACCESS_KEY_ID", "ARN", "POLICY_NAME", "USERNAME", "USER_ID", "LEASE_EXPIRATION", "LEASE_ID"}
)
_RESERVED: Final = "LEASE_"


@attrs.frozen(kw_only=True)
class Identity:
    """Who an integration's credentials are: the account's number, the ARN and the unique id of the principal."""

    account: str
    arn: str
    user_id: str


@attrs.frozen(kw_only=True)
class Found:
    """Something that an integration provisioned: its name, how to revoke it, and since when it exists (aware)."""

    name: str
    handle: Mapping[str, str] = attrs.field(hash=False)
    created_at: datetime


def _check_values(values: Mapping[str, str]) -> Mapping[str, Secret]:
    if not values:
        raise InvalidConfig("a grant without values reveals nothing; give at least one, keyed by suffix")
    for suffix, value in values.items():
        if not isinstance(suffix, str) or not _SUFFIX.fullmatch(suffix) or suffix.startswith(_RESERVED):
            raise InvalidConfig(
                f"a grant's values are keyed by suffix (upper-case letters, digits and underscores, not LEASE_…), "
                f"not {safe_repr(suffix)}"
            )
        if not isinstance(value, str) or "\0" in value:
            raise InvalidConfig(f"the value of {suffix} in a grant must be text without NUL characters")
    return MappingProxyType({suffix: Secret(value) for suffix, value in values.items()})


def _check_handle(handle: Mapping[str, str]) -> Mapping[str, str]:
    for key, value in handle.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidConfig("a handle is a mapping of text to text: it is stored until the lease is revoked")
    return MappingProxyType(dict(handle))


def _check_moment(moment: datetime) -> datetime:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InvalidConfig(f"expires_at must be an aware datetime, not {safe_repr(moment)}")
    return moment.astimezone(UTC)


@attrs.frozen(eq=False)
class Grant:
    """What ``Integration.provision`` made.

    ``values`` are revealed once, keyed by suffix (``ACCESS_KEY_ID``; the library adds the ``NAME_`` and the ``LEASE_*``
    keys). ``expires_at`` is the end of its life by the third party's clock, an aware datetime: the third party's time
    of creation plus the TTL. ``handle`` is what ``revoke`` needs; it is stored, so no secret may be in it. ``age`` is
    how long ago, when ``provision`` returned, the time of creation was read; ``None`` counts from the call of
    ``provision``, which can only end the lease too early.
    """

    values: Mapping[str, Secret] = attrs.field(converter=_check_values)
    expires_at: datetime = attrs.field(converter=_check_moment)
    handle: Mapping[str, str] = attrs.field(converter=_check_handle)
    age: timedelta | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse a handle that would carry a secret into the store."""
        for suffix, secret in self.values.items():
            text = secret.reveal()
            if suffix not in PUBLIC_SUFFIXES and text and text in self.handle.values():
                raise InvalidConfig(f"the handle of a grant holds the value of {suffix}; handles are stored")


class Integration(ABC):
    """A connection to a third party that provisions and revokes leases.

    A subclass calls ``super().__init__(name)`` and implements :meth:`plan`, :meth:`provision` and :meth:`revoke`. They
    are called from many threads at once, never while the library holds a lock. :meth:`is_usable` is worth implementing
    where a fresh credential takes time to work.
    """

    #: The suffixes of the values that every grant has, where that is known before there is one.
    value_suffixes: frozenset[str] = frozenset()

    def __init__(self, name: str) -> None:
        self._name = check_integration_name(name)

    @property
    def name(self) -> str:
        """The name that records and reapers know the integration by."""
        return self._name

    def __repr__(self) -> str:
        """Show the name."""
        return f"{type(self).__name__}({self._name!r})"

    @abstractmethod
    def plan(self, config: DynamicSecretConfig) -> Mapping[str, str]:
        """Name everything that will be created, before anything is. No network; the result is stored as a handle."""

    @abstractmethod
    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Create what was planned and return it.

        An error that this raises may have a ``handle``: what had been made so far (an empty mapping: nothing).
        Without one, everything that was planned is revoked. Begin nothing new later than a minute and a half after
        :meth:`plan`: after two minutes others may take the lease for abandoned, and close its record.
        """

    @abstractmethod
    def revoke(self, handle: Mapping[str, str]) -> None:
        """Delete it. Succeeds if it is already gone; safe to call on a half-made one and several times at once."""

    def prepare(self) -> None:  # noqa: B027 - most integrations have nothing to prepare.
        """Find what the integration works with, before threads need it: its own credentials.

        Called in the thread of the one who asks for something, often, and before that is begun: a person may be asked
        for a code or a password then. It may fail as :meth:`provision` does.
        """

    def is_usable(self, values: Mapping[str, str]) -> bool:
        """Tell whether a credential works by now, by using it. ``values`` are keyed by suffix and hold its secret."""
        del values
        return True

    def session(self, values: Mapping[str, str], is_young: Callable[[], bool], **kwargs: Any) -> boto3.Session:
        """Return a ``boto3.Session`` on it; while ``is_young()`` some servers may not know it."""
        del values, is_young, kwargs
        msg = f"the integration {self._name!r} doesn't make AWS credentials, so there is no boto3 session of them"
        raise NotImplementedError(msg)

    def following_session(
        self, read: Callable[[], Mapping[str, str]], is_young: Callable[[], bool], **kwargs: Any
    ) -> boto3.Session:
        """Return a ``boto3.Session`` whose clients sign each request with what ``read`` returns then."""
        return self.session(read(), is_young, **kwargs)

    def following_aio_session(
        self, read: Callable[[], Mapping[str, str]], is_young: Callable[[], bool], **kwargs: Any
    ) -> Any:
        """Return the same of aioboto3 or aiobotocore."""
        return self.session(read(), is_young, **kwargs)

    def service_time(self) -> datetime | None:
        """Return the third party's own time, aware, or ``None`` where the local clock is as good.

        Asked for rarely, by reapers: a lease is over by the clock of the one who made it.
        """
        return None

    def find_all(self) -> Iterator[Found]:
        """Iterate over all that this integration has provisioned and that exists, known to a store or not."""
        msg = f"the integration {self._name!r} can't list what it has provisioned"
        raise NotImplementedError(msg)

    def name_of(self, handle: Mapping[str, str]) -> str:
        """Return the name under which :meth:`find_all` lists what a handle stands for."""
        msg = f"the integration {self._name!r} can't list what it has provisioned, {len(handle)} names or not"
        raise NotImplementedError(msg)

    def verify(self, *configs: DynamicSecretConfig) -> Identity:
        """Say who the credentials are and prove that they can do the job for these configs."""
        del configs
        msg = f"the integration {self._name!r} can't be verified"
        raise NotImplementedError(msg)

    def required_policy(
        self, *configs: DynamicSecretConfig, account_id: str = "*", partition: str = "aws", sweep: bool = False
    ) -> dict[str, Any]:
        """Return the least-privilege policy that the integration needs to serve these configs."""
        del configs, account_id, partition, sweep
        msg = f"the integration {self._name!r} needs no IAM policy"
        raise NotImplementedError(msg)

    @staticmethod
    def aws_iam(
        name: str = "aws",
        *,
        session: boto3.Session | None = None,
        profile: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        region: str | None = None,
        endpoint_url: str | None = None,
        botocore_config: Config | None = None,
        path: str = "/dynsecrets/",
        username_prefix: str = "Dynsecrets-Dynamic-",
        policy_name_prefix: str = "dynsecrets-policy-",
    ) -> AwsIamIntegration:
        """Return an integration that leases IAM users.

        Credentials are found as anywhere in boto3; ``session``, ``profile`` or explicit keys override that, one of
        them at a time. ``region`` and ``endpoint_url`` hold for every client that the integration makes and are carried
        into ``Lease.session()``. ``botocore_config`` wins over the library's own settings of retries and time-outs.
        ``path`` and ``username_prefix`` are what leased users are told from everyone else's by; nothing outside of
        them is ever touched. Nothing is called here. Raises ``InvalidConfig``. Thread- and fork-safe.
        """
        from dynsecrets.integrations.aws.iam_users import AwsIamIntegration

        return AwsIamIntegration(
            name,
            session=session,
            profile=profile,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            session_token=session_token,
            region=region,
            endpoint_url=endpoint_url,
            botocore_config=botocore_config,
            path=path,
            username_prefix=username_prefix,
            policy_name_prefix=policy_name_prefix,
        )
