"""Which files of a user's would win over the credentials that a child is given.

SDKs ask their providers in a fixed order, and somebody's keys in a file would be used instead of the leased ones, with
nobody noticing. What wins over what a child gets:

==============================================  =============================  =====================================
SDK                                             over keys in the environment   over a credentials endpoint
==============================================  =============================  =====================================
.NET (``FallbackCredentialsFactory``)           the default profile            the default profile
botocore (``create_credential_resolver``)       nothing                        the default profile, boto 2's files
Go, JavaScript, Java, PHP, Ruby, Rust, C++      nothing                        the default profile
Java v1 (``ProfileCredentialsProvider``)        nothing                        the same of a variable of its own
==============================================  =============================  =====================================

So a file whose default profile has credentials is hidden from the child, with its other profiles; one that hasn't
stays, with the settings in it. .NET's own store of Visual Studio's can't be hidden.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_DEFAULT: Final = frozenset({"default", "profile default"})
#: The variables that name files, the files where they name none, and the sections that matter.
_FILES: Final = {
    "AWS_SHARED_CREDENTIALS_FILE": (("~/.aws/credentials",), _DEFAULT),
    "AWS_CONFIG_FILE": (("~/.aws/config",), _DEFAULT),
}
_FILES_BEFORE_ENDPOINTS: Final = {
    "AWS_CREDENTIAL_PROFILES_FILE": (("~/.aws/credentials",), _DEFAULT),
    "BOTO_CONFIG": (("/etc/boto.cfg", "~/.boto"), frozenset({"Credentials"})),
}
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


def hide_defaults(environment: Mapping[str, str], named: Collection[str], *, endpoint: bool) -> dict[str, str]:
    """Return the variables that hide such files from a child; files whose variable is ``named`` are left alone.

    With ``endpoint`` the child gets its credentials by one, else in its environment.
    """
    files = {**_FILES, **_FILES_BEFORE_ENDPOINTS} if endpoint else _FILES
    return {
        variable: os.devnull
        for variable, (paths, sections) in files.items()
        if variable not in named
        and any(
            _has_credentials(_path(environment, path), sections)
            for path in ([environment[variable]] if environment.get(variable) else paths)
        )
    }


def _path(environment: Mapping[str, str], given: str) -> Path:
    """Return a file as a child finds it: in its own home, where it has one."""
    home = environment.get("HOME") or environment.get("USERPROFILE")
    expanded = os.path.expandvars(given)
    if home and expanded.startswith("~/"):
        return Path(home, expanded[2:])
    # Not by Path, which raises where a user has no home: then there is no such file.
    return Path(os.path.expanduser(expanded))  # noqa: PTH111


def _has_credentials(path: Path, sections: Collection[str]) -> bool:
    """Tell whether one of the sections has credentials, or can't be told to have none."""
    parser = configparser.RawConfigParser(default_section="", strict=False, allow_no_value=True)
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"))
    except OSError:
        return False
    except (configparser.Error, ValueError):
        return True
    # SDKs take blanks in a section's name for one, and at its ends for none.
    return any(" ".join(name.split()) in sections and bool(_NAMING & set(parser[name])) for name in parser.sections())
