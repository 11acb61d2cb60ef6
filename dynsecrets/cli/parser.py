"""The parser of all that is typed, put together from the commands. Only the command that is typed is loaded."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dynsecrets._version import __version__
from dynsecrets.cli.arguments import Parser, add_everywhere

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dynsecrets.cli.command import Listed

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


def make_parser(commands: Iterable[Listed], groups: Mapping[str, str]) -> tuple[Parser, dict[str, Parser]]:
    """Return the parser, and those of the commands by name. ``groups`` are the first words of commands of two.

    What it parses has the chosen :class:`~dynsecrets.cli.command.Listed` command as ``chosen``, or ``None``.
    """
    parser = Parser(prog="dynsecrets", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action="version", version=f"dynsecrets {__version__}", help="print the version")
    add_everywhere(parser)
    parser.set_defaults(chosen=None, debug=False)
    levels: dict[str, Any] = {"": parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")}
    made: dict[str, Parser] = {}
    for command in commands:
        group, _, word = command.name.rpartition(" ")
        if group not in levels:
            made[group] = levels[""].add_parser(group, help=groups[group], description=f"Commands to {groups[group]}.")
            add_everywhere(made[group])
            levels[group] = made[group].add_subparsers(
                dest="command", metavar="COMMAND", title="commands", required=True
            )
        own = made[command.name] = levels[group].add_parser(word, help=command.summary)
        add_everywhere(own)
        own.later = partial(_complete, command)
        own.set_defaults(chosen=command)
    return parser, made


def _complete(listed: Listed, parser: Parser) -> None:
    """Complete the parser of a command with what the command's own module says."""
    command = listed.load()
    parser.description, parser.epilog, parser.usage = command.description, command.epilog, command.usage
    command.add_arguments(parser)
