"""What the names of a first program load, beside the package itself."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from support.places import ROOT

#: What takes long to load, and what a program needs only once it calls AWS, opens a store or has an event loop.
HEAVY = ("asyncio", "boto3", "botocore", "sqlite3", "ssl")


@pytest.mark.parametrize("names", ["DynamicSecretConfig, Integration, lease", "LeasePool, renewing, LeaseManager"])
def test_first_names_load_nothing_heavy(names: str) -> None:
    """A program that leases without an event loop doesn't pay for one, nor for what it has not used yet."""
    code = (
        f"import json, sys; before = set(sys.modules); from dynsecrets import {names}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert [module for module in HEAVY if module in json.loads(done.stdout)] == []
