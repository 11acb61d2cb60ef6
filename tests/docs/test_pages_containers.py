"""The page on containers: its service ends in order, also as process 1, and its files are what the tools take."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.docs import blocks
from support.places import ROOT
from support.processes import clean_environment
from support.shell_pages import REGION, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.accounts import Account

PAGE = "how-to/containers.md"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="containers as here are Linux's")


def can_unshare() -> bool:
    """Tell whether processes may be started in a pid namespace of their own here."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    done = subprocess.run([unshare, "--pid", "--fork", "true"], capture_output=True, check=False)
    return done.returncode == 0


def first_child(pid: int) -> int:
    """Return the only child of a process."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return int(child)


@contextlib.contextmanager
def running(account: Account, folder: Path, *prefix: str, handles: bool = True) -> Iterator[subprocess.Popen[str]]:
    """Run the page's service until the block ends."""
    (block,) = (block for block in blocks(ROOT / "docs" / PAGE) if block.file == "service.py")
    lines = block.text.splitlines(keepends=True)
    text = "".join(line for line in lines if handles or not line.startswith("signal."))
    folder.joinpath("service.py").write_text(text, encoding="utf-8")
    environment = clean_environment(
        PYTHONPATH=str(ROOT), DYNSECRETS_STORE=f"sqlite:///{folder / 'leases.db'}", **account.environment()
    )
    command = [*prefix, sys.executable, "service.py"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            assert service.stdout.readline().startswith("ready Dynsecrets-Dynamic-")
            yield service
        finally:
            service.kill()


def stop(service: subprocess.Popen[str], pid: int) -> None:
    """Send SIGTERM until the service has ended.

    Python runs a handler between two of its steps: a signal that comes just before the main thread begins to sleep is
    heard with the next one.
    """
    for _ in range(60):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            service.wait(2)
            return
    raise TimeoutError("the service doesn't end")


def test_the_service_revokes_when_it_is_stopped(aws: Account, tmp_path: Path) -> None:
    """SIGTERM, by which orchestrators stop a container, ends the service in order."""
    with running(aws, tmp_path) as service:
        stop(service, service.pid)

    assert service.returncode == 0
    assert aws.users() == []


def test_without_the_handler_it_revokes_nothing(aws: Account, tmp_path: Path) -> None:
    """What the page warns of is so: Python's own answer to SIGTERM leaves no block."""
    with running(aws, tmp_path, handles=False) as service:
        service.send_signal(signal.SIGTERM)
        service.wait(60)

    assert service.returncode == -signal.SIGTERM
    assert len(aws.users()) == 1


@pytest.mark.skipif(not can_unshare(), reason="no pid namespaces for this user")
def test_it_revokes_as_process_1(aws: Account, tmp_path: Path) -> None:
    """As the first process of a pid namespace, which gets no signal that it doesn't handle, it ends in order too."""
    with running(aws, tmp_path, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc") as unshared:
        stop(unshared, first_child(unshared.pid))

    assert unshared.returncode == 0
    assert aws.users() == []


@pytest.mark.skipif(not can_unshare(), reason="no pid namespaces for this user")
def test_the_command_revokes_as_process_1(aws: Account, tmp_path: Path) -> None:
    """``dynsecrets run`` as the first process of a container passes SIGTERM on, and revokes before it ends."""
    tmp_path.joinpath("dynsecrets.toml").write_text(
        'project = "p"\nenvironment = "e"\nconfig = "c"\nstore = "sqlite:///leases.db"\n'
        '[integrations.aws]\ntype = "aws-iam"\n[dynamic_secrets.AWS_USER]\nintegration = "aws"\n',
        encoding="utf-8",
    )
    worker = "import signal; print('ready', flush=True); signal.pause()"
    inside = [sys.executable, "-m", "dynsecrets", "run", "--renew", "--", sys.executable, "-c", worker]
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *inside]
    environment = clean_environment(PYTHONPATH=str(ROOT), **aws.environment())

    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as unshared:
        assert unshared.stdout is not None
        ready = unshared.stdout.readline()
        during = aws.users()
        os.kill(first_child(unshared.pid), signal.SIGTERM)
        status = unshared.wait(60)

    assert (ready, status) == ("ready\n", 128 + signal.SIGTERM)
    assert len(during) == 1
    assert aws.users() == []


def test_the_task_definition_is_accepted(aws: Account, tmp_path: Path) -> None:
    """The AWS CLI takes the file, and ECS, as far as moto has it, registers it."""
    reader = Reader(PAGE, tmp_path, aws.environment(), account_id=aws.id)

    reader.shell(having="aws ecs")

    ecs = aws.session().client("ecs", endpoint_url=aws.url, region_name=REGION)
    (container,) = ecs.describe_task_definition(taskDefinition="worker")["taskDefinition"]["containerDefinitions"]
    assert container["linuxParameters"]["initProcessEnabled"] is True
