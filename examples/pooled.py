"""A user of its own for each request, without the wait: a pool has them ready, and a decorator hands them out.

    python examples/pooled.py

It uses the AWS account that boto3 finds; set ``AWS_ENDPOINT_URL`` for another endpoint. Nothing but STS is called
with the leased users.
"""

from __future__ import annotations

from dynsecrets import DynamicSecretConfig, Integration, Lease, LeasePool

# Without a policy a leased user may do nothing but ask who it is.
nobody = DynamicSecretConfig("AWS_USER", Integration.aws_iam())
# Filling begins here, in the background.
pool = LeasePool(nobody, size=3, ttl="10m")


@pool.lease()
def handle(request: int, lease: Lease) -> str:
    """Answer a request as a user that nobody else is. Callers give ``request`` only; ``lease`` is filled in."""
    arn: str = lease.session().client("sts").get_caller_identity()["Arn"]
    return f"request {request} was handled by {arn.rpartition('/')[2]}"


def main() -> None:
    """Handle a few requests; at the end, what was never used is revoked."""
    with pool:
        for request in range(5):
            print(handle(request))


if __name__ == "__main__":
    main()
