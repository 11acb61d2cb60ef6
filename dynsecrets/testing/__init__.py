"""For those who test what they build on this library: the suite that every store must pass.

Needs pytest, which is loaded when a name is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynsecrets.testing.store_contract import LeaseStoreContract

__all__ = ["LeaseStoreContract"]


def __getattr__(name: str) -> object:
    """Load the suite when it is first asked for."""
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    import pytest

    # Before the import, so that a failed assertion of the suite is explained like one of the caller's own.
    pytest.register_assert_rewrite(
        *(f"{__name__}.{part}" for part in ("store_contract", "store_kit", "store_work", "store_writing"))
    )
    from dynsecrets.testing.store_contract import LeaseStoreContract

    globals()[name] = LeaseStoreContract
    return LeaseStoreContract


def __dir__() -> list[str]:
    """Name what can be imported, loaded or not."""
    return sorted({*globals(), *__all__})
