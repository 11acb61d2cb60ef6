"""On a real terminal: job control, Ctrl-C, Ctrl-Z, editors, pagers, shells, pipelines."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.children import OnTerminal
from support.processes import wait_until

if TYPE_CHECKING:
    from support.children import Folder

CTRL_C, CTRL_Z, CTRL_D, CTRL_BACKSLASH = "\x03", "\x1a", "\x04", "\x1c"
PROMPT = "ready> "
BASH = ("bash", "--norc", "--noprofile", "-i")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no terminals of that kind on Windows")


def start(terminal: OnTerminal, command: list[str], more: str = "") -> None:
    """Type a command to a shell."""
    terminal.until(PROMPT)
    terminal.type(f"{shlex.join(command)}{more}\n")


def test_ctrl_c_reaches_the_child_once(folder: Folder) -> None:
    r"""At a terminal Ctrl-C and Ctrl-\ reach the child once each, and afterwards the terminal is the shell's again."""
    with OnTerminal(folder, BASH) as terminal:
        start(terminal, folder.command(*folder.counting("SIGINT", "SIGQUIT")))
        folder.until("ready")
        for names in (["SIGINT"], ["SIGINT", "SIGINT"]):
            terminal.type(CTRL_C)
            folder.until_signals(*names)
        terminal.type(CTRL_BACKSLASH)
        folder.until_signals("SIGINT", "SIGINT", "SIGQUIT")
        folder.touch("finish", "5")

        assert folder.result() == {"status": 5, "reason": None, "live": [], "restored": True, "foreground": True}
        terminal.until(PROMPT)
        assert terminal.foreground() == terminal.process.pid
        assert folder.signals() == ["SIGINT", "SIGINT", "SIGQUIT"]


def test_ctrl_c_ends_an_ordinary_child(folder: Folder) -> None:
    """A child that Ctrl-C ends is 130, with all processes of it, and everything is revoked."""
    script = f"{shlex.join(folder.sleeping())}; touch {folder.path}/too-far"
    with OnTerminal(folder, BASH) as terminal:
        start(terminal, folder.command("sh", "-c", script))
        folder.until("ready")
        terminal.type(CTRL_C)

        assert folder.result()["status"] == 130
        assert folder.live() == []
        assert not folder.has("too-far")


def test_stop_continue_and_stop_again(folder: Folder) -> None:
    """Ctrl-Z gives the shell its prompt back, ``fg`` the child its terminal; ``bg`` lets it go on without."""
    with OnTerminal(folder, BASH) as terminal:
        start(terminal, folder.command(*folder.counting("SIGINT", "SIGCONT")))
        folder.until("ready")
        child = folder.pid()
        terminal.until_foreground(child)
        terminal.type(CTRL_Z)
        terminal.until("Stopped")
        terminal.until(PROMPT)
        assert terminal.foreground() == terminal.process.pid

        terminal.type("fg\n")
        folder.until_signals("SIGCONT")
        terminal.until_foreground(child)
        terminal.type(CTRL_C)
        folder.until_signals("SIGCONT", "SIGINT")

        terminal.type(CTRL_Z)
        terminal.until("Stopped")
        terminal.until(PROMPT)
        terminal.type("bg\n")
        folder.until_signals("SIGCONT", "SIGINT", "SIGCONT")
        terminal.until(PROMPT)
        assert terminal.foreground() == terminal.process.pid

        terminal.type("fg\n")
        wait_until(lambda: terminal.foreground() != terminal.process.pid, "the job in the foreground")
        terminal.type(CTRL_C)
        folder.until_signals("SIGCONT", "SIGINT", "SIGCONT", "SIGINT")
        folder.touch("finish", "1")

        assert folder.result()["status"] == 1
        terminal.until(PROMPT)


