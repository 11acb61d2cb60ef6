"""Leasing that is given up: nothing more is made, a key isn't waited for, and what is left is known."""

from __future__ import annotations

import pytest

from dynsecrets import DynsecretsError
from dynsecrets.engine.attempts import Attempt
from dynsecrets.engine.manager import engine_of
from support.world import Gate, World, started


def test_what_is_given_up_before_it_begins_makes_nothing(world: World) -> None:
    """Nothing is called for an attempt that nobody waits for any more."""
    attempt = Attempt()
    attempt.give_up()

    with pytest.raises(DynsecretsError, match="given up"):
        attempt.make(lambda: engine_of(world.manager).issue_held(world.config(), world.config().ttl(None)))

    assert world.integration.count("provision") == 0
    assert world.states() == []


def test_a_key_is_waited_for_no_longer(world: World) -> None:
    """Whoever gives up while a key doesn't work yet has it revoked at the next look, and the error says why."""
    attempt = Attempt()
    world.integration.answers.extend([False] * 1000)
    world.integration.fail("is_usable", None, attempt.give_up)
    engine, config = engine_of(world.manager), world.config(wait="usable")

    with pytest.raises(DynsecretsError, match="given up"):
        attempt.make(lambda: engine.issue_held(config, config.ttl(None)))

    assert world.integration.count("is_usable") == 2
    assert world.states() == ["revoked"]
    assert attempt.left(engine.is_live) == {}


def test_what_is_left_is_known_by_its_id(world: World) -> None:
    """A lease is left from before it is made until it is revoked."""
    attempt, gate = Attempt(), Gate()
    world.integration.fail("provision", gate)
    engine, config = engine_of(world.manager), world.config()
    join = started(lambda: attempt.make(lambda: engine.issue_held(config, config.ttl(None))))
    gate.until_reached()

    making = attempt.left(engine.is_live)
    gate.open()
    lease = join()
    made = attempt.left(engine.is_live)
    lease.revoke()

    assert making == made == {lease.id: "AWS_USER"}
    assert attempt.left(engine.is_live) == {}
