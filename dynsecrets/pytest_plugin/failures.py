"""What a report says where a lease can't be had, or can't be revoked: why, and not two hundred lines of how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynsecrets.errors import DynsecretsError

if TYPE_CHECKING:
    from types import CodeType

    import pytest
    from _pytest._code.code import TerminalRepr


def in_brief(
    item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException], when: str, leasing: CodeType
) -> TerminalRepr | None:
    """Return an error of the fixtures as one line, with the line of the test where it is the test that leases.

    ``leasing`` is the code that a test calls to lease.
    ``None`` where the error is something else, or where whoever runs the tests has chosen a style of tracebacks.
    """
    chosen = item.config.getoption("tbstyle", "auto") != "auto" or item.config.getoption("fulltrace", default=False)
    if chosen or not isinstance(excinfo.value, DynsecretsError):
        return None
    if when != "call":
        return excinfo.getrepr(style="value", chain=False)
    if not any(entry.frame.code.raw is leasing for entry in excinfo.traceback):
        return None
    own = excinfo.traceback.filter(lambda entry: entry.path == item.path)
    return excinfo.getrepr(style="short", chain=False, tbfilter=lambda _: own) if own else None
