"""Running the scripts of the examples and of the documentation, as somebody would who has just read them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from support.places import ROOT
from support.processes import clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from support.accounts import Account

#: What the examples read.
BUCKET: Final = "reports"
KEY: Final = "2026.csv"
REPORT: Final = b"month,total\n1,42\n"


@contextlib.contextmanager
def reports(account: Account) -> Iterator[None]:
    """Have the bucket and the object that examples read, while the block runs."""
    s3 = account.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=REPORT)
    try:
        yield
    finally:
        s3.delete_object(Bucket=BUCKET, Key=KEY)
        s3.delete_bucket(Bucket=BUCKET)


def run_python(
    arguments: list[str], folder: Path, environment: Mapping[str, str], *, warnings: str = "error"
) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with this environment and nothing of AWS's or the library's variables beside it."""
    paths = os.pathsep.join((str(folder), str(ROOT)))
    return subprocess.run(
        [sys.executable, "-W", warnings, *arguments],
        env=clean_environment(PYTHONPATH=paths, PYTHONIOENCODING="utf-8", **environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
