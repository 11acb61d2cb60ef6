"""IAM policy documents of leased users: their grammar, their size as AWS counts it, and the expiry guard.

Pure but for :meth:`PolicyDocument.parse` reading a file that it is given. The grammar is the one of identity-based
policies (IAM User Guide, "Grammar of the IAM JSON policy language"); it is checked here because a document that AWS
refuses would otherwise be found out after a user was made for it.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig
from dynsecrets.model.timestamps import ceil_to_second, to_seconds

if TYPE_CHECKING:
    from datetime import datetime

#: IAM and STS quotas: inline policies of a user may have 2,048 characters together, white space not counted.
SIZE_LIMIT: Final = 2048
VERSION: Final = "2012-10-17"

_TOP: Final = frozenset({"Version", "Id", "Statement"})
_STATEMENT: Final = frozenset({"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"})
_VERSIONS: Final = ("2012-10-17", "2008-10-17")
_SID: Final = re.compile(r"[A-Za-z0-9]*")
_ACTION: Final = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
_RESOURCE: Final = re.compile(r"\*|arn:[^:]*:[^:]*:[^:]*:[^:]*:.+", re.DOTALL)
_TYPES: Final = (
    "String(?:Not)?Equals(?:IgnoreCase)?|String(?:Not)?Like|"
    "(?:Numeric|Date)(?:(?:Not)?Equals|(?:LessThan|GreaterThan)(?:Equals)?)|"
    "Bool|BinaryEquals|(?:Not)?IpAddress|Arn(?:Not)?(?:Equals|Like)"
)
_OPERATOR: Final = re.compile(f"(?:(?:ForAnyValue|ForAllValues):)?(?:{_TYPES})(?:IfExists)?|Null", re.IGNORECASE)
#: The characters that IAM accepts in a document; others can still be written as JSON escapes.
_BEYOND_LATIN_1: Final = re.compile(r"[^\x09\x0a\x0d\x20-\xff]")
#: The white space of JSON. Other blanks (U+00A0) may count: who left them out would find out from AWS.
_WHITE_SPACE: Final = re.compile(r"[ \t\n\r]")
#: More bits than any number has that a condition compares with; Python refuses to spell integers of very many.
_MOST_BITS: Final = 1024


class PolicyDocument(Mapping[str, Any]):
    """A checked, immutable policy document; a mapping that equals the mapping it was made from.

    Values that are taken out of it are copies. Safe to share between threads.
    """

    __slots__ = ("_document", "_text")

    def __init__(self, document: Mapping[str, Any]) -> None:
        _check_document(document)
        self._document: dict[str, Any] = copy.deepcopy(dict(document))
        self._text = _compact(self._document)

    @classmethod
    def parse(cls, given: object) -> PolicyDocument:
        """Make a document of a mapping, or of JSON text or a path to it; raise ``InvalidConfig`` otherwise."""
        if isinstance(given, PolicyDocument):
            return given
        if isinstance(given, Path):
            try:
                given = given.read_text(encoding="utf-8-sig")
            except (OSError, ValueError) as exc:  # A ValueError: bytes that are not UTF-8, or a path with a NUL in it.
                msg = f"policy file {str(given)!r} can't be read: {exc}"
                raise InvalidConfig(msg) from exc
        if isinstance(given, str):
            given = _load(given)
        if not isinstance(given, Mapping):
            _refuse(
                f"it is {safe_repr(given)}; give a mapping, or a JSON string or pathlib.Path to one "
                f'with "Version" and "Statement"'
            )
        return cls(_plain(given))

    @property
    def text(self) -> str:
        """The document as compact JSON."""
        return self._text

    def text_with(self, statement: Mapping[str, Any]) -> str:
        """Return the document with one more statement at its end, as compact JSON."""
        return _compact({**self._document, "Statement": [*_statements(self._document), statement]})

    def __getitem__(self, key: str) -> Any:
        """Return a copy of one element."""
        return copy.deepcopy(self._document[key])

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the elements."""
        return iter(self._document)

    def __len__(self) -> int:
        """Return the number of elements."""
        return len(self._document)

    def __hash__(self) -> int:
        """Hash by content, whatever the order of the elements."""
        return hash(_frozen(self._document))

    def __repr__(self) -> str:
        """Show the document."""
        return f"PolicyDocument({self._text})"


