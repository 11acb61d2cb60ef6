"""What all commands share: the options, standard output, and the one line on stderr."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import traceback
from typing import TYPE_CHECKING

import attrs
from typing_extensions import override

from dynsecrets.cli.errors import line_of, one_line
from dynsecrets.errors import DynsecretsError, InvalidConfig

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from dynsecrets.cli.progress import Progress
    from dynsecrets.model.integration import Integration


@attrs.frozen(kw_only=True)
class Console:
    """One run of the command: what was asked for, and where to say something."""

    options: argparse.Namespace
    progress: Progress

    @property
    def file(self) -> str | None:
        """The project's file, where it was named."""
        named: str | None = getattr(self.options, "config", None)
        return named

    def check_integrations(self, integrations: dict[str, Integration], file: Path) -> dict[str, Integration]:
        """Return the integrations of a file that has any."""
        if not integrations:
            raise InvalidConfig(f'{file} has no integration; add [integrations.aws] with type = "aws-iam"')
        return integrations

    def find_credentials(self, *integrations: Integration) -> None:
        """Have integrations find their own credentials: a code may be asked for, and progress would wipe that away.

        What fails here is told by whatever needs them.
        """
        from dynsecrets.model.capabilities import find_credentials

        self.progress.say("")
        for integration in integrations:
            with contextlib.suppress(DynsecretsError):
                find_credentials([integration])

    def check_output(self) -> None:
        """Raise ``OSError`` where there is no standard output to write to."""
        # So it is if the process was started with it closed.
        if sys.stdout is None:
            raise OSError(errno.EBADF, "standard output is closed")

    def write(self, text: str) -> None:
        """Write UTF-8 to standard output, at once: whoever reads may be gone. Raises ``OSError`` then."""
        self.check_output()
        sys.stdout.flush()
        buffer = getattr(sys.stdout, "buffer", None)
        if buffer is None:
            # Somebody calls main(), with a StringIO for standard output.
            sys.stdout.write(text)
            return
        buffer.write(text.encode())
        buffer.flush()

    def complain(self, text: str) -> None:
        """Say one line on stderr."""
        self.progress.pause()
        complain(text)

    def report(self, error: Exception, what: str = "") -> None:
        """Say an error that doesn't end the command; ``what`` is what it is about."""
        self.progress.pause()
        if self.options.debug:
            traceback.print_exception(error)
        complain(f"{what}: {line_of(error)}" if what else line_of(error))


def complain(text: str) -> None:
    """Say one line on stderr, if there is one."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        # In one piece: others may write there too.
        sys.stderr.write(f"dynsecrets: {text}\n")
        sys.stderr.flush()


def show_hint(error: BaseException) -> None:
    """Show a person at a terminal what an error has to show beside its line."""
    hint = getattr(error, "hint", None)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if isinstance(hint, str) and sys.stderr.isatty():
            sys.stderr.write(f"\n{hint}")


def drop_output() -> None:
    """Have nothing written to a standard output that is gone: the interpreter would try once more, and complain."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


@contextlib.contextmanager
def logging_to_stderr(progress: Progress, *, debug: bool) -> Iterator[None]:
    """Show what the library warns of, in one line each; everything, with times and tracebacks, where ``debug``."""
    logger = logging.getLogger("dynsecrets")
    handler = _Handler(progress, debug=debug)
    level = logger.level
    logger.addHandler(handler)
    if debug:
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Handler(logging.Handler):
    def __init__(self, progress: Progress, *, debug: bool) -> None:
        super().__init__(logging.DEBUG if debug else logging.WARNING)
        self._progress = progress
        self._debug = debug
        if debug:
            self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(threadName)s %(message)s"))
        else:
            # What failed of a lease is raised to the command, or stands in the lease's record.
            self.addFilter(lambda record: not hasattr(record, "event"))

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        self._progress.pause()
        complain(self.format(record) if self._debug else one_line(record.getMessage()))
