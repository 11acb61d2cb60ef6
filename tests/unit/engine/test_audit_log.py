"""The audit log: one JSON object a line, appended."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import InvalidConfig, JSONLinesAudit
from dynsecrets._internal.messages import safe_repr
from support.fakes import make_event
from support.forking import in_child, needs_fork

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path) -> list[dict[str, Any]]:
    """Return the events of an audit log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that doesn't exist yet."""
    return tmp_path / "audit.jsonl"


def test_each_event_is_a_line(path: Path) -> None:
    """Events are appended in their order, each as one line of JSON."""
    audit = JSONLinesAudit(path)
    events = [make_event(type=kind) for kind in ("requested", "issued", "revoked")]

    for event in events:
        audit(event)

    assert read(path) == [event.as_dict() for event in events]
    assert path.read_bytes().endswith(b"\n")


def test_an_audit_of_another_time_goes_on(path: Path) -> None:
    """A file that exists is appended to, never rewritten."""
    JSONLinesAudit(path)(make_event(lease_id="first"))
    JSONLinesAudit(str(path))(make_event(lease_id="second"))

    assert [event["lease_id"] for event in read(path)] == ["first", "second"]


@pytest.mark.skipif(sys.platform == "win32", reason="files have no POSIX modes")
def test_the_file_is_the_users_own(path: Path) -> None:
    """The file is made with mode 0600, when there is something to write."""
    audit = JSONLinesAudit(path)
    existed = path.exists()

    audit(make_event())

    assert not existed
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_rotated_file_is_made_anew(path: Path) -> None:
    """After the file was moved away the next event begins a new one."""
    audit = JSONLinesAudit(path)
    audit(make_event(lease_id="old"))
    path.rename(path.with_suffix(".1"))

    audit(make_event(lease_id="new"))

    assert [event["lease_id"] for event in read(path)] == ["new"]


@pytest.mark.parametrize(
    "error", ["é 空 \U0001f511", "a\nb\r\u2028c\0", "\ud800 is no text", '"quoted" \\ text'], ids=ascii
)
def test_any_text_stays_on_its_line(path: Path, error: str) -> None:
    """Whatever text an error has, lone surrogates too, its event is one line that can be read back."""
    JSONLinesAudit(path)(make_event(error=error))

    lines = path.read_bytes().split(b"\n")

    assert len(lines) == 2
    assert json.loads(lines[0])["error"] == error


def test_threads_do_not_mix_their_lines(path: Path) -> None:
    """Events of many threads at once are whole lines, none lost."""
    audit = JSONLinesAudit(path)
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        for count in range(50):
            audit(make_event(lease_id=f"{number}-{count}", error="x" * 500))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(event["lease_id"] for event in read(path)) == sorted(f"{n}-{c}" for n in range(8) for c in range(50))


@needs_fork
def test_a_child_can_write_though_its_parent_was_writing(path: Path) -> None:
    """A child that was forked while a thread of its parent wrote can write all the same."""
    audit = JSONLinesAudit(path)

    with audit._lock:
        in_child(lambda: audit(make_event(lease_id="child")))
    audit(make_event(lease_id="parent"))

    assert [event["lease_id"] for event in read(path)] == ["child", "parent"]


@pytest.mark.parametrize("no_path", ["", None, 5, b"audit.jsonl", ["audit.jsonl"], True], ids=safe_repr)
def test_what_is_no_path_is_refused(no_path: Any) -> None:
    """Anything but a path is refused at once, with what was given."""
    with pytest.raises(InvalidConfig) as caught:
        JSONLinesAudit(no_path)

    assert f"must be a path, not {safe_repr(no_path)}" in str(caught.value)


def test_a_file_that_cannot_be_written_raises(tmp_path: Path) -> None:
    """Where the folder is missing the event raises ``OSError``, and no file handle is left open."""
    with pytest.raises(FileNotFoundError):
        JSONLinesAudit(tmp_path / "missing" / "audit.jsonl")(make_event())


def test_it_can_be_used_like_a_file(path: Path) -> None:
    """It is a context manager, and writing after its end is fine: nothing is kept open."""
    with JSONLinesAudit(path) as audit:
        audit(make_event())
    audit.close()
    audit(make_event())

    assert len(read(path)) == 2
    assert repr(audit) == f"JSONLinesAudit({os.fspath(path)!r})"
