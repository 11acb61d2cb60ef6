"""Where things of the tests stand in the checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TESTS: Final = ROOT / "tests"
#: Programs that tests start as processes of their own.
PROGRAMS: Final = TESTS / "support" / "programs"
#: What a program needs on its path: the package and the tests' helpers.
ROOTS: Final = (str(ROOT), str(TESTS))
