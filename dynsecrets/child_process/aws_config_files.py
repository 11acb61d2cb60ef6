"""Whether the ``default`` profile of AWS's shared files would win over a credentials endpoint.

SDKs ask their providers in this order: environment, profile, container. So somebody's keys in ``~/.aws/credentials``
would be used instead of what the endpoint hands out, and nobody would notice (botocore's
``create_credential_resolver``; Go's ``resolveCredsFromProfile``; JavaScript's ``credential-provider-node``; Java's
``DefaultCredentialsProvider``). A file whose default profile has credentials is hidden from the child; one that hasn't
stays, with the settings in it.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_FILES: Final = {"AWS_SHARED_CREDENTIALS_FILE": "credentials", "AWS_CONFIG_FILE": "config"}
_SECTIONS: Final = ("default", "profile default")
_NAMING: Final = frozenset(
    {
        "aws_access_key_id",
        "aws_secret_access_key",
        "credential_process",
        "credential_source",
        "login_session",
        "role_arn",
        "source_profile",
        "sso_account_id",
        "sso_session",
        "sso_start_url",
        "web_identity_token_file",
    }
)


def hide_defaults(environment: Mapping[str, str], named: Collection[str]) -> dict[str, str]:
    """Return the variables that hide such files from a child; files whose variable is ``named`` are left alone."""
    return {
        variable: os.devnull
        for variable, name in _FILES.items()
        if variable not in named and _has_credentials(_path(environment, variable, name))
    }


def _path(environment: Mapping[str, str], variable: str, name: str) -> Path:
    home = environment.get("HOME") or environment.get("USERPROFILE") or str(Path("~").expanduser())
    given = environment.get(variable)
    if not given:
        return Path(home, ".aws", name)
    return Path(home, given[2:]) if given.startswith("~/") else Path(given)


def _has_credentials(path: Path) -> bool:
    """Tell whether the default profile has credentials, or can't be told to have none."""
    parser = configparser.RawConfigParser(default_section="", strict=False, allow_no_value=True)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except OSError:
        return False
    except (configparser.Error, ValueError):
        return True
    return any(parser.has_section(section) and _NAMING & set(parser[section]) for section in _SECTIONS)
