"""The suite for stores, as a third party uses it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dynsecrets.testing

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def run_suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], pytest.RunResult]:
    """Run the suite in a project of its own, on a store whose class has the given body; no plugins are there."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(dynsecrets.testing.__file__).parents[2]))

    def run(body: str) -> pytest.RunResult:
        pytester.makepyfile(
            f"""
            import attrs
            from dynsecrets import MemoryLeaseStore
            from dynsecrets.testing import LeaseStoreContract

            class Store(MemoryLeaseStore):
                {body}

            class TestStore(LeaseStoreContract):
                def make_store(self):
                    return Store()
            """
        )
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-q")

    return run


def test_needs_nothing_but_a_store(run_suite: Callable[[str], pytest.RunResult]) -> None:
    """A good store passes; what it can't do or doesn't have is skipped; the suite is not collected by itself."""
    result = run_suite("pass")

    outcomes = result.parseoutcomes()
    assert set(outcomes) == {"passed", "skipped"}
    assert outcomes["skipped"] == 2
    assert outcomes["passed"] > 30


@pytest.mark.parametrize(
    ("body", "failing"),
    [
        ("def due(self, now, *, integrations=None, limit=None): return []", "*test_is_due_by_state*"),
        ("def purge(self, before, *, limit=None): return 0", "*test_forgets_old_tombstones_only*"),
        (
            "def purge(self, before, *, limit=None): return super().purge(before)",
            "*test_forgets_as_many_as_it_is_asked_to*",
        ),
        ("def count_live(self, name): return 0", "*test_counts_what_lives*"),
        ("def update(self, record): return record", "*test_updates_to_the_next_version*"),
        ("def claim(self, lease_id, worker, until, now): return self.get(lease_id)", "*test_claims_for_one_worker*"),
        ("def records(self, **filters): return iter(list(super().records()))", "*test_lists_what_is_asked_for*"),
        (
            "def get(self, lease_id): return attrs.evolve(super().get(lease_id), stuck=False)",
            "*test_keeps_every_field*",
        ),
    ],
)
def test_finds_what_is_wrong(run_suite: Callable[[str], pytest.RunResult], body: str, failing: str) -> None:
    """A store that breaks a promise fails the test that names it, with the assertion explained."""
    result = run_suite(body)

    result.stdout.fnmatch_lines([f"FAILED {failing}"])
    result.stdout.fnmatch_lines(["E *assert *"])


def test_names_what_it_has() -> None:
    """The package lists its suite and knows no other names."""
    assert "LeaseStoreContract" in dir(dynsecrets.testing)
    with pytest.raises(AttributeError, match="Nothing"):
        _ = dynsecrets.testing.Nothing
