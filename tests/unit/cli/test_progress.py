"""Progress on a terminal: after a second, on stderr, erased afterwards; nothing anywhere else."""

from __future__ import annotations

import io
import logging
import threading

import pytest

from dynsecrets.cli.commands.leases import table
from dynsecrets.cli.console import logging_to_stderr
from dynsecrets.cli.errors import Terminated, UsageError, line_of, one_line, status_of
from dynsecrets.cli.progress import Progress
from dynsecrets.errors import InvalidConfig, InvalidTTL
from support.fakes import make_event
from support.processes import wait_until


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True

    def shown(self) -> str:
        """Return what stands in the line now."""
        return self.getvalue().rpartition("\r\x1b[K")[2]


@pytest.fixture(autouse=True)
def term(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of which more is known than that it is one."""
    monkeypatch.setenv("TERM", "xterm")


def test_what_takes_long_is_said_and_erased() -> None:
    """The step that is waited for stands on the terminal, changes with events, and is gone in the end."""
    terminal = Terminal()

    with Progress(terminal, patience_s=0) as progress:
        progress(make_event(type="requested"))
        wait_until(lambda: terminal.shown() == "making the user of AWS_USER ...", "the first step")
        progress(make_event(type="issued"))
        wait_until(lambda: terminal.shown() == "waiting for AWS_USER to become usable ...", "the second step")

    assert terminal.shown() == ""


def test_what_is_quick_is_not_said() -> None:
    """Nothing is written for what is over within the patience."""
    terminal = Terminal()

    with Progress(terminal, patience_s=3600) as progress:
        progress.say("making")

    assert terminal.getvalue() == ""


@pytest.mark.parametrize("known", ["", "dumb"])
def test_nothing_is_said_where_a_line_cannot_be_erased(known: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe, a dumb terminal and a closed stream see nothing, and no thread is started."""
    monkeypatch.setenv("TERM", known)
    closed = io.StringIO()
    closed.close()

    for stream in (Terminal(), closed, io.StringIO()):
        with Progress(stream, patience_s=0) as progress:
            progress.say("making")
            assert "dynsecrets-progress" not in [thread.name for thread in threading.enumerate()]
        if stream is not closed:
            assert stream.getvalue() == ""


def test_it_falls_silent_when_the_last_secret_is_usable() -> None:
    """When all that it was to wait for is there, it says nothing more: the terminal is the child's."""
    terminal = Terminal()

    with Progress(terminal, patience_s=0) as progress:
        progress.wait_for({"AWS_USER": "usable", "OTHER": "issued"})
        progress(make_event(type="issued"))
        wait_until(lambda: "waiting" in terminal.shown(), "the waiting")
        progress(make_event(type="usable"))
        wait_until(lambda: "OTHER" in terminal.shown(), "waiting for the other one")
        progress(make_event(type="issued", name="OTHER"))
        written = terminal.getvalue()
        progress(make_event(type="requested"))
        progress.say("more")

    assert written.endswith("\r\x1b[K")
    assert terminal.getvalue() == written


def test_warnings_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning of the library is one line; INFO is for ``--debug``, which shows tracebacks too."""
    logger = logging.getLogger("dynsecrets")
    progress = Progress(io.StringIO())

    with logging_to_stderr(progress, debug=False):
        logger.info("nothing")
        logger.error("it\nfailed", exc_info=OSError("inner"))
    plain = capsys.readouterr().err
    with logging_to_stderr(progress, debug=True):
        logger.debug("everything")
    logger.warning("after")

    assert plain == "dynsecrets: it failed\n"
    assert capsys.readouterr().err.endswith("MainThread everything\n")


def test_what_is_raised_or_recorded_is_not_said_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """The steps of a lease are for ``--debug``: what fails in them is raised to the command, or in the record."""
    logger = logging.getLogger("dynsecrets")

    with logging_to_stderr(Progress(io.StringIO()), debug=False):
        logger.warning("Lease 1: revoke_failed (no network)", extra={"event": "revoke_failed"})
        logger.warning("tired")
    plain = capsys.readouterr().err
    with logging_to_stderr(Progress(io.StringIO()), debug=True):
        logger.warning("Lease 1: revoke_failed (no network)", extra={"event": "revoke_failed"})

    assert plain == "dynsecrets: tired\n"
    assert "revoke_failed (no network)" in capsys.readouterr().err


def test_tables_obey_nobody() -> None:
    """Columns are as wide as they must be, and what a terminal would obey is a question mark."""
    assert table(("A", "LONG"), [("wide cell", "\x1b[31m"), ("x", "")]) == ["A          LONG", "wide cell  ?[31m", "x"]


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (InvalidConfig("a\n  b"), 1, "a b"),
        (InvalidTTL("TTL '0'"), 2, "TTL '0'"),
        (UsageError("what?", "run"), 2, "what? (see dynsecrets run --help)"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Terminated(15), 143, ""),
        (BrokenPipeError(32, "Broken pipe"), 1, "nobody reads the output"),
        (PermissionError(13, "Permission denied", "x.env"), 1, "x.env: Permission denied"),
        (RuntimeError("s3cret"), 1, "RuntimeError; --debug shows where"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_every_error_has_a_line_and_a_status(error: BaseException, status: int, says: str) -> None:
    """Ours, the system's, and whatever else there is."""
    assert (status_of(error), line_of(error)) == (status, says)


def test_errors_of_boto3_are_told_with_their_names() -> None:
    """Those that get through, like a profile that there isn't."""
    from botocore.exceptions import NoCredentialsError, ProfileNotFound

    assert line_of(NoCredentialsError()) == "NoCredentialsError: Unable to locate credentials"
    assert "(nope)" in line_of(ProfileNotFound(profile="nope"))


def test_a_lease_that_is_left_is_told_whatever_the_signal() -> None:
    """SIGTERM needs no line, but what could not be revoked because of it does."""
    for error, says in ((Terminated(15), "terminated; left"), (KeyboardInterrupt(), "interrupted; left")):
        error.add_note("left")
        assert line_of(error) == says


def test_notes_are_in_the_line() -> None:
    """What went wrong beside the error, like a revocation, is told too."""
    error = InvalidConfig("first")
    error.add_note("and\nthen")

    assert line_of(error) == "first; and then"
    assert one_line("a", "b") == "a; b"
