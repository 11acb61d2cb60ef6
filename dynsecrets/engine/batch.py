"""One lease of each of several configs at the same time: all of them, or none; and the end of them all."""

from __future__ import annotations

import _thread
import threading
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from dynsecrets._internal.log import logger
from dynsecrets.engine.revoker import not_revoked
from dynsecrets.errors import InvalidConfig, InvalidTTL, RevocationError
from dynsecrets.model.ttl import TTL, parse_ttl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    from dynsecrets.engine.core import Engine
    from dynsecrets.model.config import DynamicSecretConfig
    from dynsecrets.model.lease import Lease

    _Submit: TypeAlias = Callable[[Callable[[], Any]], Future[Any]]


def check_ttl(configs: Iterable[DynamicSecretConfig], ttl: TTL | None) -> None:
    """Raise ``InvalidTTL`` for what is no TTL, or too long for one of the configs, which the error names then."""
    if ttl is None:
        return
    parse_ttl(ttl)
    for config in configs:
        try:
            config.ttl(ttl)
        except InvalidTTL as error:
            raise InvalidTTL(f"{config.name}: {error}") from None


def lease_all(
    engine: Engine, configs: Iterable[DynamicSecretConfig], ttl: TTL | None, *, held: bool
) -> dict[str, Lease]:
    """Lease one credential of each config at the same time, and return them by the configs' names, in their order.

    ``ttl`` is that of each; ``None`` means each config's default. With ``held`` the leases end with this process, as
    those of ``lease()`` do; else they outlive it.

    If one can't be had, those that were made are revoked and its error is raised; what could not be revoked is a note
    of the error, is logged, and is tried again by the manager. The same after an interrupt of the calling thread, for
    what is still being made too: it is raised when nothing is left. A second one is raised at once, and that goes on in
    the background. Raises ``InvalidTTL`` and ``InvalidConfig`` before anything is leased, then what
    ``LeaseManager.issue`` does. Thread-safe.
    """
    wanted = list(configs)
    check_ttl(wanted, ttl)
    names = [config.name for config in wanted]
    for name in names:
        if names.count(name) > 1:
            raise InvalidConfig(f"two dynamic secrets are called {name}; give each a name of its own")

    def issue(config: DynamicSecretConfig) -> Lease:
        return engine.issue(config, config.ttl(ttl), held=held)

    return _Batch(wanted, issue, _submitter(engine)).make()


def revoke_all(engine: Engine, leases: Iterable[Lease]) -> None:
    """Revoke leases of an engine at the same time, past failures; doing it again is fine.

    Raises ``RevocationError`` that names all that could not be revoked, caused by the first failure; the engine goes
    on trying. After an interrupt the rest is done all the same, but not waited for. Thread-safe.
    """
    left = [lease for lease in leases if not lease.revoked]
    submit = _submitter(engine)
    failed: dict[str, BaseException] = {}
    done: SimpleQueue[None] = SimpleQueue()

    def lead() -> None:
        try:
            attempts = {lease.id: submit(lease.revoke) for lease in left}
            for lease_id, attempt in attempts.items():
                error = attempt.exception()
                if error is not None:
                    failed[lease_id] = error
        finally:
            done.put(None)

    _aside(lead)
    done.get()
    if not failed:
        return
    first = next(iter(failed.values()))
    if len(failed) == 1 and isinstance(first, RevocationError):
        raise first
    raise RevocationError(f"{not_revoked(failed)} ({first})") from first


class _Batch:
    """Leases that are made together.

    An interrupt may come at any line of the main thread. What is written in Python around a lock, as in conditions,
    semaphores and pools, would be left half-done, and whoever needs the lock would wait for ever. So the thread that
    waits here uses locks and queues of C alone; another one, which no signal interrupts, leads.
    """

    def __init__(
        self, configs: list[DynamicSecretConfig], issue: Callable[[DynamicSecretConfig], Lease], submit: _Submit
    ) -> None:
        self._configs = configs
        self._issue = issue
        self._submit = submit
        self._lock = threading.Lock()
        self._leases: dict[str, Lease] = {}
        self._at_work = 0
        self._given_up = False
        self._error: BaseException | None = None
        self._failures: list[str] = []
        # What the leader waits for, and what the one who asked waits for.
        self._news: SimpleQueue[None] = SimpleQueue()
        self._end: SimpleQueue[None] = SimpleQueue()
        self._ended = False

    def make(self) -> dict[str, Lease]:
        """Make them all, and wait; or revoke what was made, and raise."""
        try:
            _aside(partial(self._lead, self._configs))
            self._wait()
            error = self._error
            if error is None:
                return {config.name: self._leases[config.name] for config in self._configs}
        except BaseException as interrupt:
            error = interrupt
            self._cancel()
            self._wait()
        for failure in self._failures:
            error.add_note(failure)
        raise error

    def _wait(self) -> None:
        """Wait for the leader."""
        while not self._ended:
            self._end.get()

    def _cancel(self) -> None:
        """Have all given back; where there is no leader any more, by another one."""
        with self._lock:
            self._given_up = True
            again, self._ended = self._ended, False
        self._news.put(None)
        if again:
            _aside(partial(self._lead, []))

    def _lead(self, configs: list[DynamicSecretConfig]) -> None:
        """Have them made at the same time; once it is given up, have what there is revoked."""
        for config in configs:
            self._submit(partial(self._make, config))
        while True:
            with self._lock:
                unwanted = list(self._leases.values()) if self._given_up else []
                if unwanted:
                    self._leases.clear()
                    self._at_work += len(unwanted)
                over = not self._at_work and (self._given_up or len(self._leases) == len(self._configs))
                self._ended = over
            if over:
                break
            for lease in unwanted:
                self._submit(partial(self._take_back, lease))
            self._news.get()
        self._end.put(None)

    def _make(self, config: DynamicSecretConfig) -> None:
        """Make one, unless it is given up by now."""
        with self._lock:
            if self._given_up:
                return
            self._at_work += 1
        try:
            lease = self._issue(config)
            with self._lock:
                self._leases[config.name] = lease
        except BaseException as error:  # Raised by the one who waits, whatever it is.
            with self._lock:
                self._error = self._error or error
                self._given_up = True
        finally:
            self._done()

    def _take_back(self, lease: Lease) -> None:
        """Revoke one."""
        try:
            lease.revoke()
        except BaseException as failure:  # The error that led here is the one to raise.
            logger.error("%s", failure)
            with self._lock:
                self._failures.append(f"Lease {lease.id} could not be revoked: {failure}")
        finally:
            self._done()

    def _done(self) -> None:
        with self._lock:
            self._at_work -= 1
        self._news.put(None)


def _submitter(engine: Engine) -> _Submit:
    """Return what runs an action in the engine's pool, and returns its future.

    A thread of the pool itself can't wait for the others, so it runs the actions one after the other.
    """
    return _at_once if engine.in_worker() else engine.submit


def _at_once(action: Callable[[], Any]) -> Future[Any]:
    """Run an action here and now."""
    future: Future[Any] = Future()
    try:
        future.set_result(action())
    except BaseException as error:
        future.set_exception(error)
    return future


def _aside(work: Callable[[], None]) -> None:
    """Run work that nothing may interrupt: in a thread of its own where this is the main one, else here.

    Not by ``threading.Thread``, whose start an interrupt can leave half-done.
    """
    if threading.get_ident() == threading.main_thread().ident:
        try:
            _thread.start_new_thread(work, ())
        except RuntimeError:  # There are too many, or the interpreter shuts down.
            work()
    else:
        work()
