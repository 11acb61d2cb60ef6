"""Connections to third parties that provision and revoke leases. Only this folder knows AWS."""

from __future__ import annotations
