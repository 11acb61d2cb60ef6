"""Signals: passed on once each, and nothing left when they end a run at whatever moment."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import Future
from typing import TYPE_CHECKING

import pytest

from dynsecrets import LeaseManager, open_store
from dynsecrets.child_process.signals import Interrupted, SignalForwarder
from support.children import Program
from support.processes import tell_thread, wait_until
from support.programs.run_program import HeldFolder

if TYPE_CHECKING:
    from support.children import Folder

FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT", "SIGTSTP")
ENDING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")


def number(name: str) -> int:
    """Return a signal's number."""
    return int(signal.Signals[name])


def test_signals_are_passed_on_once_each(folder: Folder) -> None:
    """Each signal reaches the child once, whichever; then the child's own status is returned, and nothing is left."""
    with Program(folder, folder.command()) as program:
        folder.until("ready")
        for count, name in enumerate(FORWARDED, 1):
            program.send(number(name))
            folder.until_signals(*FORWARDED[:count])
        folder.touch("finish", "7")

        assert folder.result() == {"status": 7, "reason": None, "live": [], "restored": True}


def test_a_signal_to_the_whole_group_reaches_the_child_once(folder: Folder) -> None:
    """What a shell's ``kill %1`` or ``timeout`` sends to all is not doubled."""
    with Program(folder, folder.command()) as program:
        folder.until("ready")
        os.killpg(program.process.pid, signal.SIGTERM)
        folder.until_signals("SIGTERM")
        os.killpg(program.process.pid, signal.SIGUSR1)
        folder.until_signals("SIGTERM", "SIGUSR1")
        folder.touch("finish")

        assert folder.result()["status"] == 0
        assert folder.signals() == ["SIGTERM", "SIGUSR1"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR2"])
def test_a_child_that_a_signal_ends(name: str, folder: Folder) -> None:
    """A child without a handler is ended by what is passed on; the status is 128 and the number."""
    with Program(folder, folder.command(*folder.sleeping())) as program:
        folder.until("ready")
        program.send(number(name))

        assert folder.result() == {"status": 128 + number(name), "reason": None, "live": [], "restored": True}


def test_a_child_that_ignores_sigterm_lives_on(folder: Folder) -> None:
    """A child may ignore what is passed on, again and again; its leases are revoked when it ends."""
    with Program(folder, folder.command()) as program:
        folder.until("ready")
        for count in range(1, 4):
            program.send(signal.SIGTERM)
            folder.until_signals(*["SIGTERM"] * count)
        assert folder.live()
        folder.touch("finish", "3")

        assert folder.result()["status"] == 3
        assert folder.live() == []


@pytest.mark.parametrize("renew", [False, True])
@pytest.mark.parametrize("name", ENDING)
def test_a_signal_while_leasing(name: str, renew: bool, folder: Folder) -> None:
    """Leasing is given up: what was half-made is gone, nothing was started, and the status says which signal it was."""
    folder.touch("hold-provision")
    with Program(folder, folder.command("touch", str(folder.path / "ran"), renew=renew)) as program:
        folder.until("provisioning")
        program.send(number(name))
        program.send(number(name))
        folder.remove("hold-provision")

        assert folder.result() == {
            "status": 128 + number(name),
            "reason": "interrupted while leasing; nothing was started, and all is revoked",
            "live": [],
            "restored": True,
        }
        assert not folder.has("ran")


def test_what_is_meant_for_the_child_waits_for_it(folder: Folder) -> None:
    """A signal that ends nobody and comes before the child is there is kept for it."""
    folder.touch("hold-provision")
    with Program(folder, folder.command("sh", "-c", "trap 'exit 9' USR1; while :; do sleep 0.05; done")) as program:
        folder.until("provisioning")
        program.send(signal.SIGUSR1)
        folder.remove("hold-provision")

        # The child may not have set its trap yet: then the signal ends it, as it would have without us.
        assert folder.result()["status"] in {9, 128 + signal.SIGUSR1}


@pytest.mark.parametrize("name", ENDING)
def test_a_signal_while_revoking(name: str, folder: Folder) -> None:
    """The first doesn't interrupt revoking; the log says what is waited for, and the child's status is returned."""
    folder.touch("hold-revoke")
    with Program(folder, folder.command("sh", "-c", "exit 4")) as program:
        folder.until("revoking")
        program.send(number(name))
        wait_until(lambda: f"{name} came; still revoking AWS_USER (" in folder.log(), "an explanation")
        folder.remove("hold-revoke")

        assert folder.result() == {"status": 4, "reason": None, "live": [], "restored": True}
        assert f"{name} came while there was no child" in folder.log()


@pytest.mark.parametrize("name", ENDING)
def test_a_second_signal_while_revoking(name: str, folder: Folder) -> None:
    """The second signal gives up at once; the error names what is left and has the child's status."""
    folder.touch("hold-revoke")
    with Program(folder, folder.command("sh", "-c", "exit 4")) as program:
        folder.until("revoking")
        program.send(signal.SIGTERM)
        wait_until(lambda: "still revoking" in folder.log(), "an explanation")
        program.send(number(name))

        result = folder.result()
        (lease_id,) = [record.id for record in open_store(f"sqlite:///{folder.path}/leases.db").records()]
        assert (result["error"], result["status"], len(result["live"])) == ("NotRevoked", 4, 1)
        assert lease_id in result["message"]


@pytest.mark.parametrize("renew", [False, True])
def test_a_second_signal_while_leasing(renew: bool, folder: Folder) -> None:
    """Where a third party never answers, the second signal gives up at once, and names the lease that may be there."""
    folder.touch("hold-provision")
    with Program(folder, folder.command("true", renew=renew)) as program:
        folder.until("provisioning")
        program.send(signal.SIGINT)
        wait_until(lambda: "SIGINT came; still revoking AWS_USER (" in folder.log(), "an explanation")
        program.send(signal.SIGINT)

        result = folder.result()
        (lease_id,) = [record.id for record in open_store(f"sqlite:///{folder.path}/leases.db").records()]
        assert (result["error"], result["status"]) == ("NotRevoked", 130)
        assert lease_id in result["message"]


def test_a_revocation_that_fails_after_a_signal_is_told(folder: Folder) -> None:
    """It isn't said that all is revoked where a signal while leasing left something."""
    folder.touch("hold-provision")
    folder.touch("fail-revoke")
    with Program(folder, folder.command("true")) as program:
        folder.until("provisioning")
        program.send(signal.SIGTERM)
        wait_until(lambda: "still revoking" in folder.log(), "an explanation")
        folder.remove("hold-provision")

        result = folder.result()
        assert (result["error"], result["status"], len(result["live"])) == ("NotRevoked", 143, 1)
        assert "all is revoked" not in folder.log()


def test_a_key_is_not_waited_for_after_a_signal(folder: Folder) -> None:
    """Leasing is given up also while a key doesn't work yet, which may take a minute."""
    with Program(folder, folder.command("true", wait="usable")) as program:
        folder.until("asked")
        program.send(signal.SIGTERM)

        assert folder.result()["status"] == 143
        assert folder.live() == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs tgkill")
@pytest.mark.parametrize("stage", ["leasing", "running", "revoking"])
def test_a_signal_that_another_thread_gets(stage: str, folder: Folder) -> None:
    """The kernel may give a signal to any thread: the main one hears it all the same, whatever it waits for."""
    if stage == "leasing":
        folder.touch("hold-provision")
    if stage == "revoking":
        folder.touch("hold-revoke")
    child = ["sh", "-c", "exit 4"] if stage == "revoking" else folder.sleeping()
    with Program(folder, folder.command(*child)) as program:
        folder.until({"leasing": "provisioning", "running": "ready", "revoking": "revoking"}[stage])
        tell_thread(program.process.pid, signal.SIGTERM)
        if stage != "running":
            wait_until(lambda: "still revoking" in folder.log(), "an explanation")
        for name in ("hold-provision", "hold-revoke"):
            (folder.path / name).unlink(missing_ok=True)

        assert folder.result()["status"] == (4 if stage == "revoking" else 143)
        assert folder.live() == []


def test_what_timeout_sends(folder: Folder) -> None:
    """``timeout`` sends SIGTERM to the process and to its group, and SIGCONT after it: none is lost."""
    for _ in range(5):
        (folder.path / "result").unlink(missing_ok=True)
        (folder.path / "ready").unlink(missing_ok=True)
        with Program(folder, folder.command(*folder.sleeping())) as program:
            folder.until("ready")
            for signum in (signal.SIGTERM, signal.SIGCONT):
                program.send(signum)
                os.killpg(program.process.pid, signum)

            assert folder.result() == {"status": 143, "reason": None, "live": [], "restored": True}


def test_the_same_signal_at_once_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes within half a second of the first signal is the same wish; what comes later is another one."""
    clock = [0.0]
    monkeypatch.setattr("dynsecrets.child_process.signals.time.monotonic", lambda: clock[0])
    work: Future[None] = Future()
    explained: list[signal.Signals] = []

    def explain(signum: signal.Signals) -> None:
        explained.append(signum)
        clock[0] = 0.6
        signal.raise_signal(signal.SIGINT)

    with SignalForwarder() as signals:
        signals.end()
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted) as caught:
            signals.wait(work, explain)

    assert explained == [signal.SIGTERM]
    assert caught.value.signum == signal.SIGINT


def test_an_ignored_signal_stays_ignored(folder: Folder) -> None:
    """Under ``nohup`` the child is not hung up either."""
    script = f"kill -HUP $$; touch {folder.path}/lives; exit 2"
    with Program(folder, folder.command("sh", "-c", script, ignore=True)) as program:
        folder.until("lives")
        program.send(signal.SIGHUP)

        assert folder.result() == {"status": 2, "reason": None, "live": [], "restored": True}


def test_broken_pipes_end_a_child_as_usual(folder: Folder) -> None:
    """Python ignores SIGPIPE, its child doesn't inherit that: ``run … | head`` ends."""
    with Program(folder, folder.command("bash", "-c", "kill -PIPE $$; exit 1")):
        assert folder.result()["status"] == 128 + signal.SIGPIPE


def test_in_another_thread_signals_are_not_passed_on(folder: Folder) -> None:
    """A run in a thread leaves signals to the program, whose own handling goes on."""
    with Program(folder, folder.command(thread=True)) as program:
        folder.until("ready")
        program.send(signal.SIGWINCH)
        folder.touch("finish", "1")

        assert folder.result()["status"] == 1
        assert folder.signals() == []


def test_a_killed_parent_is_cleaned_up_after(folder: Folder) -> None:
    """When the parent is killed outright, the next reap revokes what it leased, at once."""
    with Program(folder, folder.command()) as program:
        folder.until("ready")
        assert folder.live()
        program.process.kill()
        program.wait()
        integration = HeldFolder(folder.path)
        with LeaseManager(open_store(f"sqlite:///{folder.path}/leases.db")) as manager:
            report = manager.reap(integrations=[integration])

        folder.touch("finish")
        assert len(report.revoked) == 1
        assert folder.live() == []


def test_a_failing_revocation_names_the_status(folder: Folder) -> None:
    """A child's status is in the error that says what could not be revoked."""
    folder.touch("fail-revoke")
    with Program(folder, folder.command("sh", "-c", "exit 5")):
        result = folder.result()

        assert (result["error"], result["status"]) == ("NotRevoked", 5)
        assert result["live"]
