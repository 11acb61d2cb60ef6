"""Keeping leased secrets out of what pytest shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dynsecrets.model.masking import MASK, MaskedStr

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import pytest

#: What pytest puts where it shortens a text; and what may be left of a secret beside it.
_CUT: Final = "..."
_SHORTEST_END: Final = 3


def compared_secret(op: str, left: object, right: object) -> list[str] | None:
    """Explain a failed comparison with a secret without showing it; ``None`` where neither side is one.

    pytest's own explanation shows how two texts differ.
    """
    if not isinstance(left, str) or not isinstance(right, str):
        return None
    if not isinstance(left, MaskedStr) and not isinstance(right, MaskedStr):
        return None
    return [f"{left!r} {op} {right!r}", "a leased secret is not shown"]


def mask(report: pytest.TestReport, secrets: Collection[str]) -> None:
    """Mask secrets in a report: in its explanation, in the values of locals, in captured output and logs."""
    report.sections = [(name, _masked(text, secrets)) for name, text in report.sections]
    if _masked(report.longreprtext, secrets) != report.longreprtext:
        report.longrepr = _mask_all(report.longrepr, secrets, set())


def _mask_all(thing: Any, secrets: Collection[str], seen: set[int]) -> Any:
    """Mask secrets in all texts of a structure of pytest's, whatever its objects are."""
    if isinstance(thing, str):
        return _masked(thing, secrets)
    if isinstance(thing, list | tuple):
        return type(thing)(_mask_all(each, secrets, seen) for each in thing)
    if type(thing).__module__.startswith("_pytest.") and id(thing) not in seen:
        seen.add(id(thing))
        for name, value in list(vars(thing).items()):
            # Some of them are frozen.
            vars(thing)[name] = _mask_all(value, secrets, seen)
    return thing


def _masked(text: str, secrets: Collection[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    if _CUT in text:
        for secret in secrets:
            text = _CUT.join(_mask_ends(text.split(_CUT), secret))
    return text


def _mask_ends(pieces: list[str], secret: str) -> Iterator[str]:
    """Mask what is left of a secret where pytest has shortened a text in the middle of it."""
    lengths = range(len(secret) - 1, _SHORTEST_END - 1, -1)
    for number, piece in enumerate(pieces):
        head = next((secret[:n] for n in lengths if piece.endswith(secret[:n])), "") if number < len(pieces) - 1 else ""
        tail = next((secret[-n:] for n in lengths if piece.startswith(secret[-n:])), "") if number else ""
        yield (MASK if tail else "") + piece[len(tail) : len(piece) - len(head)] + (MASK if head else "")
