"""What workers of pytest-xdist left that crashed: found in the store, revoked, and counted as leaked.

A worker tells what it leased when it ends. Until then a file of its own, in a folder that only this session knows, says
who it is and with what integrations it leases: it is written before the first lease is, so a crash at any moment is
found. The records themselves are not believed in what is to be deleted: an integration that is made like the worker's
own deletes what it calls its own, and nothing else.
"""

from __future__ import annotations

import json
import pkgutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from dynsecrets._internal.log import logger
from dynsecrets.engine.manager import LeaseManager
from dynsecrets.engine.process_identity import ProcessState, current_owner, liveness
from dynsecrets.model.capabilities import Remakeable
from dynsecrets.model.integration import Integration
from dynsecrets.pytest_plugin.report import Leak, Totals

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from dynsecrets.stores.base import LeaseStore

_LEFT: Final = "left by a worker that crashed"


@attrs.frozen
class CrashedWorker:
    """A worker that ended without telling what it leased: its process, and integrations like its own."""

    owner: str
    integrations: tuple[Integration, ...] = ()


class Announcement:
    """The file in which a worker tells who it is and what it leases with, until it has told the rest. Thread-safe."""

    def __init__(self, folder: str, worker: str) -> None:
        self._path = Path(folder) / f"{worker}.json"
        self._owner = str(current_owner())
        self._lock = threading.Lock()
        self._known: dict[str, Integration] = {}

    def add(self, integration: Integration) -> None:
        """Tell that the worker leases with an integration."""
        with self._lock:
            if integration.name in self._known:
                return
            self._known[integration.name] = integration
            recipes = [_recipe(known) for known in self._known.values() if isinstance(known, Remakeable)]
            self._write(json.dumps({"owner": self._owner, "integrations": recipes}))

    def _write(self, text: str) -> None:
        """Replace the file as a whole: the worker may crash while it writes."""
        new = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            new.write_text(text, encoding="utf-8")
            new.replace(self._path)
        except OSError as error:
            logger.error("What this worker leases can't be told, should it crash: %s", error)


def crashed_workers(folder: str, finished: Collection[str]) -> list[CrashedWorker]:
    """Return the workers that leased and are not among the ``finished``, and remove the folder."""
    place = Path(folder)
    crashed = []
    for path in sorted(place.glob("*")):
        if path.suffix == ".json" and path.stem not in finished:
            told = json.loads(path.read_text(encoding="utf-8"))
            crashed.append(CrashedWorker(str(told["owner"]), tuple(_remake(told["integrations"]))))
        path.unlink()
    if place.exists():
        place.rmdir()
    return crashed


def account(store: LeaseStore, workers: Collection[CrashedWorker], reaped: Collection[str] = ()) -> Totals:
    """Count what these workers leased, and revoke what is left of it.

    ``reaped`` are the leases that other workers found and revoked.
    """
    owners = {worker.owner for worker in workers if liveness(worker.owner) is ProcessState.GONE}
    known = {integration.name: integration for worker in workers for integration in worker.integrations}
    found = [record for record in store.records() if record.owner in owners]
    lost = [record for record in found if record.live and record.ended_at is None]

    manager = LeaseManager(store, integrations=known.values())
    try:
        report = manager.revoke_many(record for record in lost if record.integration in known)
    finally:
        # What failed just now would not do better at once.
        manager.close(revoke=False)
    fates = {
        **{record.id: "the next run that leases revokes it" for record in lost},
        **dict.fromkeys((*report.revoked, *report.skipped), "revoked now"),
        **{record.id: "revoked by another worker" for record in found if record.id in reaped},
    }
    leaks = [
        Leak.of(record, known.get(record.integration), f"{_LEFT}; {fates[record.id]}")
        for record in found
        if record.id in fates
    ]
    return Totals(issued=len(found), revoked=len(found) - len(leaks), leaks=leaks)


def _recipe(integration: Remakeable) -> tuple[str, Mapping[str, Any]]:
    kind = type(integration)
    return f"{kind.__module__}:{kind.__qualname__}", integration.settings()


def _remake(recipes: Collection[tuple[str, Mapping[str, Any]]]) -> Iterator[Integration]:
    """Make integrations like those of a worker, where that can be done here."""
    for name, settings in recipes:
        try:
            made = pkgutil.resolve_name(name)(**settings)
        except Exception as error:  # Its class is one of a test module, say.
            logger.error("An integration of a crashed worker can't be made here: %s", type(error).__name__)
            continue
        if isinstance(made, Integration):
            yield made
