"""Several leases at once: all of them or none, whatever fails, and whoever interrupts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsecrets import (
    DynamicSecretConfig,
    DynsecretsError,
    InvalidConfig,
    InvalidTTL,
    LeaseManager,
    MemoryLeaseStore,
    PermissionDenied,
    ProvisionError,
    RevocationError,
)
from dynsecrets._internal import concurrency
from dynsecrets.engine.batch import lease_all, revoke_all
from dynsecrets.engine.manager import engine_of
from support.fakes import PATIENCE_S, FakeIntegration
from support.places import PROGRAMS, ROOT
from support.processes import clean_environment, wait_until
from support.stubborn import stubborn_world
from support.world import Gate, World, together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dynsecrets import Lease
    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
    from support.accounts import Account
    from support.proxy import Proxy

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent between threads")
NAMES = ("ONE", "TWO", "THREE")


def configs(world: World, *names: str, **options: Any) -> list[DynamicSecretConfig]:
    """Return configs of these names."""
    return [world.config(name=name, **options) for name in names or NAMES]


def lease_some(world: World, ttl: Any = None, *, held: bool = False) -> dict[str, Lease]:
    """Lease one of each."""
    return lease_all(engine_of(world.manager), configs(world), ttl, held=held)


def nothing_is_left(world: World) -> bool:
    """Tell whether nothing lives and no record says otherwise."""
    return not world.integration.live and set(world.states()) <= {"revoked"}


@pytest.mark.parametrize("held", [True, False])
def test_one_lease_of_each(world: World, held: bool) -> None:
    """Each config has its lease, by its name and in order, with the TTL that was asked for, held or not."""
    leases = lease_some(world, "15m", held=held)

    assert [(name, lease.name) for name, lease in leases.items()] == [(name, name) for name in NAMES]
    for lease in leases.values():
        record = world.manager.get(lease.id)
        assert (record.state, record.held) == ("active", held)
        assert (lease.expires_at - lease.issued_at).total_seconds() == 900


def test_they_are_made_at_the_same_time(world: World) -> None:
    """Each is being made while the others are."""
    barrier = threading.Barrier(3, timeout=PATIENCE_S)
    world.integration.fail("provision", *[barrier.wait] * 3)

    assert len(lease_some(world)) == 3


def test_nothing_is_made_of_nothing(world: World) -> None:
    """No configs, no leases, no calls."""
    assert lease_all(engine_of(world.manager), [], "1h", held=True) == {}
    assert world.integration.calls == []


def test_if_one_cannot_be_had_the_others_are_revoked(world: World) -> None:
    """The one error is raised as it is, when nothing lives any more."""
    error = ProvisionError("no more of these")
    world.integration.fail("provision", None, None, error)

    with pytest.raises(ProvisionError, match="no more of these") as caught:
        lease_some(world)

    assert caught.value is error
    assert nothing_is_left(world)


def test_what_is_still_being_made_is_waited_for_and_revoked() -> None:
    """One that comes after another has failed is revoked too, and what hasn't begun by then doesn't begin."""
    with World(max_workers=2) as world:
        gate = Gate()

        def fail() -> NoReturn:
            gate.until_reached()
            # Done by this same thread, the only one that is free, when it is through with what fails here.
            world.manager._engine.submit(gate.open)
            raise PermissionDenied("no")

        world.integration.fail("provision", gate, fail)

        with pytest.raises(PermissionDenied):
            lease_all(engine_of(world.manager), configs(world, *NAMES, "FOUR", "FIVE"), None, held=False)

        assert nothing_is_left(world)
        assert world.integration.count("provision") == 2


def test_a_failed_revocation_is_a_note_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The error that is raised is the one that came first; what is left is said, logged, and tried again."""
    with stubborn_world() as world:

        def fail() -> NoReturn:
            wait_until(lambda: len(world.integration.live) == 2, "the others are made")
            raise ProvisionError("no more of these")

        world.integration.refusals = 1
        world.integration.fail("provision", None, None, fail)

        with pytest.raises(ProvisionError, match="no more of these") as caught:
            lease_some(world)

        (note,) = caught.value.__notes__
        assert note.startswith("lease ")
        assert "could not be revoked" in note
        assert any("not now" in record.message for record in caplog.records)
        world.integration.refusals = 0
        world.advance(600)
        assert nothing_is_left(world)


