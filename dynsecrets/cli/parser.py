"""The options and the help of each command. Loads neither boto3 nor the stores."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final, NoReturn

from typing_extensions import override

from dynsecrets._internal.messages import did_you_mean, safe_repr
from dynsecrets.cli.errors import UsageError
from dynsecrets.delivery.formats import FORMATS
from dynsecrets.errors import InvalidTTL
from dynsecrets.model.ttl import parse_ttl

if TYPE_CHECKING:
    from collections.abc import Iterator

_DESCRIPTION: Final = "AWS credentials that exist for minutes: leased from IAM, handed over once, deleted when done."
_EPILOG: Final = """\
The project is described by the nearest dynsecrets.toml, in this folder or above it:

  project = "my-project"
  environment = "dev"
  config = "dev"

  [integrations.aws]
  type = "aws-iam"                      # AWS credentials as boto3 finds them

  [dynamic_secrets.AWS_USER]
  integration = "aws"
  policy = "app-policy.json"            # what a leased user may do

  [secrets]
  DATABASE_HOST = "db.internal"

examples:
  dynsecrets verify                     # can the credentials at hand lease users?
  dynsecrets run -- printenv            # AWS_USER_* and DATABASE_HOST in the environment
  dynsecrets run --aws -- aws s3 ls     # the AWS CLI as the leased user

