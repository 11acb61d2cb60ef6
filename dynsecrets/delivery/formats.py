"""Values as text for others to read: JSON, YAML, shells, Docker, .NET. Pure.

Each format has readers, which its function names, and they get back exactly what was written. What a format can't carry
is refused: an error that names the key, never the value. The text of ``json``, ``yaml`` and ``dotnet-json`` is ASCII,
so that no terminal, pipe or code page on its way can change it; the others are UTF-8.
"""

from __future__ import annotations

import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NoReturn

from dynsecrets._internal.messages import did_you_mean, safe_repr
from dynsecrets.delivery.name_transformers import check_variable
from dynsecrets.errors import InvalidConfig
from dynsecrets.model.masking import MaskedStr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: Half of a pair, which stands for no character: UTF-8 has no bytes for it.
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

#: Variables that bash and dash keep for themselves: assigning to some of them is an error that ends the reading of the
#: file, and others have another value a moment later. Found by trying all that the shells know.
_OF_THE_SHELL: Final = frozenset(
    "_ BASHOPTS BASHPID BASH_ALIASES BASH_ARGC BASH_ARGV BASH_ARGV0 BASH_CMDS BASH_LINENO "  # noqa: SIM905 - readable.
    "BASH_SOURCE BASH_SUBSHELL "
    "BASH_VERSINFO COMP_WORDBREAKS DIRSTACK EPOCHREALTIME EPOCHSECONDS EUID FUNCNAME GROUPS HISTCMD LINENO OPTIND PPID "
    "RANDOM SECONDS SHELLOPTS SHLVL SRANDOM UID".split()
)
#: What shells expand in double quotes. There is no spelling of it there that python-dotenv reads like a shell.
_EXPANDED: Final = re.compile(r"[$`]")
#: The length of a line, in bytes, from which Go's ``bufio.Scanner`` gives up, and Docker with it.
_DOCKER_LINE: Final = 64 * 1024
#: YAML reads a key as one only where it ends within so many characters (YAML 1.2.2, 7.4.2), quotes included.
_YAML_KEY: Final = 1024
_YAML_SHORT: Final = MappingProxyType({'"': r"\"", "\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"})
_YAML_ESCAPED: Final = re.compile(r"[^ !#-\[\]-~]")


def render(values: Mapping[str, str], format: str) -> str:  # noqa: A002 - what the argument is called everywhere.
    """Return values in one of :data:`FORMATS`.

    Args:
        values: The values by name; their order is kept.
        format: The name of the format.

    Returns:
        Text that ends with one line break, and whose ``repr`` is masked.

    Raises:
        InvalidConfig: The format is not known, or can't carry a key or a value.
    """
    write = _WRITERS.get(format) if isinstance(format, str) else None
    if write is None:
        near = did_you_mean(format.strip() if isinstance(format, str) else "", FORMATS)
        raise InvalidConfig(f"format {safe_repr(format)} is not known{near}")
    for key, value in values.items():
        if format in _OF_VARIABLES:
            check_variable(key, f"the format {format}")
        if not is_unicode(value):
            _refuse(key, format, "has half of a surrogate pair, which is not a character", ())
    return MaskedStr(write({key: str.__str__(value) for key, value in values.items()}))


def is_unicode(text: str) -> bool:
    """Tell whether a text can be written in UTF-8: one with half of a surrogate pair can't."""
    return _SURROGATE.search(text) is None


def _json(values: Mapping[str, str]) -> str:
    """Return a JSON object."""
    return f"{json.dumps(values, indent=2)}\n"


def _yaml(values: Mapping[str, str]) -> str:
    """Return a YAML mapping that readers of YAML 1.1 and 1.2 take for the same: all of it is in double quotes.

    Keys too: ``NO``, ``Y`` and ``on`` are booleans to YAML 1.1.
    """
    for key in values:
        if len(key) + 2 > _YAML_KEY:
            _refuse(key, "yaml", f"is a name of more than {_YAML_KEY - 2} characters", ("json",))
    return _lines(f'"{key}": "{_YAML_ESCAPED.sub(_yaml_escape, value)}"' for key, value in values.items())


def _yaml_escape(match: re.Match[str]) -> str:
    """Return how a character is written in double quotes. JSON's pairs of surrogates would stay two halves here."""
    character = match[0]
    code = ord(character)
    if character in _YAML_SHORT:
        return _YAML_SHORT[character]
    if code <= 0xFF:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


