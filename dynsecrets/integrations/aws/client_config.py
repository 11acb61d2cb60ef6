"""Settings of clients that were given as a mapping, as a file holds them, instead of a ``botocore.config.Config``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dynsecrets._internal.messages import did_you_mean, safe_repr
from dynsecrets.errors import InvalidConfig

if TYPE_CHECKING:
    from botocore.config import Config


def make_client_config(given: Config | Mapping[str, Any] | None) -> Config | None:
    """Return a ``botocore.config.Config`` of what was given; what is not a mapping is returned as it is.

    Raises:
        InvalidConfig: An option is not known, or refused by botocore.
    """
    if not isinstance(given, Mapping):
        return given
    from botocore.config import Config

    for option in given:
        if option not in Config.OPTION_DEFAULTS:
            near = did_you_mean(str(option), Config.OPTION_DEFAULTS)
            raise InvalidConfig(f"botocore_config: unknown key {safe_repr(option)}{near}")
    try:
        return Config(**given)
    except Exception as exc:
        wrong = type(exc).__name__
    # Raised outside of the handler: botocore's errors quote what they got, and a proxy's URL may hold a password.
    raise InvalidConfig(f"botocore_config is refused by botocore: {wrong}")
