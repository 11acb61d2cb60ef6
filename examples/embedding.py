"""A tool that leases inside, with its own manager, its own store, its own users, and events for its own metrics.

    python examples/embedding.py [STATE_FOLDER]

It uses the AWS account that boto3 finds; set ``AWS_ENDPOINT_URL`` for another endpoint. The leased users call
only STS.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dynsecrets import DynamicSecretConfig, Integration, LeaseManager, SQLiteLeaseStore, lease

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynsecrets import LeaseEvent


class Deployer:
    """Stands for the tool. Two of them in one process are independent of each other."""

    def __init__(self, state: Path, *, profile: str | None = None) -> None:
        # A path and a prefix of the tool's own: its users can be told apart, and its policy covers only them.
        aws = Integration.aws_iam(profile=profile, path="/deployer/", username_prefix="Deployer-")
        self.metrics = Counter[str]()
        self._config = DynamicSecretConfig("DEPLOY", aws, default_ttl="10m", max_active=20)
        # A store of its own: the default one, and DYNSECRETS_STORE, belong to the user's own programs.
        self._store = SQLiteLeaseStore(state / "leases.db")
        self._manager = LeaseManager(self._store, integrations=[aws], on_event=[self._count])

    def _count(self, event: LeaseEvent) -> None:
        """Count an event. The manager calls this in the thread that does the step, and logs what it raises."""
        self.metrics[event.type] += 1

    def deploy(self, target: str, *, ttl: str | None = None, tags: Mapping[str, Any] | None = None) -> str:
        """Do the work as a user of its own. The record says what for."""
        with lease(self._config, ttl, manager=self._manager, metadata={"target": target, **(tags or {})}) as creds:
            sts = creds.session().client("sts")
            arn: str = sts.get_caller_identity()["Arn"]
            return arn.rpartition("/")[2]

    def close(self) -> None:
        """Stop the background work, then close the store, which this tool has opened."""
        self._manager.close()
        self._store.close()

    def __enter__(self) -> Self:
        """Return the tool."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def main(state: str = "state") -> None:
    """Use the tool as its command line would."""
    with Deployer(Path(state)) as tool:
        for target in ("staging", "production"):
            print(f"deployed to {target} as {tool.deploy(target)}")
        print(f"issued {tool.metrics['issued']}, revoked {tool.metrics['revoked']}")


if __name__ == "__main__":
    main(*sys.argv[1:])
