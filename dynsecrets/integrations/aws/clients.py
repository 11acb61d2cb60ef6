"""The boto3 clients of an integration: made once, shared by all threads, made anew in a forked child."""

from __future__ import annotations

import logging
import re
import threading
from typing import TYPE_CHECKING, Any, Final

from cachetools import TTLCache

from dynsecrets._aws.client_cache import ClientCache, default_session, profile_of
from dynsecrets._aws.error_codes import service_date
from dynsecrets._internal.fork_safety import reset_after_fork
from dynsecrets.errors import InvalidConfig
from dynsecrets.integrations.aws.request_tracking import RequestTracker
from dynsecrets.model.masking import MASK, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import boto3
    from botocore.config import Config

_FALLBACK_REGION: Final = "us-east-1"
_IDENTITY_FOR_S: Final = 3600.0
_SETTINGS: Final = {
    # IAM takes few writes a second; adaptive retries slow down with it.
    "retries": {"mode": "adaptive", "total_max_attempts": 5},
    "connect_timeout": 5,
    "read_timeout": 20,
}
_SECRET_IN_ANSWER: Final = re.compile(r"(<SecretAccessKey>)[^<]*")


class AwsClients:
    """Makes and keeps the clients. Explicit keys are held until the session is built, and then only by botocore."""

    def __init__(
        self,
        *,
        session: boto3.Session | None,
        profile: str | None,
        keys: Mapping[str, str],
        region: str | None,
        endpoint_url: str | None,
        config: Config | None,
    ) -> None:
        self._keys = {name: Secret(key) for name, key in keys.items()}
        self._profile = profile
        self._region = region
        self._config = config
        #: What each thread knows of the effects of its last IAM call.
        self.requests: Final[RequestTracker] = RequestTracker()
        self.cache: Final = ClientCache(
            lambda: session or self._new_session(), endpoint_url=endpoint_url, config=config, settings=_SETTINGS
        )
        self._identities: TTLCache[str, str] = TTLCache(maxsize=1, ttl=_IDENTITY_FOR_S)
        self._identities_lock = threading.RLock()
        self._probed = threading.local()
        reset_after_fork(self._after_fork)

    def _after_fork(self) -> None:
        self._identities_lock = threading.RLock()
        self._probed = threading.local()

    @property
    def endpoint_url(self) -> str | None:
        """The endpoint that every client uses, where one was given."""
        return self.cache.endpoint_url

    @property
    def region(self) -> str | None:
        """The region given, or the one that boto3 finds."""
        return self._region or self.cache.session().region_name

    def whereabouts(self) -> dict[str, Any]:
        """Return what decides where the requests of sessions on leased keys go: as those of the integration's own.

        The profile has more of that than region and endpoint: endpoints by service, certificates, FIPS, dual stack.
        """
        config = None if self._config is None else _network_of(self._config)
        profile = profile_of(self.cache.session())
        return {
            "region_name": self.region,
            "endpoint_url": self.endpoint_url,
            "profile_name": profile,
            "client_config": config,
        }

    def iam(self) -> Any:
        """Return the IAM client."""
        return self.cache.get("iam", self._make_iam)

    def sts(self) -> Any:
        """Return an STS client on the integration's own credentials."""
        return self.cache.get("sts", lambda: self.cache.make("sts", self.region or _FALLBACK_REGION))

    def caller_identity(self, values: Mapping[str, str | Secret]) -> dict[str, Any]:
        """Ask STS who a leased key is. ``sts:GetCallerIdentity`` needs no permissions (STS API reference)."""
        client = self.cache.get("probe", self._make_probe)
        self._probed.values = values
        try:
            identity: dict[str, Any] = client.get_caller_identity()
        finally:
            del self._probed.values
        return identity

    def service_time(self) -> datetime | None:
        """Ask STS for its time. A refusal tells it too: AWS refuses whoever's own clock is off by minutes."""
        try:
            answer = self.sts().get_caller_identity()
        except Exception as exc:
            refused_at = service_date(getattr(exc, "response", None))
            if refused_at is None:
                raise
            return refused_at
        self.remember_account(answer["Account"])
        return service_date(answer)

    def account(self) -> str:
        """Return the number of the account that the credentials are of. Asked for once an hour: they may change."""
        known = self.known_account()
        if known is None:
            known = str(self.sts().get_caller_identity()["Account"])
            self.remember_account(known)
        return known

    def known_account(self) -> str | None:
        """Return the number of the account where an answer of the last hour told it; nobody is asked."""
        with self._identities_lock:
            return self._identities.get("account")

    def remember_account(self, account: str) -> None:
        """Remember the number of the account that an answer told."""
        with self._identities_lock:
            self._identities["account"] = account

    def _new_session(self) -> boto3.Session:
        import boto3

        if not self._keys and self._profile is None:
            return default_session(self._region)
        keys: dict[str, Any] = {name: secret.reveal() for name, secret in self._keys.items()}
        session = boto3.Session(region_name=self._region, profile_name=self._profile, **keys)
        self._keys.clear()
        return session

    def _make_iam(self) -> Any:
        hide_secrets_in_botocore_logs()
        # IAM is the same in all regions of a partition, yet with an endpoint given botocore wants one to be named.
        client = self.cache.make("iam", self.region or _FALLBACK_REGION)
        self.requests.watch(client)
        return client

    def _make_probe(self) -> Any:
        """Return an STS client that signs each call with the key that the calling thread has set.

        A client for each lease would cost more CPU than all other work of that lease.
        """
        import boto3
        import botocore.session

        from dynsecrets.integrations.aws.sessions import FollowingCredentials, FollowingProvider

        probed = self._probed
        credentials = FollowingCredentials(lambda: probed.values)
        session = botocore.session.Session(profile=profile_of(self.cache.session()))
        session.get_component("credential_provider").providers.insert(0, FollowingProvider(credentials))
        return self.cache.make(
            "sts",
            self.region or _FALLBACK_REGION,
            session=boto3.Session(botocore_session=session),
            retries={"mode": "standard", "total_max_attempts": 2},
        )


