"""From words to an exit status. Nothing that a wrong usage or ``--help`` doesn't need is loaded for it."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Final

from dynsecrets.cli.errors import Failed, UsageError, line_of, status_of
from dynsecrets.errors import RevocationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dynsecrets.cli.console import Console

#: The module of each command, and its function.
_HOMES: Final = {
    "run": ("commands.run", "run"),
    "secrets download": ("commands.download", "download"),
    "leases": ("commands.leases", "list_leases"),
    "revoke": ("commands.leases", "revoke"),
    "reap": ("commands.leases", "reap"),
    "verify": ("commands.integrations", "verify"),
    "policy": ("commands.integrations", "policy"),
    "credential-process": ("commands.credential_process", "credential_process"),
}


def run_program(argv: Sequence[str]) -> int:
    """Do what was typed; return the exit status. Errors are said in one line on stderr, and never raised."""
    from dynsecrets.cli.console import complain, drop_output, show_hint

    try:
        return _flushed(argv)
    except BaseException as exc:  # Whatever it is: one line and a status; --debug shows the rest.
        if _debugs(argv) and not isinstance(exc, UsageError):
            traceback.print_exc()
        line = line_of(exc)
        if line:
            complain(line)
        show_hint(exc)
        if isinstance(exc, OSError):
            drop_output()
        return status_of(exc)


def _flushed(argv: Sequence[str]) -> int:
    """Do it, and see to it that what was printed gets there, while somebody can still say that it didn't."""
    try:
        status = _run(argv)
    except SystemExit as exc:
        # argparse has printed a help.
        status = exc.code if isinstance(exc.code, int) else 0
    if sys.stdout is not None:
        sys.stdout.flush()
    return status


def _run(argv: Sequence[str]) -> int:
    from dynsecrets.cli.parser import make_parser, refuse_unknown
    from dynsecrets.cli.words import split

    own, child = split(argv)
    parser, commands = make_parser()
    options, unknown = parser.parse_known_args(own)
    name = " ".join(filter(None, (options.command, getattr(options, "subcommand", None))))
    refuse_unknown(unknown, commands.get(name, parser))
    if options.version:
        from dynsecrets._version import __version__

        sys.stdout.write(f"dynsecrets {__version__}\n")
        return 0
    if not name:
        raise UsageError(f"give a command: {', '.join(_HOMES)}")

    from dynsecrets.cli.console import Console, logging_to_stderr
    from dynsecrets.cli.interrupts import Interrupts
    from dynsecrets.cli.progress import Progress

    module, function = _HOMES[name]
    action: Callable[[Console], int] = getattr(import_module(f"dynsecrets.cli.{module}"), function)
    debug = getattr(options, "debug", False)
    with Progress(sys.stderr) as progress, logging_to_stderr(progress, debug=debug) as said, Interrupts(progress):
        try:
            return action(Console(options=options, progress=progress, said=said, child=child))
        except RevocationError as exc:
            if said(line_of(exc)):
                raise Failed from exc
            raise


def _debugs(argv: Sequence[str]) -> bool:
    """Tell whether ``--debug`` was given, as our own option."""
    from dynsecrets.cli.words import split

    try:
        return "--debug" in split(argv)[0]
    except UsageError:
        return False
