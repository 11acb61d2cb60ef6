"""The default manager: made when it is needed, one for the process, on the store that the environment names."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from dynsecrets import DynamicSecretConfig, InvalidConfig, LeaseManager, MemoryLeaseStore, SQLiteLeaseStore, lease
from dynsecrets.engine.manager import _default, default_manager
from support.fakes import FakeIntegration
from support.forking import in_child, needs_fork
from support.world import together

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start without a default manager, and close the one that the test made."""
    monkeypatch.setattr(_default, "_manager", None)
    yield
    if _default._manager is not None:
        _default._manager.close()


def test_the_environment_names_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``DYNSECRETS_STORE`` decides, when the manager is first used."""
    monkeypatch.setenv("DYNSECRETS_STORE", f"sqlite:///{tmp_path}/leases.db")

    store = default_manager().store

    assert isinstance(store, SQLiteLeaseStore)
    assert str(store.path) == f"{tmp_path}/leases.db"


def test_memory_is_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """``memory://`` keeps records in the process."""
    monkeypatch.setenv("DYNSECRETS_STORE", "memory://")

    assert isinstance(default_manager().store, MemoryLeaseStore)


def test_without_it_there_is_a_file(home: Path) -> None:
    """Without the variable it is a file in the user's state folder, which is not made before it is used."""
    store = default_manager().store

    assert isinstance(store, SQLiteLeaseStore)
    assert str(store.path).startswith(str(home))
    assert not home.exists()


def test_a_wrong_variable_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that can't be is an ``InvalidConfig`` that names the variable; the next try starts afresh."""
    monkeypatch.setenv("DYNSECRETS_STORE", "redis://localhost")
    with pytest.raises(InvalidConfig, match="DYNSECRETS_STORE"):
        default_manager()

    monkeypatch.setenv("DYNSECRETS_STORE", "memory://")
    assert isinstance(default_manager().store, MemoryLeaseStore)


def test_there_is_one_for_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that ask for it at the same moment get the same one."""
    monkeypatch.setenv("DYNSECRETS_STORE", "memory://")

    managers = together(*[default_manager] * 8)

    assert len({id(manager) for manager in managers}) == 1
    assert isinstance(managers[0], LeaseManager)


def test_blocks_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """``lease()`` without a manager leases from it, at the first entry and not before."""
    monkeypatch.setenv("DYNSECRETS_STORE", "memory://")
    integration = FakeIntegration()
    context = lease(DynamicSecretConfig("AWS_USER", integration, wait=None))
    before = _default._manager

    with context as leased:
        assert default_manager().get(leased.id).state == "active"

    assert before is None
    assert integration.live == {}


@needs_fork
def test_a_child_goes_on_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked child can ask for it, though a thread of the parent was just asking."""
    monkeypatch.setenv("DYNSECRETS_STORE", "memory://")
    manager = default_manager()
    held = threading.Lock()

    with _default._lock, held:
        same = in_child(lambda: default_manager() is manager)

    assert same
