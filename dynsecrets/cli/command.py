"""What a command is: its place in the help, its arguments, and what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynsecrets.cli.arguments import Parser
    from dynsecrets.cli.console import Console


def _none(parser: Parser) -> None:
    """Add no arguments."""


@attrs.frozen(kw_only=True)
class Command:
    """One command. ``name`` is what is typed, with a blank in it for one of a group.

    ``action`` returns the exit status. ``usage`` is for what argparse can't say itself.
    """

    name: str
    summary: str
    description: str
    epilog: str
    action: Callable[[Console], int]
    add_arguments: Callable[[Parser], None] = _none
    usage: str | None = None
