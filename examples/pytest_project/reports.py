"""The code under test: it reads monthly totals from S3, with whatever client it is given."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "reports"


def total(s3: S3Client, key: str) -> int:
    """Add up the totals of a report."""
    body: Any = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return sum(int(row["total"]) for row in csv.DictReader(io.StringIO(body.decode())))
