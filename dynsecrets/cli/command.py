"""What a command is: its place in the help, its arguments, and what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynsecrets.cli.arguments import Parser


def _none(parser: Parser) -> None:
    """Add no arguments."""


@attrs.frozen(kw_only=True)
class Command:
    """One command. ``name`` is what is typed, with a blank in it for one of a group.

    ``action`` gets the ``Console``, and returns the exit status. ``usage`` is for what argparse can't say itself.
    """

    name: str
    summary: str
    description: str
    epilog: str
    action: Callable[[Any], int]
    add_arguments: Callable[[Parser], None] = _none
    usage: str | None = None
