"""What is typed: understood, or refused in one line with the nearest thing that there is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dynsecrets
from dynsecrets.__main__ import main
from dynsecrets.cli import commands
from dynsecrets.cli.commands import COMMANDS, GROUPS
from dynsecrets.cli.errors import UsageError
from dynsecrets.cli.parser import make_parser
from support.cli import only_line
from support.places import ROOT
from support.processes import clean_environment

if TYPE_CHECKING:
    from collections.abc import Sequence


def parsed(typed: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the options that aren't as they are by default, and the child's words."""
    options = vars(make_parser(COMMANDS, GROUPS)[0].parse_args(typed))
    child: list[str] = options.pop("child", [])
    chosen = options.pop("chosen")
    options.pop("command")
    name = () if chosen is None else (chosen.name,)
    return {"name": name, **{key: value for key, value in options.items() if value not in (None, False)}}, child


@pytest.mark.parametrize(
    ("typed", "own", "child"),
    [
        ("run -- ls -l", {}, "-- ls -l"),
        ("run ls --config x", {}, "ls --config x"),
        ("run -- -- x", {}, "-- -- x"),
        ("run ls -- x", {}, "ls -- x"),
        ("run --config f ls", {"config": "f"}, "ls"),
        ("--config f run ls --config g", {"config": "f"}, "ls --config g"),
        ("--config f run --config g ls", {"config": "g"}, "ls"),
        ("run --dynamic-ttl 3h ls", {"dynamic_ttl": "3h"}, "ls"),
        ("run --dynamic-ttl=3h ls -5m", {"dynamic_ttl": "3h"}, "ls -5m"),
        ("run --aws ls -l", {"aws": True}, "ls -l"),
        ("run --aws ls -l -- x", {"aws": True}, "ls -l -- x"),
        ("run --aws ls", {"aws": True}, "ls"),
        ("run --aws AWS_USER ls", {"aws": "AWS_USER"}, "ls"),
        ("run --aws AWS_USER --renew -- ls", {"aws": "AWS_USER", "renew": True}, "-- ls"),
        ("run --aws AWS_USER --dynamic-ttl 3h ls", {"aws": "AWS_USER", "dynamic_ttl": "3h"}, "ls"),
        ("run --aws aws_user -- ls", {"aws": "aws_user"}, "-- ls"),
        ("run --aws=aws_user ls", {"aws": "aws_user"}, "ls"),
        ("run --aws -- ls", {"aws": True}, "-- ls"),
        ("run --aws --renew ls", {"aws": True, "renew": True}, "ls"),
        ("run --aws --renew AWS_USER -- ls", {"aws": True, "renew": True}, "AWS_USER -- ls"),
        ("run --renew --aws ls --renew", {"aws": True, "renew": True}, "ls --renew"),
        ("run --aws", {"aws": True}, ""),
        ("run --preserve-env A", {"preserve_env": True}, "A"),
        ("run --preserve-env A -- B", {"preserve_env": True}, "A -- B"),
        ("run --preserve-env -- A", {"preserve_env": True}, "-- A"),
        ("run --preserve-env=A,B -- env", {"preserve_env": "A,B"}, "-- env"),
        ("run --preserve-env=A,B --aws env -i", {"preserve_env": "A,B", "aws": True}, "env -i"),
        ("run --preserve-env=A --preserve-env=B env", {"preserve_env": "B"}, "env"),
        ("run --aws --preserve-env=A env", {"preserve_env": "A", "aws": True}, "env"),
        ("run - x", {}, "- x"),
        ("run", {}, ""),
        ("run run run", {}, "run run"),
    ],
)
def test_the_childs_words_are_left_alone(typed: str, own: dict[str, Any], child: str) -> None:
    """The command's own options end at ``--`` or at the first other word; nothing after it is looked at."""
    assert parsed(typed.split()) == ({"name": ("run",), **own}, child.split())


