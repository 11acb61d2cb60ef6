"""What the README and the documentation show is run as it is printed, page by page."""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING

import pytest

import dynsecrets
from support.docs import (
    ROOT,
    Block,
    aws_mistakes,
    blocks,
    commands,
    make_targets,
    missing_output,
    page_id,
    pages,
    program,
)
from support.scripts import reports, run_python

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.accounts import Account
    from support.proxy import Proxy

README = ROOT / "README.md"
SHELL = ("sh", "bash", "shell", "console")
#: What a reader has at hand: nothing else of AWS is set.
VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
#: Plugins that happen to be installed are not what these pages are about.
_PYTEST = ("-q", "-p", "no:cacheprovider", "-p", "no:asyncio")


@pytest.fixture
def account(aws: Account) -> Iterator[Account]:
    """An account with the object that the examples read."""
    with reports(aws):
        yield aws


def environment(account: Account, *, url: str | None = None) -> dict[str, str]:
    """Return the variables that a reader has set, by way of a proxy where given."""
    given = account.environment(url=url)
    return {name: given[name] for name in VARIABLES}


def write_files(page: Path, folder: Path) -> list[Block]:
    """Write the files that a page shows; return the other blocks of Python, in order."""
    for block in blocks(page):
        if block.file is not None:
            folder.joinpath(block.file).write_text(block.text, encoding="utf-8")
    return [block for block in blocks(page, "python") if block.file is None and block.not_run is None]


# The README


def test_the_first_example_runs_as_printed(account: Account, proxy: Proxy, tmp_path: Path) -> None:
    """The README's first example reads the object with the leased key, and leaves no user behind."""
    first = blocks(README, "python")[0]
    script = tmp_path / "first.py"
    script.write_text(first.text, encoding="utf-8")

    done = run_python([str(script)], tmp_path, environment(account, url=proxy.url))

    assert done.returncode == 0, done.stderr
    (read,) = (call for call in proxy.calls if call.service == "s3")
    assert (read.action, read.status) == ("GET /reports/2026.csv", 200)
    assert read.access_key_id != account.access_key_id
    assert account.users() == []


def test_a_lease_costs_what_the_table_says(account: Account, proxy: Proxy, tmp_path: Path) -> None:
    """Three calls to issue and three to revoke, in four round trips, as the README's table says."""
    proxy.latency_s = 0.05
    (row,) = (line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("| dynsecrets | 3"))

    done = run_python(["-c", blocks(README, "python")[0].text], tmp_path, environment(account, url=proxy.url))

    assert done.returncode == 0, done.stderr
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["dynsecrets", "3", "3", "4"]
    calls = [call for call in proxy.calls if call.service == "iam"]
    issue, revoke = calls[:3], calls[3:]
    assert issue[0].action == "CreateUser"
    assert {call.action for call in issue[1:]} == {"PutUserPolicy", "CreateAccessKey"}
    assert issue[1].overlaps(issue[2])
    assert {call.action for call in revoke[:2]} == {"DeleteAccessKey", "DeleteUserPolicy"}
    assert revoke[0].overlaps(revoke[1])
    assert [call.action for call in revoke[2:]] == ["DeleteUser"]
    assert proxy.count("GetCallerIdentity") == 3


def test_what_is_not_there_yet_is_not_there() -> None:
    """A name that the README calls missing is missing; whoever adds it moves it to what is there."""
    _, _, rest = README.read_text(encoding="utf-8").partition("<!-- not yet -->")
    names = re.findall(r"`(\w+)`", rest.partition("Until")[0])

    there = [name for name in names if name in dynsecrets.__all__ or hasattr(dynsecrets.LeaseManager, name)]

    assert names
    assert there == []


# All pages


@pytest.mark.parametrize("page", [page for page in pages() if blocks(page, "python")], ids=page_id)
def test_a_page_runs_as_printed(page: Path, account: Account, tmp_path: Path) -> None:
    """The Python blocks of a page run in their order, print what the page says, and leave no user behind."""
    script = tmp_path / f"{page.stem.replace('-', '_')}_page.py"
    script.write_text(program(write_files(page, tmp_path)), encoding="utf-8")

    done = run_python([str(script)], tmp_path, environment(account))

    assert done.returncode == 0, done.stderr
    assert missing_output(blocks(page), done.stdout) == []
    assert account.users() == []


