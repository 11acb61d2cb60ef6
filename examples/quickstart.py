"""Lease an IAM user for the length of a block, and read one S3 object with it.

    python examples/quickstart.py [BUCKET KEY]

It uses the AWS account that boto3 finds; set ``AWS_ENDPOINT_URL`` for another endpoint.
"""

from __future__ import annotations

import sys

from dynsecrets import DynamicSecretConfig, Integration, lease


def main(bucket: str = "reports", key: str = "2026.csv") -> None:
    """Print the length of an object, read by a user that may read only that bucket."""
    aws = Integration.aws_iam()
    reader = DynamicSecretConfig(
        name="AWS_USER",
        integration=aws,
        policy={
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}],
        },
    )

    with lease(reader, ttl="15m") as creds:
        print(f"leased  {creds.username} until {creds.expires_at:%H:%M:%S} UTC")
        body = creds.session().client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        print(f"read    s3://{bucket}/{key}: {len(body)} bytes")
    print(f"revoked {creds.username}")


if __name__ == "__main__":
    main(*sys.argv[1:])