def test_a_child_in_the_background_asks_for_the_terminal(folder: Folder) -> None:
    """Started with ``&`` it stops when it reads; after ``fg`` it reads what is typed."""
    with OnTerminal(folder, BASH) as terminal:
        script = f"read line; echo $line > {folder.path}/line; exit 3"
        start(terminal, folder.command("sh", "-c", script), " &")
        terminal.until(PROMPT)
        wait_until(lambda: _ask(terminal, "jobs", "Stopped"), "the job stops")
        terminal.type("fg\n")
        wait_until(lambda: terminal.foreground() != terminal.process.pid, "the job in the foreground")
        terminal.type("typed\n")

        assert folder.result()["status"] == 3
        assert (folder.path / "line").read_text() == "typed\n"
        terminal.until(PROMPT)


def _ask(terminal: OnTerminal, command: str, answer: str) -> bool:
    """Type a command; tell whether its output has a text."""
    terminal.type(f"{command}\n")
    return answer in terminal.until(PROMPT)


def test_a_child_that_reads_later_gets_the_terminal_in_a_pipeline(folder: Folder) -> None:
    """With output in a pipe the keyboard stays where it is, until the child reads from it; Ctrl-C still reaches it."""
    with OnTerminal(folder, BASH) as terminal:
        script = f"open('{folder.path}/ready', 'w'); print('got', input(), flush=True); import time; time.sleep(60)"
        start(terminal, folder.command(sys.executable, "-Wignore", "-c", script), " | cat")
        folder.until("ready")
        terminal.type("typed\n")
        terminal.until("got typed")
        terminal.type(CTRL_C)

        assert folder.result()["status"] == 130
        terminal.until(PROMPT)


def test_ctrl_c_in_a_pipeline_ends_all_of_the_child(folder: Folder) -> None:
    """While the terminal is with the pipeline, Ctrl-C reaches the child and what it has started."""
    with OnTerminal(folder, BASH) as terminal:
        script = f"{shlex.join(folder.sleeping())}; touch {folder.path}/too-far"
        start(terminal, folder.command("sh", "-c", script), " | cat")
        folder.until("ready")
        terminal.type(CTRL_C)

        assert folder.result()["status"] == 130
        assert not folder.has("too-far")
        terminal.until(PROMPT)


@pytest.mark.skipif(shutil.which("less") is None, reason="there is no less on this machine")
def test_a_pager_keeps_the_keyboard(folder: Folder) -> None:
    """``run … | less`` can be scrolled and left."""
    with OnTerminal(folder, BASH, TERM="xterm", LESS="") as terminal:
        start(terminal, folder.command("seq", "500"), " | less")
        terminal.until("20")
        terminal.type("G")
        terminal.until("500")
        terminal.type("q")
        terminal.until(PROMPT)

        assert folder.result()["status"] == 0


@pytest.mark.skipif(shutil.which("vim") is None, reason="there is no vim on this machine")
def test_an_editor_works(folder: Folder) -> None:
    """``vim`` draws, edits, stops on Ctrl-Z, comes back, and writes."""
    text = folder.path / "text"
    with OnTerminal(folder, BASH, TERM="xterm") as terminal:
        start(terminal, folder.command("vim", "-u", "NONE", "-n", str(text)))
        terminal.until("[New")
        terminal.type("ihello\x1b")
        terminal.until("hello")
        terminal.type(CTRL_Z)
        terminal.until("Stopped")
        terminal.until(PROMPT)
        terminal.type("fg\n")
        terminal.until("hello")
        terminal.type(":wq\r")
        terminal.until(PROMPT)

    assert folder.result()["status"] == 0
    assert text.read_text() == "hello\n"


def test_a_shell_with_job_control_works(folder: Folder) -> None:
    """An interactive shell as the child has job control of its own, and its status is returned."""
    with OnTerminal(folder, BASH) as terminal:
        start(terminal, folder.command(*BASH))
        terminal.until(PROMPT)
        terminal.type("PS1='inner> '; echo $GREETING\n")
        terminal.until("hello")
        terminal.until("inner> ")
        terminal.type("sleep 60\n")
        # Not before it is sleep: a shell's own child ignores Ctrl-Z as the shell does, until just before that.
        wait_until(lambda: _name(terminal.foreground()) == "sleep", "sleep in the foreground")
        terminal.type(CTRL_Z)
        terminal.until("Stopped")
        terminal.until("inner> ")
        terminal.type("kill -CONT %1; kill -9 %1; wait %1; exit 12\n")
        terminal.until(PROMPT)

        assert folder.result()["status"] == 12
        assert terminal.foreground() == terminal.process.pid


