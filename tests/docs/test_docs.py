"""What the README and the documentation show is run as it is printed, page by page."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dynsecrets
import dynsecrets.testing
from dynsecrets.model.events import EVENT_TYPES
from dynsecrets.model.ttl import parse_ttl
from support.block_checks import TYPED, is_typed, mistakes, systemd_mistakes
from support.docs import (
    OUTPUT,
    Block,
    anchors,
    aws_mistakes,
    blocks,
    commands,
    missing_output,
    page_id,
    pages,
    program,
    unseen,
)
from support.places import ROOT
from support.scripts import reports, run_python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.accounts import Account
    from support.proxy import Proxy

README = ROOT / "README.md"
#: What a reader has at hand: nothing else of AWS is set.
VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
#: Where in the calls of a lease's life each step begins, and how many calls it has.
_STEPS = ((0, 1), (1, 2), (3, 1), (4, 2), (6, 1))
#: Plugins that happen to be installed are not what these pages are about; this library's own is.
_PYTEST = ("-q", "-p", "no:cacheprovider", "-p", "dynsecrets.pytest_plugin")
_ONLY_THESE_PLUGINS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


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


def is_anchor(anchor: str, page: Path) -> bool:
    """Tell whether a page has a heading, or the reference a name, that a link names."""
    found: object = dynsecrets
    if anchor.startswith("dynsecrets."):
        for name in anchor.split(".")[1:]:
            found = getattr(found, name, None)
        return found is not None and any(f"{anchor}.".startswith(f"{known}.") for known in anchors(page))
    return anchor in anchors(page)


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
    (row,) = (line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("| calls to AWS"))

    done = run_python(["-c", blocks(README, "python")[0].text], tmp_path, environment(account, url=proxy.url))

    assert done.returncode == 0, done.stderr
    assert row.split("|")[2].strip() == "3, 3, 4"
    calls = [call for call in proxy.calls if call.service == "iam"]
    issue, revoke = calls[:3], calls[3:]
    assert issue[0].action == "CreateUser"
    assert {call.action for call in issue[1:]} == {"PutUserPolicy", "CreateAccessKey"}
    assert issue[1].overlaps(issue[2])
    assert {call.action for call in revoke[:2]} == {"DeleteAccessKey", "DeleteUserPolicy"}
    assert revoke[0].overlaps(revoke[1])
    assert [call.action for call in revoke[2:]] == ["DeleteUser"]
    assert proxy.count("GetCallerIdentity") == 3


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
        done = run_python(
            ["-m", "pytest", *_PYTEST, *tests],
            tmp_path,
            environment(account) | _ONLY_THESE_PLUGINS,
            warnings="default",
        )
        assert done.returncode == 0, done.stdout + done.stderr

    for block in blocks(page, "json"):
        shown = json.loads(block.text)
        if block.file is not None and block.file in script:
            tmp_path.joinpath(block.file).unlink()
            done = run_python(["-c", script], tmp_path, environment(account))
            assert json.loads(tmp_path.joinpath(block.file).read_text(encoding="utf-8")) == shown, done.stderr


@pytest.mark.parametrize("page", pages(), ids=page_id)
def test_every_block_is_checked(page: Path) -> None:
    """Each block is found, has a check for its language, title and commands, and passes it."""
    found = {f"line {block.line}": wrong for block in blocks(page) if (wrong := mistakes(block, page))}

    assert unseen(page) == []
    assert found == {}


@pytest.mark.parametrize("page", pages(), ids=page_id)
def test_output_is_of_a_program(page: Path) -> None:
    """What a page says is printed comes after a block of the page that is run, so that it is compared."""
    shown = [block.line for block in blocks(page, "text") if block.title == OUTPUT]
    run = [block.line for block in blocks(page, "python") if block.file is None and block.not_run is None]

    assert not shown or is_typed(page) or (run and min(run) < min(shown))


def test_pages_on_the_command_are_typed_elsewhere() -> None:
    """The pages whose shell blocks aren't looked at here exist, and the tests of the command line run them."""
    tests = (ROOT / "tests" / "docs" / "test_cli_docs.py").read_text(encoding="utf-8")

    assert [name for name in TYPED if f'"{name}"' not in tests] == []
    assert [name for name in TYPED if not (ROOT / "docs" / "how-to" / f"{name}.md").exists()] == []


def test_units_are_accepted_by_systemd() -> None:
    """Where systemd is installed, it verifies all unit files that the pages show, together."""
    found = [block for page in pages() for block in blocks(page, "ini")]
    units = {block.file: block.text for block in found if (block.file or "").endswith((".service", ".timer"))}

    assert {Path(name or "").suffix for name in units} == {".service", ".timer"}
    assert systemd_mistakes({name: text for name, text in units.items() if name}) == []


@pytest.mark.parametrize("page", pages(), ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link within the repository leads to a file, and to a heading of it where it says so."""
    links = re.findall(r"\]\((?!https?://|mailto:)([^)#]*)(?:#([^)]*))?\)", page.read_text(encoding="utf-8"))

    broken = []
    for link, anchor in links:
        there = page.parent / link if link else page
        if not there.exists() or (anchor and there.suffix == ".md" and not is_anchor(anchor, there)):
            broken.append(f"{link}#{anchor}")

    assert broken == []


def test_every_page_is_in_the_navigation() -> None:
    """A page that ``mkdocs.yml`` doesn't list would not be found by readers."""
    listed = set(re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))

    assert listed == {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}


