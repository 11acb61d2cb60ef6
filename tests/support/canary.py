"""A pytest plugin that fails a test which shows a secret: in its report, its output, its logs, or a file it left.

It collects, in memory, every text that the library boxes as a secret while the tests run. Logs are watched at DEBUG,
botocore's too. A test whose job is to write secrets opts out with ``@pytest.mark.reveals``.
"""

from __future__ import annotations

import logging
import re
import urllib.parse
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import pytest

from dynsecrets.integrations.aws.options import PUBLIC_VALUES
from dynsecrets.model.grant import Grant
from dynsecrets.model.masking import MASK, Secret

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator
    from pathlib import Path

MARKER: Final = "reveals"
#: The fixtures that are folders of one test.
_FOLDERS: Final = ("tmp_path", "home")
_PREFIX: Final = 12
#: Shorter texts are made up by tests ("s3cret"), stand in their source and so in their reports.
_SHORTEST: Final = 16
_FEWEST: Final = 4
_KEY_ID: Final = re.compile(r"A[A-Z]{3}[A-Z0-9]{16}")
_RUN: Final = re.compile(rf"[A-Za-z0-9/+=%_.~-]{{{_PREFIX},}}")
_LARGEST_FILE: Final = 32 * 1024 * 1024


class Collector:
    """The secrets seen so far, and a search for them that doesn't slow down with their number."""

    def __init__(self) -> None:
        self._by_prefix: defaultdict[str, set[str]] = defaultdict(set)
        self._irregular: set[str] = set()
        self._names: set[str] = set()
        self._doubted: set[str] = set()

    def add(self, text: str) -> None:
        """Watch for a secret from now on, as it is and as it stands in a URL."""
        # A row of the same letter is made up by a test, and so is the next one's.
        if len(text) < _SHORTEST or text in self._names or _KEY_ID.fullmatch(text) or len(set(text)) < _FEWEST:
            return
        for spelling in {text, urllib.parse.quote(text, safe="")}:
            if _RUN.fullmatch(spelling):
                self._by_prefix[spelling[:_PREFIX]].add(spelling)
            else:
                self._irregular.add(spelling)

    def doubt(self, text: str) -> None:
        """Take a name for a secret after all, in this test: what is public for the next one's integration may be it."""
        if text in self._names:
            self._names.discard(text)
            self._doubted.add(text)
        self.add(text)

    def end_test(self) -> None:
        """Take for names again what was one before the test."""
        for text in tuple(self._doubted):
            self.forgive(text)
        self._doubted.clear()

    def forgive(self, text: str) -> None:
        """Never take a text for a secret, though it was boxed like one."""
        self._names.add(text)
        for spelling in {text, urllib.parse.quote(text, safe="")}:
            self._irregular.discard(spelling)
            self._by_prefix[spelling[:_PREFIX]].discard(spelling)

    def found_in(self, text: str) -> set[str]:
        """Return the secrets that stand in a text."""
        # Copies, since other threads go on boxing; no lock, since a forked child would find it taken.
        found = {secret for secret in tuple(self._irregular) if secret in text}
        for run in _RUN.finditer(text):
            word = run.group()
            for start in range(len(word) - _PREFIX + 1):
                candidates = self._by_prefix.get(word[start : start + _PREFIX], ())
                found.update(secret for secret in tuple(candidates) if word.startswith(secret, start))
        return found


class _Log(logging.Handler):
    """Keeps what is logged at any level until it is taken. In memory: a secret may be boxed after it was logged."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record, its traceback included."""
        try:
            self._lines.append(self.format(record))
        except Exception:  # Whatever a bad record raises is for logging to deal with.
            self.handleError(record)

    def take(self) -> str:
        """Return what was logged since the last time."""
        lines, self._lines = self._lines, []
        return "\n".join(lines)


class Canary:
    """The plugin. It watches :class:`Secret` while it is registered."""

    def __init__(self) -> None:
        self.collector = Collector()
        self._patch = pytest.MonkeyPatch()
        self._log = _Log()

    def pytest_configure(self, config: pytest.Config) -> None:
        """Begin to collect."""
        config.addinivalue_line("markers", f"{MARKER}: the test's job is to show a secret; the canary looks away")
        original = Secret.__init__

        def collecting(box: Secret, text: str) -> None:
            self.collector.add(str(text))
            original(box, text)

        accept, check = Grant.__attrs_post_init__, Grant.check_handle

        def forgiving(grant: Grant) -> None:
            # A grant boxes all its values; user names and ARNs among them are no secrets.
            for suffix in PUBLIC_VALUES & grant.values.keys():
                self.collector.forgive(str(grant.values[suffix].reveal()))
            accept(grant)

        def judging(grant: Grant, public_values: Collection[str]) -> None:
            # Asked of each grant that becomes a lease: what its integration calls public counts, and nothing else.
            for suffix, secret in grant.values.items():
                verdict = self.collector.forgive if suffix in public_values else self.collector.doubt
                verdict(str(secret.reveal()))
            check(grant, public_values)

        self._patch.setattr(Grant, "__attrs_post_init__", forgiving)
        self._patch.setattr(Grant, "check_handle", judging)
        self._patch.setattr(Secret, "__init__", collecting)
        root = logging.getLogger()
        root.addHandler(self._log)
        self._patch.setattr(root, "level", root.level)
        root.setLevel(logging.DEBUG)

    def pytest_unconfigure(self) -> None:
        """Leave the class as it was."""
        self._patch.undo()
        logging.getLogger().removeHandler(self._log)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Fail a report that shows a secret, and mask it there."""
        report = yield
        logged = self._log.take()
        if item.get_closest_marker(MARKER) is None:
            self._judge(report, logged)
        if report.when == "teardown":
            self.collector.end_test()
        return report

    @pytest.fixture(autouse=True)
    def _canary_files(self, request: pytest.FixtureRequest) -> Iterator[None]:
        """Fail a test that left a secret in its temporary folders."""
        # Asked for first, so that they are still there when this fixture ends, and all that came later has ended.
        folders = [request.getfixturevalue(name) for name in _FOLDERS if name in request.fixturenames]
        yield
        if request.node.get_closest_marker(MARKER) is None:
            leaky = sorted(path.name for folder in folders for path in _files(folder) if self._leaks(path))
            if leaky:
                pytest.fail(f"a secret stands in files that the test left: {', '.join(leaky)}", pytrace=False)

    def _leaks(self, path: Path) -> bool:
        """Tell whether a file holds a secret."""
        try:
            return bool(self.collector.found_in(path.read_bytes().decode("latin-1")))
        except OSError:
            return False

    def _judge(self, report: pytest.TestReport, logged: str) -> None:
        """Search what a report newly shows."""
        places: dict[str, str] = {"the report": report.longreprtext, "the log": logged}
        places |= {name: text for name, text in report.sections if name.endswith(report.when)}
        found = {place: self.collector.found_in(text) for place, text in places.items()}
        leaks = [place for place, secrets in found.items() if secrets]
        if not leaks:
            return
        secrets = set().union(*found.values())
        report.sections = [(name, _masked(text, secrets)) for name, text in report.sections]
        was = _masked(report.longreprtext, secrets)
        report.longrepr = f"a secret stands in: {', '.join(leaks)}\n{was}".rstrip()
        report.outcome = "failed"
        vars(report).pop("wasxfail", None)


def _masked(text: str, secrets: set[str]) -> str:
    """Return a text without secrets."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _files(folder: Path) -> Iterator[Path]:
    """Iterate over the files of a folder that could hold what a test wrote."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= _LARGEST_FILE:
            yield path
