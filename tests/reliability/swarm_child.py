"""A process of a swarm on one store and one account: ``swarm_child.py issue|reap PLACE NUMBER``. Not a test."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from datetime import timedelta

from dynsecrets import DynamicSecretConfig, DynsecretsError, LeaseManager, lease
from reliability.places import Place


def issue(place: Place, number: int) -> None:
    """Issue leases: a third is revoked, a third expires, and a third is left behind by a process that just ends."""
    integration = place.integration()
    manager = LeaseManager(place.open_store())
    config = DynamicSecretConfig("AWS_USER", integration, wait=None)
    short = [manager.issue(config, "1s") for _ in range(number // 3)]
    for leased in manager.issue_many(config, number // 3):
        leased.revoke()
    manager.close(revoke=False)
    other = LeaseManager(place.open_store())
    for _ in range(number - 2 * (number // 3)):
        lease(config, manager=other).__enter__()
    for leased in short:
        # By now it may be somebody else's: whoever is asked says that it is gone.
        other.revoke(leased.id)


def reap(place: Place, _number: int) -> None:
    """Reap until the input ends; tell what was revoked."""
    integration = place.integration()
    revoked: list[str] = []
    with LeaseManager(place.open_store()) as manager:
        for _line in sys.stdin:
            with suppress(DynsecretsError):
                revoked += manager.reap(integrations=[integration], abandoned_after=timedelta(minutes=2)).revoked
            print(json.dumps(revoked), flush=True)


if __name__ == "__main__":
    _, _action, _place, _number = sys.argv
    {"issue": issue, "reap": reap}[_action](Place(**json.loads(_place)), int(_number))
