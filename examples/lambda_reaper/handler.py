"""Revoke overdue leases of a fleet, as an AWS Lambda function that EventBridge Scheduler calls.

``DYNSECRETS_STORE`` names the table, ``dynamodb://dynsecrets-leases?region=eu-west-1``. How to deploy it, with its two
policies, is in ``docs/how-to/reap-on-a-schedule.md``.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from dynsecrets import Integration, LeaseManager, open_store

# The same name, path and prefix as in the program that leases. AWS is not called here.
aws = Integration.aws_iam()

#: The most to revoke in one run, so that it ends within the function's five minutes; the next run does the rest.
MOST = 500


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001 - Lambda gives two arguments.
    """Revoke what is overdue. Fail if something could not be revoked: an alarm on errors tells a person."""
    # Without the variable, the store would be an empty file of this function, where nothing is ever due.
    with contextlib.closing(open_store(os.environ["DYNSECRETS_STORE"])) as store, LeaseManager(store) as manager:
        report = manager.reap(integrations=[aws], limit=MOST)
    print(f"revoked {len(report.revoked)}, failed {len(report.failed)}, skipped {len(report.skipped)}")
    if report.failed:
        msg = f"{len(report.failed)} leases could not be revoked, among them {', '.join(report.failed[:5])}"
        raise RuntimeError(msg)
    return {"revoked": len(report.revoked), "skipped": len(report.skipped)}
