"""What IAM accepts for the options of a user: paths, prefixes, tags, groups and ARNs. Pure.

Limits and character sets are those of the IAM API reference (CreateUser, AddUserToGroup, AttachUserPolicy, Tag) and of
"IAM and STS quotas". They are checked before any call, so that a value AWS would refuse is found when it is written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig
from dynsecrets.model.naming import RANDOM_LENGTH

MAX_TAGS: Final = 50
MAX_GROUPS: Final = 10
MAX_MANAGED_POLICIES: Final = 10
MAX_USER_NAME: Final = 64
MAX_POLICY_NAME: Final = 128
MAX_PATH: Final = 512

_PATH: Final = re.compile(r"/(?:[\x21-\x2e\x30-\x7e]+/)+")
_NAME: Final = re.compile(r"[\w+=,.@-]+", re.ASCII)
_POLICY_ARN: Final = re.compile(
    r"arn:aws[a-z-]*:iam::(?:aws|[0-9]{12}):policy/(?:[\x21-\x7e]*/)?[\w+=,.@-]{1,128}",
    re.ASCII,
)
_TAG_SYMBOLS: Final = "_.:/=+-@"


def check_path(path: object) -> str:
    """Return the path of leased users, which is what keeps everyone else's users out of reach."""
    right = 'give one or more names between slashes, like "/dynsecrets/"'
    if not isinstance(path, str):
        _refuse(f"path {safe_repr(path)} is not text; {right}")
    if path == "/":
        _refuse(f'path "/" holds every user of the account, and would put them all in reach; {right}')
    if "*" in path or "?" in path:
        _refuse(f"path {safe_repr(path)} holds a wildcard; {right}")
    if not _PATH.fullmatch(path) or len(path) > MAX_PATH:
        trimmed = "/".join(part for part in path.split("/") if part)
        likely = f"/{trimmed}/"
        if _PATH.fullmatch(likely) and len(likely) <= MAX_PATH:
            right = f"it starts and ends with a slash, like {safe_repr(likely)}"
        _refuse(f"path {safe_repr(path)} is not accepted; {right}")
    return path


def check_prefix(prefix: object, *, what: str, longest: int) -> str:
    """Return the prefix of a name that gets a random ending; ``longest`` is AWS's limit for the whole name."""
    room = longest - RANDOM_LENGTH
    if not isinstance(prefix, str) or not _NAME.fullmatch(prefix) or len(prefix) > room:
        _refuse(
            f"{what} {safe_repr(prefix)} is not accepted; give 1 to {room} letters, digits and +=,.@_- "
            f"({RANDOM_LENGTH} random characters follow, and AWS takes {longest} in all)"
        )
    return prefix


def check_policy_arn(arn: object, *, what: str) -> str:
    """Return the ARN of a managed policy."""
    if not isinstance(arn, str) or not _POLICY_ARN.fullmatch(arn):
        _refuse(
            f'{what} {safe_repr(arn)} is not the ARN of a managed policy; give one like "arn:aws:iam::aws:policy/NAME"'
        )
    return arn


def check_policy_arns(arns: object) -> tuple[str, ...]:
    """Return the ARNs of the managed policies to attach."""
    what = "managed_policy_arns"
    texts = _sequence(arns, what)
    checked = tuple(check_policy_arn(arn, what=what) for arn in texts)
    return _bounded(checked, what, MAX_MANAGED_POLICIES, key=str)


def check_groups(groups: object) -> tuple[str, ...]:
    """Return the names of the groups that a leased user joins."""
    texts = _sequence(groups, "groups")
    for group in texts:
        if not isinstance(group, str) or not _NAME.fullmatch(group) or len(group) > 128:
            _refuse(
                f"group {safe_repr(group)} is not accepted; give its name (no path, no ARN): letters, digits, +=,.@_-"
            )
    return _bounded(tuple(str(group) for group in texts), "groups", MAX_GROUPS, key=str.lower)


def check_tags(tags: object) -> dict[str, str]:
    """Return the tags of a leased user."""
    if not isinstance(tags, Mapping):
        _refuse(f'tags {safe_repr(tags)} are not a mapping; give one of text to text, like {{"team": "data"}}')
    for key, value in tags.items():
        if not isinstance(key, str) or not 1 <= len(key) <= 128 or not _is_tag_text(key):
            _refuse(
                f"tag key {safe_repr(key)} is not accepted; give 1 to 128 letters, digits, blanks and {_TAG_SYMBOLS}"
            )
        if not isinstance(value, str) or len(value) > 256 or not _is_tag_text(value):
            _refuse(
                f"the value {safe_repr(value)} of the tag {safe_repr(key)} is not accepted; "
                f"give at most 256 letters, digits, blanks and {_TAG_SYMBOLS}"
            )
        if key.lower().startswith("aws:"):
            _refuse(f'tag key {safe_repr(key)} is not accepted; keys that start with "aws:" are reserved')
    _bounded(tuple(tags), "tags", MAX_TAGS, key=str.lower)
    return {str(key): str(value) for key, value in tags.items()}


def _is_tag_text(text: str) -> bool:
    """Tell whether a text has only letters, separators, numbers and the symbols that tags take."""
    return all(char in _TAG_SYMBOLS or unicodedata.category(char)[0] in "LZN" for char in text)


def _sequence(given: object, what: str) -> Sequence[object]:
    """Return a list or tuple; a lone text is refused, since it would be taken letter by letter."""
    if not isinstance(given, list | tuple):
        _refuse(f"{what} {safe_repr(given)} is not accepted; give a list or tuple of texts")
    return given


def _bounded(texts: tuple[str, ...], what: str, most: int, *, key: Callable[[str], str]) -> tuple[str, ...]:
    """Refuse more than AWS takes, and repeats."""
    if len(texts) > most:
        _refuse(f"{what} has {len(texts)} entries; AWS accepts {most} for a user")
    if len({key(text) for text in texts}) != len(texts):
        _refuse(f"{what} holds an entry twice (case does not count for AWS); leave one out")
    return texts


def _refuse(why: str) -> NoReturn:
    """Raise the error of a value that AWS would refuse."""
    raise InvalidConfig(why)
