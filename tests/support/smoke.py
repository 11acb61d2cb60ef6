"""What an installed wheel can do with nothing beside it but its own dependencies: run by the build, not by pytest.

One lease from an integration of our own, in memory, from its request to its end.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import dynsecrets

if TYPE_CHECKING:
    from collections.abc import Mapping

LAZY = ("boto3", "botocore", "sqlite3")


class Doors(dynsecrets.Integration):
    """Leases keys to doors, and remembers which are out."""

    def __init__(self) -> None:
        super().__init__("doors")
        self.out: set[str] = set()

    def plan(self, config: dynsecrets.DynamicSecretConfig) -> dict[str, str]:
        """Name the door."""
        return {"door": config.name.lower()}

    def provision(self, plan: Mapping[str, str], config: Any, ttl: timedelta) -> dynsecrets.Grant:
        """Hand out the key."""
        self.out.add(plan["door"])
        return dynsecrets.Grant({"KEY": "of-brass"}, datetime.now(UTC) + ttl, dict(plan))

    def revoke(self, handle: Mapping[str, str]) -> None:
        """Take the key back."""
        self.out.discard(handle["door"])


def main() -> None:
    """Lease once, and see that it began and ended; fail loudly otherwise."""
    loaded = [name for name in LAZY if name in sys.modules]
    doors = Doors()
    config = dynsecrets.DynamicSecretConfig(name="CELLAR", integration=doors)
    manager = dynsecrets.LeaseManager(dynsecrets.MemoryLeaseStore())

    with dynsecrets.lease(config, ttl="1m", manager=manager) as creds:
        during = (creds["CELLAR_KEY"], set(doors.out))
    manager.close()

    problems = {
        "the version": version("dynsecrets") != dynsecrets.__version__,
        f"importing loaded {loaded}": bool(loaded),
        "the lease's value or state": during != ("of-brass", {"cellar"}),
        "the revocation": bool(doors.out),
    }
    found = [what for what, wrong in problems.items() if wrong]
    if found:
        sys.exit(f"the installed package is wrong: {', '.join(found)}")
    print(f"dynsecrets {dynsecrets.__version__} works from {dynsecrets.__path__[0]}")


if __name__ == "__main__":
    main()
