"""What a command is: its place in the help, and in a module of its own its arguments and what it does."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynsecrets.cli.arguments import Parser


def _none(parser: Parser) -> None:
    """Add no arguments."""


@attrs.frozen(kw_only=True)
class Command:
    """One command.

    ``action`` gets the ``Console``, and returns the exit status. ``usage`` is for what argparse can't say itself.
    """

    description: str
    epilog: str
    action: Callable[[Any], int]
    add_arguments: Callable[[Parser], None] = _none
    usage: str | None = None


@attrs.frozen
class Listed:
    """A command's place in the help; all else of it is loaded when it is typed.

    ``name`` is what is typed, with a blank in it for one of a group; ``module`` is one of ``dynsecrets.cli.commands``.
    """

    name: str
    summary: str
    module: str

    def load(self) -> Command:
        """Return the command."""
        command: Command = import_module(f"dynsecrets.cli.commands.{self.module}").COMMAND
        return command
