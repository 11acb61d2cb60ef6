"""Secrets configs as users meet them. Checked by mypy and pyright, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, assert_type

from dynsecrets import DynamicSecretConfig, LeaseManager, Secrets, SecretsConfig

if TYPE_CHECKING:
    from collections.abc import Mapping


def downloads(aws_user: DynamicSecretConfig, manager: LeaseManager) -> None:
    """A download is a mapping of text to text that can be rendered."""
    config = SecretsConfig("project", "dev", "dev", {"HOST": "db.internal"}, [aws_user], manager=manager)
    secrets = config.download(dynamic_secrets_ttl_sec=900)
    mapping: Mapping[str, str] = secrets
    assert_type(secrets, Secrets)
    assert_type(secrets["HOST"], str)
    assert_type(secrets.render("json"), str)
    config.download(include_dynamic_secrets=False)
    config.download(dynamic_secrets_ttl_sec=timedelta(minutes=5))
    del mapping


def runs(config: SecretsConfig) -> None:
    """A run takes a command and returns its exit status."""
    assert_type(config.run(["printenv"], dynamic_ttl="3h", env={"A": "b"}, preserve_env=["PATH"], aws=True), int)
    config.run(["printenv"], preserve_env=True, aws="AWS_USER", renew=True)


def mistakes(aws_user: DynamicSecretConfig) -> None:
    """What can't work is a type error."""
    SecretsConfig("project", "dev")  # type: ignore[call-arg]
    SecretsConfig("project", "dev", "dev", {"PORT": 5432})  # type: ignore[dict-item]
    SecretsConfig("project", "dev", "dev", {}, aws_user)  # type: ignore[arg-type]
    SecretsConfig("project", "dev", "dev").download(dynamic_secrets_ttl_sec=1.5)  # type: ignore[arg-type]
    SecretsConfig("project", "dev", "dev").run()  # type: ignore[call-arg]
    SecretsConfig("project", "dev", "dev").project = "other"  # type: ignore[misc]
