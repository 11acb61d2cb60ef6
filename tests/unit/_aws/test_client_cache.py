"""Clients are made when they are first asked for, once a process, and with the caller's settings."""

from __future__ import annotations

import threading
from typing import Any

import boto3
import pytest
from botocore.config import Config

from dynsecrets import InvalidConfig
from dynsecrets._aws.client_cache import ClientCache, check_client_options, method_of
from support.forking import in_child, needs_fork


def cache_of(config: Config | None = None, **settings: Any) -> ClientCache:
    """Return a cache on an account that is never called."""
    return ClientCache(
        lambda: boto3.Session("id", "secret", region_name="eu-west-1"),
        endpoint_url="http://127.0.0.1:9",
        config=config,
        settings=settings,
    )


def test_many_threads_get_one_client() -> None:
    """Who asks first makes the client, the others wait for it."""
    made: list[object] = []
    cache, barrier = cache_of(), threading.Barrier(4)

    def make() -> object:
        made.append(client := object())
        return client

    def ask() -> None:
        barrier.wait()
        cache.get("iam", make)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 1


def test_the_callers_settings_win() -> None:
    """Settings are the library's, where the caller has none."""
    config = cache_of(Config(read_timeout=3), read_timeout=20, connect_timeout=5).make("iam", None).meta.config

    assert (config.read_timeout, config.connect_timeout, config.max_pool_connections) == (3, 5, 64)
    assert config.user_agent_extra.startswith("dynsecrets/")


def test_a_closed_cache_makes_clients_anew() -> None:
    """Closing ends connections; it may be repeated."""
    cache = cache_of()
    first = cache.get("iam", lambda: cache.make("iam", None))

    cache.close()
    cache.close()

    assert cache.get("iam", lambda: cache.make("iam", None)) is not first


@needs_fork
def test_a_child_has_clients_of_its_own_and_the_same_session() -> None:
    """Connections are not shared by processes, and a lock that was held doesn't stop the child."""
    cache = cache_of()
    session, client = cache.session(), cache.get("iam", object)

    with cache._lock:
        shared = in_child(lambda: (cache.session() is session, cache.get("iam", object) is client))

    assert shared == (True, False)


def test_operations_are_named_as_in_the_api() -> None:
    """boto3's spelling of acronyms is botocore's business."""
    client = cache_of().make("iam", None)

    assert method_of(client, "ListMFADevices") == client.list_mfa_devices
    assert method_of(client, "DeleteSSHPublicKey") == client.delete_ssh_public_key


@pytest.mark.parametrize("region", ["eu-central-1", "eusc-de-east-1", "us-isob-east-1", "local"])
def test_any_region_is_taken_that_a_host_can_be_named_by(region: str) -> None:
    """AWS adds regions and partitions, and other services have regions of their own."""
    check_client_options(None, region, None, None)


@pytest.mark.parametrize("region", ["", "nowhere!", "-a", "a-", "12", "x" * 64, "a.b", 3])
def test_a_region_that_no_host_can_be_named_by_is_refused(region: object) -> None:
    """It would be a part of the host name that requests are sent to."""
    with pytest.raises(InvalidConfig, match="region"):
        check_client_options(None, region, None, None)
