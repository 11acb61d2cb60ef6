"""Revoke overdue leases of many accounts, whose records are in one store.

    python examples/fleet_reaper.py --store 'dynamodb://leases?region=eu-west-1' --account billing --account shop

Each ``--account`` is a profile of the AWS config file, and the name of the integration that leases in that account.
With ``--every SECONDS`` it runs until SIGTERM or Ctrl-C. Any number of reapers may run at the same time.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading

from dynsecrets import DynsecretsError, Integration, LeaseManager, open_store


def reap_all(manager: LeaseManager, integrations: list[Integration]) -> bool:
    """Reap account by account, so that a failing one doesn't stop the others; return whether all went well."""
    well = True
    for integration in integrations:
        try:
            report = manager.reap(integrations=[integration])
        except DynsecretsError as error:
            print(f"{integration.name}: {error}", file=sys.stderr)
            well = False
        else:
            print(f"{integration.name}: {len(report.revoked)} revoked, {len(report.failed)} failed", flush=True)
            well = well and not report.failed
    return well


def main() -> int:
    """Reap once, or again and again; return 1 if the last round left something behind."""
    parser = argparse.ArgumentParser(description="Revoke overdue leases of many accounts.")
    parser.add_argument("--store", help="its URL (default: what DYNSECRETS_STORE says)")
    parser.add_argument("--account", action="append", required=True, metavar="PROFILE", help="can be given again")
    parser.add_argument("--every", type=float, metavar="SECONDS", help="go on, with this pause (default: once)")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())

    integrations: list[Integration] = [Integration.aws_iam(name, profile=name) for name in options.account]
    with contextlib.closing(open_store(options.store)) as store, LeaseManager(store) as manager:
        well = reap_all(manager, integrations)
        while options.every is not None and not stop.wait(options.every):
            well = reap_all(manager, integrations)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
