"""A worker that runs for hours and doesn't know about leases: it uses boto3 as usual.

    dynsecrets run --renew -- python child.py [ROUNDS [PAUSE_S]]

boto3 asks the endpoint that ``dynsecrets`` serves on loopback for its key, and asks again before the key ends.
"""

from __future__ import annotations

import sys
import time

import boto3


def main(rounds: int = 1_000_000, pause_s: float = 60.0) -> None:
    """Print in each round who this is, and what it read."""
    session = boto3.Session()
    sts, s3 = session.client("sts"), session.client("s3")
    for _ in range(rounds):
        user = sts.get_caller_identity()["Arn"].rpartition("/")[2]
        body = s3.get_object(Bucket="reports", Key="2026.csv")["Body"].read()
        print(f"{user} read {len(body)} bytes", flush=True)
        time.sleep(pause_s)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:2]), *(float(word) for word in sys.argv[2:3]))
