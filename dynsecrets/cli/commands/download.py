"""``secrets download``: ``SecretsConfig.download`` and ``Secrets.render``."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dynsecrets.cli.arguments import add_name_transformer, add_ttl
from dynsecrets.cli.command import Command
from dynsecrets.cli.errors import UsageError
from dynsecrets.cli.handover import check_outlives_process, take_back
from dynsecrets.delivery.formats import FORMATS
from dynsecrets.errors import InvalidConfig

if TYPE_CHECKING:
    from dynsecrets.cli.arguments import Parser
    from dynsecrets.cli.console import Console

_DESCRIPTION: Final = """\
Leases each dynamic secret, and writes its values and the static ones. The leases live until their TTL: run is safer,
since it revokes them when the command ends."""
_EPILOG: Final = """\
examples:
  dynsecrets secrets download --no-file | jq -r .AWS_USER_ARN
  dynsecrets secrets download --format env .env && (set -a; . ./.env; ./server)
  dynsecrets secrets download --format docker app.env && docker run --env-file app.env app

A file is made with mode 0600 and never overwrites another. If it can't be written, the leases are revoked."""
#: Made by us, for us alone, at the very place that was named.
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def _add_arguments(parser: Parser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="the file to make")
    parser.add_argument("--no-file", action="store_true", help="write to standard output")
    parser.add_argument("--format", choices=FORMATS, default="json", metavar="FORMAT", help=", ".join(FORMATS))
    add_name_transformer(parser)
    add_ttl(parser)


def _download(console: Console) -> int:
    """Lease, render, and write; whatever goes wrong on the way, the leases are revoked and no file is left."""
    from dynsecrets.project_file import open_project

    options = console.options
    if options.no_file == (options.file is not None):
        raise UsageError("name the FILE to make, or give --no-file for standard output")
    file = None if options.no_file else _free(options.file)
    if file is None:
        console.check_output()
    with open_project(console.file, on_event=console.progress) as project:
        config = project.secrets_config
        if config.dynamic_secrets:
            check_outlives_process(project.store)
        secrets = config.download(
            dynamic_secrets_ttl_sec=options.dynamic_ttl, name_transformer=options.name_transformer
        )
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
        raise InvalidConfig(f"{file} exists already and is not overwritten; remove it, or name another file")
    if not file.parent.is_dir():
        raise InvalidConfig(f"{file}: the folder {file.parent} doesn't exist")
    return file


COMMAND: Final = Command(
    description=_DESCRIPTION,
    epilog=_EPILOG,
    add_arguments=_add_arguments,
    action=_download,
)
