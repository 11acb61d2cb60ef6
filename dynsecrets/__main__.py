"""The command: ``dynsecrets``, or ``python -m dynsecrets``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

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
