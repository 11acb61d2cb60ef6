"""A third party in memory that leases users like AWS's, and fails when told to."""

from __future__ import annotations

import contextlib
import copy
import secrets
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import attrs
from typing_extensions import override

from dynsecrets._internal.messages import safe_repr
from dynsecrets.clock import SYSTEM_CLOCK, Clock
from dynsecrets.errors import InvalidConfig, ProvisionError, RevocationError
from dynsecrets.integrations.aws.options import PUBLIC_VALUES, IamUserOptions, user_options
from dynsecrets.integrations.aws.policy_document import render
from dynsecrets.model.capabilities import AwsSessions
from dynsecrets.model.grant import Found, Grant, Identity
from dynsecrets.model.integration import Integration
from dynsecrets.model.masking import Secret
from dynsecrets.model.naming import random_suffix
from dynsecrets.model.ttl import TTL, parse_ttl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime, timedelta

    import boto3

    from dynsecrets.model.config import DynamicSecretConfig
    from dynsecrets.model.options import SecretOptions

#: What can be made to fail: making a user, deleting it, asking whether its key works, and the calls of its sessions.
Method: TypeAlias = Literal["provision", "revoke", "is_usable", "call"]
_METHODS: Final[tuple[str, ...]] = get_args(Method)
_OPERATIONS: Final = {"provision": "CreateUser", "revoke": "DeleteUser", "is_usable": "GetCallerIdentity"}
_ACCOUNT: Final = "123456789012"
_USER: Final = "memory_user"
_REGION: Final = "us-east-1"
_GLANCE_S: Final = 0.5


@attrs.frozen(kw_only=True)
class MemoryUser:
    """A user that lives in a :class:`MemoryIntegration`.

    Attributes:
        username: Its name.
        arn: Its ARN.
        user_id: Its unique id.
        access_key_id: The id of its access key.
        config: What it was leased for.
        policy: The policy document that AWS would have got, expiry guard included; ``None`` where there is none.
        created_at: When it was made, by the integration's clock.
        expires_at: When its TTL is over.
        usable_at: From when on its key works.
        secret: Its secret access key, boxed.
    """

    username: str
    arn: str
    user_id: str
    access_key_id: str
    config: DynamicSecretConfig = attrs.field(repr=False)
    policy: str | None = attrs.field(repr=False)
    created_at: datetime
    expires_at: datetime
    usable_at: datetime
    secret: Secret = attrs.field(repr=False, eq=False)


@attrs.frozen
class Call:
    """One call of an integration.

    Attributes:
        method: ``"provision"``, ``"revoke"``, ``"is_usable"``, or ``"call"`` for a call of a session.
        username: The user that it was for.
        at: When it was made, by the integration's clock.
    """

    method: str
    username: str
    at: datetime


@attrs.define
class _Fault:
    error: BaseException | None
    left: int | None
    after: bool


