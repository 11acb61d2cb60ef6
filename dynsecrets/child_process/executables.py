"""Finding a command before anything is leased for it: a missing one costs no call to AWS."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING, Final

from dynsecrets.errors import DynsecretsError

if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126


class CannotStart(DynsecretsError):
    """A command can't be started; ``status`` is the exit status that a shell would report for it."""

    def __init__(self, message: str = "", *, status: int = NOT_EXECUTABLE) -> None:
        super().__init__(message)
        self.status = status


def find_command(name: str, environment: Mapping[str, str]) -> str:
    """Return the path of a command, found as a shell of the child would: by the child's ``PATH``.

    A name with a slash is a path. An empty entry of ``PATH`` is the current folder; no ``PATH`` at all is the system's
    default. Raises :class:`CannotStart` with 127 where there is none, and with 126 where what is there can't be
    executed. On Windows ``PATHEXT`` counts too.
    """
    path = environment.get("PATH", os.defpath)
    if os.name == "nt":
        found = shutil.which(name, path=path)
        if found is None:
            raise CannotStart(f"{name}: command not found", status=NOT_FOUND)
        return found
    if "/" in name:
        return _checked(name, name)
    refused: CannotStart | None = None
    for folder in path.split(os.pathsep) if name else ():
        candidate = os.path.join(folder or os.curdir, name)  # noqa: PTH118 - a Path would lose the "./", and a leading "//".
        try:
            if not os.path.isdir(candidate):  # noqa: PTH112 - as above.
                return _checked(candidate, name)
        except CannotStart as error:
            if error.status != NOT_FOUND:
                refused = refused or error
    raise refused or CannotStart(f"{name or repr(name)}: command not found", status=NOT_FOUND)


def explain(error: OSError, name: str) -> CannotStart | None:
    """Return what an error of starting a command says of the command; ``None`` where it says nothing of it."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        # It was there a moment ago. Most likely it is a script, whose interpreter isn't there.
        return CannotStart(f"{name}: it, or the interpreter that it names, was not found", status=NOT_FOUND)
    if error.errno == errno.ENOEXEC:
        return CannotStart(f"{name}: not in a format that can be executed (a script begins with #!)")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.ETXTBSY, errno.ENAMETOOLONG):
        return CannotStart(f"{name}: {error.strerror}")
    # Windows' own number for what is not a program: ERROR_BAD_EXE_FORMAT.
    return CannotStart(f"{name}: not a program") if getattr(error, "winerror", None) == 193 else None


def _checked(path: str, name: str) -> str:
    """Return a path that can be executed."""
    try:
        os.stat(path)  # noqa: PTH116 - as above.
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise CannotStart(f"{name}: command not found", status=NOT_FOUND) from None
        raise CannotStart(f"{name}: {error.strerror}") from None
    if os.path.isdir(path):  # noqa: PTH112 - as above.
        raise CannotStart(f"{name}: is a directory")
    if not os.access(path, os.X_OK):
        raise CannotStart(f"{name}: permission denied; it is not executable")
    return path
