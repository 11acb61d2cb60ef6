"""The code blocks of the documentation, found so that tests can run them."""

from __future__ import annotations

import re
import shlex
import textwrap
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import attrs
import botocore.session
from botocore import xform_name

from support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

#: The title of a block that shows what the blocks before it print.
OUTPUT: Final = "output"
#: Titles that say what a block is; any other is the name of the file that it shows.
_KINDS: Final = frozenset({OUTPUT, "crontab"})
#: What stands in such a block for what differs each time.
_WILDCARD: Final = "…"
#: A block that comes after this comment can't run here; the comment says why.
_NOT_RUN: Final = re.compile(r"<!-- not run: (.+?) -->")
_FENCE: Final = re.compile(r"^(?P<indent> *)```(?P<language>[a-z]*)(?P<options>[^`\n]*)$")
#: Other ways to write a block, which the reading here would not see.
_OTHER_BLOCKS: Final = re.compile(r"^[ >]*(?:~~~|````)|^ *>.*```|<(?:pre|code|script)\b", re.IGNORECASE)
_CONTAINER: Final = re.compile(r"^ *(?:[-*+] |\d+[.)] |!!! |\?\?\? |=== )")
_TITLE: Final = re.compile(r'title="([^"]+)"')
#: Options that every command of the AWS CLI takes (AWS CLI Command Reference, "Global options").
_GLOBAL_OPTIONS: Final = frozenset({"cli-input-json", "endpoint-url", "output", "profile", "query", "region"})
#: Options of the command line's own, and the parameters that they stand for.
_STANDS_FOR: Final = {("lambda", "create-function"): {"zip-file": "code"}}


@attrs.frozen(kw_only=True)
class Block:
    """One fenced block.

    ``line`` is where its text begins (from 1), ``title`` the file that it shows, ``not_run`` why it can't run here.
    """

    language: str
    title: str | None
    line: int
    text: str
    not_run: str | None

    @property
    def file(self) -> str | None:
        """The file that the block shows, if it shows one."""
        return None if self.title in _KINDS else self.title


def pages() -> list[Path]:
    """Return the README and all pages of the documentation."""
    return [
        ROOT / "README.md",
        *sorted(ROOT.joinpath("docs").rglob("*.md")),
        *sorted((ROOT / "examples").rglob("*.md")),
    ]


def page_id(page: Path) -> str:
    """Name a page in a test's id."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the blocks of a page, of some languages where given."""
    found = _blocks(page.read_text(encoding="utf-8").splitlines())
    return [block for block in found if not languages or block.language in languages]


def program(found: Iterable[Block]) -> str:
    """Return blocks of one page as one program, each line where it stands in the page."""
    lines: list[str] = []
    for block in found:
        lines += [""] * (block.line - 1 - len(lines))
        lines += block.text.splitlines()
    return "\n".join(lines) + "\n"


def missing_output(found: Iterable[Block], printed: str) -> list[str]:
    """Return the lines that a page says its program prints, in this order, and that are not there."""
    left = iter(printed.splitlines())
    expected = [line for block in found if block.title == OUTPUT for line in block.text.splitlines()]
    return [line for line in expected if not any(_pattern(line).fullmatch(shown) for shown in left)]


def commands(block: Block) -> list[list[str]]:
    """Return the commands of a shell block, split into words; comments and leading assignments are left out."""
    found = []
    begun = ""
    for line in block.text.replace("\\\n", " ").splitlines():
        begun += line
        try:
            words = shlex.split(begun, comments=True)
        except ValueError:  # A quoted text goes on in the next line.
            begun += "\n"
            continue
        begun = ""
        while words and re.match(r"[A-Z_]+=", words[0]):
            del words[0]
        if words:
            found.append(words)
    if begun:
        raise AssertionError(f"a quoted text of the block in line {block.line} has no end")
    return found


def unseen(page: Path) -> list[int]:
    """Return the lines of a page at which a block begins that :func:`blocks` doesn't see, so that nothing checks it."""
    lines = page.read_text(encoding="utf-8").splitlines()
    inside = {
        number for block in blocks(page) for number in range(block.line - 1, block.line + block.text.count("\n") + 1)
    }
    found = []
    before, container = "", False
    for number, line in enumerate(lines, 1):
        if number in inside:
            before = line
            continue
        if line.strip() and not line.startswith(" "):
            container = bool(_CONTAINER.match(line))
        indented = line.startswith("    ") and not before.strip() and not container
        if "```" in line or _OTHER_BLOCKS.search(line) or indented:
            found.append(number)
        before = line
    return found


def anchors(page: Path) -> set[str]:
    """Return what links to parts of a page can name: its headings, as Python-Markdown and GitHub spell them."""
    inside = {
        number for block in blocks(page) for number in range(block.line - 1, block.line + block.text.count("\n") + 1)
    }
    found: set[str] = set()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if number not in inside and (heading := re.match(r"#+ (.+?)\s*$", line)):
            text = re.sub(r"\[([^\]]+)\]\([^)]*\)|[`*]", r"\1", heading[1])
            found.add(re.sub(r"[^\w\s-]", "", text).strip().lower().replace(" ", "-"))
        found.update(re.findall(r"^::: ([\w.]+)$", line))
    return found


def make_targets() -> set[str]:
    """Return the targets of the Makefile that a person would name."""
    makefile = ROOT.joinpath("Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


def aws_mistakes(words: list[str]) -> list[str]:
    """Return what is wrong with a command of the AWS CLI, by botocore's descriptions of the services; calls nothing."""
    service, operation = words[1:3]
    model = _service(service)
    names = {xform_name(name, "-"): name for name in model.operation_names}
    if operation not in names:
        return [f"aws {service} has no {operation}"]
    shape = model.operation_model(names[operation]).input_shape
    members = {xform_name(member, "-") for member in shape.members} if shape else set()
    required = {xform_name(member, "-") for member in shape.required_members} if shape else set()
    given = {word[2:].partition("=")[0] for word in words[3:] if word.startswith("--")}
    if (service, operation) in _STANDS_FOR:
        given = {_STANDS_FOR[service, operation].get(option, option) for option in given}
    if "cli-input-json" in given:
        required = set()
    unknown = sorted(given - members - _GLOBAL_OPTIONS)
    return [f"unknown: --{name}" for name in unknown] + [f"missing: --{name}" for name in sorted(required - given)]


@lru_cache
def _service(name: str) -> Any:
    return botocore.session.get_session().get_service_model(name)


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in line.split(_WILDCARD)))


def _blocks(lines: list[str]) -> Iterator[Block]:
    numbered = iter(enumerate(lines, 1))
    reason: str | None = None
    for number, line in numbered:
        fence = _FENCE.match(line)
        if fence is None:
            mark = _NOT_RUN.search(line)
            # The comment holds for the next block, if nothing but blank lines stands between them.
            reason = mark[1] if mark else reason if not line.strip() else None
            continue
        title = _TITLE.search(fence["options"])
        yield Block(
            language=fence["language"],
            title=title[1] if title else None,
            line=number + 1,
            text=textwrap.dedent(_body(numbered, fence["indent"] + "```", number)),
            not_run=reason,
        )
        reason = None


def _body(numbered: Iterator[tuple[int, str]], end: str, start: int) -> str:
    """Return the text of a block up to the fence that ends it."""
    collected: list[str] = []
    for _, line in numbered:
        if line.rstrip() == end:
            return "".join(collected)
        collected.append(line + "\n")
    raise AssertionError(f"the block that begins in line {start} has no end")
