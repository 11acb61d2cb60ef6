"""Measurements of what a lease costs, each beside its baseline in the same run: ``python -m benchmarks``."""

from __future__ import annotations
