"""What is made anew in a forked child."""

from __future__ import annotations

import gc

from dynsecrets._internal.fork_safety import reset_after_fork
from support.forking import in_child, needs_fork

pytestmark = needs_fork


class Counter:
    """Counts the forks that it was told of."""

    def __init__(self) -> None:
        self.forks = 0
        reset_after_fork(self._after_fork)

    def _after_fork(self) -> None:
        """Count."""
        self.forks += 1


def test_children_are_told_and_parents_are_not() -> None:
    """Each object is told of the fork in the child, once, before the child's own code runs."""
    one, other = Counter(), Counter()

    in_the_child = in_child(lambda: (one.forks, other.forks))

    assert in_the_child == (1, 1)
    assert (one.forks, other.forks) == (0, 0)


def test_grandchildren_are_told_again() -> None:
    """A child that forks tells its own child."""
    counter = Counter()

    assert in_child(lambda: in_child(lambda: counter.forks)) == 2


def test_objects_are_not_kept_alive() -> None:
    """An object that nobody holds is forgotten, and not told."""
    told: list[str] = []

    class Teller(Counter):
        def _after_fork(self) -> None:
            told.append("told")

    Teller()
    gc.collect()

    assert in_child(lambda: told) == []
