"""``secrets download``: ``SecretsConfig.download`` and ``Secrets.render``."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dynsecrets.cli.errors import UsageError
from dynsecrets.cli.interrupts import undisturbed
from dynsecrets.errors import DynsecretsError, InvalidConfig

if TYPE_CHECKING:
    from dynsecrets.cli.console import Console
    from dynsecrets.delivery.secrets import Secrets
    from dynsecrets.model.lease import Lease
    from dynsecrets.project_file import Project

#: Made by us, for us alone, at the very place that was named.
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def download(console: Console) -> int:
    """Lease, render, and write; whatever goes wrong on the way, the leases are revoked and no file is left."""
    options = console.options
    if options.no_file == (options.file is not None):
        raise UsageError("name the FILE to make, or give --no-file for standard output", "secrets download")
    file = None if options.no_file else _free(options.file)
    if file is None:
        console.check_output()
    with console.project() as project:
        config = project.secrets_config
        if config.dynamic_secrets:
            outlives_process(project)
        secrets = config.download(dynamic_secrets_ttl_sec=options.dynamic_ttl)
        try:
            text = secrets.render(options.format)
            if file is None:
                console.write(text)
            else:
                write_new(file, text.encode())
        except BaseException as error:
            # Nobody has got them, or nobody can tell who has.
            console.progress.say("revoking what was leased ...")
            take_back(secrets, error)
            raise
    return 0


def take_back(leased: Lease | Secrets, error: BaseException) -> None:
    """Revoke what nobody got because of an error; where that fails too, the error says so."""
    with undisturbed():
        try:
            leased.revoke()
        except DynsecretsError as failure:
            error.add_note(str(failure))


def outlives_process(project: Project) -> None:
    """Raise ``InvalidConfig`` where the leases would end with this process: nobody could use what it hands over."""
    if not getattr(project.store, "outlives_process", True):
        raise InvalidConfig(
            "leases of a store in memory end with the process that asked, so there would be nothing to hand over; "
            "use another store, or `dynsecrets run`"
        )


def write_new(file: Path, data: bytes) -> None:
    """Write a new file, readable by its owner only; where that can't be finished, there is none."""
    descriptor = os.open(file, _FLAGS, 0o600)
    try:
        with open(descriptor, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            file.unlink()
        raise


def _free(name: str) -> Path:
    """Return the path of a file that isn't there yet, in a folder that is."""
    file = Path(name)
    if os.path.lexists(file):
        raise InvalidConfig(f"{file} exists already, and is not overwritten; remove it, or name another file")
    if not file.parent.is_dir():
        raise InvalidConfig(f"{file}: there is no folder {file.parent}")
    return file