def _name(pid: int) -> str:
    """Return the name of a process's program; nothing where there is no such process (any more)."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _sleeps(pid: int) -> bool:
    """Tell whether a process waits for something: a key that comes just before it does could be lost on it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def test_python_s_prompt_survives_ctrl_c(folder: Folder) -> None:
    """Ctrl-C in Python's REPL is a KeyboardInterrupt there, once, and the REPL goes on."""
    with OnTerminal(folder, BASH) as terminal:
        start(terminal, folder.command(sys.executable, "-Siqc", "import sys; sys.ps1 = 'py' + '> '"))
        terminal.until("py> ")
        wait_until(lambda: _sleeps(terminal.foreground()), "Python waits for the keyboard")
        terminal.type(CTRL_C)
        terminal.until("KeyboardInterrupt")
        terminal.until("py> ")
        terminal.type("6 * 7\n")
        terminal.until("42")
        terminal.until("py> ")
        wait_until(lambda: _sleeps(terminal.foreground()), "Python waits for the keyboard")
        terminal.type(CTRL_D)
        terminal.until(PROMPT)

    assert folder.result()["status"] == 0


def test_the_terminal_is_set_back(folder: Folder) -> None:
    """A child that is killed while the terminal is raw leaves it as it was before."""
    script = f"until test -e {folder.path}/go; do sleep 0.02; done; stty raw -echo; echo changed; kill -9 $$"
    with OnTerminal(folder, folder.command("sh", "-c", script)) as terminal:
        before = termios.tcgetattr(terminal.master)
        folder.touch("go")
        terminal.until("changed")

        assert folder.result()["status"] == 137
        assert termios.tcgetattr(terminal.master) == before


def test_nobody_in_front_can_continue_it(folder: Folder) -> None:
    """Where there is no shell with job control (``docker run -it``), Ctrl-Z doesn't stop a child for ever."""
    with OnTerminal(folder, folder.command(*folder.counting("SIGCONT", "SIGINT"))) as terminal:
        folder.until("ready")
        terminal.type(CTRL_Z)
        folder.until_signals("SIGCONT")
        terminal.type(CTRL_C)
        folder.until_signals("SIGCONT", "SIGINT")
        folder.touch("finish", "2")

        assert folder.result()["status"] == 2


def test_a_hangup_reaches_the_child(folder: Folder) -> None:
    """When the shell in front is gone and the terminal with it, the child is told, and nothing is left."""
    with OnTerminal(folder, folder.command(*folder.sleeping())) as terminal:
        folder.until("ready")
        terminal.process.send_signal(1)

        assert folder.result()["status"] == 129
        assert folder.live() == []


def test_a_terminal_that_is_closed(folder: Folder) -> None:
    """When a window is closed the system sends SIGHUP and SIGCONT together: the child is told, and nothing is left."""
    with OnTerminal(folder, folder.command(*folder.sleeping())) as terminal:
        folder.until("ready")
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), terminal._slave)
            os.dup2(nothing.fileno(), terminal.master)

        assert folder.result()["status"] == 129
        assert folder.live() == []


@pytest.mark.parametrize("more", ["", "; echo more"])
def test_a_script_at_a_terminal(more: str, folder: Folder) -> None:
    """In a script at a terminal (no job control in front) Ctrl-C ends the child, and Ctrl-Z stops script and child."""
    script = shlex.join(folder.command(*folder.counting("SIGCONT"))) + more
    with OnTerminal(folder, BASH) as terminal:
        start(terminal, ["bash", "-c", script])
        folder.until("ready")
        terminal.type(CTRL_Z)
        terminal.until("Stopped")
        terminal.until(PROMPT)
        terminal.type("fg\n")
        folder.until_signals("SIGCONT")
        terminal.type(CTRL_C)

        assert folder.result()["status"] == 130
        assert folder.live() == []
