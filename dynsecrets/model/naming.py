"""Names: of dynamic secrets, of integrations, and the random ones that leased users get.

Pure but for randomness, which comes from the operating system's generator.
"""

from __future__ import annotations

import re
import secrets
import string
from typing import TYPE_CHECKING, Final

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

_SECRET_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]*")
_INTEGRATION_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ALPHABET: Final = string.ascii_letters + string.digits
#: 13 letters and digits are 77 bits (67 where case does not count, as in IAM): nobody guesses or meets one by chance.
RANDOM_LENGTH: Final = 13
_NAMES: Final = len(_ALPHABET) ** RANDOM_LENGTH


def check_secret_name(name: object) -> str:
    """Return the name of a dynamic secret if it can prefix environment variables, else raise ``InvalidConfig``."""
    if not isinstance(name, str) or not _SECRET_NAME.fullmatch(name) or len(name) > 128:
        raise InvalidConfig(
            f"name {safe_repr(name)} is not accepted: it prefixes environment variables, so give an upper-case letter "
            'followed by upper-case letters, digits and underscores (at most 128), like "AWS_USER"'
        )
    return name


def check_integration_name(name: object) -> str:
    """Return an integration's name if it can stand in records and files, else raise ``InvalidConfig``."""
    if not isinstance(name, str) or not _INTEGRATION_NAME.fullmatch(name):
        raise InvalidConfig(
            f"integration name {safe_repr(name)} is not accepted: give 1 to 64 letters, digits, dots, dashes and "
            'underscores, starting with a letter or digit, like "aws"'
        )
    return name


def random_suffix() -> str:
    """Return 13 random letters and digits."""
    number = secrets.randbelow(_NAMES)
    letters = []
    for _ in range(RANDOM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[digit])
    return "".join(letters)


def refuse_clashes(sources: Iterable[tuple[str, Iterable[str]]]) -> None:
    """Raise ``InvalidConfig`` where two sources would set a variable of the same name.

    A source is what it is called, and its names.
    """
    taken: dict[str, str] = {}
    for source, names in sources:
        for name in names:
            other = taken.setdefault(name, source)
            if other is not source:
                raise InvalidConfig(f"{name} would be set by {other} and by {source}; rename one of them")
