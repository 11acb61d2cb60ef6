"""Keeping leased secrets out of what pytest shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dynsecrets.model.masking import MASK, MaskedStr

if TYPE_CHECKING:
    from collections.abc import Collection

    import pytest


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
    if any(secret in report.longreprtext for secret in secrets):
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
    return text