class MemoryIntegration(Integration, AwsSessions):
    """An integration without AWS: users exist in memory, keys work while they exist, and faults are scripted.

    Leases of it look like those of AWS: all eight values, ``aws_env()``, ``session()``.

    >>> from dynsecrets import DynamicSecretConfig, LeaseManager, MemoryLeaseStore, ProvisionError, lease
    >>> from dynsecrets.testing import MemoryIntegration
    >>> aws = MemoryIntegration()
    >>> config = DynamicSecretConfig("AWS_USER", aws)
    >>> with LeaseManager(MemoryLeaseStore()) as manager:
    ...     with lease(config, manager=manager) as creds:
    ...         print(list(aws.users) == [creds.username])
    ...     aws.fail("provision", ProvisionError("Throttling", code="Throttling"))
    ...     try:
    ...         manager.issue(config)
    ...     except ProvisionError as error:
    ...         print(error.code, aws.users)
    True
    Throttling {}

    ``session()`` gives a real ``boto3.Session``: each call of its clients is refused as AWS would refuse it once the
    user is gone (``InvalidClientTokenId`` and its like), or when the lease is over and has an expiry guard
    (``AccessDenied``). What is not refused must be answered by botocore's ``Stubber``, moto's ``mock_aws``, or a server
    on this machine; nothing is sent elsewhere. Thread-safe. A forked child has a copy of its own.

    Args:
        name: The name that records and reapers know the integration by.
        clock: What the time is read from: the one that the ``LeaseManager`` has too, a :class:`FakeClock` where time
            matters. By default the machine's own.
        usable_after: How long a new key takes to work, as IAM's do: a TTL, ``"0s"`` included.

    Raises:
        InvalidConfig: The name or the clock is not accepted.
        InvalidTTL: ``usable_after`` is not a length of time.
    """

    kind: str = "memory"
    options_type: type[SecretOptions] = IamUserOptions
    public_values: frozenset[str] = PUBLIC_VALUES
    enforces_expiry: bool = True
    probes: int = 3

    def __init__(self, name: str = "memory", *, clock: Clock | None = None, usable_after: TTL = "0s") -> None:
        super().__init__(name)
        self._clock = SYSTEM_CLOCK if clock is None else clock
        if not isinstance(self._clock, Clock):
            raise InvalidConfig(f"clock must be a FakeClock or another Clock, not {safe_repr(clock)}")
        #: How long the next users' keys take to work. May be changed at any time.
        self.usable_after: timedelta = parse_ttl(usable_after, what="usable_after", minimum=0)
        self._lock = threading.Lock()
        self._users: dict[str, MemoryUser] = {}
        self._calls: list[Call] = []
        self._faults: dict[str, deque[_Fault]] = {method: deque() for method in _METHODS}
        self._down = False

    @property
    def users(self) -> dict[str, MemoryUser]:
        """Return the users that exist now, by name, the oldest first."""
        with self._lock:
            return dict(self._users)

    @property
    def calls(self) -> list[Call]:
        """Return every call so far, the failed ones too."""
        with self._lock:
            return list(self._calls)

    def count(self, method: Method) -> int:
        """Return how often a method was called.

        Args:
            method: ``"provision"``, ``"revoke"``, ``"is_usable"``, or ``"call"`` for calls of sessions.
        """
        return sum(call.method == method for call in self.calls)

    def fail(
        self, method: Method, error: BaseException | None = None, *, times: int | None = 1, after: bool = False
    ) -> None:
        """Let the next calls of a method fail, after those that were told to fail before.

        Args:
            method: ``"provision"``, ``"revoke"``, ``"is_usable"``, or ``"call"`` for calls of sessions.
            error: What is raised, each time a copy of it: ``PermissionDenied``, ``QuotaExceeded``, whatever is to be
                tested. By default what an outage of AWS looks like.
            times: How many calls fail; ``None`` for all until :meth:`heal`.
            after: Whether the call takes effect first and fails then, like one whose answer is lost.

        Raises:
            InvalidConfig: An argument is not accepted.
        """
        if method not in _METHODS:
            raise InvalidConfig(f"method {safe_repr(method)} can't fail; give one of {', '.join(_METHODS)}")
        if error is not None and not isinstance(error, BaseException):
            raise InvalidConfig(
                f"error must be an exception to raise, like ProvisionError('...'), not {safe_repr(error)}"
            )
        if times is not None and (not isinstance(times, int) or isinstance(times, bool) or times < 1):
            raise InvalidConfig(f"times {safe_repr(times)} is not accepted; give a whole number of at least 1, or None")
        with self._lock:
            self._faults[method].append(_Fault(error, times, after))

    def heal(self) -> None:
        """Let nothing fail any more."""
        with self._lock:
            self._down = False
            for faults in self._faults.values():
                faults.clear()

    def delete_user(self, username: str) -> None:
        """Delete a user as somebody would who knows nothing of leases. Deleting it twice is fine.

        Args:
            username: Its name, as in :attr:`users`.
        """
        with self._lock:
            self._users.pop(username, None)

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """Let everything fail while the block lasts, as if AWS could not be reached."""
        with self._lock:
            self._down = True
        try:
            yield
        finally:
            with self._lock:
                self._down = False

    @override
    def plan(self, config: DynamicSecretConfig) -> dict[str, str]:
        """Choose the names of a user and its policy."""
        options = user_options(config)
        plan = {_USER: f"Dynsecrets-Dynamic-{random_suffix()}"}
        if options.policy is not None or options.expiry_guard:
            plan["policy_name"] = f"dynsecrets-policy-{random_suffix()}"
        return plan

    @override
    def provision(self, plan: Mapping[str, str], config: DynamicSecretConfig, ttl: timedelta) -> Grant:
        """Make a user."""
        username = plan[_USER]
        lost = self._begin("provision", username)
        now = self._clock.now()
        options = user_options(config)
        secret = secrets.token_urlsafe(30)
        user = MemoryUser(
            username=username,
            arn=f"arn:aws:iam::{_ACCOUNT}:user/dynsecrets/{username}",
            user_id=f"AIDA{secrets.token_hex(8).upper()}",
            access_key_id=f"AKIA{secrets.token_hex(8).upper()}",
            config=config,
            policy=render(options.policy, now + ttl if options.expiry_guard else None),
            created_at=now,
            expires_at=now + ttl,
            usable_at=now + self.usable_after,
            secret=Secret(secret),
        )
        with self._lock:
            self._users[username] = user
        _end(lost)
        values = {
            "ACCESS_KEY_ID": user.access_key_id,
            "ARN": user.arn,
            "POLICY_NAME": plan.get("policy_name", ""),
            "SECRET_ACCESS_KEY": secret,
            "USERNAME": username,
            "USER_ID": user.user_id,
        }
        return Grant(values, user.expires_at, plan, issued_at=now)

    @override
    def revoke(self, handle: Mapping[str, str]) -> None:
        """Delete a user, if it is there."""
        lost = self._begin("revoke", handle[_USER])
        with self._lock:
            self._users.pop(handle[_USER], None)
        _end(lost)

    @override
    def describe(self, handle: Mapping[str, str]) -> str:
        """Return the user's name."""
        return f"user {self.name_of(handle)}"

    def is_usable(self, values: Mapping[str, str]) -> bool:
        """Tell whether a key is one of a user that exists, and works by now."""
        lost = self._begin("is_usable", values["USERNAME"])
        _end(lost)
        user = self._owner(values)
        return user is not None and user.usable_at <= self._clock.now()

    @override
    def session(self, values: Mapping[str, str], is_young: Callable[[], bool], **kwargs: Any) -> boto3.Session:
        """Return a ``boto3.Session`` on a user, which never calls AWS."""
        from dynsecrets.integrations.aws.sessions import TolerantSession
        from dynsecrets.testing.stub_sessions import guard

        keys = {"aws_access_key_id": values["ACCESS_KEY_ID"], "aws_secret_access_key": values["SECRET_ACCESS_KEY"]}
        settings: dict[str, Any] = {"region_name": _REGION, "endpoint_url": None, **keys, **kwargs}
        return guard(TolerantSession(is_young=is_young, **settings), lambda: self._why_not(values, is_young))

    @override
    def following_session(
        self, read: Callable[[], Mapping[str, str]], is_young: Callable[[], bool], **kwargs: Any
    ) -> boto3.Session:
        """Return a ``boto3.Session`` that follows renewals, and never calls AWS."""
        from dynsecrets.integrations.aws.sessions import following_session
        from dynsecrets.testing.stub_sessions import guard

        settings: dict[str, Any] = {"region_name": _REGION, "endpoint_url": None, **kwargs}
        return guard(following_session(read, is_young=is_young, **settings), lambda: self._why_not(read(), is_young))

    def service_time(self) -> datetime:
        """Return the time by the integration's clock."""
        return self._clock.now()

    def find_all(self) -> Iterator[Found]:
        """Iterate over all users."""
        for user in self.users.values():
            yield Found(name=user.username, handle={_USER: user.username}, created_at=user.created_at)

    def name_of(self, handle: Mapping[str, str]) -> str:
        """Return the user's name."""
        return handle[_USER]

    def verify(self, *configs: DynamicSecretConfig) -> Identity:
        """Say who an administrator would be; what is scripted for ``provision`` is left for the next lease."""
        del configs
        with self._lock:
            down = self._down
        if down:
            raise _outage("is_usable")
        return Identity(account=_ACCOUNT, arn=f"arn:aws:iam::{_ACCOUNT}:user/integration", user_id="AIDAMEMORY")

    def _owner(self, values: Mapping[str, str]) -> MemoryUser | None:
        """Return the user that a key is of."""
        with self._lock:
            user = self._users.get(values["USERNAME"])
        return user if user is not None and user.secret.reveal() == values["SECRET_ACCESS_KEY"] else None

    def _why_not(self, values: Mapping[str, str], is_young: Callable[[], bool]) -> str | None:
        """Say why a user may not call a service now; ``None`` where it may."""
        _end(self._begin("call", values["USERNAME"]))
        while (user := self._owner(values)) is not None and user.usable_at > self._clock.now() and is_young():
            # What the session's own retries would do.
            self._clock.sleep(_GLANCE_S)
        if user is None or user.usable_at > self._clock.now():
            return "unknown"
        return "denied" if user.config.expiry_guard and user.expires_at <= self._clock.now() else None

    def _begin(self, method: Method, username: str) -> BaseException | None:
        """Note a call; raise what it is to fail with, or return what it is to fail with once it has taken effect."""
        with self._lock:
            self._calls.append(Call(method, username, self._clock.now()))
            if self._down:
                fault: _Fault | None = _Fault(None, None, after=False)
            else:
                faults = self._faults[method]
                fault = faults[0] if faults else None
                if fault is not None and fault.left is not None:
                    fault.left -= 1
                    if not fault.left:
                        faults.popleft()
        if fault is None:
            return None
        error = _outage(method) if fault.error is None else _copied(fault.error)
        if fault.after:
            return error
        if method == "provision" and getattr(error, "handle", None) is None:
            # A clear answer: nothing was made.
            vars(error)["handle"] = {}
        raise error


def _end(lost: BaseException | None) -> None:
    """Lose the answer of a call, where it is to be lost."""
    if lost is not None:
        raise lost


def _copied(error: BaseException) -> BaseException:
    """Return an error like another one, which may be raised again: each has a traceback and notes of its own."""
    try:
        return copy.copy(error)
    except Exception:  # It can't be copied, as many can't that take several arguments.
        return error


def _outage(method: str) -> BaseException:
    """Return what a method meets when AWS can't be reached."""
    code, text = "ServiceUnavailable", "the service is unavailable (as the test wants it)"
    if method == "call":
        from dynsecrets.testing.stub_sessions import service_error

        return service_error(code, text, "Call", 503)
    kind = RevocationError if method == "revoke" else ProvisionError
    return kind(f"{_OPERATIONS[method]}: {text}", code=code, operation=_OPERATIONS[method])
