"""From words to an exit status. Nothing that a wrong usage or ``--help`` doesn't need is loaded for it."""

from __future__ import annotations

import argparse
import sys
import traceback
from typing import TYPE_CHECKING

from dynsecrets.cli.errors import UsageError, line_of, status_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def run_program(argv: Sequence[str]) -> int:
    """Do what was typed; return the exit status. Errors are said in one line on stderr, and never raised."""
    from dynsecrets.cli.console import complain, drop_output, show_hint

    options = argparse.Namespace(debug=False, chosen=None)
    try:
        return _flushed(argv, options)
    except BaseException as exc:  # Whatever it is: one line and a status; --debug shows the rest.
        if isinstance(exc, UsageError):
            exc.command = exc.command or getattr(options.chosen, "name", "")
        elif options.debug:
            traceback.print_exc()
        line = line_of(exc)
        if line:
            complain(line)
        show_hint(exc)
        if isinstance(exc, OSError):
            drop_output()
        return status_of(exc)


def _flushed(argv: Sequence[str], options: argparse.Namespace) -> int:
    """Do it, and see to it that what was printed gets there, while somebody can still say that it didn't."""
    try:
        status = _run(argv, options)
    except SystemExit as exc:
        # argparse has printed a help, or the version.
        status = exc.code if isinstance(exc.code, int) else 0
    if sys.stdout is not None:
        sys.stdout.flush()
    return status


def _run(argv: Sequence[str], options: argparse.Namespace) -> int:
    from dynsecrets.cli.commands import COMMANDS, GROUPS
    from dynsecrets.cli.parser import make_parser

    make_parser(COMMANDS, GROUPS)[0].parse_args(argv, options)
    command = options.chosen
    if command is None:
        raise UsageError(f"give a command: {', '.join(command.name for command in COMMANDS)}")

    from dynsecrets.cli.console import Console, logging_to_stderr
    from dynsecrets.cli.interrupts import Interrupts
    from dynsecrets.cli.progress import Progress

    with Progress(sys.stderr) as progress, logging_to_stderr(progress, debug=options.debug), Interrupts(progress):
        status: int = command.load().action(Console(options=options, progress=progress))
        return status
