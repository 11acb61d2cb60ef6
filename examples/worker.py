"""Work for hours on leases of ten minutes, with one S3 client that follows every renewal.

    python examples/worker.py [--bucket reports] [--ttl 10m] [--every 30] [--rounds N]

It uses the AWS account that boto3 finds; set ``AWS_ENDPOINT_URL`` for another endpoint. Without ``--rounds`` it runs
until Ctrl-C or SIGTERM, and revokes its lease before it ends.
"""

from __future__ import annotations

import argparse
import signal
import threading

from dynsecrets import DynamicSecretConfig, DynsecretsError, Integration, Lease, renewing


def say(text: str) -> None:
    """Print a line in one piece, because the renewer's thread prints too."""
    print(f"{text}\n", end="", flush=True)


def config_for(bucket: str) -> DynamicSecretConfig:
    """Return the recipe of a user that may only list one bucket."""
    statement = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    return DynamicSecretConfig("AWS_USER", Integration.aws_iam(), policy)


def renewed(fresh: Lease) -> None:
    """Report that another user took over. The renewer calls this in a background thread."""
    say(f"renewed {fresh.username}")


def failed(error: BaseException) -> None:
    """Report a failed renewal. The current lease serves on, and the attempts go on. Alert somebody here."""
    say(f"failed  {error}")


def main() -> None:
    """List the bucket again and again."""
    parser = argparse.ArgumentParser(description="Look into a bucket again and again, on leases that are renewed.")
    parser.add_argument("--bucket", default="reports")
    parser.add_argument("--ttl", default="10m", help="of each lease (default: 10m)")
    parser.add_argument("--every", type=float, default=30.0, metavar="SECONDS")
    parser.add_argument("--rounds", type=int, default=None, metavar="N", help="how often (default: until Ctrl-C)")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())

    with renewing(config_for(options.bucket), options.ttl, on_renew=renewed, on_error=failed) as renewer:
        say(f"leased  {renewer.current.username}")
        s3 = renewer.session().client("s3")
        done = 0
        while done != options.rounds and not stop.is_set():
            done += 1
            try:
                count = s3.list_objects_v2(Bucket=options.bucket)["KeyCount"]
                say(f"round {done}: {count} objects")
            except DynsecretsError as error:
                # The lease is over, and AWS may be out of reach. The next round may work again.
                say(f"round {done}: {error}")
            stop.wait(options.every)
    say("revoked")


if __name__ == "__main__":
    main()
