"""The command: ``dynsecrets``, or ``python -m dynsecrets``."""

from __future__ import annotations

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    import os

    # ``python -m`` looks for modules in the current folder first: a secrets.py there, or a json.py, would stand for the
    # standard library's. The installed command looks there for nothing.
    if sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 - pathlib would be looked for there, too.
        del sys.path[0]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say (by default those of the process), and return the exit status.

    0 is done, 1 failed, 2 wrong usage; ``run`` returns its command's own. Errors are one line on stderr.
    """
    from dynsecrets.cli.main import run_program

    return run_program(sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
