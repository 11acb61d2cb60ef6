"""Checks of what a block of the documentation says, by its language: nothing may stand there that nobody has looked at.

Python is run elsewhere, page by page; here it is at least compiled. A language, a title or a command that has no check
is a mistake of its own: whoever adds one adds the check.
"""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import tempfile
import tomllib
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import botocore.session

from dynsecrets import DynsecretsError
from dynsecrets.integrations.aws.policy_document import PolicyDocument
from support.docs import OUTPUT, Block, aws_mistakes, commands, make_targets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Pages on the ``dynsecrets`` command, whose shell blocks ``tests/cli/test_cli_docs.py`` runs as they are printed.
TYPED: Final = frozenset({"credential-process", "env-files", "long-running-children", "run-a-command"})
#: Commands of a shell that have a check. ``dynsecrets`` is run, as printed, by the tests of the command line.
_PLAIN_COMMANDS: Final = frozenset({"cp", "dynsecrets", "export"})
_MODULES: Final = frozenset(
    {"benchmarks", "benchmarks.simulation", "dynsecrets", "moto.server", "pip", "pytest", "zipfile"}
)
_DOCKER_RUN: Final = frozenset({"--env", "--env-file", "--init", "--rm", "--stop-timeout", "--volume"})
_SYSTEMCTL: Final = frozenset({"daemon-reload", "enable", "list-timers", "start", "status"})
_INSTRUCTIONS: Final = frozenset({"CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "RUN", "USER", "WORKDIR"})
_CRON_FIELD: Final = re.compile(r"(?:\*|[0-9]+(?:-[0-9]+)?)(?:/[0-9]+)?(?:,[0-9]+)*")
_BOX: Final = frozenset("│─┌┐└┘├┤┬┴┼►▲▼◄∥")
#: What a page of the built documentation shows of a line.
_WIDTH: Final = 80
#: Files of JSON that are arguments of AWS's: service and operation.
_ARGUMENTS: Final = {"task-definition.json": ("ecs", "RegisterTaskDefinition")}


def mistakes(block: Block, page: Path | None = None) -> list[str]:
    """Return what is wrong with a block of a page; something always is, if there is no check for it."""
    if page is not None and is_typed(page) and block.language == "sh":
        return []
    check = _CHECKS.get(block.language)
    if check is None:
        return [f"nothing checks a block of {block.language or 'no language'}"]
    try:
        return check(block)
    except (ValueError, SyntaxError, DynsecretsError, configparser.Error) as error:
        return [f"{type(error).__name__}: {error}"]


def is_typed(page: Path) -> bool:
    """Tell whether the tests of the command line type all commands of a page into a shell, and compare the output."""
    return page.parent.name == "how-to" and page.stem in TYPED


def systemd_mistakes(units: Mapping[str, str]) -> list[str]:
    """Return what systemd says of unit files; nothing where it isn't installed. Programs and users are as if there."""
    verify = shutil.which("systemd-analyze")
    if verify is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        for name, text in units.items():
            there = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={shutil.which('true')}", text)
            Path(folder, name).write_text(re.sub(r"(?m)^User=.*$", "User=root", there), encoding="utf-8")
        files = [str(Path(folder, name)) for name in units]
        done = subprocess.run([verify, "verify", *files], capture_output=True, text=True, check=False, timeout=120)
    said = [line for line in done.stderr.splitlines() if folder in line or any(name in line for name in units)]
    return said or ([done.stderr] if done.returncode else [])


def _python(block: Block) -> list[str]:
    compile(block.text, f"line {block.line}", "exec")
    return []


def _json(block: Block) -> list[str]:
    document = json.loads(block.text)
    if isinstance(document, dict) and "Effect" in document:
        document = {"Version": "2012-10-17", "Statement": [document]}
    if isinstance(document, dict) and "Statement" in document:
        # A trust policy names who; everything else is the same grammar.
        statements = [
            {"Resource": "*", **{key: value for key, value in statement.items() if key != "Principal"}}
            for statement in document["Statement"]
        ]
        PolicyDocument({**document, "Statement": statements})
    if block.file in _ARGUMENTS:
        return _argument_mistakes(document, *_ARGUMENTS[block.file])
    return []


def _argument_mistakes(document: dict[str, Any], service: str, operation: str) -> list[str]:
    from botocore.validate import ParamValidator

    shape: Any = botocore.session.get_session().get_service_model(service).operation_model(operation).input_shape
    report = ParamValidator().validate(document, shape)
    return [str(report.generate_report())] if report.has_errors() else []


def _console(block: Block) -> list[str]:
    """What is typed stands after a dollar; the rest is what it answers."""
    typed = "".join(line[2:] for line in block.text.splitlines(keepends=True) if line.startswith("$ "))
    return _shell(attrs.evolve(block, text=typed)) if typed else ["nothing is typed"]


def _shell(block: Block) -> list[str]:
    return [f"{' '.join(words)}: {wrong}" for words in commands(block) for wrong in _command(words)]


def _command(words: list[str]) -> list[str]:
    """Return what is wrong with a command."""
    program, *rest = words
    options = {word.partition("=")[0] for word in rest if word.startswith("--")}
    if program == "aws":
        return aws_mistakes(words) if rest[0] != "configure" else []
    if program == "make":
        return [f"no target {word}" for word in rest if "=" not in word and word not in make_targets()]
    if program == "python":
        known = rest[:1] == ["-m"] and rest[1] in _MODULES
        return [] if known or rest[0].endswith(".py") else ["no such module is known"]
    if program == "docker":
        return [] if rest[0] == "run" and options <= _DOCKER_RUN else ["only `docker run` with some options is known"]
    if program == "systemctl":
        return [] if rest[0] in _SYSTEMCTL else ["no such verb is known"]
    return [] if program in _PLAIN_COMMANDS else ["nothing checks this command"]


def _text(block: Block) -> list[str]:
    if block.title == OUTPUT:
        return []  # Compared with what the page's program prints.
    if block.title == "crontab":
        return [f"not a line of cron's: {line}" for line in block.text.splitlines() if not _is_cron(line)]
    return ["a block of text has one of the titles output and crontab"]


def _is_cron(line: str) -> bool:
    if re.fullmatch(r"[A-Z_]+=\S.*", line):
        return True
    fields = line.split(maxsplit=5)
    return len(fields) == 6 and fields[5].startswith("/") and all(_CRON_FIELD.fullmatch(field) for field in fields[:5])


def _diagram(block: Block) -> list[str]:
    """A diagram names calls that AWS has, is drawn by lines, and fits into a page."""
    wrong = [name for name in re.findall(r"\b(?:[A-Z][a-z]+){2,}\b", block.text) if name not in _operations()]
    wide = [line for line in block.text.splitlines() if len(line) > _WIDTH]
    drawn = _BOX & set(block.text)
    return [f"AWS has no {name}" for name in wrong] + [f"too wide: {line}" for line in wide] + ["no line"] * (not drawn)


@lru_cache
def _operations() -> frozenset[str]:
    """Return the names of all calls that a lease can need."""
    session = botocore.session.get_session()
    models = [session.get_service_model(service) for service in ("iam", "sts", "dynamodb")]
    return frozenset(name for model in models for name in model.operation_names)


def _ini(block: Block) -> list[str]:
    parser = configparser.ConfigParser(interpolation=None, strict=block.file is None or "." not in block.file)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # As configparser's documentation does it.
    parser.read_string(block.text)
    if "Service" in parser:
        return systemd_mistakes({block.file or "shown.service": block.text})
    profiles = all(section == "default" or section.startswith("profile ") for section in parser.sections())
    return (
        [] if profiles or block.file else ["neither a unit of systemd nor profiles of AWS; say by a title what it is"]
    )


def _toml(block: Block) -> list[str]:
    tomllib.loads(block.text)
    return []


def _yaml(block: Block) -> list[str]:
    yaml: Any = import_module("yaml")  # moto's server has it.
    try:
        documents = list(yaml.safe_load_all(block.text))
    except yaml.YAMLError as error:
        return [str(error)]
    return [] if all(isinstance(document, dict) for document in documents) else ["a document is no mapping"]


def _dockerfile(block: Block) -> list[str]:
    wrong = []
    for line in filter(None, block.text.replace("\\\n", " ").splitlines()):
        instruction, _, rest = line.partition(" ")
        if instruction not in _INSTRUCTIONS:
            wrong.append(f"{instruction} is no instruction that is known")
        if instruction in ("CMD", "ENTRYPOINT") and not isinstance(json.loads(rest), list):
            wrong.append(f"{instruction} must be a list")
    return wrong


_CHECKS: Final[Mapping[str, Callable[[Block], list[str]]]] = {
    "console": _console,
    "diagram": _diagram,
    "dockerfile": _dockerfile,
    "ini": _ini,
    "json": _json,
    "python": _python,
    "sh": _shell,
    "text": _text,
    "toml": _toml,
    "yaml": _yaml,
}
