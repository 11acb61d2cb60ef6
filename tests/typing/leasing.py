"""Configs and leases as users meet them. Checked by mypy and pyright, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

from boto3 import Session

from dynsecrets import DynamicSecretConfig, Identity, Integration, Lease, lease


def configs() -> DynamicSecretConfig:
    """A config takes policies as mappings, JSON and paths, and TTLs in all their forms."""
    aws = Integration.aws_iam(name="aws", region="eu-central-1", path="/dynsecrets/")
    assert_type(aws.verify(), Identity)
    assert_type(aws.required_policy(), dict[str, Any])
    DynamicSecretConfig("A", aws, {"Statement": []}, default_ttl=900, max_ttl=timedelta(hours=1))
    DynamicSecretConfig("B", aws, Path("policy.json"), tags={"team": "data"}, groups=["readers"], wait=None)
    DynamicSecretConfig("C", aws, wait=lambda fresh: fresh.check(), managed_policy_arns=("arn:aws:iam::aws:policy/X",))
    return DynamicSecretConfig("AWS_USER", integration=aws, policy="{}", default_ttl="15m")


def use(creds: Lease) -> None:
    """A lease is a mapping of text to text, with typed attributes."""
    mapping: Mapping[str, str] = creds
    assert_type(creds["AWS_USER_ARN"], str)
    assert_type(creds.env(), dict[str, str])
    assert_type(creds.aws_env(), dict[str, str])
    assert_type(creds.secret_access_key, str)
    assert_type(creds.expires_at, datetime)
    assert_type(creds.remaining, timedelta)
    assert_type(creds.expired, bool)
    assert_type(creds.check(), bool)
    assert_type(creds.credential_process(), dict[str, Any])
    assert_type(creds.session(region_name="eu-west-1"), Session)
    creds.revoke()
    del mapping


def blocks(config: DynamicSecretConfig) -> None:
    """``with`` gives a lease."""
    with lease(config, ttl="15m", metadata={"job": 1}) as creds:
        assert_type(creds, Lease)
    with lease(config, timedelta(minutes=5), wait=None) as creds:
        assert_type(creds, Lease)


async def async_blocks(config: DynamicSecretConfig) -> None:
    """``async with`` gives the same."""
    async with lease(config) as creds:
        assert_type(creds, Lease)


@lease(configs())
def decorated(number: int, lease: Lease) -> str:
    """A decorated function keeps what it returns."""
    return f"{number} {lease.arn}"


@lease(configs(), "5m")
async def decorated_coroutine() -> int:
    """So does a coroutine function."""
    return 1


@lease(configs())
def decorated_generator() -> Iterator[bytes]:
    """And a generator function."""
    yield b""


async def calls() -> None:
    """Callers don't give the lease."""
    assert_type(decorated(1), str)
    assert_type(await decorated_coroutine(), int)
    assert_type(decorated_generator(), Iterator[bytes])


def mistakes(config: DynamicSecretConfig, creds: Lease, aws: Integration) -> None:
    """What can't work is a type error."""
    lease("AWS_USER")  # type: ignore[arg-type]
    lease(config, 1.5)  # type: ignore[arg-type]
    lease(config, wait="soon")  # type: ignore[arg-type]
    lease(config, manager="default")  # type: ignore[arg-type]
    DynamicSecretConfig("A", aws, default_ttl=0.5)  # type: ignore[arg-type]
    DynamicSecretConfig("A", aws, {}, "30m")  # type: ignore[call-arg]
    DynamicSecretConfig("A")  # type: ignore[call-arg]
    creds["AWS_USER_ARN"] = "another"  # type: ignore[index]
    creds.expires_at = datetime.now()  # type: ignore[misc]  # noqa: DTZ005 - never run.
    with lease(config) as number:
        number.missing()  # type: ignore[attr-defined]
