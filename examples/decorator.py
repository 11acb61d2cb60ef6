"""Lease an IAM user for each call of a function, plain and async.

    python examples/decorator.py

It uses the AWS account that boto3 finds; set ``AWS_ENDPOINT_URL`` for another endpoint. The leased users call
only STS.
"""

from __future__ import annotations

import asyncio

from dynsecrets import DynamicSecretConfig, Integration, Lease, lease

# Without a policy, a leased user may only ask who it is.
nobody = DynamicSecretConfig("AWS_USER", Integration.aws_iam())


@lease(nobody, ttl="5m")
def whoami(greeting: str, lease: Lease) -> str:
    """Return who the leased user is. Callers pass ``greeting`` only; each call gets a new ``lease``."""
    arn: str = lease.session().client("sts").get_caller_identity()["Arn"]
    return f"{greeting} {arn.rpartition('/')[2]}"


@lease(nobody, ttl="5m")
async def whoami_async(greeting: str, lease: Lease) -> str:
    """Do the same without blocking the event loop."""
    sts = lease.session().client("sts")
    identity = await asyncio.to_thread(sts.get_caller_identity)
    return f"{greeting} {identity['Arn'].rpartition('/')[2]}"


async def main() -> None:
    """Make one plain call, then three async calls at the same time: four users."""
    print(await asyncio.to_thread(whoami, "plain"))
    for line in await asyncio.gather(*(whoami_async(f"async {number}") for number in range(3))):
        print(line)


if __name__ == "__main__":
    asyncio.run(main())