def test_every_public_name_is_in_the_reference() -> None:
    """The reference has each name of ``dynsecrets.__all__``, and no name that doesn't exist."""
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")

    named = set(re.findall(r"^::: dynsecrets\.(\w+)$", text, re.MULTILINE))

    assert named == {name for name in dynsecrets.__all__ if not name.startswith("__")}


def test_every_public_name_of_the_testing_kit_is_in_the_reference() -> None:
    """The reference has each name of ``dynsecrets.testing.__all__``, and no name that doesn't exist."""
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")

    named = set(re.findall(r"^::: dynsecrets\.testing\.(\w+)$", text, re.MULTILINE))

    assert named == set(dynsecrets.testing.__all__)


def test_every_error_is_explained() -> None:
    """The page on troubleshooting has a section on each error of the library."""
    explained = anchors(ROOT / "docs" / "how-to" / "troubleshooting.md")

    errors = [
        name
        for name in dynsecrets.__all__
        if isinstance(found := getattr(dynsecrets, name), type) and issubclass(found, dynsecrets.DynsecretsError)
    ]

    assert len(errors) > 10
    assert {name.lower() for name in errors} - explained == {"dynsecretserror"}


def test_every_event_is_explained() -> None:
    """The page on auditing has a row on each type of event."""
    text = (ROOT / "docs" / "how-to" / "audit.md").read_text(encoding="utf-8")

    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == {"type", *EVENT_TYPES}


def test_capacity_is_calculated() -> None:
    """The table of the page on capacity is what 5,000 users make, and the README's figure is of it."""
    text = (ROOT / "docs" / "explanation" / "capacity.md").read_text(encoding="utf-8")

    rows = re.findall(r"^\| (\d+ [mh]) \| ([\d.]+) \| ([\d,]+) \|$", text, re.MULTILINE)

    assert len(rows) == 6
    for lives, each_second, each_hour in rows:
        rate = 5000 / parse_ttl(lives.replace(" ", "")).total_seconds()
        assert (each_second, each_hour) == (f"{rate:.2f}", f"{rate * 3600:,.0f}")
    assert "at 30 minutes each, that is 2.8 leases a second" in README.read_text(encoding="utf-8")


def test_the_calls_are_those_of_the_diagrams(account: Account, proxy: Proxy, tmp_path: Path) -> None:
    """A lease makes the calls that the page on its life draws, in that order."""
    page = ROOT / "docs" / "explanation" / "life-of-a-lease.md"
    drawn = [
        name
        for block in blocks(page, "diagram")
        for name in re.findall(r"\b(?:Create|Put|Get|Delete)(?:[A-Z][a-z]+)+\b", block.text)
    ]

    done = run_python(["-c", blocks(README, "python")[0].text], tmp_path, environment(account, url=proxy.url))

    assert done.returncode == 0, done.stderr
    made = [call.action for call in proxy.calls if call.service in ("iam", "sts")]
    made = [name for number, name in enumerate(made) if name not in made[:number]]
    # Those of a pair are sent at the same time, so either may come first.
    assert [set(drawn[i : i + n]) for i, n in _STEPS] == [set(made[i : i + n]) for i, n in _STEPS]
    assert len(drawn) == len(made) == 7


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


@pytest.mark.parametrize(
    ("language", "title", "text"),
    [
        ("", None, "x"),
        ("rust", None, "fn main() {}"),
        ("text", None, "x"),
        ("text", "crontab", "* * * reap"),
        ("text", "diagram", "──►"),
        ("diagram", None, "CreateUsers ──► DeleteUser"),
        ("diagram", None, "CreateUser"),
        ("diagram", None, "─" * 81),
        ("python", None, "def"),
        ("json", None, "{"),
        (
            "json",
            None,
            '{"Version": "2012-10-17", "Statement": [{"Effect": "Perhaps", "Action": "*", "Resource": "*"}]}',
        ),
        ("json", "task-definition.json", '{"family": "x", "containers": []}'),
        ("sh", None, "frobnicate now"),
        ("sh", None, "docker run --privileged x"),
        ("ini", "a.service", "Unit"),
        ("toml", None, "x ="),
        ("yaml", None, "a: [1"),
        ("dockerfile", None, 'CMD "python"'),
    ],
)
def test_what_is_wrong_or_has_no_check_is_told(language: str, title: str | None, text: str) -> None:
    """A block that nothing checks is as wrong as one that doesn't pass its check."""
    assert mistakes(Block(language=language, title=title, line=1, text=text, not_run=None))


@pytest.mark.parametrize(
    "text",
    [
        "~~~python\nx\n~~~\n",
        "````python\nx\n````\n",
        "```Python\nx\n```\n",
        "> ```\n> x\n> ```\n",
        "a\n\n    x = 1\n",
        "<pre>x</pre>\n",
    ],
)
def test_blocks_written_in_other_ways_are_found(text: str, tmp_path: Path) -> None:
    """There is no way to write a block that the checks don't see."""
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{text}", encoding="utf-8")

    assert unseen(page) or any(mistakes(block) for block in blocks(page))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_wrong_units_are_found() -> None:
    """A misspelt key of a unit is told."""
    assert systemd_mistakes({"a.service": "[Service]\nType=oneshot\nExecStart=/bin/true\nTimeoutStartSecs=1\n"})


def test_anchors_are_those_of_headings(tmp_path: Path) -> None:
    """Anchors are spelt as the pages' builder and GitHub spell them; what stands in blocks is no heading."""
    page = tmp_path / "page.md"
    page.write_text("# The `reap()` call's end\n\n```sh\n# no heading\n```\n\n## 1. [Two](x.md)\n", encoding="utf-8")

    assert anchors(page) == {"the-reap-calls-end", "1-two"}
