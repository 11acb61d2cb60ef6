"""``run``: ``SecretsConfig.run``."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Final

from dynsecrets.cli.arguments import BeforeChild, add_name_transformer, add_ttl
from dynsecrets.cli.command import Command
from dynsecrets.cli.errors import FAILED, UsageError
from dynsecrets.cli.interrupts import leave
from dynsecrets.errors import RevocationError

if TYPE_CHECKING:
    from dynsecrets.cli.arguments import Parser
    from dynsecrets.cli.console import Console

_DESCRIPTION: Final = """\
Leases each dynamic secret, starts CMD with the values in its environment, and revokes the leases when CMD ends. An IAM
user's AWS_USER becomes AWS_USER_ACCESS_KEY_ID, AWS_USER_SECRET_ACCESS_KEY and so on."""
_EPILOG: Final = """\
examples:
  dynsecrets run -- ./server --port 80
  dynsecrets run --aws -- aws sts get-caller-identity
  dynsecrets run --aws AWS_USER --dynamic-ttl 3h -- zsh
  dynsecrets run --renew -- ./worker    # any AWS SDK; the key changes while it runs

CMD begins after --, or at the first word that is not an option. All words from there on belong to CMD.

exit status: that of CMD; 128+n if signal n ended it, 127 if CMD was not found, 126 if it can't be executed;
1 if nothing could be leased, 2 wrong usage."""
#: Secrets are called like environment variables, so a command is rarely taken for one.
_SECRET: Final = re.compile(r"[A-Z][A-Z0-9_]*")


def _add_arguments(parser: Parser) -> None:
    add_ttl(parser)
    parser.add_argument(
        "--aws",
        action=BeforeChild,
        is_value=_SECRET.fullmatch,
        metavar="NAME",
        help="give the command this dynamic secret (the only one, by default) as AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, which every AWS SDK reads",
    )
    parser.add_argument(
        "--renew",
        action="store_true",
        help="lease anew as long as the command runs; its AWS SDK gets fresh keys from an endpoint on loopback",
    )
    parser.add_argument(
        "--preserve-env",
        action=BeforeChild,
        metavar="A,B",
        help="variables that are set already win: all of them, or those named",
    )
    add_name_transformer(parser)
    parser.add_argument("child", nargs=argparse.REMAINDER, action="extend", help=argparse.SUPPRESS)


def _run(console: Console) -> int:
    """Start a command with the values in its environment; return its exit status."""
    from dynsecrets.project_file import open_project

    options = console.options
    child = options.child[1:] if options.child[:1] == ["--"] else options.child
    if not child:
        hint = f" (--aws took {options.aws}; write --aws -- CMD)" if isinstance(options.aws, str) else ""
        raise UsageError(f"give the command to start, like: dynsecrets run -- printenv{hint}")
    preserve: bool | list[str] = options.preserve_env is True
    if isinstance(options.preserve_env, str):
        preserve = [name for name in options.preserve_env.split(",") if name]
    with open_project(console.file, on_event=console.progress) as project:
        if isinstance(options.aws, str):
            project.dynamic_secret(options.aws)
        config = project.secrets_config
        # From then on the terminal is the command's.
        waited = {secret.name: "usable" if secret.wait else "issued" for secret in config.dynamic_secrets}
        console.progress.wait_for(waited)
        try:
            return config.run(
                child,
                dynamic_ttl=options.dynamic_ttl,
                preserve_env=preserve,
                aws=options.aws,
                renew=options.renew,
                name_transformer=options.name_transformer,
            )
        except RevocationError as error:
            # The command has ended, and its own failure says more.
            status = getattr(error, "status", 0)
            if not status and not getattr(error, "given_up", False):
                raise
            console.report(error)
            if getattr(error, "given_up", False):
                leave(int(status) or FAILED)
            return int(status)


COMMAND: Final = Command(
    description=_DESCRIPTION,
    epilog=_EPILOG,
    usage="dynsecrets run [--dynamic-ttl TTL] [--aws [NAME]] [--renew] [--preserve-env[=A,B]]\n"
    "                      [--name-transformer NAME] [--] CMD [ARG ...]",
    add_arguments=_add_arguments,
    action=_run,
)
