"""Settings of clients as a file holds them."""

from __future__ import annotations

import pytest
from botocore.config import Config

from dynsecrets import Integration, InvalidConfig
from dynsecrets.integrations.aws.client_config import make_client_config


def test_a_mapping_becomes_a_config() -> None:
    """Its keys are the options of ``botocore.config.Config``."""
    config = make_client_config({"connect_timeout": 2, "retries": {"mode": "standard"}})

    assert isinstance(config, Config)
    assert vars(config)["connect_timeout"] == 2
    assert vars(config)["retries"]["mode"] == "standard"


def test_what_is_not_a_mapping_is_left_alone() -> None:
    """A config is used as it is, and none stays none."""
    config = Config()

    assert make_client_config(config) is config
    assert make_client_config(None) is None


def test_programs_can_give_a_mapping_too() -> None:
    """``Integration.aws_iam`` takes what a file can hold."""
    aws = Integration.aws_iam(botocore_config={"connect_timeout": 2}, region="eu-central-1")

    assert aws.clients.iam().meta.config.connect_timeout == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"conect_timeout": 2}, "botocore_config: unknown key 'conect_timeout'; did you mean connect_timeout?"),
        ({"retries": {"mode": "canary"}}, "botocore_config is refused by botocore: InvalidRetryModeError"),
    ],
)
def test_what_botocore_does_not_take_is_refused(given: dict[str, object], says: str) -> None:
    """An unknown option is named with the nearest one; a value is in no message and no error of the chain."""
    with pytest.raises(InvalidConfig) as caught:
        make_client_config(given)

    assert str(caught.value) == says
    assert caught.value.__context__ is None
