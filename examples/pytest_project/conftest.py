"""What the tests lease: a user with the policy that the program has in production, for as long as a test takes.

    cd examples/pytest_project && python -m pytest

The same tests run on your own account, on a server (``AWS_ENDPOINT_URL``), or on moto's mock in memory
(``EXAMPLE_MOCK=1``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import boto3
import pytest
import reports

from dynsecrets import DynamicSecretConfig, Integration

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION = "us-east-1"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{reports.BUCKET}/*"}],
}


@pytest.fixture(scope="session")
def region() -> Iterator[str]:
    """The region to work in, of the real AWS or of a mock."""
    if not os.environ.get("EXAMPLE_MOCK"):
        yield REGION
        return
    from moto import mock_aws

    with mock_aws():
        s3 = boto3.client("s3", region_name=REGION)
        s3.create_bucket(Bucket=reports.BUCKET)
        s3.put_object(Bucket=reports.BUCKET, Key="2026.csv", Body=b"month,total\n1,42\n")
        yield REGION


@pytest.fixture(scope="session")
def dynsecrets_config(region: str) -> DynamicSecretConfig:
    """What ``dynsecrets_user`` leases. One for the session, so that leases can be made in advance."""
    return DynamicSecretConfig("AWS_USER", Integration.aws_iam(region=region), policy=POLICY)
