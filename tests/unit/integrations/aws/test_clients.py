"""Finding credentials in all of boto3's ways, and showing none of them."""

from __future__ import annotations

import logging
import os
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError

from dynsecrets import DynamicSecretConfig, Integration, lease

if TYPE_CHECKING:
    from pathlib import Path

    from dynsecrets import LeaseManager
    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from support.accounts import Account
    from support.proxy import Proxy


def test_credentials_come_from_the_environment(aws_env: Account) -> None:
    """Without arguments everything is found as boto3 finds it: keys, region and endpoint."""
    assert Integration.aws_iam().verify().account == aws_env.id


def test_credentials_come_from_a_profile(aws: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile of the AWS config files names keys, region and endpoint."""
    config = tmp_path / "config"
    config.write_text(
        f"[profile leaser]\nregion = {aws.region}\nendpoint_url = {aws.url}\n"
        f"aws_access_key_id = {aws.access_key_id}\naws_secret_access_key = {aws.secret_access_key}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))

    assert Integration.aws_iam(profile="leaser").verify().account == aws.id


def test_credentials_come_from_a_session(aws: Account) -> None:
    """A ready boto3 session is used as it is."""
    integration = Integration.aws_iam(session=aws.session(), endpoint_url=aws.url)

    assert integration.verify().account == aws.id


def test_explicit_keys_win_over_the_environment(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments override what boto3 would find."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")

    integration = Integration.aws_iam(
        access_key_id=aws.access_key_id,
        secret_access_key=aws.secret_access_key,
        region=aws.region,
        endpoint_url=aws.url,
    )

    assert integration.verify().account == aws.id


def test_the_integration_shows_no_secret_and_keeps_none(aws: Account) -> None:
    """Its repr shows none; once a client is built, none is left in the integration but botocore's."""
    integration = Integration.aws_iam(
        access_key_id=aws.access_key_id, secret_access_key=aws.secret_access_key, endpoint_url=aws.url
    )

    before = repr(integration) + repr(vars(integration)) + repr(vars(integration.clients))
    integration.clients.iam()

    assert aws.secret_access_key not in before
    assert vars(integration.clients)["_keys"] == {}


def test_settings_of_the_caller_win(aws: Account) -> None:
    """botocore_config overrides retries and time-outs; the others stay."""
    config = Config(read_timeout=3, retries={"total_max_attempts": 1, "mode": "standard"})
    integration = Integration.aws_iam(session=aws.session(), endpoint_url=aws.url, botocore_config=config)

    used = integration.clients.iam().meta.config

    assert (used.read_timeout, used.retries["total_max_attempts"], used.connect_timeout) == (3, 1, 5)


@pytest.mark.parametrize(
    ("region", "host"),
    [
        (None, "iam.amazonaws.com"),
        ("eu-west-1", "iam.amazonaws.com"),
        ("cn-north-1", "iam.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "iam.us-gov.amazonaws.com"),
    ],
)
def test_each_partition_has_its_own_endpoint(region: str | None, host: str) -> None:
    """The region decides which partition's IAM is asked; without one it is the commercial one's."""
    integration = Integration.aws_iam(access_key_id="a", secret_access_key="b", region=region)

    assert integration.clients.iam().meta.endpoint_url == f"https://{host}"
    assert integration.clients.sts().meta.region_name == (region or "us-east-1")


def test_one_client_serves_all_threads(direct: AwsIamIntegration) -> None:
    """Threads that ask at the same time get the same client, made once."""
    barrier = threading.Barrier(8)
    clients: list[Any] = []

    def ask() -> None:
        barrier.wait()
        clients.append(direct.clients.iam())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({id(client) for client in clients}) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_makes_clients_of_its_own(direct: AwsIamIntegration, aws: Account) -> None:
    """Connections are not shared between processes; explicit keys still work in the child."""
    parents = direct.clients.iam()

    pid = os.fork()
    if pid == 0:
        try:
            ours = direct.clients.iam() is not parents
            os._exit(0 if ours and direct.verify().account == aws.id else 1)
        except BaseException:
            os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert direct.clients.iam() is parents


def test_botocores_debug_log_masks_the_secret(
    direct: AwsIamIntegration, manager: LeaseManager, caplog: pytest.LogCaptureFixture
) -> None:
    """Whole answers are logged by botocore at DEBUG; that of CreateAccessKey with the secret masked."""
    caplog.set_level(logging.DEBUG)

    with lease(DynamicSecretConfig("AWS_USER", direct, wait=None), manager=manager) as creds:
        secret = str(creds.secret_access_key)

    assert "<SecretAccessKey>********" in caplog.text
    assert secret not in caplog.text


def test_the_probe_signs_each_threads_calls_with_its_own_lease(
    direct: AwsIamIntegration, manager: LeaseManager
) -> None:
    """One STS client asks for many leases at once, each with its own key."""
    leases = manager.issue_many(DynamicSecretConfig("AWS_USER", direct, wait=None), 6)
    barrier = threading.Barrier(len(leases))
    works: dict[str, bool] = {}

    def check(index: int) -> None:
        barrier.wait()
        works[leases[index].id] = all(leases[index].check() for _ in range(5))

    threads = [threading.Thread(target=check, args=(index,)) for index in range(len(leases))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert works == {leased.id: True for leased in leases}


def test_the_leased_session_has_region_and_endpoint_of_the_integration(
    direct: AwsIamIntegration, manager: LeaseManager, aws: Account
) -> None:
    """Clients and resources of lease.session() go where the integration goes; arguments of their own win."""
    with lease(DynamicSecretConfig("AWS_USER", direct, wait=None), manager=manager) as creds:
        session = creds.session()
        elsewhere = creds.session(region_name="eu-west-1", endpoint_url="http://127.0.0.1:1")
        identity = session.client("sts").get_caller_identity()

        assert identity["Arn"] == creds.arn
        assert session.region_name == aws.region
        assert session.resource("s3").meta.client.meta.endpoint_url == aws.url
        assert session.client("s3", endpoint_url="http://127.0.0.1:2").meta.endpoint_url == "http://127.0.0.1:2"
        assert elsewhere.region_name == "eu-west-1"
        assert elsewhere.client("s3").meta.endpoint_url == "http://127.0.0.1:1"
        assert isinstance(session, boto3.Session)


@pytest.fixture
def profile(aws: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A profile with settings of many kinds; the default profile, and none, have others."""
    config = tmp_path / "config"
    keys = f"aws_access_key_id = {aws.access_key_id}\naws_secret_access_key = {aws.secret_access_key}\n"
    config.write_text(
        f"[profile leaser]\nregion = eu-west-3\nservices = here\nmax_attempts = 7\nretry_mode = standard\n"
        f"use_dualstack_endpoint = true\n{keys}"
        f"[services here]\niam =\n  endpoint_url = {aws.url}\nsts =\n  endpoint_url = {aws.url}\n"
        "s3 =\n  endpoint_url = http://127.0.0.1:7\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    return "leaser"


@pytest.mark.parametrize("way", ["profile", "session", "environment", "default session"])
def test_all_settings_of_a_profile_are_carried_to_leased_sessions(
    profile: str, manager: LeaseManager, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Not region and endpoint alone: endpoints by service, retries, kinds of endpoints."""
    options: dict[str, Any] = {}
    if way == "profile":
        options["profile"] = profile
    elif way == "session":
        options["session"] = boto3.Session(profile_name=profile)
    elif way == "environment":
        monkeypatch.setenv("AWS_PROFILE", profile)
    elif way == "default session":
        boto3.setup_default_session(profile_name=profile)
    integration = Integration.aws_iam(**options)

    with lease(DynamicSecretConfig("AWS_USER", integration), manager=manager) as creds:
        session = creds.session()
        s3: Any = session.client("s3")
        ec2 = session.client("ec2")
        identity = session.client("sts").get_caller_identity()
        elsewhere = creds.session(region_name="eu-west-1").client("ec2")

    assert identity["Arn"] == creds.arn
    assert (s3.meta.endpoint_url, s3.meta.region_name) == ("http://127.0.0.1:7", "eu-west-3")
    assert s3.meta.config.retries == {"mode": "standard", "total_max_attempts": 7}
    assert ec2.meta.endpoint_url == "https://ec2.eu-west-3.api.aws"
    assert elsewhere.meta.endpoint_url == "https://ec2.eu-west-1.api.aws"
    assert integration.clients.iam().meta.config.retries == {"mode": "standard", "total_max_attempts": 7}


@pytest.mark.parametrize(
    ("lines", "endpoint"),
    [
        ("", None),
        ("endpoint_url = http://here\n", "http://here"),
        ("endpoint_url = http://here\nignore_configured_endpoint_urls = true\n", None),
    ],
)
def test_settings_for_a_child_are_the_profiles_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, endpoint: str | None
) -> None:
    """A child doesn't get the profile, since it would get its credentials: it is told region and endpoint."""
    (tmp_path / "config").write_text(f"[profile leaser]\nregion = eu-west-3\n{lines}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    settings = Integration.aws_iam(profile="leaser").aws_settings()

    assert settings == {"region_name": "eu-west-3", "endpoint_url": endpoint}
    assert Integration.aws_iam(profile="leaser", endpoint_url="http://there").aws_settings()["endpoint_url"] == (
        "http://there"
    )


def test_retries_of_the_environment_win_over_the_librarys(aws: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_MAX_ATTEMPTS holds for every client of the process, and for these; without it the library has its own."""
    own = Integration.aws_iam(session=aws.session()).clients.iam().meta.config.retries
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")

    asked = Integration.aws_iam(session=aws.session()).clients.iam().meta.config.retries

    assert own == {"mode": "adaptive", "total_max_attempts": 5}
    assert asked["total_max_attempts"] == 2


def test_the_way_out_of_the_network_is_carried_to_leased_sessions(aws: Account, manager: LeaseManager) -> None:
    """Proxies and kinds of endpoints are; time-outs and retries of IAM's calls are not the application's."""
    config = Config(proxies={"https": "http://127.0.0.1:3128"}, use_fips_endpoint=True, read_timeout=3)
    integration = Integration.aws_iam(session=aws.session(), endpoint_url=aws.url, botocore_config=config)

    with lease(DynamicSecretConfig("AWS_USER", integration, wait=None), manager=manager) as creds:
        used: Any = creds.session().client("s3").meta.config

    assert used.proxies == {"https": "http://127.0.0.1:3128"}
    assert used.use_fips_endpoint
    assert used.read_timeout == 60


def test_a_refusal_tells_the_time_too(watched: AwsIamIntegration, proxy: Proxy) -> None:
    """AWS refuses the calls of a host whose clock is off by minutes; by its refusal such a host knows the time."""
    proxy.fail("GetCallerIdentity", ("SignatureDoesNotMatch", 403), times=None)

    there = watched.service_time()

    assert there is not None
    assert abs(there - datetime.now(UTC)) < timedelta(minutes=1)


def test_who_cannot_be_asked_tells_no_time(watched: AwsIamIntegration, proxy: Proxy) -> None:
    """Where there is no answer at all, the time is not known."""
    proxy.fail("GetCallerIdentity", "drop_before", times=None)

    with pytest.raises(ConnectionClosedError):
        watched.service_time()
