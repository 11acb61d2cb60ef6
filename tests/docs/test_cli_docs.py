"""What the pages on the command show is run as it is printed, page by page."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dynsecrets.cli.commands import COMMANDS, GROUPS
from dynsecrets.cli.errors import UsageError
from dynsecrets.cli.parser import make_parser
from dynsecrets.delivery.project_schema import dynamic_secret_keys, integration_keys
from dynsecrets.integrations.aws.iam_users import AwsIamIntegration
from dynsecrets.project_file import open_project
from support.clients import aws_cli
from support.docs import blocks, commands, missing_output, page_id, pages
from support.places import ROOT
from support.processes import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

    from support.accounts import Account

DOCS = ROOT / "docs"
RUN = [
    DOCS / "how-to" / f"{name}.md"
    for name in ("run-a-command", "env-files", "credential-process", "long-running-children")
]
ALL = [*RUN, DOCS / "how-to" / "coming-from.md", DOCS / "command-line.md"]
PROGRAMS = {
    "dynsecrets": f'exec {shlex.quote(sys.executable)} -W error -m dynsecrets "$@"',
    "aws": f'exec {shlex.join(aws_cli())} "$@"',
    "python": f'exec {shlex.quote(sys.executable)} "$@"',
}


def write_files(page: Path, folder: Path) -> None:
    """Write the files that a page shows."""
    for block in blocks(page):
        if block.file is not None:
            folder.joinpath(block.file).write_text(block.text, encoding="utf-8")


def environment(account: Account, folder: Path) -> dict[str, str]:
    """Return a reader's environment: the commands, an account, and the two profiles of the page on profiles."""
    programs = folder / "bin"
    programs.mkdir()
    for name, line in PROGRAMS.items():
        programs.joinpath(name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        programs.joinpath(name).chmod(0o755)
    config = folder / "aws-config"
    command = shlex.join([str(programs / "dynsecrets"), "--config", str(folder / "page" / "dynsecrets.toml")])
    config.write_text(
        f"[profile app]\nregion = {account.region}\ncredential_process = {command} credential-process AWS_USER\n"
        f"[profile admin]\nregion = {account.region}\naws_access_key_id = {account.access_key_id}\n"
        f"aws_secret_access_key = {account.secret_access_key}\n",
        encoding="utf-8",
    )
    return clean_environment(
        **account.environment(),
        AWS_CONFIG_FILE=str(config),
        HOME=str(folder),
        PATH=f"{programs}:/usr/local/bin:/usr/bin:/bin",
        PYTHONPATH=str(ROOT),
    )


@pytest.mark.skipif(sys.platform == "win32", reason="the pages are written for POSIX shells")
@pytest.mark.reveals  # The files of the page on files hold secrets.
@pytest.mark.parametrize("page", RUN, ids=page_id)
def test_a_page_of_commands_runs_as_printed(page: Path, aws: Account, tmp_path: Path) -> None:
    """The shell blocks of a page run in their order in one shell, and print what the page says."""
    folder = tmp_path / "page"
    folder.mkdir()
    write_files(page, folder)
    script = "\n".join(block.text for block in blocks(page, "sh") if block.not_run is None)

    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", script],
        env=environment(aws, tmp_path),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=180,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert missing_output(blocks(page), done.stdout) == []
    if page.stem != "credential-process":  # Its leases outlive the commands, as it says.
        assert aws.users() == []


@pytest.mark.parametrize("page", pages(), ids=page_id)
def test_every_command_of_a_page_is_one(page: Path) -> None:
    """Whatever a page calls, in blocks, tables or text, is a command with options that there are."""
    text = page.read_text(encoding="utf-8")
    found = [shlex.split(command) for command in re.findall(r"`(dynsecrets [^`]+)`", text)]
    found += [words for block in blocks(page, "sh", "console") for words in commands(block)]
    parser, _ = make_parser(COMMANDS, GROUPS)

    mistakes = {}
    for words in found:
        line = words[1:] if words[0] == "$" else words
        if line[0] == "dynsecrets":
            # What comes after is the shell's, and an ellipsis nobody's.
            typed = list(itertools.takewhile(lambda word: word not in ("|", ">", "||", "&&"), line[1:]))
            try:
                if parser.parse_args([word for word in typed if "…" not in word]).chosen is None:
                    mistakes[" ".join(words)] = "names no command"
            except UsageError as error:
                mistakes[" ".join(words)] = str(error)

    assert mistakes == {}


def test_the_reference_has_every_key_and_option() -> None:
    """Each key of the file and each option of each command is in the reference, and its file is one."""
    text = (DOCS / "command-line.md").read_text(encoding="utf-8")
    _, made = make_parser(COMMANDS, GROUPS)

    keys = {*integration_keys(AwsIamIntegration)[0], *dynamic_secret_keys(AwsIamIntegration)}
    options = {option for parser in made.values() for option in parser.options}

    assert {key for key in keys if f"`{key}`" not in text} == set()
    assert {option for option in options if f"`{option}" not in text} == set()
    assert {name for name in made if name != "secrets" and f"`{name}" not in text} == set()


@pytest.mark.parametrize("page", [page for page in ALL if blocks(page, "toml")], ids=page_id)
def test_the_files_of_a_page_can_be_read(page: Path, tmp_path: Path) -> None:
    """Each ``dynsecrets.toml`` that a page shows is one."""
    write_files(page, tmp_path)

    project = open_project(tmp_path / "dynsecrets.toml")

    assert list(project.dynamic_secrets) == ["AWS_USER"]
