"""Which process asked for a lease, and whether that process is still there.

A process is named by host, boot, pid namespace, pid and start time. "Gone" is said only when it is certain: the same
host and boot, the same pid namespace (containers share host names and have pids of their own), and a pid that is free
or was given to a process that started at another time. Everything else is "unknown", and then the TTL decides.

psutil would not do it better: its times of creation move with the wall clock, and it knows no boots and namespaces.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
import sys
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Final

import attrs

_SEPARATOR: Final = "|"
_PID: Final = re.compile(r"[0-9]{1,18}")


class ProcessState(Enum):
    """What can be said of a process."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


@attrs.frozen(kw_only=True)
class ProcessIdentity:
    """A process, named so that no other process ever has the same name."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: str

    def __str__(self) -> str:
        """Return the text that stands in records."""
        return _SEPARATOR.join((self.host, self.boot, self.namespace, str(self.pid), self.started))

    @property
    def place(self) -> str:
        """The text that all processes of one host, boot and pid namespace begin with."""
        return _SEPARATOR.join((self.host, self.boot, self.namespace, ""))

    @classmethod
    def parse(cls, text: str) -> ProcessIdentity | None:
        """Read what stands in a record; ``None`` where it is something else."""
        parts = text.split(_SEPARATOR)
        if len(parts) != 5 or not _PID.fullmatch(parts[3]):
            return None
        host, boot, namespace, pid, started = parts
        return cls(host=host, boot=boot, namespace=namespace, pid=int(pid), started=started)


def current_owner() -> ProcessIdentity:
    """Return the name of this process. Right after a fork too."""
    host, boot = _machine()
    # Read anew each time: a fork may have led into another namespace, in which the pid may even be the parent's.
    return ProcessIdentity(
        host=host, boot=boot, namespace=_namespace(), pid=os.getpid(), started=_start_time(None) or ""
    )


def liveness(text: str, here: ProcessIdentity | None = None) -> ProcessState:
    """Tell whether the process that a record names is alive, gone, or out of sight."""
    owner = ProcessIdentity.parse(text)
    here = here or current_owner()
    if owner is None or not owner.boot or not owner.namespace or owner.place != here.place or not owner.started:
        return ProcessState.UNKNOWN
    if owner == here:
        return ProcessState.ALIVE
    if not _shows_our_pids():
        return ProcessState.UNKNOWN
    started = _start_time(owner.pid)
    if started is None:
        return ProcessState.UNKNOWN if _exists(owner.pid) else ProcessState.GONE
    return ProcessState.ALIVE if started == owner.started else ProcessState.GONE


def actor() -> str:
    """Name the one who acts, for audit logs: user, host and process."""
    return f"{_user()}@{_machine()[0]}/{os.getpid()}"


@lru_cache(maxsize=1)
def _machine() -> tuple[str, str]:
    """Return host and boot; empty where the system doesn't tell."""
    return socket.gethostname().replace(_SEPARATOR, "-"), _boot()


@lru_cache(maxsize=1)
def _user() -> str:
    """Return the login name, or the user id where there is no name for it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def _boot() -> str:
    """Return what changes with every boot."""
    if sys.platform == "darwin":
        return _sysctl("kern.bootsessionuuid")
    return _read("/proc/sys/kernel/random/boot_id")


def _namespace() -> str:
    """Return what pids are counted in."""
    if sys.platform == "darwin":
        return "host"  # macOS has no pid namespaces.
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _shows_our_pids() -> bool:
    """Tell whether ``/proc`` counts pids as this process does: another namespace's may be mounted there still."""
    if sys.platform != "linux":
        return True
    try:
        return Path("/proc/self").readlink().name == str(os.getpid())
    except OSError:
        return False


def _start_time(pid: int | None) -> str | None:
    """Return when a process started, ``None`` for this one, in the system's own unit; ``None`` if it can't be told."""
    if sys.platform == "darwin":
        return _ps_start_time(os.getpid() if pid is None else pid)
    stat = _read(f"/proc/{'self' if pid is None else pid}/stat")
    # The command's name stands in parentheses and may hold blanks and parentheses; the 22nd field is the start time.
    fields = stat.rpartition(")")[2].split()
    if len(fields) < 20 or fields[0] in ("Z", "X"):
        return None if not fields else "over"
    return fields[19]


def _exists(pid: int) -> bool:
    """Tell whether a pid is taken, by whomever."""
    if sys.platform == "win32":
        return True  # os.kill(pid, 0) would end the process there.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # Somebody else's, or a number that no process can have.
        return True
    return True


def _read(path: str) -> str:
    """Return the text of a small system file, empty where it can't be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _sysctl(name: str) -> str:
    """Ask macOS for a kernel value."""
    return _output(["/usr/sbin/sysctl", "-n", name])


def _ps_start_time(pid: int) -> str | None:
    """Ask macOS when a process started."""
    return _output(["/bin/ps", "-o", "lstart=", "-p", str(pid)]) or None


def _output(argv: list[str]) -> str:
    """Return what a system command prints, empty where it fails."""
    import subprocess

    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=5, stdin=subprocess.DEVNULL)  # noqa: S603 - fixed programs of the system.
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
