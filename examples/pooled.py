"""Give each request a user of its own without a wait: a pool keeps users ready, and a decorator hands them out.

    python examples/pooled.py

It uses the AWS account that boto3 finds; set ``AWS_ENDPOINT_URL`` for another endpoint. The leased users call
only STS.
"""

from __future__ import annotations

from dynsecrets import DynamicSecretConfig, Integration, Lease, LeasePool

# Without a policy, a leased user may only ask who it is.
nobody = DynamicSecretConfig("AWS_USER", Integration.aws_iam())
# The pool begins to fill here, in the background.
pool = LeasePool(nobody, size=3, ttl="10m")


@pool.lease()
def handle(request: int, lease: Lease) -> str:
    """Answer a request as a user of its own. Callers pass ``request`` only; the pool adds ``lease``."""
    arn: str = lease.session().client("sts").get_caller_identity()["Arn"]
    return f"request {request} was handled by {arn.rpartition('/')[2]}"


def main() -> None:
    """Handle a few requests. At the end, unused leases are revoked."""
    with pool:
        for request in range(5):
            print(handle(request))


if __name__ == "__main__":
    main()