def _env(values: Mapping[str, str]) -> str:
    """Return assignments for ``set -a; . file`` in a POSIX shell: nothing is expanded and nothing is run.

    python-dotenv reads the same wherever one spelling serves both. (It expands ``${NAME}`` in whatever it reads, unless
    it is told not to: ``interpolate=False``; and a file opened as text has its carriage returns translated.)
    """
    for key in values:
        if key in _OF_THE_SHELL:
            _refuse(key, "env", "is a variable that shells keep for themselves", ("json", "yaml"))
    return _lines(f"{key}={_shell_word(value)}" for key, value in values.items())


def _shell_word(value: str) -> str:
    """Quote a value.

    python-dotenv knows escapes in single quotes, where shells know none, and none for ``$`` in double quotes.
    """
    if "'" not in value and "\\\\" not in value and not value.endswith("\\"):
        return f"'{value}'"
    if not _EXPANDED.search(value):
        return '"{}"'.format(re.sub(r'(["\\])', r"\\\1", value))
    # Nothing serves both, so what is not a shell must not read something else: it stops at the two quotes at the end,
    # and drops this assignment with a warning. Up to there it has taken all lines of the value for one text.
    return "\"{}\"''".format(re.sub(r'(["\\$`])', r"\\\1", value))


def _env_no_quotes(values: Mapping[str, str]) -> str:
    """Return a line of ``KEY=value`` for each, as it is.

    For readers that end a line at its line break and the key at the first ``=``, and change nothing: ``kubectl create
    secret --from-env-file``, ``$GITHUB_ENV``, ``while IFS= read -r line``. Never for a shell to source.
    """
    for key, value in values.items():
        if "\n" in value or "\r" in value:
            _refuse(key, "env-no-quotes", "has a line break, which would end it", ("env", "json", "yaml"))
    return _lines(f"{key}={value}" for key, value in values.items())


def _docker(values: Mapping[str, str]) -> str:
    """Return a line of ``KEY=value`` for each, for ``docker run --env-file``: Docker unquotes and expands nothing.

    Source: docker/cli, ``pkg/kvfile``. It drops a carriage return at the end of a line.
    """
    others = ("env", "json", "yaml")
    for key, value in values.items():
        if "\n" in value:
            _refuse(key, "docker", "has a line break, and Docker reads such files line by line", others)
        if value.endswith("\r"):
            _refuse(key, "docker", "ends with a carriage return, which Docker drops", others)
        if len(f"{key}={value}".encode()) >= _DOCKER_LINE:
            _refuse(key, "docker", "makes a line longer than the 64 KiB that Docker reads", others)
    return _lines(f"{key}={value}" for key, value in values.items())


def _dotnet_json(values: Mapping[str, str]) -> str:
    """Return a JSON object of .NET's flat configuration keys, for ``AddJsonFile``: ``__`` becomes ``:``.

    So the keys are those that .NET makes of the same names in the environment
    (``EnvironmentVariablesConfigurationProvider``), and nothing else is changed. .NET doesn't tell upper from lower
    case, and its reader of JSON refuses a file with two keys that are the same to it.
    """
    flat: dict[str, str] = {}
    names: dict[str, str] = {}
    for key, value in values.items():
        other = names.setdefault(key.lower(), key)
        if other != key:
            _refuse(key, "dotnet-json", f"is the same as {other} to .NET, which ignores case", ("json",))
        flat[key.replace("__", ":")] = value
    return _json(flat)


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _refuse(key: str, format: str, why: str, others: tuple[str, ...]) -> NoReturn:  # noqa: A002 - as above.
    """Refuse to write what would be read as something else."""
    instead = f", or use another format ({', '.join(others)})" if others else ""
    raise InvalidConfig(f"{key} can't be written as {format}: it {why}; leave it out{instead}")


_WRITERS: Final[Mapping[str, Callable[[Mapping[str, str]], str]]] = MappingProxyType(
    {
        "json": _json,
        "env": _env,
        "env-no-quotes": _env_no_quotes,
        "yaml": _yaml,
        "docker": _docker,
        "dotnet-json": _dotnet_json,
    }
)

#: Those whose readers set environment variables.
_OF_VARIABLES: Final = frozenset({"env", "env-no-quotes", "docker"})
#: The names of the formats.
FORMATS: Final = tuple(_WRITERS)