@pytest.mark.parametrize(
    ("typed", "own"),
    [
        (
            "secrets --config f download --no-file",
            {"name": ("secrets download",), "config": "f", "no_file": True, "format": "json"},
        ),
        ("--debug leases --json", {"name": ("leases",), "debug": True, "json": True}),
        ("revoke -- run", {"name": ("revoke",), "ids": ["run"]}),
        ("policy", {"name": ("policy",), "account_id": "*", "partition": "aws"}),
        ("", {"name": ()}),
    ],
)
def test_options_stand_before_and_after_a_command(typed: str, own: dict[str, Any]) -> None:
    """What all commands take is understood at each place."""
    assert parsed(typed.split()) == (own, [])


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "give a command: run, "),
        ("rum ls", "there is no command 'rum'; did you mean run?"),
        ("lease", "there is no command 'lease'; did you mean leases?"),
        ("xyzzy", "there is no command 'xyzzy'; there is run, secrets, "),
        ("secrets downlod", "secrets has no command 'downlod'; did you mean download?"),
        ("secrets", "COMMAND"),
        ("run", "give the command to start, like: dynsecrets run -- printenv (see dynsecrets run --help)"),
        ("run --aws LS", "--aws took LS"),
        ("run --dynamic-tll 3h -- ls", "there is no option '--dynamic-tll'; did you mean --dynamic-ttl?"),
        ("run --dynamic 3h -- ls", "'--dynamic'"),
        ("run --dynamic-ttl 0 -- ls", "'0'"),
        ("run --dynamic-ttl 0s -- ls", "'0s'"),
        ("run --dynamic-ttl -5m -- ls", "'-5m'"),
        ("run --dynamic-ttl 500ms -- ls", "'500ms'"),
        ("run --dynamic-ttl=1.5h -- ls", "'1.5h'"),
        ("run --dynamic-ttl -- ls", "--dynamic-ttl"),
        ("secrets download --no-file --dynamic-ttl soon", "'soon'"),
        ("secrets download", "name the FILE to make, or give --no-file"),
        ("secrets download --no-file x.env", "name the FILE to make, or give --no-file"),
        ("secrets download --no-file --format jsn", "there is no format 'jsn'; did you mean json?"),
        ("leases --jsno", "did you mean --json?"),
        ("leases more", "'more' is one argument too many"),
        ("revoke", "ID"),
        ("credential-process", "NAME"),
        ("leases --config", "--config"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    typed: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake in what was typed is quoted, with the nearest right thing, before any file is looked for."""
    monkeypatch.chdir(tmp_path)

    status = main(typed.split())

    printed = capsys.readouterr()
    assert status == 2
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("dynsecrets: ")
    assert says in line


@pytest.mark.parametrize("command", ["", "secrets", *(command.name for command in COMMANDS)])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of each command says what it does, and shows how."""
    status = main([*command.split(), "--help"])

    printed = capsys.readouterr()
    assert status == 0
    assert printed.err == ""
    assert printed.out.startswith(f"usage: dynsecrets {command}".rstrip())
    if command != "secrets":
        assert "exit status" in printed.out or "example" in printed.out or "~/.aws/config" in printed.out


def test_help_shows_a_file_that_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The ``dynsecrets.toml`` of the help is one."""
    from dynsecrets.project_file import MINIMAL, open_project

    main(["--help"])
    lines = capsys.readouterr().out.partition("above it:")[2].partition("examples:")[0]
    for text in (lines.replace("\n  ", "\n"), MINIMAL):
        tmp_path.joinpath("dynsecrets.toml").write_text(text, encoding="utf-8")
        project = open_project(tmp_path / "dynsecrets.toml")

        assert (project.name, list(project.integrations)) == ("my-project", ["aws"])


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` prints it."""
    status = main(["--version"])

    assert (status, capsys.readouterr().out) == (0, f"dynsecrets {dynsecrets.__version__}\n")


@pytest.mark.parametrize("typed", ["--help", "run --help", "--version", "rum", "run --dynamic-ttl 0 -- ls", "leases"])
def test_help_and_mistakes_load_nothing_heavy(typed: str, tmp_path: Path) -> None:
    """Neither boto3, botocore nor sqlite3 is loaded for a help or a mistake."""
    program = (
        "import sys\nfrom dynsecrets.__main__ import main\n"
        f"main({typed.split()!r})\n"
        "sys.exit(any(name in sys.modules for name in ('boto3', 'botocore', 'sqlite3', 'concurrent.futures')))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean_environment(PYTHONPATH=str(ROOT)),
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0, done


@given(
    own=st.sampled_from(["", "--renew", "--dynamic-ttl 3h", "--aws", "--aws A", "--preserve-env=A", "--config f"]),
    child=st.lists(st.text()),
)
def test_after_two_dashes_nothing_is_ours(own: str, child: list[str]) -> None:
    """Whatever the child's words are, they arrive as they were typed."""
    assert parsed(["run", *own.split(), "--", *child])[1] == ["--", *child]


WORDS = ["run", "secrets", "download", "--aws", "--", "-", "--config", "x", "A", "--debug", "--preserve-env=A", ""]


@given(st.lists(st.sampled_from(WORDS)))
def test_any_words_are_understood_or_refused(typed: list[str]) -> None:
    """Nothing but a usage error comes of what was typed, and a child's words are the last of it."""
    try:
        _, child = parsed(typed)
    except UsageError:
        return

    assert child == typed[len(typed) - len(child) :]


def test_a_help_that_nobody_reads_is_one_line(tmp_path: Path) -> None:
    """A pipe that is closed is told, and the interpreter adds nothing to it."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "dynsecrets", "--help"],
            # Else argparse meets the error itself, and says nothing.
            env=clean_environment(PYTHONPATH=str(ROOT), PYTHONUNBUFFERED=""),
            cwd=tmp_path,
            stdout=pipe,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )

    assert done.returncode == 1
    assert only_line(done) == "nobody reads the output"


def test_without_a_file_it_says_where_it_looked(tmp_path: Path) -> None:
    """Where there is no ``dynsecrets.toml`` above, the folder and the ways to name one are told, with status 1."""
    done = subprocess.run(
        [sys.executable, "-m", "dynsecrets", "leases"],
        env=clean_environment(PYTHONPATH=str(ROOT)),
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert done.returncode == 1
    line = only_line(done)
    assert os.path.realpath(tmp_path) in line
    assert "--config FILE" in line
    assert "DYNSECRETS_CONFIG_FILE" in line


@pytest.mark.parametrize(
    ("typed", "loaded"),
    [("--version", []), ("--help", []), ("secrets --help", []), ("leases --help", ["leases"]), ("run", ["run"])],
)
def test_only_the_command_that_is_typed_is_loaded(typed: str, loaded: list[str]) -> None:
    """What is typed loads its own module, and none of another command."""
    code = (
        "import sys\n"
        "from dynsecrets.__main__ import main\n"
        f"main({typed.split()!r})\n"
        "print(*(name for name in sys.modules if name.startswith('dynsecrets.cli.commands.')))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)

    assert done.stdout.splitlines()[-1].split() == [f"dynsecrets.cli.commands.{name}" for name in loaded]


def test_every_command_is_listed() -> None:
    """Each module of a command is in the list, once."""
    modules = [path.stem for path in Path(commands.__file__).parent.glob("*.py") if path.stem != "__init__"]

    assert sorted(listed.module for listed in COMMANDS) == sorted(modules)