def render(policy: PolicyDocument | None, guard_until: datetime | None) -> str | None:
    """Return the JSON text to attach to a leased user, or ``None`` where there is nothing to attach.

    With ``guard_until`` the document ends with the expiry guard: a ``Deny`` of everything from the first whole
    second on that is later than this moment. ``aws:CurrentTime`` is evaluated at each request (IAM User Guide, "AWS
    global condition context keys"), so AWS itself refuses the key from then on.
    """
    if guard_until is None:
        return None if policy is None else policy.text
    guard = {
        "Effect": "Deny",
        "Action": "*",
        "Resource": "*",
        "Condition": {"DateGreaterThan": {"aws:CurrentTime": to_seconds(ceil_to_second(guard_until))}},
    }
    return _compact({"Version": VERSION, "Statement": [guard]}) if policy is None else policy.text_with(guard)


def size(text: str) -> int:
    """Count the characters of a document as AWS does: without white space."""
    return len(_WHITE_SPACE.sub("", text))


def check_size(policy: PolicyDocument | None, *, guarded: bool, example: datetime) -> None:
    """Raise ``InvalidConfig`` if the document would be over AWS's limit; ``example`` is any expiration."""
    text = render(policy, example if guarded else None)
    count = 0 if text is None else size(text)
    if count > SIZE_LIMIT:
        guard = ", the expiry guard included" if guarded else ""
        _refuse(
            f"it has {count:,} characters without white space{guard}, and AWS accepts {SIZE_LIMIT:,} for the inline "
            "policies of a user; shorten it, or move statements to a managed policy (managed_policy_arns)"
        )


def _load(text: str) -> object:
    """Parse JSON, refusing repeated keys: of two statements under one key AWS would see only one."""

    def no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
        seen: dict[str, object] = {}
        for key, value in pairs:
            if key in seen:
                _refuse(f"the key {safe_repr(key)} stands twice in one object")
            seen[key] = value
        return seen

    try:
        return json.loads(text, object_pairs_hook=no_repeats)
    except RecursionError:
        _refuse("it is nested too deeply")
    except ValueError as exc:
        if isinstance(exc, InvalidConfig):
            raise
        looks_like_path = len(text) < 1024 and not text.lstrip().startswith(("{", "["))
        hint = "; for a file give a pathlib.Path" if looks_like_path else ""
        _refuse(f"it is not valid JSON: {exc}{hint}")


def _plain(given: Any, depth: int = 0) -> Any:
    """Copy a document into plain ``dict``, ``list``, ``str``, ``int``, ``float`` and ``bool``; refuse all else."""
    if depth > 20:
        _refuse("it is nested too deeply")
    if isinstance(given, Mapping):
        for key in given:
            if not isinstance(key, str):
                _refuse(f"the key {safe_repr(key)} is not text")
        return {str(key): _plain(value, depth + 1) for key, value in given.items()}
    if isinstance(given, list | tuple):
        return [_plain(value, depth + 1) for value in given]
    if isinstance(given, str):
        return str(given)
    if isinstance(given, int) and given.bit_length() <= _MOST_BITS:
        return given
    if isinstance(given, float) and math.isfinite(given):
        return given
    return _refuse(f"a value in it is {safe_repr(given)}; JSON has text, numbers, booleans, lists and objects")


def _check_document(document: Mapping[str, Any]) -> None:
    """Check the top level and each statement."""
    for key in document:
        if key not in _TOP:
            _refuse(f'{safe_repr(key)} is not an element of a policy; accepted are "Version", "Id" and "Statement"')
    if "Version" in document and document["Version"] not in _VERSIONS:
        _refuse(f'"Version" is {safe_repr(document["Version"])}; accepted are "2012-10-17" and "2008-10-17"')
    if not isinstance(document.get("Id", ""), str):
        _refuse('"Id" must be text')
    seen: set[str] = set()
    for number, statement in enumerate(_statements(document), 1):
        where = f"statement {number}"
        if not isinstance(statement, Mapping):
            _refuse(f"{where} is {safe_repr(statement)}, not an object")
        _check_statement(statement, where)
        sid = statement.get("Sid")
        if sid in seen:
            _refuse(f'the "Sid" {safe_repr(sid)} stands in two statements; AWS wants each once')
        if sid:
            seen.add(sid)


