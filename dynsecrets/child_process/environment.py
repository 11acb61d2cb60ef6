"""The environment of a child: the parent's, the values, and AWS credentials under the SDKs' own names. Pure.

Two lists say what of the parent's environment a child must not have. They are put together from what these read:
botocore 1.44 (``credentials.py``, ``configprovider.py``, ``tokens.py``), the AWS SDK for JavaScript v3
(``credential-provider-env``, ``-http``, ``-node``, ``-web-identity``) and v2 (``node_loader.js``), for Go v2
(``config/env_config.go``), for Java v2 (``ContainerCredentialsProvider``, ``SdkSystemSetting``) and v1
(``SDKGlobalConfiguration``), for Ruby (``credential_provider_chain.rb``), for .NET
(``EnvironmentVariablesAWSCredentials``) and for Rust (``environment/credentials.rs``). What files have is the matter of
:mod:`dynsecrets.child_process.aws_config_files`.

``CREDENTIALS`` are credentials, or open them for whoever has the text: on ECS the address of the credentials is as good
as they are. They are most likely those that leases are made with, so no child gets them, with or without a lease of its
own. ``POINTERS`` only name credentials that a child of the same user could find by itself (a profile, a file): they are
left alone, unless the child gets a lease under the SDKs' names, which they would win over or be mixed with.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

#: The three that a caller can't mix with those of a lease.
KEYS: Final = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})
CREDENTIALS: Final = KEYS | {
    "AWS_ACCESS_KEY",  # The older names of the same: Go, Java.
    "AWS_SECRET_KEY",
    "AWS_SECURITY_TOKEN",  # botocore.
    "AMAZON_ACCESS_KEY_ID",  # The same under an older name: Ruby, JavaScript v2.
    "AMAZON_SECRET_ACCESS_KEY",
    "AMAZON_SESSION_TOKEN",  # Ruby mixes it with the keys of the newer names.
    "AWS_CREDENTIAL_EXPIRATION",  # Of those keys: with another one's, botocore refuses the new keys as expired.
    "AWS_CREDENTIAL_SCOPE",  # As above: JavaScript.
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",  # Wins over the full one everywhere but in Go.
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",  # Wins over the token itself.
}
POINTERS: Final = frozenset(
    {
        "AWS_PROFILE",  # JavaScript takes no keys from the environment where it is set.
        "AWS_DEFAULT_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",  # Wins over the container's.
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_CREDENTIAL_FILE",  # botocore asks it before the container.
        "AWS_ACCOUNT_ID",  # Of another account: it becomes part of endpoints.
    }
)
#: Tokens for single services (``AWS_BEARER_TOKEN_BEDROCK``) win over any key.
_POINTING_PREFIX: Final = "AWS_BEARER_TOKEN_"
_REGIONS: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")
_ENDPOINT: Final = "AWS_ENDPOINT_URL"
_NO_METADATA: Final = "AWS_EC2_METADATA_DISABLED"
_PROXIES: Final = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_NO_PROXY: Final = ("NO_PROXY", "no_proxy")

#: ``True`` for all, or the names.
Preserve = bool | frozenset[str]


def fold(name: str, *, windows: bool = os.name == "nt") -> str:
    """Return a variable's name as the system compares it: Windows doesn't tell cases apart."""
    return name.upper() if windows else name


def inherit(
    parent: Mapping[str, str], values: Mapping[str, str], preserve: Preserve, *, windows: bool = os.name == "nt"
) -> dict[str, str]:
    """Return the parent's environment without its credentials, and with the values, which win unless preserved.

    ``preserve`` is ``True`` for all that the parent has, or the names; credentials are kept only where they are named.
    """
    named = _named(preserve, windows=windows)
    environment = {fold(name, windows=windows): value for name, value in parent.items()}
    for name in CREDENTIALS - named:
        environment.pop(name, None)
    for given, value in values.items():
        name = fold(given, windows=windows)
        if name not in environment or not (preserve is True or name in named):
            environment[name] = value
    return environment


def add_aws(
    environment: Mapping[str, str],
    credentials: Mapping[str, str],
    preserve: Preserve,
    *,
    region: str | None = None,
    endpoint_url: str | None = None,
    windows: bool = os.name == "nt",
) -> dict[str, str]:
    """Return an environment with AWS credentials, without all that names others and is not preserved by its name.

    ``region`` and ``endpoint_url`` are where the credentials are good; what the environment has of them wins.
    """
    named = _named(preserve, windows=windows)
    clean = {
        name: value
        for name, value in environment.items()
        if name in named or not (name in CREDENTIALS | POINTERS or name.startswith(_POINTING_PREFIX))
    }
    clean |= credentials
    if region is not None and not any(clean.get(name) for name in _REGIONS):
        clean |= dict.fromkeys(_REGIONS, region)
    if endpoint_url is not None and not clean.get(_ENDPOINT):
        clean[_ENDPOINT] = endpoint_url
    if any(clean.get(name) for name in _REGIONS):
        # Java goes on to the machine's own role on EC2 where an endpoint has no key just now. Without a region SDKs
        # ask the metadata for that.
        clean.setdefault(_NO_METADATA, "true")
    return clean


def clashes(names: Collection[str], *, windows: bool = os.name == "nt") -> list[str]:
    """Return those names that mean other AWS credentials than a lease's, sorted."""
    folded = {fold(name, windows=windows) for name in names}
    return sorted(name for name in folded if name in CREDENTIALS | POINTERS or name.startswith(_POINTING_PREFIX))


def past_proxies(environment: Mapping[str, str], host: str) -> dict[str, str]:
    """Return an environment in which HTTP proxies, where there are any, are not asked for a host.

    boto3, JavaScript, Go and Java don't ask one for the loopback address, but others' clients may.
    """
    changed = dict(environment)
    if any(environment.get(name) for name in _PROXIES):
        spelled = [name for name in _NO_PROXY if name in environment]
        for name in spelled or _NO_PROXY:
            hosts = environment.get(name, "")
            if host not in hosts.split(",") and hosts.strip() != "*":
                changed[name] = f"{hosts},{host}" if hosts else host
    return changed


def _named(preserve: Preserve, *, windows: bool) -> frozenset[str]:
    return frozenset() if isinstance(preserve, bool) else frozenset(fold(name, windows=windows) for name in preserve)
