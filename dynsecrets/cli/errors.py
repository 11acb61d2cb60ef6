"""What is said, in one line, when something fails, and with which status the command ends."""

from __future__ import annotations

from typing import Final

from dynsecrets.errors import DynsecretsError, InvalidTTL

FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130


class UsageError(Exception):
    """What was typed can't be done; ``command`` is the command whose help says more."""

    def __init__(self, message: str, command: str = "") -> None:
        super().__init__(message)
        self.command = command


class Terminated(BaseException):
    """A signal asked to end; leases that nobody will get are revoked on the way out."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.status: int = 128 + signal_number


def status_of(error: BaseException) -> int:
    """Return the exit status for an error."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, Terminated):
        return error.status
    # A TTL of the file is reported as a mistake of the file: this one was typed.
    return USAGE if isinstance(error, UsageError | InvalidTTL) else FAILED


def line_of(error: BaseException) -> str:
    """Return what to say of an error, in one line; an empty one where there is nothing to say."""
    notes = getattr(error, "__notes__", ())
    if isinstance(error, Terminated):
        return one_line("terminated", *notes) if notes else ""
    if isinstance(error, KeyboardInterrupt):
        return one_line("interrupted", *notes)
    if isinstance(error, UsageError):
        help_of = f"dynsecrets {error.command} --help".replace("  ", " ")
        return one_line(f"{error} (see {help_of})")
    if isinstance(error, DynsecretsError):
        text = str(error)
    elif isinstance(error, BrokenPipeError):
        text = "nobody reads the output"
    elif isinstance(error, OSError):
        name = "" if error.filename is None else f"{error.filename}: "
        text = f"{name}{error.strerror or type(error).__name__}"
    elif type(error).__module__.startswith(("botocore.", "boto3.")):
        text = f"{type(error).__name__}: {error}"
    else:
        # What it says is not known to be free of secrets.
        text = f"{type(error).__name__}; --debug shows where"
    return one_line(text, *notes)


def one_line(*parts: str) -> str:
    """Return texts as one line that a terminal shows as it is."""
    joined = "; ".join(" ".join(part.split()) for part in parts)
    return "".join(character if character.isprintable() else "?" for character in joined)