def _network_of(config: Config) -> Config:
    """Return those of the settings that say how a network is left, and which kind of endpoint is asked."""
    from botocore.config import Config

    names = ("proxies", "proxies_config", "client_cert", "use_fips_endpoint", "use_dualstack_endpoint")
    given = {name: getattr(config, name, None) for name in names}
    return Config(**{name: setting for name, setting in given.items() if setting is not None})


def check_credentials(
    session: object,
    profile: object,
    access_key_id: object,
    secret_access_key: object,
    session_token: object,
) -> dict[str, str]:
    """Return the explicit keys, by boto3's names; raise ``InvalidConfig`` for half a pair or two ways at once."""
    given = {
        "aws_access_key_id": access_key_id,
        "aws_secret_access_key": secret_access_key,
        "aws_session_token": session_token,
    }
    keys: dict[str, str] = {}
    for name, key in given.items():
        if isinstance(key, str) and key:
            keys[name] = key
        elif key is not None:
            raise InvalidConfig(f"{name.removeprefix('aws_')} must be text that is not empty")
    if keys and not {"aws_access_key_id", "aws_secret_access_key"} <= keys.keys():
        raise InvalidConfig("access_key_id and secret_access_key belong together; give both, or neither")
    if sum((session is not None, profile is not None, bool(keys))) > 1:
        raise InvalidConfig("give one of session, profile and access_key_id/secret_access_key; each names credentials")
    if profile is not None and (not isinstance(profile, str) or not profile):
        raise InvalidConfig("profile must be the name of a profile of the AWS config files")
    return keys


class _HideSecrets(logging.Filter):
    """Masks the secret access key in the answers that botocore logs at DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, rewritten where it quotes a secret."""
        if record.args and any(b"SecretAccessKey" in arg for arg in record.args if isinstance(arg, bytes)):
            record.msg = _SECRET_IN_ANSWER.sub(rf"\1{MASK}", record.getMessage())
            record.args = None
        return True


_hide_secrets = _HideSecrets()


def hide_secrets_in_botocore_logs() -> None:
    """Have botocore's DEBUG log show the answers of CreateAccessKey with the secret masked. Repeating it is fine."""
    logging.getLogger("botocore.parsers").addFilter(_hide_secrets)
