"""What a test session leased: counted, told at its end, and passed on by the workers of pytest-xdist."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dynsecrets.model.events import LeaseEvent
    from dynsecrets.model.integration import Integration
    from dynsecrets.model.lease import Lease
    from dynsecrets.model.record import LeaseRecord


def current_test() -> str:
    """Return the node id of the test that runs, is set up or torn down just now; empty between tests."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]


@attrs.frozen(kw_only=True)
class Leak:
    """A lease that was left at the end of the session: of which secret and test, what it is, and what became of it."""

    lease_id: str
    name: str = ""
    test: str = ""
    what: str = ""
    fate: str = ""

    @classmethod
    def of(cls, record: LeaseRecord, integration: Integration | None, fate: str) -> Leak:
        """Return the leak of a lease by its record, which names the test."""
        what = "" if integration is None else integration.describe(record.handle)
        test = str(record.metadata.get("test", ""))
        return cls(lease_id=record.id, name=record.name, test=test, what=what, fate=fate)

    def __str__(self) -> str:
        """Return a line for people."""
        of = f" of {self.name}" if self.name else ""
        what = f" ({self.what})" if self.what else ""
        by = f", leased by {self.test}" if self.test else ""
        return f"{self.lease_id}{of}{what}{by}: {self.fate}"


@attrs.define
class Totals:
    """The counts of a session, or of one process of it. What is leaked is counted as issued, but not as revoked."""

    issued: int = 0
    revoked: int = 0
    #: Leases of earlier runs, or of workers that crashed, that were found and revoked.
    reaped: list[str] = attrs.field(factory=list)
    leaks: list[Leak] = attrs.field(factory=list)

    def __bool__(self) -> bool:
        """Tell whether there is anything to say."""
        return bool(self.issued or self.reaped or self.leaks)

    def add(self, other: Totals) -> None:
        """Count what another process did."""
        self.issued += other.issued
        self.revoked += other.revoked
        self.reaped += other.reaped
        self.leaks += other.leaks

    def dump(self) -> dict[str, Any]:
        """Return what xdist can send."""
        return {
            "issued": self.issued,
            "revoked": self.revoked,
            "reaped": self.reaped,
            "leaks": [attrs.asdict(leak) for leak in self.leaks],
        }

    @classmethod
    def load(cls, sent: dict[str, Any]) -> Totals:
        """Read what a worker has sent."""
        return cls(
            issued=int(sent["issued"]),
            revoked=int(sent["revoked"]),
            reaped=list(sent["reaped"]),
            leaks=[Leak(**leak) for leak in sent["leaks"]],
        )

    def line(self) -> str:
        """Return the line that ends the session."""
        leases = "lease" if self.issued == 1 else "leases"
        line = f"dynsecrets: {self.issued} {leases} issued, {self.revoked} revoked, {len(self.leaks)} leaked"
        return f"{line}; {len(self.reaped)} of an earlier run revoked" if self.reaped else line


class Ledger:
    """Counts what is issued and revoked in one process. Thread-safe.

    It listens to the manager of the plugin, and the factory tells it of leases of other managers too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._issued: dict[str, str] = {}
        self._tests: dict[str, str] = {}
        #: What people know live leases by.
        self._whats: dict[str, str] = {}
        self._open: set[str] = set()
        self._reaped: dict[str, None] = {}
        #: What the plugin's own manager told of; the rest is of managers of the project's own.
        self._heard: set[str] = set()
        #: Leases of the factory that were not revoked yet.
        self._leases: dict[str, Lease] = {}

    def __call__(self, event: LeaseEvent) -> None:
        """Listen to a manager."""
        with self._lock:
            if event.type == "issued" or (event.type == "revoke_failed" and event.lease_id not in self._issued):
                # What could not be rolled back was never handed out, and is there all the same.
                self._issued.setdefault(event.lease_id, event.name)
                self._open.add(event.lease_id)
                self._heard.add(event.lease_id)
            elif event.type in {"revoked", "released"}:
                self._open.discard(event.lease_id)
            elif event.type == "reaped" and event.lease_id not in self._issued:
                self._reaped[event.lease_id] = None

    def begun(self, lease_id: str, test: str, what: str) -> None:
        """Register what a lease will be that is about to be made."""
        with self._lock:
            self._tests[lease_id] = test
            self._whats[lease_id] = what

    def issued(self, lease: Lease, test: str) -> None:
        """Count a lease of the factory."""
        with self._lock:
            self._issued.setdefault(lease.id, lease.name)
            self._tests[lease.id] = test
            self._leases[lease.id] = lease
            if not lease.revoked:
                self._open.add(lease.id)

    def revoked(self, lease: Lease) -> None:
        """Count a lease as revoked."""
        with self._lock:
            self._open.discard(lease.id)
            self._leases.pop(lease.id, None)

    def left(self, *, heard: bool) -> dict[str, Lease | None]:
        """Return what is not revoked, of the plugin's own manager or of others; with the factory's leases."""
        with self._lock:
            left = [each for each in self._issued if each in self._open and (each in self._heard) == heard]
            return {lease_id: self._leases.get(lease_id) for lease_id in left}

    def leaks(self, left: Iterable[str], fates: dict[str, str]) -> list[Leak]:
        """Return what was left as leaks, each with its fate."""
        with self._lock:
            return [
                Leak(
                    lease_id=each,
                    name=self._issued.get(each, ""),
                    test=self._tests.get(each, ""),
                    what=self._whats.get(each, ""),
                    fate=fates[each],
                )
                for each in left
            ]

    def totals(self, leaks: list[Leak]) -> Totals:
        """Return the counts."""
        with self._lock:
            return Totals(len(self._issued), len(self._issued) - len(leaks), list(self._reaped), leaks)
