"""Leased IAM users: two round trips to provision, two to revoke.

CreateUser ──► { CreateAccessKey ∥ PutUserPolicy }          (and attach policies, join groups)
{ DeleteAccessKey ∥ DeleteUserPolicy } ──► DeleteUser
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from dynsecrets._aws.client_cache import check_client_options, endpoint_of
from dynsecrets._aws.error_codes import UNKNOWN_KEY, code_of
from dynsecrets._internal.concurrency import Fanout, Outcome
from dynsecrets.integrations.aws import required_policy, verification
from dynsecrets.integrations.aws.client_config import make_client_config
from dynsecrets.integrations.aws.clients import AwsClients, check_credentials
from dynsecrets.integrations.aws.errors import scrub, translate
from dynsecrets.integrations.aws.iam_api import IamApi, account_of
from dynsecrets.integrations.aws.iam_limits import MAX_POLICY_NAME, MAX_USER_NAME, check_path, check_prefix
from dynsecrets.integrations.aws.options import PUBLIC_VALUES, IamUserOptions, user_options
from dynsecrets.integrations.aws.request_tracking import SENT_WITHIN
from dynsecrets.integrations.aws.user_creation import UserCreation
from dynsecrets.integrations.aws.user_deletion import UserDeletion
from dynsecrets.model.grant import Found, Grant, Identity
from dynsecrets.model.integration import Integration
from dynsecrets.model.naming import random_suffix
from dynsecrets.model.timestamps import to_milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import boto3
    from botocore.config import Config

    from dynsecrets.model.config import DynamicSecretConfig
    from dynsecrets.model.options import SecretOptions

_THREADS: Final = 32


class AwsIamIntegration(Integration):
    """Leases IAM users under one path of one account; made by ``Integration.aws_iam``.

    Thread- and fork-safe. Shows no secret, and holds none once its first client is built.
    """

    #: IAM is eventually consistent: until a user is this old, "no such user" is not proof that there is none.
    settles_after: timedelta = timedelta(seconds=10)
    #: The same where just the plan is known: until then CreateUser may have been sent, by a process that was suspended.
    plan_settles_after: timedelta = SENT_WITHIN + settles_after
    kind: str = "aws-iam"
    options_type: type[SecretOptions] = IamUserOptions
    public_values: frozenset[str] = PUBLIC_VALUES
    enforces_expiry: bool = True
    #: One server that knows a key says nothing of the others.
    probes: int = 3
    value_suffixes: frozenset[str] = frozenset(
        {"ACCESS_KEY_ID", "ARN", "POLICY_NAME", "SECRET_ACCESS_KEY", "USERNAME", "USER_ID"}
    )

    def __init__(
        self,
        name: str,
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
    ) -> None:
        super().__init__(name)
        keys = check_credentials(session, profile, access_key_id, secret_access_key, session_token)
        client_config = make_client_config(botocore_config)
        check_client_options(session, region, endpoint_url, client_config)
        self.path: Final = check_path(path)
        self.username_prefix: Final = check_prefix(username_prefix, what="username_prefix", longest=MAX_USER_NAME)
        self.policy_name_prefix: Final = check_prefix(
            policy_name_prefix, what="policy_name_prefix", longest=MAX_POLICY_NAME
        )
        self.clients: Final = AwsClients(
            session=session,
            profile=profile,
            keys=keys,
            region=region,
            endpoint_url=endpoint_url,
            config=client_config,
        )
        self._api: Final = IamApi(self.clients, path=self.path, username_prefix=self.username_prefix)
        self._fanout: Final = Fanout(_THREADS, f"dynsecrets-{name}")
        self._profile: Final = profile
        self._region: Final = region

    def __repr__(self) -> str:
        """Show the name and what leased users are told by; no credentials."""
        return f"Integration.aws_iam({self.name!r}, path={self.path!r}, username_prefix={self.username_prefix!r})"

    @override
    def plan(self, config: DynamicSecretConfig) -> dict[str, str]:
        """Choose the random names of a user and its policy, and list what else will be attached."""
        options = user_options(config)
        plan = {
            "user_name": self._api.know(self.username_prefix + random_suffix()),
            "path": self.path,
            "planned_at": to_milliseconds(datetime.now(UTC)),
        }
        account = self.clients.known_account()
        if account is not None:
            # A user that can't be found is looked for in the right account, though no answer tells where it was made.
            plan["account"] = account
        if options.policy is not None or options.expiry_guard:
            plan["policy_name"] = self.policy_name_prefix + random_suffix()
        if options.managed_policy_arns:
            plan["managed_policies"] = " ".join(options.managed_policy_arns)
        if options.groups:
            plan["groups"] = " ".join(options.groups)
        # Needed to clean up where the account demands them of every user: see UserDeletion.
        if options.tags:
            plan["tags"] = json.dumps(dict(options.tags))
        if options.permissions_boundary is not None:
            plan["permissions_boundary"] = options.permissions_boundary
        return plan

    @override
    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Create the user, then its key and all that is attached to it at the same time."""
        return UserCreation(self._api, self._fanout, plan).run(config, ttl)

    @override
    def revoke(self, handle: Mapping[str, str]) -> None:
        """Delete the user and everything that hangs on it; nothing outside of the path and prefix."""
        UserDeletion(
            self._api, self._fanout, settles_after=self.settles_after, plan_settles_after=self.plan_settles_after
        ).run(handle)

    def find_credentials(self) -> None:
        """Find the integration's own credentials: a profile may have a role with MFA, whose code is asked for."""
        try:
            self.clients.cache.find_credentials()
        except Exception as exc:
            raise translate(exc, "Finding the integration's credentials") from scrub(exc)

    @override
    def describe(self, handle: Mapping[str, str]) -> str:
        """Return the user's name."""
        return f"user {self.name_of(handle)}"

    def is_usable(self, values: Mapping[str, str]) -> bool:
        """Tell whether the leased key authenticates as its own user, by ``sts:GetCallerIdentity``."""
        try:
            identity = self.clients.caller_identity(values)
        except Exception as exc:
            if code_of(exc) in UNKNOWN_KEY or code_of(exc) == "SignatureDoesNotMatch":
                return False
            raise translate(exc, "GetCallerIdentity") from scrub(exc)
        return bool(identity["Arn"] == values["ARN"])

    def session(self, values: Mapping[str, str], is_young: Callable[[], bool], **kwargs: Any) -> boto3.Session:
        """Return a ``boto3.Session`` on a leased user, with the integration's region and endpoint."""
        settings: dict[str, Any] = {
            "aws_access_key_id": values["ACCESS_KEY_ID"],
            "aws_secret_access_key": values["SECRET_ACCESS_KEY"],
            **self.clients.whereabouts(),
            **kwargs,
        }
        from dynsecrets.integrations.aws.sessions import TolerantSession

        return TolerantSession(is_young=is_young, **settings)

    def following_session(
        self, read: Callable[[], Mapping[str, str]], is_young: Callable[[], bool], **kwargs: Any
    ) -> boto3.Session:
        """Return a ``boto3.Session`` whose clients sign each request with what ``read`` returns then."""
        from dynsecrets.integrations.aws.sessions import following_session

        return following_session(read, is_young=is_young, **{**self.clients.whereabouts(), **kwargs})

    def following_aio_session(
        self, read: Callable[[], Mapping[str, str]], is_young: Callable[[], bool], **kwargs: Any
    ) -> Any:
        """Return the same of aioboto3 or aiobotocore. Raises ``ImportError`` where neither is installed."""
        from dynsecrets.integrations.aws.aio_sessions import following_aio_session

        return following_aio_session(read, is_young, **{**self.clients.whereabouts(), **kwargs})

    def aws_settings(self) -> dict[str, str | None]:
        """Return the region and endpoint that leased users are of, those of the integration's profile included."""
        clients = self.clients
        return {
            "region_name": clients.region,
            "endpoint_url": clients.endpoint_url or endpoint_of(clients.cache.session()),
        }

    def service_time(self) -> datetime | None:
        """Return AWS's own time, from the ``Date`` header of an answer of STS, which anybody may ask."""
        return self.clients.service_time()

    def find_all(self) -> Iterator[Found]:
        """List the users under the path whose names are formed like those of leases. Needs ``iam:ListUsers``."""
        asked = Outcome.of(partial(self._api.listed, "ListUsers", "Users", PathPrefix=self.path))
        if asked.error is not None:
            raise translate(asked.error, "ListUsers") from scrub(asked.error)
        for user in asked.value or ():
            if user["Path"] == self.path and self._api.is_ours(user["UserName"]):
                handle = {
                    "user_name": user["UserName"],
                    "path": user["Path"],
                    "created_at": to_milliseconds(user["CreateDate"]),
                    "account": account_of(user["Arn"]),
                }
                yield Found(name=self._api.know(user["UserName"]), handle=handle, created_at=user["CreateDate"])

    def name_of(self, handle: Mapping[str, str]) -> str:
        """Return the user's name."""
        return handle.get("user_name", "")

    def endpoint(self) -> str:
        """Return the URL that calls of IAM go to."""
        return str(self.clients.iam().meta.endpoint_url)

    def settings(self) -> dict[str, str | None]:
        """Return the arguments that make an integration like this one where boto3 finds the credentials."""
        return {
            "name": self.name,
            **dict.fromkeys(("session", "access_key_id", "secret_access_key", "session_token", "botocore_config")),
            "profile": self._profile,
            "region": self._region,
            "endpoint_url": self.clients.endpoint_url,
            "path": self.path,
            "username_prefix": self.username_prefix,
            "policy_name_prefix": self.policy_name_prefix,
        }

    def verify(self, *configs: DynamicSecretConfig) -> Identity:
        """Say who the credentials are, and prove that they can do the job on one canary user.

        The canary has no policy but the expiry guard, and is gone when this returns. A process that is killed
        meanwhile leaves one that ``LeaseManager.sweep_orphans`` finds, and whose key AWS refuses within minutes.
        Thread-safe.

        Args:
            *configs: Where the account demands tags or a boundary of every user, a config that has them: the canary
                gets those of the first.

        Returns:
            Account, ARN and unique id of the credentials, from ``sts:GetCallerIdentity``.

        Raises:
            PermissionDenied: Its ``actions`` are all of the default actions that are missing.
            ProvisionError: Something else is wrong.
            RevocationError: Something else is wrong, and the canary may be left.
        """
        plan = self.plan(configs[0]) if configs else {}
        return verification.verify(self._api, self._api.user_arguments(plan), self.policy_name_prefix, self.revoke)

    def required_policy(
        self,
        *configs: DynamicSecretConfig,
        account_id: str = "*",
        partition: str = "aws",
        sweep: bool = False,
        by_prefix: bool = False,
    ) -> dict[str, Any]:
        """Return the least-privilege policy that this integration's own user needs to serve these configs.

        Calls nothing.

        Args:
            *configs: What is to be leased; options of a config add their own actions.
            account_id: The 12-digit number of the account, or ``"*"``.
            partition: A partition that botocore knows: ``"aws"``, ``"aws-cn"`` …
            sweep: Allow ``LeaseManager.sweep_orphans`` too.
            by_prefix: Name the user prefix in the resource beside the path, which other applications may share.

        Returns:
            The policy document.

        Raises:
            InvalidConfig: An argument is not accepted.
        """
        return required_policy.required_policy(
            self.path + (self.username_prefix if by_prefix else ""),
            configs,
            account_id=account_id,
            partition=partition,
            sweep=sweep,
        )
