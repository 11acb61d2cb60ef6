"""What a fleet that leases at internet scale needs of AWS: ``python -m benchmarks.simulation``."""

from __future__ import annotations
