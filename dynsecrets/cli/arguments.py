"""An argument parser that raises instead of exiting, and the arguments that several commands take."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any, NoReturn

from typing_extensions import override

from dynsecrets._internal.messages import did_you_mean, safe_repr
from dynsecrets.cli.errors import UsageError
from dynsecrets.delivery.name_transformers import NAME_TRANSFORMERS
from dynsecrets.errors import InvalidTTL
from dynsecrets.model.ttl import parse_ttl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ``UsageError``, and names what was probably meant."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": _Help, **settings})
        self.typed: Sequence[str] = ()
        #: What adds the arguments once they are needed.
        self.later: Callable[[Parser], None] | None = None
        # As in Python 3.14: -5m is not an option but a value, and a wrong one, to be quoted as such.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    @property
    def name(self) -> str:
        """The command that this is the parser of."""
        return self.prog.removeprefix("dynsecrets").strip()

    @property
    def options(self) -> list[str]:
        """The long options."""
        self._complete()
        return [option for option in self._option_string_actions if option.startswith("--")]

    @override
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse arguments, a command's too. Raise ``UsageError`` for what nothing takes."""
        self._complete()
        before, self.typed = self.typed, args
        options, unknown = super().parse_known_args(args, namespace)
        self.typed = before
        if unknown:
            first = unknown[0].partition("=")[0]
            if first.startswith("-") and first != "-":
                self.error(f"there is no option {safe_repr(first)}{did_you_mean(first, self.options)}")
            self.error(f"{safe_repr(first)} is one argument too many")
        return options, []

    def _complete(self) -> None:
        later, self.later = self.later, None
        if later is not None:
            later(self)

    @override
    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        has = f"{self.name} has" if self.name and action.dest == "command" else "there is"
        self.error(f"{has} no {action.dest.replace('_', ' ')} {safe_repr(value)}{did_you_mean(value, action.choices)}")

    @override
    def error(self, message: str) -> NoReturn:
        """Raise ``UsageError``."""
        raise UsageError(message, self.name)


class _Help(argparse.RawDescriptionHelpFormatter):
    @override
    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        if isinstance(action, BeforeChild):
            return f"[{action.metavar}]"
        return super()._format_args(action, default_metavar)


class BeforeChild(argparse.Action):
    """An option with or without a value, before a child's command that argparse would take for the value.

    It gets all words up to ``--``, keeps the value, and has the others parsed. A value is what follows ``=``, and with
    ``is_value`` a word of which that is true, or the only one before ``--``.
    """

    def __init__(
        self,
        option_strings: Sequence[str],
        dest: str,
        *,
        is_value: Callable[[str], object] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(option_strings, dest, nargs=argparse.REMAINDER, **settings)
        self._is_value = is_value

    @override
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        own = values[:1] if values and self._takes(values, option_string, parser.typed) else []
        setattr(namespace, self.dest, own[0] if own else True)
        parser.parse_args(values[len(own) :], namespace)

    def _takes(self, values: Sequence[str], option: str | None, typed: Sequence[str]) -> bool:
        first, single = values[0], len(values) == 1
        if single and f"{option}={first}" in typed:
            return True
        if self._is_value is None or first.startswith("-"):
            return False
        return (single and "--" in typed) or bool(self._is_value(first))


def add_everywhere(parser: Parser) -> None:
    """Add what can stand before and after the command."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="the project's file (default: the nearest dynsecrets.toml)",
    )
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show log and tracebacks")


def add_ttl(parser: Parser) -> None:
    """Add ``--dynamic-ttl``."""
    parser.add_argument(
        "--dynamic-ttl", type=_time_to_live, metavar="TTL", help="how long leases live: 90s, 30m, 3h, 1h30m"
    )


def add_name_transformer(parser: Parser) -> None:
    """Add ``--name-transformer``."""
    parser.add_argument(
        "--name-transformer", choices=NAME_TRANSFORMERS, metavar="NAME", help=", ".join(NAME_TRANSFORMERS)
    )


def _time_to_live(given: str) -> str:
    try:
        parse_ttl(given)
    except InvalidTTL as exc:
        wrong = str(exc).partition(":")[0]
        accepted = "give whole numbers with d, h, m, s in falling order, like 90s, 30m, 3h or 1h30m"
        raise argparse.ArgumentTypeError(f"{wrong}: {accepted}") from None
    return given
