"""The events of a lease's life, for auditing and metrics. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from dynsecrets.model.timestamps import to_milliseconds

if TYPE_CHECKING:
    from datetime import datetime

#: The steps that are told, in the order in which a lease can meet them.
EVENT_TYPES: Final = (
    "requested",
    "issued",
    "usable",
    "issue_failed",
    "renewed",
    "expired",
    "revoked",
    "released",
    "revoke_failed",
    "reaped",
)


@attrs.frozen(kw_only=True)
class LeaseEvent:
    """One step of a lease's life; it holds no secret.

    Attributes:
        type: The step: ``"requested"``, ``"issued"``, ``"usable"``, ``"issue_failed"``, ``"renewed"``, ``"expired"``,
            ``"revoked"``, ``"released"`` (it was given back, and ends by itself later), ``"revoke_failed"`` or
            ``"reaped"``.
        lease_id: The lease's id.
        name: The dynamic secret's name.
        integration: The integration's name.
        actor: Who did it: user, host and process.
        time: When, an aware UTC datetime, by the service's clock where it is known.
        expires_at: The lease's end, where it is known.
        error: What went wrong, where something did.
    """

    type: str
    lease_id: str
    name: str
    integration: str
    actor: str
    time: datetime
    expires_at: datetime | None = None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what can be written as JSON.

        Returns:
            The fields that are known, with times as text.
        """
        fields = {
            "time": to_milliseconds(self.time),
            "type": self.type,
            "lease_id": self.lease_id,
            "name": self.name,
            "integration": self.integration,
            "actor": self.actor,
            "expires_at": None if self.expires_at is None else to_milliseconds(self.expires_at),
            "error": self.error,
        }
        return {key: value for key, value in fields.items() if value is not None}
