"""A server of processes that are killed at one point of a lease's life. Not a test.

It reads jobs from its input, one JSON object a line, and forks a child for each: everything that takes long to load is
loaded before. A child counts the points that it passes (before and after each call to AWS and each write of the
store), and kills itself with SIGKILL at the one that the job names. How it ended is answered by a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import traceback
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from dynsecrets import DynamicSecretConfig, LeaseManager, LeaseRecord, lease, renewing
from reliability.places import Place, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dynsecrets.integrations.aws.iam_users import AwsIamIntegration

#: A child that hangs is ended after so many seconds.
_LONGEST_S: Final = 60
_WRITES: Final = ("insert", "update", "claim")
_POLICY: Final = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::reports/*"}],
}


@attrs.frozen(kw_only=True)
class Job:
    """What a child does: a scenario, where, and the point at which it is killed (``None`` to pass them all)."""

    scenario: str
    place: Place
    kill_at: str | None = None


class Stage:
    """Counts the points that a child passes while it is watched, and kills it at one."""

    def __init__(self, kill_at: str | None) -> None:
        self.points: list[str] = []
        self._kill_at = kill_at
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()
        self._counts = False

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Count while the block runs."""
        self._counts = True
        yield
        self._counts = False

    def watch_store(self, store: Any, writes: Iterable[str]) -> None:
        """Pass a point before and after each of these writes of a store."""
        for name in writes:
            setattr(store, name, partial(self._written, name, getattr(store, name)))

    def watch_integration(self, integration: AwsIamIntegration) -> None:
        """Pass a point before and after each call of any client of an integration."""
        cache: Any = integration.clients.cache
        get = cache.get
        known: set[int] = set()

        def watched(kind: str, make: Callable[[], Any]) -> Any:
            client = get(kind, make)
            if hasattr(client, "meta") and id(client) not in known:
                known.add(id(client))
                # The last to see a request before it is sent, and the first to see what came of it.
                client.meta.events.register_last("before-send", self._sending)
                client.meta.events.register_first("response-received", self._answered)
            return client

        cache.get = watched

    def _written(self, name: str, write: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self._pass(f"before {name}")
        result = write(*arguments, **options)
        self._pass(f"after {name}")
        return result

    def _sending(self, event_name: str, **_: Any) -> None:
        self._pass(f"before {event_name.rpartition('.')[2]}")

    def _answered(self, event_name: str, **_: Any) -> None:
        self._pass(f"after {event_name.rpartition('.')[2]}")

    def _pass(self, what: str) -> None:
        with self._lock:
            if not self._counts:
                return
            self._seen[what] += 1
            point = f"{what} #{self._seen[what]}"
            if point == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            self.points.append(point)


@attrs.frozen(kw_only=True)
class Process:
    """What a scenario is played with."""

    stage: Stage
    integration: AwsIamIntegration
    manager: LeaseManager

    @property
    def config(self) -> DynamicSecretConfig:
        """A config that waits until the lease is usable."""
        return DynamicSecretConfig("AWS_USER", self.integration, policy=_POLICY)


def issue(process: Process) -> None:
    """Enter a block, and be gone within it."""
    context = lease(process.config, manager=process.manager)
    with process.stage.watched():
        context.__enter__()


def issue_at_once(process: Process) -> None:
    """Enter a block without waiting for the lease to work, and be gone within it."""
    context = lease(process.config, manager=process.manager, wait=None)
    with process.stage.watched():
        context.__enter__()


def issue_in_vain(process: Process) -> None:
    """Enter a block where AWS (the test's proxy) refuses something, so that all is rolled back."""
    with process.stage.watched(), contextlib.suppress(Exception):
        lease(process.config, manager=process.manager, wait=None).__enter__()


def issue_and_leave(process: Process) -> None:
    """Issue a lease that outlives the process, and be gone."""
    with process.stage.watched():
        process.manager.issue(process.config, "10m", wait=None)


def leave(process: Process) -> None:
    """Leave a block."""
    context = lease(process.config, manager=process.manager, wait=None)
    context.__enter__()
    with process.stage.watched(), contextlib.suppress(Exception):
        context.__exit__(None, None, None)


def leave_thoroughly(process: Process) -> None:
    """Leave a block in which the leased user got a second key and a second policy."""
    context = lease(process.config, manager=process.manager, wait=None)
    leased = context.__enter__()
    iam = process.integration.clients.iam()
    iam.create_access_key(UserName=leased.username)
    iam.put_user_policy(UserName=leased.username, PolicyName="own", PolicyDocument=json.dumps(_POLICY))
    with process.stage.watched():
        context.__exit__(None, None, None)


def revoke_by_id(process: Process) -> None:
    """Revoke a lease by its id alone."""
    leased = lease(process.config, manager=process.manager, wait=None).__enter__()
    other = LeaseManager(process.manager.store, integrations=[process.integration])
    with process.stage.watched():
        other.revoke(leased.id)


def reap(process: Process) -> None:
    """Reap a lease whose revocation had failed."""
    manager, integration = process.manager, process.integration
    record = manager.get(manager.issue(process.config, wait=None).id)
    manager.store.update(record.failed(now=datetime.now(UTC), error="made up", jitter=0, handle=record.handle))
    with process.stage.watched():
        LeaseManager(manager.store).reap(integrations=[integration])


def renew(process: Process) -> None:
    """Renew a lease, and leave while the old one is still alive too."""
    config = DynamicSecretConfig("AWS_USER", process.integration, policy=_POLICY, wait=None)
    renewer = renewing(config, "10m", manager=process.manager, overlap="1m")
    renewer.__enter__()
    with process.stage.watched():
        # What the background does when a renewal is due.
        renewer._attempt(renewer._turn)
        renewer.__exit__(None, None, None)


def verify(process: Process) -> None:
    """Prove that the integration can do its job, on a user that no record knows."""
    with process.stage.watched():
        process.integration.verify()


def reap_late(process: Process) -> None:
    """Give up an issue of a process out of sight, which may still go on: what is left for later is written down."""
    manager, long_ago = process.manager, datetime.now(UTC) - timedelta(minutes=30)
    plan = process.integration.plan(process.config)
    process.integration.clients.iam().create_user(UserName=plan["user_name"], Path=plan["path"])
    record = LeaseRecord(
        id=str(uuid.uuid4()),
        name="AWS_USER",
        integration=process.integration.name,
        handle=plan,
        created_at=long_ago,
        owner="another-host|boot|namespace|1|1",
        held=False,
        metadata={},
    )
    manager.store.insert(record)
    with process.stage.watched():
        manager.reap(integrations=[process.integration])


def purge(process: Process) -> None:
    """Forget old tombstones a few at a time, while a lease is live."""
    manager = LeaseManager(process.manager.store, keep_revoked="0s")
    for _ in range(4):
        process.manager.issue(process.config, wait=None).revoke()
    lease(process.config, manager=process.manager, wait=None).__enter__()
    with process.stage.watched():
        manager.reap(integrations=[process.integration], limit=2)
        manager.reap(integrations=[process.integration])


SCENARIOS: Final = {
    scenario.__name__: scenario
    for scenario in (
        issue,
        issue_at_once,
        issue_in_vain,
        issue_and_leave,
        leave,
        leave_thoroughly,
        renew,
        revoke_by_id,
        reap,
        verify,
        reap_late,
        purge,
    )
}


def play(job: Job, answer: Callable[[str], object]) -> None:
    """Do a job in this process, and tell the points that were passed."""
    stage = Stage(job.kill_at)
    integration = job.place.integration()
    store: Any = job.place.open_store()
    stage.watch_integration(integration)
    # Elsewhere it is the background that purges, at a moment of its own.
    stage.watch_store(store, (*_WRITES, "purge") if job.scenario == "purge" else _WRITES)
    manager = LeaseManager(store)
    SCENARIOS[job.scenario](Process(stage=stage, integration=integration, manager=manager))
    answer(json.dumps(stage.points))


def serve() -> None:
    """Answer jobs until there are no more."""
    print("ready", flush=True)
    for line in sys.stdin:
        fields = json.loads(line)
        job = Job(**{**fields, "place": Place(**fields["place"])})
        print(json.dumps(_fork(job)), flush=True)


def _fork(job: Job) -> dict[str, Any]:
    """Have a child do a job; return the points that it told (``None`` if it did not get so far) and how it ended."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        signal.alarm(_LONGEST_S)
        status = 1
        try:
            with open(writing, "w", encoding="utf-8") as pipe:
                play(job, pipe.write)
            status = 0
        except BaseException:  # The test is to see it, whatever it is.
            traceback.print_exc()
        finally:
            os._exit(status)  # Nothing is cleaned up: this is a crash too.
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0)
    return {"points": json.loads(told) if told else None, "exit": os.waitstatus_to_exitcode(status)}


if __name__ == "__main__":
    warm_up()
    serve()