exit status: 0 done, 1 failed, 2 wrong usage; run ends with its command's own."""
_RUN: Final = """\
Leases a user for each dynamic secret, starts CMD with the values in its environment, and deletes the users when CMD
ends. A dynamic secret AWS_USER becomes AWS_USER_ACCESS_KEY_ID, AWS_USER_SECRET_ACCESS_KEY and so on."""
_RUN_EPILOG: Final = """\
examples:
  dynsecrets run -- ./server --port 80
  dynsecrets run --aws -- aws sts get-caller-identity
  dynsecrets run --aws AWS_USER --dynamic-ttl 3h -- zsh
  dynsecrets run --renew -- ./worker    # any AWS SDK; the key changes while it runs

The command begins after --, or at the first word that is no option: what comes then is the command's own.

exit status: the command's own; 128+n if signal n ended it, 127 if there is no such command, 126 if it can't be
executed; 1 if nothing could be leased, 2 wrong usage."""
_DOWNLOAD: Final = """\
Leases a user for each dynamic secret, and writes these and the static values. The leases live until their TTL: run is
safer, since it deletes them when the command ends."""
_DOWNLOAD_EPILOG: Final = """\
examples:
  dynsecrets secrets download --no-file | jq -r .AWS_USER_ARN
  dynsecrets secrets download --format env .env && (set -a; . ./.env; ./server)
  dynsecrets secrets download --format docker app.env && docker run --env-file app.env app

A file is made with mode 0600 and never overwrites another. If it can't be written, the leases are revoked."""
_LEASES_EPILOG: Final = """\
examples:
  dynsecrets leases
  dynsecrets leases --json | jq -r '.[] | select(.stuck) | .id'

STATE is pending, active, revoking or revoked. A revocation that failed often is marked "stuck": have a look."""
_REVOKE_EPILOG: Final = """\
examples:
  dynsecrets revoke 5d4a9800-7c7e-4009-9113-2a3dda2e9ff1
  dynsecrets leases --json | jq -r '.[].id' | xargs dynsecrets revoke

Revoking twice is fine. exit status: 0 all are gone, 1 one is not known or could not be revoked."""
_REAP_EPILOG: Final = """\
example, for a crontab:
  */5 * * * * cd /srv/app && dynsecrets reap

exit status: 0 nothing overdue is left, 1 something could not be revoked."""
_VERIFY_EPILOG: Final = """\
It prints the account and the ARN, makes one user and deletes it, and names each action that is missing.

exit status: 0 they can, 1 they can't."""
_POLICY_EPILOG: Final = """\
example:
  dynsecrets policy > integration-policy.json

Nothing is called. With several integrations in the file, name one."""
_PROCESS_EPILOG: Final = """\
in ~/.aws/config:
  [profile app]
  credential_process = dynsecrets --config /srv/app/dynsecrets.toml credential-process AWS_USER

An SDK asks again when 15 minutes are left, so a TTL under 30 minutes is refused. Each process that uses the profile
leases a user of its own, and each aws command is a process: for many of them use dynsecrets run --aws -- sh."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of exiting, and knows its own options."""

    def __init__(self, **settings: Any) -> None:
        self.options: list[str] = []
        super().__init__(**{"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter, **settings})

    @override
    def add_argument(self, *args: Any, **kwargs: Any) -> argparse.Action:
        """Add an argument, and remember how it is spelt."""
        self.options += [name for name in args if name.startswith("--")]
        return super().add_argument(*args, **kwargs)

    @override
    def error(self, message: str) -> NoReturn:
        """Raise ``UsageError``."""
        raise UsageError(message, self.prog.removeprefix("dynsecrets").strip())


def make_parser() -> tuple[Parser, dict[str, Parser]]:
    """Return the parser, and those of the commands by name."""
    parser = Parser(prog="dynsecrets", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="store_true", help="print the version")
    _everywhere(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    made = dict(_commands(commands))
    return parser, made


def refuse_unknown(unknown: list[str], parser: Parser) -> None:
    """Raise ``UsageError`` for what no option or argument took."""
    if not unknown:
        return
    first = unknown[0].partition("=")[0]
    if first.startswith("-") and first != "-":
        parser.error(f"there is no option {safe_repr(first)}{did_you_mean(first, parser.options)}")
    parser.error(f"{safe_repr(first)} is one argument too many")


def _commands(commands: Any) -> Iterator[tuple[str, Parser]]:
    """Add each command."""
    run = _command(
        commands, "run", "start a command with the secrets in its environment", _RUN, _RUN_EPILOG,
        usage="dynsecrets run [--dynamic-ttl TTL] [--aws [NAME]] [--renew] [--preserve-env[=A,B]] [--] CMD [ARG ...]",
    )  # fmt: skip
    _ttl(run)
    run.add_argument("--aws", nargs="?", const=True, metavar="NAME", help=(
        "give the command this dynamic secret (the only one, by default) as AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, which every AWS SDK reads"
    ))  # fmt: skip
    run.add_argument("--renew", action="store_true", help=(
        "lease fresh users as long as the command runs; its AWS SDK gets them from a loopback endpoint"
    ))  # fmt: skip
    run.add_argument("--preserve-env", nargs="?", const=True, metavar="A,B", help=(
        "variables that are set already win: all of them, or those named"
    ))  # fmt: skip
    yield "run", run

    secrets = _command(commands, "secrets", "write the secrets", "Commands for the values themselves.", "")
    inner = secrets.add_subparsers(dest="subcommand", metavar="COMMAND", title="commands", required=True)
    yield "secrets", secrets
    download = _command(inner, "download", "lease, and write all values", _DOWNLOAD, _DOWNLOAD_EPILOG)
    download.add_argument("file", nargs="?", metavar="FILE", help="the file to make")
    download.add_argument("--no-file", action="store_true", help="write to standard output")
    download.add_argument("--format", type=_format, default="json", metavar="FORMAT", help=", ".join(FORMATS))
    _ttl(download)
    yield "secrets download", download

    leases = _command(commands, "leases", "list the leases that live", "Lists the leases.", _LEASES_EPILOG)
    leases.add_argument("--json", action="store_true", help="an array of objects, one for each lease")
    leases.add_argument("--all", action="store_true", help="those revoked in the last seven days too")
    yield "leases", leases

    revoke = _command(commands, "revoke", "delete leased users now", "Revokes leases by their ids.", _REVOKE_EPILOG)
    revoke.add_argument("ids", nargs="+", metavar="ID", help="the id of a lease")
    yield "revoke", revoke

    yield "reap", _command(
        commands, "reap", "revoke everything overdue or half-made",
        "Revokes what expired, what earlier processes could not revoke, and what they left when they died.",
        _REAP_EPILOG,
    )  # fmt: skip
    yield "verify", _command(
        commands, "verify", "prove that the integrations can lease",
        "Says who the credentials of each integration are, and proves that they can do the job.",
        _VERIFY_EPILOG,
    )  # fmt: skip

    policy = _command(
        commands, "policy", "print the IAM policy that an integration needs",
        "Prints the least-privilege IAM policy for the integration's own user, for the dynamic secrets of the file.",
        _POLICY_EPILOG,
    )  # fmt: skip
    policy.add_argument("integration", nargs="?", metavar="INTEGRATION", help="the integration's name in the file")
    policy.add_argument("--account-id", default="*", metavar="ID", help="the account's number (default: any)")
    policy.add_argument("--partition", default="aws", metavar="NAME", help="aws, aws-cn or aws-us-gov")
    yield "policy", policy

    process = _command(
        commands, "credential-process", "serve a profile of the AWS config file",
        "Leases a user and prints it as AWS's credential_process protocol wants it.", _PROCESS_EPILOG,
    )  # fmt: skip
    process.add_argument("name", metavar="NAME", help="the dynamic secret")
    _ttl(process)
    yield "credential-process", process


def _command(commands: Any, name: str, summary: str, description: str, epilog: str, **settings: Any) -> Parser:
    parser: Parser = commands.add_parser(name, help=summary, description=description, epilog=epilog, **settings)
    _everywhere(parser)
    return parser


def _everywhere(parser: Parser) -> None:
    """Add what can stand before and after the command."""
    parser.options.append("--help")
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="the project's file (default: the nearest dynsecrets.toml)",
    )
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show log and tracebacks")


def _ttl(parser: Parser) -> None:
    parser.add_argument(
        "--dynamic-ttl", type=_time_to_live, metavar="TTL", help="how long leases live: 90s, 30m, 3h, 1h30m"
    )


def _time_to_live(given: str) -> str:
    try:
        parse_ttl(given)
    except InvalidTTL as exc:
        wrong = str(exc).partition(":")[0]
        accepted = "give whole numbers with d, h, m, s in falling order, like 90s, 30m, 3h or 1h30m"
        raise argparse.ArgumentTypeError(f"{wrong}: {accepted}") from None
    return given


def _format(given: str) -> str:
    if given not in FORMATS:
        raise argparse.ArgumentTypeError(f"there is no format {safe_repr(given)}{did_you_mean(given, FORMATS)}")
    return given