@pytest.mark.parametrize("page", [page for page in pages() if blocks(page, "python", "json")], ids=page_id)
def test_files_of_a_page_hold_good(page: Path, account: Account, tmp_path: Path) -> None:
    """A page's own tests pass; a JSON file that a page shows is what its program writes; other JSON can be read."""
    script = program(write_files(page, tmp_path))
    tests = [str(tmp_path / file) for block in blocks(page, "python") if (file := block.file or "").startswith("test_")]
    if tests:
        done = run_python(["-m", "pytest", *_PYTEST, *tests], tmp_path, environment(account), warnings="default")
        assert done.returncode == 0, done.stdout + done.stderr

    for block in blocks(page, "json"):
        shown = json.loads(block.text)
        if block.file is not None and block.file in script:
            tmp_path.joinpath(block.file).unlink()
            done = run_python(["-c", script], tmp_path, environment(account))
            assert json.loads(tmp_path.joinpath(block.file).read_text(encoding="utf-8")) == shown, done.stderr


@pytest.mark.parametrize("page", pages(), ids=page_id)
def test_blocks_that_cannot_run_are_python(page: Path) -> None:
    """A block that is marked as not run is at least Python."""
    for block in blocks(page, "python"):
        compile(block.text, f"{page_id(page)}:{block.line}", "exec")


@pytest.mark.parametrize("page", pages(), ids=page_id)
def test_commands_exist(page: Path) -> None:
    """Targets of ``make`` are in the Makefile, and calls of the AWS CLI have the options that they need."""
    found = [words for block in blocks(page, *SHELL) for words in commands(block)]

    targets = {word for words in found if words[0] == "make" for word in words[1:] if "=" not in word}
    mistakes = {
        " ".join(words): wrong
        for words in found
        if words[0] == "aws" and words[1] != "configure" and (wrong := aws_mistakes(words))
    }

    assert targets <= make_targets()
    assert mistakes == {}


@pytest.mark.parametrize("page", pages(), ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page leads to a file of the repository."""
    links = re.findall(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))

    broken = [link for link in links if not page.parent.joinpath(link).exists()]

    assert broken == []


def test_every_page_is_in_the_navigation() -> None:
    """A page that ``mkdocs.yml`` doesn't list would not be found by readers."""
    listed = set(re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))

    assert listed == {page.relative_to(ROOT / "docs").as_posix() for page in pages() if page != README}


def test_every_public_name_is_in_the_reference() -> None:
    """The reference has each name of ``dynsecrets.__all__``, and no name that doesn't exist."""
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")

    named = set(re.findall(r"^::: dynsecrets\.(\w+)$", text, re.MULTILINE))

    assert named == {name for name in dynsecrets.__all__ if not name.startswith("__")}


def test_the_changelog_has_this_version() -> None:
    """The changelog names the version that the package says it is."""
    assert dynsecrets.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# The tests' own reading of pages


def test_blocks_are_found_where_they_stand(tmp_path: Path) -> None:
    """A block knows its line, its file, its text without indent, and why it is not run."""
    page = tmp_path / "page.md"
    page.write_text(
        textwrap.dedent(
            """\
            One

                ```python title="a.py"
                x = 1
                ```

            <!-- not run: no network -->

            ```sh
            make a \\
              b
            ```
            """
        ),
        encoding="utf-8",
    )

    python, shell = blocks(page)

    assert (python.file, python.line, python.text, python.not_run) == ("a.py", 4, "x = 1\n", None)
    assert (shell.language, shell.not_run, commands(shell)) == ("sh", "no network", [["make", "a", "b"]])
    assert program([python]).splitlines() == ["", "", "", "x = 1"]


def test_output_is_compared_in_order() -> None:
    """What a page says is printed must be there line by line, with an ellipsis for what differs each time."""
    said = [Block(language="text", title="output", line=1, text="a … z\nend\n", not_run=None)]

    assert missing_output(said, "first\na b c z\nend\n") == []
    assert missing_output(said, "end\na b c z\n") == ["end"]


def test_wrong_commands_are_found() -> None:
    """A misspelt operation, an unknown option and a missing one are told."""
    assert aws_mistakes(["aws", "iam", "make-user"]) == ["aws iam has no make-user"]
    assert aws_mistakes(["aws", "iam", "create-user", "--name", "x"]) == ["unknown: --name", "missing: --user-name"]