@pytest.mark.parametrize("ttl", ["soon", 0, -1, "30", True, 1.5, "200d"])
def test_an_invalid_ttl_is_refused_first(world: World, ttl: Any) -> None:
    """Before anything is leased."""
    with pytest.raises(InvalidTTL):
        lease_some(world, ttl)

    assert world.integration.calls == []


def test_a_ttl_must_suit_all_configs(world: World) -> None:
    """A TTL that is too long for one of them is refused before anything is leased, and the error names it."""
    wanted = [world.config(name="ONE"), world.config(name="TWO", max_ttl="1h")]

    with pytest.raises(InvalidTTL, match=r"^TWO: TTL '2h' is too long: at most 1h \(max_ttl\)"):
        lease_all(engine_of(world.manager), wanted, "2h", held=False)

    assert world.integration.calls == []


def test_two_of_one_name_are_refused(world: World) -> None:
    """Leases are told apart by the names of their configs."""
    with pytest.raises(InvalidConfig, match="two dynamic secrets are called ONE"):
        lease_all(engine_of(world.manager), configs(world, "ONE", "TWO", "ONE"), None, held=False)

    assert world.integration.calls == []


def test_a_closed_manager_leases_nothing(world: World) -> None:
    """The error of the manager is raised."""
    world.manager.close()

    with pytest.raises(DynsecretsError, match="this LeaseManager is closed"):
        lease_some(world)

    assert world.integration.calls == []


def test_a_worker_of_the_manager_can_do_it() -> None:
    """Called from the manager's own pool, however small, it doesn't wait for itself."""
    with World(max_workers=1) as world:
        future = engine_of(world.manager).submit(lambda: lease_some(world))

        assert len(future.result(PATIENCE_S)) == 3


def test_a_worker_of_the_manager_gives_back_too() -> None:
    """The same where one fails there."""
    with World(max_workers=1) as world:
        world.integration.fail("provision", None, None, ProvisionError("no more of these"))

        future = engine_of(world.manager).submit(lambda: lease_some(world))

        with pytest.raises(ProvisionError):
            future.result(PATIENCE_S)
        assert nothing_is_left(world)


def test_two_at_once_do_not_mix(world: World) -> None:
    """Of two that run side by side, the one that fails gives back its own leases only."""
    failing = FakeIntegration("failing", clock=world.clock)
    failing.fail("provision", ProvisionError("no more of these"))
    bad = [*configs(world), world.config(name="BAD", integration=failing)]

    good, error = together(
        lambda: lease_some(world), lambda: lease_all(engine_of(world.manager), bad, None, held=False)
    )

    assert isinstance(error, ProvisionError)
    assert {lease.is_valid() for lease in good.values()} == {True}
    assert len(world.integration.live) == 3


@given(fails=st.lists(st.booleans(), min_size=1, max_size=6), workers=st.integers(1, 4), after=st.booleans())
def test_all_or_nothing_whichever_fail(fails: list[bool], workers: int, after: bool) -> None:
    """Whichever fail, before or after they were made, and however few threads there are: all live, or none."""
    with World(max_workers=workers) as world:
        errors = [ProvisionError("no") if fail else None for fail in fails]
        world.integration.fail("provisioned" if after else "provision", *errors)
        wanted = configs(world, *[f"NAME_{number}" for number in range(len(fails))])
        expected = 0 if any(fails) else len(fails)

        try:
            lease_all(engine_of(world.manager), wanted, None, held=False)
        except ProvisionError:
            assert expected == 0

        assert len(world.integration.live) == expected
        assert world.states().count("active") == expected


class Interrupts:
    """Signals that raise in the main thread, sent as often as it takes to get there."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error
        self._main = threading.get_ident()
        self._wanted = 0
        self.raised = 0

    def handle(self, number: int, frame: object) -> None:
        """Raise, once for each time it was wanted."""
        if self.raised < self._wanted:
            self.raised += 1
            raise self._error

    def send(self) -> None:
        """Interrupt the main thread; return when it is."""
        self._wanted += 1
        wanted = self._wanted

        def arrived() -> bool:
            if self.raised < wanted:
                signal.pthread_kill(self._main, signal.SIGUSR1)
            return self.raised >= wanted

        wait_until(arrived, "the main thread is interrupted")


@pytest.fixture(params=[KeyboardInterrupt, SystemExit])
def interrupts(request: pytest.FixtureRequest) -> Iterator[Interrupts]:
    """Interrupts of the test's own thread."""
    interrupts = Interrupts(request.param)
    before = signal.signal(signal.SIGUSR1, interrupts.handle)
    yield interrupts
    signal.signal(signal.SIGUSR1, before)


