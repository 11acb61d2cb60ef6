"""Signals: passed on once each, and nothing left when they end a run at whatever moment."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from dynsecrets import LeaseManager, open_store
from support.children import Program
from support.processes import wait_until
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
def test_signals_while_revoking(name: str, folder: Folder) -> None:
    """Neither the first nor the third signal interrupts revoking, and the child's status is returned."""
    folder.touch("hold-revoke")
    with Program(folder, folder.command("sh", "-c", "exit 4")) as program:
        folder.until("revoking")
        for _ in range(3):
            program.send(number(name))
        wait_until(lambda: not _pending(program.process.pid), "the signals are taken")
        folder.remove("hold-revoke")

        assert folder.result() == {"status": 4, "reason": None, "live": [], "restored": True}
        assert f"{name} came while there was no child" in folder.log()


def _pending(pid: int) -> bool:
    """Tell whether a signal waits to be taken (proc(5))."""
    with open(f"/proc/{pid}/status") as status:
        masks = [line.split()[1] for line in status if line.startswith(("SigPnd", "ShdPnd"))]
    return any(int(mask, 16) for mask in masks)


def test_three_times_ctrl_c_with_a_child(folder: Folder) -> None:
    """The first reaches the child; what comes once it has ended does not stop the leases from being revoked."""
    folder.touch("hold-revoke")
    with Program(folder, folder.command(*folder.sleeping())) as program:
        folder.until("ready")
        program.send(signal.SIGINT)
        folder.until("revoking")
        program.send(signal.SIGINT)
        program.send(signal.SIGINT)
        wait_until(lambda: not _pending(program.process.pid), "the signals are taken")
        folder.remove("hold-revoke")

        assert folder.result() == {"status": 130, "reason": None, "live": [], "restored": True}


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
