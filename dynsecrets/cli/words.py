"""What was typed, looked at before argparse does: which command it is, and where the arguments of a child begin."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from dynsecrets._internal.messages import did_you_mean, safe_repr
from dynsecrets.cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Each command, with the words that may come after it as commands of its own.
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "run": (),
    "secrets": ("download",),
    "leases": (),
    "revoke": (),
    "reap": (),
    "verify": (),
    "policy": (),
    "credential-process": (),
}
_WITH_VALUE: Final = frozenset({"--config", "--dynamic-ttl", "--format", "--account-id", "--partition"})
#: Secrets are called like environment variables, so a command is rarely taken for one.
_SECRET: Final = re.compile(r"[A-Z][A-Z0-9_]*")


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words for argparse, and those of the command that ``run`` is to start.

    A child's command begins after ``--``, or at the first word that is no option; from there on nothing is ours. An
    option and its value become one word, so that argparse takes a ``-5m`` for what it is. Raises ``UsageError`` for a
    command that there isn't.
    """
    own: list[str] = []
    path: list[str] = []
    at = 0
    while at < len(argv):
        word, after = argv[at], argv[at + 1] if at + 1 < len(argv) else None
        in_run = path == ["run"]
        if in_run and (word in ("--", "-") or not word.startswith("-")):
            return own, list(argv[at + (word == "--") :])
        if word == "--":
            return [*own, *argv[at:]], []
        takes_next = word in _WITH_VALUE or (in_run and word == "--aws" and _is_secret(after, argv[at + 2 : at + 3]))
        if takes_next and after not in (None, "--"):
            own.append(f"{word}={after}")
            at += 2
            continue
        if not word.startswith("-"):
            _check_command(path, word)
            path.append(word)
        own.append(word)
        at += 1
    return own, []


def _check_command(path: Sequence[str], word: str) -> None:
    """Raise ``UsageError`` where a word stands for a command that there isn't."""
    known = COMMANDS if not path else COMMANDS[path[0]] if len(path) == 1 else ()
    if known and word not in known:
        where = f"{path[0]} has" if path else "there is"
        raise UsageError(f"{where} no command {safe_repr(word)}{did_you_mean(word, known)}", " ".join(path))


def _is_secret(word: str | None, then: Sequence[str]) -> bool:
    """Tell whether the word after ``--aws`` is a secret's name: by its form, or because ``--`` follows."""
    if word is None or word.startswith("-"):
        return False
    return _SECRET.fullmatch(word) is not None or list(then) == ["--"]