def _statements(document: Mapping[str, Any]) -> list[Any]:
    """Return the statements, of which there must be one."""
    statements = document.get("Statement")
    if isinstance(statements, Mapping):
        return [statements]
    if not isinstance(statements, list) or not statements:
        _refuse('"Statement" must be a statement or a list of at least one; for no permissions leave the policy out')
    return statements


def _check_statement(statement: Mapping[str, Any], where: str) -> None:
    """Check one statement."""
    for key in statement:
        if key in ("Principal", "NotPrincipal"):
            _refuse(f'{where} has "{key}", which the policies of users don\'t take; leave it out')
        if key not in _STATEMENT:
            accepted = ", ".join(sorted(_STATEMENT))
            _refuse(f"{where} has {safe_repr(key)}, which is not an element of a statement; accepted are {accepted}")
    if statement.get("Effect") not in ("Allow", "Deny"):
        _refuse(f'{where} has "Effect" {safe_repr(statement.get("Effect"))}; accepted are "Allow" and "Deny"')
    sid = statement.get("Sid", "")
    if not isinstance(sid, str) or not _SID.fullmatch(sid):
        _refuse(f'{where} has "Sid" {safe_repr(sid)}; accepted are letters and digits')
    _check_one_of(statement, "Action", _ACTION, 'forms like "s3:GetObject"', where)
    _check_one_of(statement, "Resource", _RESOURCE, 'ARNs ("arn:aws:s3:::bucket/*")', where)
    if "Condition" in statement:
        _check_condition(statement["Condition"], where)


def _check_one_of(
    statement: Mapping[str, Any], positive: str, form: re.Pattern[str], accepted: str, where: str
) -> None:
    """Check that a statement has either an element or its negation, and that its texts are well formed."""
    present = [key for key in (positive, f"Not{positive}") if key in statement]
    if len(present) != 1:
        _refuse(f'{where} must have either "{positive}" or "Not{positive}"')
    key = present[0]
    for text in _texts(statement, key, where):
        if not form.fullmatch(text):
            _refuse(f'{where} has "{key}" {safe_repr(text)}; accepted are "*" and {accepted}')


def _check_condition(condition: Any, where: str) -> None:
    """Check the condition block of a statement."""
    if not isinstance(condition, Mapping):
        _refuse(f'{where} has a "Condition" that is {safe_repr(condition)}, not an object')
    for operator, keys in condition.items():
        if not _OPERATOR.fullmatch(operator):
            _refuse(f"{where} has the condition operator {safe_repr(operator)}, which IAM doesn't know")
        if not isinstance(keys, Mapping):
            _refuse(f"{where} has a condition {safe_repr(operator)} that is {safe_repr(keys)}, not an object")
        for key, values in keys.items():
            if not key:
                _refuse(f"{where} has a condition {safe_repr(operator)} with an empty key")
            for value in values if isinstance(values, list) else [values]:
                if not isinstance(value, str | bool | int | float):
                    _refuse(f"{where} has a condition on {safe_repr(key)} with a value {safe_repr(value)}")


def _texts(statement: Mapping[str, Any], key: str, where: str) -> list[str]:
    """Return the texts of an element that may be one text or a list of at least one."""
    given = statement[key]
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        _refuse(f'{where} has "{key}" {safe_repr(given)}; accepted are text or a list of at least one text')
    return texts


def _frozen(given: Any) -> Any:
    """Return what can be hashed; equal for equal documents."""
    if isinstance(given, dict):
        return frozenset((key, _frozen(value)) for key, value in given.items())
    if isinstance(given, list):
        return tuple(_frozen(value) for value in given)
    return given


def _compact(document: Mapping[str, Any]) -> str:
    """Write compact JSON in the characters that IAM accepts (tab, line ends and U+0020 to U+00FF)."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return _BEYOND_LATIN_1.sub(lambda match: json.dumps(match.group())[1:-1], text)


def _refuse(why: str) -> NoReturn:
    """Raise the error of a policy that can't be used."""
    raise InvalidConfig(f"policy is not accepted: {why}")
