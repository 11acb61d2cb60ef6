"""The suite that every store must pass, run on this one.

python -m pytest examples/custom_store
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from json_store import JSONFolderStore

from dynsecrets.testing import LeaseStoreContract

if TYPE_CHECKING:
    from dynsecrets import LeaseStore


class TestJSONFolderStore(LeaseStoreContract):
    """All of it; what corrupts a record makes the tests of unreadable records run, too."""

    def make_store(self) -> LeaseStore:
        """Return a store on a new folder."""
        return JSONFolderStore(Path(tempfile.mkdtemp()))

    def corrupt(self, store: LeaseStore, lease_id: str) -> None:
        """Make one record unreadable behind the store's back."""
        folder: Path = store._folder  # type: ignore[attr-defined]  # noqa: SLF001 - behind its back is the point.
        folder.joinpath(f"{lease_id}.json").write_text("{")