def in_background(work: Callable[[], object]) -> threading.Thread:
    """Run something beside the test."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@needs_signals
def test_an_interrupt_leaves_nothing(world: World, interrupts: Interrupts) -> None:
    """It is raised when all that was made, and all that was still being made, is revoked."""
    gate = Gate()
    world.integration.fail("provision", None, gate)

    def interrupt() -> None:
        gate.until_reached()
        wait_until(lambda: len(world.integration.live) == 2, "the others are made")
        interrupts.send()
        gate.open()

    thread = in_background(interrupt)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        lease_some(world, held=True)

    assert nothing_is_left(world)
    assert len(world.states()) == 3
    thread.join(PATIENCE_S)


@needs_signals
def test_a_second_interrupt_does_not_wait(world: World, interrupts: Interrupts) -> None:
    """It ends the waiting; what was still being made is revoked all the same once it is there."""
    gate = Gate()
    world.integration.fail("provision", None, gate)

    def interrupt() -> None:
        gate.until_reached()
        wait_until(lambda: world.states().count("active") == 2, "the others are made")
        interrupts.send()
        interrupts.send()

    thread = in_background(interrupt)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        lease_some(world, held=True)
    thread.join(PATIENCE_S)
    still_being_made = world.states().count("pending")
    gate.open()

    assert still_being_made == 1
    wait_until(lambda: nothing_is_left(world), "all is revoked")


def test_an_interrupt_when_all_are_made_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it comes after the last lease, and before anybody has them, they are given back too."""
    wait = concurrency._await
    waits: list[str] = []

    def interrupted(kept: Any, done: Any) -> None:
        wait(kept, done)
        waits.append("over")
        if len(waits) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(concurrency, "_await", interrupted)

    with pytest.raises(KeyboardInterrupt):
        lease_some(world, held=True)

    assert world.integration.count("provision") == 3
    assert nothing_is_left(world)


