"""Whether boto3's calls of this process are answered by moto's ``mock_aws`` just now. Loads nothing of moto."""

from __future__ import annotations

import sys


def in_mock() -> bool:
    """Tell whether a ``mock_aws`` is active, in whatever thread: it holds for the process."""
    models = sys.modules.get("moto.core.models")
    return bool(getattr(getattr(models, "botocore_stubber", None), "enabled", False))
