"""For those who test what they build on this library: a third party and a clock in memory, and the suite for stores.

The suite needs pytest, which is loaded when it is first asked for; nothing else here does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynsecrets.testing.fake_clock import FakeClock
    from dynsecrets.testing.memory_integration import Call, MemoryIntegration, MemoryUser
    from dynsecrets.testing.store_contract.suite import LeaseStoreContract
    from dynsecrets.testing.types import LeaseFactory

__all__ = ["Call", "FakeClock", "LeaseFactory", "LeaseStoreContract", "MemoryIntegration", "MemoryUser"]

# Where each public name lives.
_HOMES = {
    "Call": "memory_integration",
    "FakeClock": "fake_clock",
    "LeaseFactory": "types",
    "LeaseStoreContract": "store_contract.suite",
    "MemoryIntegration": "memory_integration",
    "MemoryUser": "memory_integration",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    if name == "LeaseStoreContract":
        import pytest

        # Before the import, so that a failed assertion of the suite is explained like one of the caller's own.
        pytest.register_assert_rewrite(
            *(f"{__name__}.store_contract.{part}" for part in ("suite", "kit", "claims", "writes"))
        )
    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Name what can be imported, loaded or not."""
    return sorted({*globals(), *__all__})