@pytest.mark.parametrize("fails", [False, True])
def test_no_lease_is_made_twice_where_no_thread_can_be_had(
    world: World, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """A pool that can't start threads keeps what it refuses: it is done in the calling thread, and not again later."""

    def refuse(*_: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    if fails:
        world.integration.fail("provision", None, ProvisionError("no more of these"))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        patch.setattr("_thread.start_new_thread", refuse)
        try:
            leases = lease_some(world)
        except ProvisionError:
            leases = {}
    # Now that there are threads, they look at what the pool has kept.
    engine_of(world.manager).submit(int).result(PATIENCE_S)

    assert len(leases) == (0 if fails else 3)
    assert len(world.integration.live) == len(leases)
    assert world.integration.count("provision") == (2 if fails else 3)


@needs_signals
def test_interrupts_at_any_moment() -> None:
    """Wherever two interrupts meet it, they leave no lease that nobody has, and no lock that nobody frees."""
    program = PROGRAMS / "interrupted_program.py"

    done = subprocess.run(
        [sys.executable, program, "300"],
        env=clean_environment(PYTHONPATH=os.pathsep.join(map(str, (ROOT, ROOT / "tests")))),
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )

    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["interrupted"] > 10
    assert found["left"] == 0


@needs_signals
def test_an_interrupt_while_giving_back_leaves_nothing(world: World, interrupts: Interrupts) -> None:
    """What one failure has sent back goes on being revoked after an interrupt."""
    gate = Gate()
    made = threading.Barrier(3, timeout=PATIENCE_S)

    def fail() -> NoReturn:
        made.wait()
        raise ProvisionError("no more of these")

    world.integration.fail("provisioned", made.wait, made.wait, fail)
    world.integration.fail("revoke", None, gate)

    def interrupt() -> None:
        gate.until_reached()
        interrupts.send()
        gate.open()

    thread = in_background(interrupt)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        lease_some(world, held=True)
    thread.join(PATIENCE_S)

    wait_until(lambda: nothing_is_left(world), "all is revoked")


def test_on_aws_the_third_failure_takes_the_first_two_back(
    watched: AwsIamIntegration, aws: Account, proxy: Proxy
) -> None:
    """Where the third CreateUser is denied, the two users are deleted again, with the fewest calls."""
    proxy.fail("CreateUser", "AccessDenied", nth=3)
    wanted = [DynamicSecretConfig(name, watched, wait=None) for name in NAMES]

    with LeaseManager(MemoryLeaseStore()) as manager, pytest.raises(PermissionDenied) as caught:
        lease_all(engine_of(manager), wanted, None, held=False)

    assert caught.value.actions == ("iam:CreateUser",)
    assert aws.client("iam").list_users(PathPrefix=watched.path)["Users"] == []
    counts = {action: proxy.count(action) for action in set(proxy.actions("iam"))}
    assert counts == {
        "CreateUser": 3,
        "CreateAccessKey": 2,
        "PutUserPolicy": 2,
        "DeleteAccessKey": 2,
        "DeleteUserPolicy": 2,
        "DeleteUser": 2,
    }


def test_all_are_revoked_at_the_same_time(world: World) -> None:
    """Each is being revoked while the others are; doing it again calls nobody."""
    leases = lease_some(world).values()
    barrier = threading.Barrier(3, timeout=PATIENCE_S)
    world.integration.fail("revoke", *[barrier.wait] * 3)

    revoke_all(engine_of(world.manager), leases)
    revoke_all(engine_of(world.manager), leases)

    assert nothing_is_left(world)
    assert world.integration.count("revoke") == 3


def test_all_are_tried_before_the_error_is_raised() -> None:
    """The error names all that could not be revoked, and is caused by the first."""
    with stubborn_world() as world:
        leases = lease_some(world)
        world.integration.refusals = 2

        with pytest.raises(RevocationError, match=r"^2 leases could not be revoked: .*, .* \(.*not now.*\)$") as caught:
            revoke_all(engine_of(world.manager), leases.values())

        left = [lease for lease in leases.values() if not lease.revoked]
        assert len(left) == 2
        assert all(lease.id in str(caught.value) for lease in left)
        assert isinstance(caught.value.__cause__, RevocationError)


def test_one_failure_is_raised_as_it_is() -> None:
    """Where just one could not be revoked, its own error says what there is to say."""
    with stubborn_world() as world:
        leases = lease_some(world)
        world.integration.refusals = 1

        with pytest.raises(RevocationError, match="not now") as caught:
            revoke_all(engine_of(world.manager), leases.values())

        assert caught.value.lease_id in {lease.id for lease in leases.values()}


def test_a_worker_of_the_manager_can_revoke() -> None:
    """Called from the manager's own pool it doesn't wait for itself."""
    with World(max_workers=1) as world:
        leases = lease_some(world)

        future = engine_of(world.manager).submit(lambda: revoke_all(engine_of(world.manager), leases.values()))

        future.result(PATIENCE_S)
        assert nothing_is_left(world)


def test_a_worker_of_the_manager_tries_all_too() -> None:
    """The same where some can't be revoked."""
    with stubborn_world(max_workers=1) as world:
        leases = lease_some(world)
        world.integration.refusals = 2

        future = engine_of(world.manager).submit(lambda: revoke_all(engine_of(world.manager), leases.values()))

        with pytest.raises(RevocationError, match=r"^2 leases could not be revoked"):
            future.result(PATIENCE_S)
        assert len(world.integration.live) == 2


@needs_signals
def test_an_interrupt_of_revoking_stops_nothing(world: World, interrupts: Interrupts) -> None:
    """All are revoked although nobody waits for it any more."""
    leases = lease_some(world)
    gate = Gate()
    world.integration.fail("revoke", gate)

    def interrupt() -> None:
        gate.until_reached()
        interrupts.send()

    thread = in_background(interrupt)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        revoke_all(engine_of(world.manager), leases.values())
    thread.join(PATIENCE_S)
    gate.open()

    wait_until(lambda: nothing_is_left(world), "all is revoked")
