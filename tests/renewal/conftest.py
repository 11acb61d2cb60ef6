"""What the tests of renewal share."""

from __future__ import annotations

from manager_support import world_fixture  # noqa: F401 - a fixture.
