"""What an integration is: three methods, and nothing else of the library knows the third party behind them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import timedelta
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from dynsecrets.model.naming import check_integration_name
from dynsecrets.model.options import SecretOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    import boto3
    from botocore.config import Config

    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from dynsecrets.model.grant import Grant, Remainder


class Integration(ABC):
    """A connection to a third party that provisions and revokes leases.

    A subclass calls ``super().__init__(name)`` and implements :meth:`plan`, :meth:`provision` and :meth:`revoke`. They
    are called from many threads at once, never while the library holds a lock. What it says of itself are class
    attributes. What else it may be able to do are methods of its own, which the library looks for:

    - ``is_usable(values) -> bool``: does a fresh credential work by now? Worth it where that takes time.
    - ``verify(*configs) -> Identity``: who are the integration's credentials, and can they do the job?
    - ``find_all() -> Iterator[Found]`` and ``name_of(handle) -> str``: what has been provisioned, for sweeping.
    - ``service_time() -> datetime | None``: the third party's own time, aware; ``None`` where the local one is as good.

    Args:
        name: The name that records and reapers know the integration by: 1 to 64 letters, digits, dots, dashes and
            underscores.

    Raises:
        InvalidConfig: The name is not accepted.
    """

    #: What ``type`` in ``dynsecrets.toml`` calls integrations of this class.
    kind: str = ""
    #: What its dynamic secrets may choose: a subclass of ``SecretOptions``.
    options_type: type[SecretOptions] = SecretOptions
    #: The suffixes of the values that are names, not secrets: they may be shown, and may stand in a handle.
    public_values: frozenset[str] = frozenset({"USERNAME", "HOST", "PORT", "DATABASE"})
    #: The suffixes of the values that every grant has, where that is known before there is one.
    value_suffixes: frozenset[str] = frozenset()
    #: The shortest and the longest life that the third party gives a credential; ``None``: any length.
    shortest_ttl: timedelta = timedelta(seconds=1)
    longest_ttl: timedelta | None = None
    #: Whether the third party itself refuses a credential once its TTL is over.
    enforces_expiry: bool = False
    #: How many times in a row a fresh credential must work to be taken for usable.
    probes: int = 1

    def __init__(self, name: str) -> None:
        self._name = check_integration_name(name)

    @property
    def name(self) -> str:
        """The name that records and reapers know the integration by."""
        return self._name

    def __repr__(self) -> str:
        """Show the name."""
        return f"{type(self).__name__}({self._name!r})"

    # Configs stand above this module. They are annotated as DynamicSecretConfig wherever these are implemented.
    @abstractmethod
    def plan(self, config: Any) -> Mapping[str, str]:
        """Name everything that will be created, before anything is. No network.

        Args:
            config: The ``DynamicSecretConfig``; of it, ``name`` and ``options`` matter here.

        Returns:
            The names, text to text, without a secret. They are stored, and are all that is known if the process dies
            in :meth:`provision`.
        """

    @abstractmethod
    def provision(self, plan: Mapping[str, str], config: Any, ttl: timedelta) -> Grant:
        """Create what was planned.

        Begin nothing new later than a minute and a half after :meth:`plan`: after two minutes others may take the
        lease for abandoned, and close its record.

        Args:
            plan: What :meth:`plan` returned.
            config: The ``DynamicSecretConfig`` that a lease is asked for of.
            ttl: How long it is to live, whole seconds.

        Returns:
            What was made.

        Raises:
            Exception: Anything; what is not a ``DynsecretsError`` reaches the caller as the cause of a
                ``ProvisionError``. An error may have a ``handle``: what had been made so far (an empty mapping:
                nothing). Without one, everything that was planned is revoked.
        """

    @abstractmethod
    def revoke(self, handle: Mapping[str, str]) -> Remainder | None:
        """Delete it. Succeeds if it is already gone; safe to call on a half-made one and several times at once.

        Args:
            handle: The plan, or the handle of the grant.

        Returns:
            ``None`` once nothing is left of it, or what is left for later; then it is called again at that moment.

        Raises:
            Exception: It could not be deleted; it is tried again later.
        """

    def describe(self, handle: Mapping[str, str]) -> str:
        """Return what a person sees of a lease, in a few words and without a secret.

        Args:
            handle: The plan, or the handle of the grant.

        Returns:
            Text for listings, logs and events.
        """
        return ", ".join(f"{key} {value}" for key, value in handle.items())

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
        botocore_config: Config | Mapping[str, Any] | None = None,
        path: str = "/dynsecrets/",
        username_prefix: str = "Dynsecrets-Dynamic-",
        policy_name_prefix: str = "dynsecrets-policy-",
    ) -> AwsIamIntegration:
        """Return an integration that leases IAM users. Nothing is called here. Thread- and fork-safe.

        Credentials are found as anywhere in boto3; ``session``, ``profile`` or explicit keys override that, one of
        them at a time.

        Args:
            name: The name that records and reapers know the integration by.
            session: A ``boto3.Session`` to take credentials from.
            profile: A profile of the shared configuration files to take them from.
            access_key_id: The id of an access key to use.
            secret_access_key: Its secret.
            session_token: Its session token, where it has one.
            region: The region of every client that the integration makes, and of ``Lease.session()``.
            endpoint_url: The endpoint of these clients.
            botocore_config: Wins over the library's own settings of retries and time-outs; a mapping of its options
                will do.
            path: The path of leased users; nothing outside of it is ever touched.
            username_prefix: What the names of leased users begin with; no other user is ever touched.
            policy_name_prefix: What the names of their inline policies begin with.

        Returns:
            The integration.

        Raises:
            InvalidConfig: An argument is not accepted.
        """
        # By its name: integrations stand above this module.
        made: AwsIamIntegration = resolve_name("dynsecrets.integrations.aws.iam_users:AwsIamIntegration")(
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
        return made
