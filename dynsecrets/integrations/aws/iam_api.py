"""IAM as leasing uses it: calls that bear with what passes by itself, and which users are an integration's own.

Botocore retries throttling, lost connections and failures of the service. What it doesn't retry and passes all the same
is listed once, here, for every call: an answer that can't be read is the same trouble as one that didn't arrive, and
``PASSING`` has the codes of an entity that is being changed by somebody else at this moment.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any, Final

from dynsecrets._aws.client_cache import method_of
from dynsecrets._aws.error_codes import DENIED, PASSING, code_of
from dynsecrets.integrations.aws.errors import is_conflict, is_missing, is_unreadable, is_unresolved
from dynsecrets.model.naming import RANDOM_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dynsecrets.integrations.aws.clients import AwsClients
    from dynsecrets.integrations.aws.request_tracking import SendDeadline

#: Delays in seconds between the attempts at what passes by itself.
_PASSING_DELAYS: Final = (0.1, 0.3, 0.9)
#: Delays while IAM's servers learn of a new user: eventually consistent, in seconds.
PROPAGATION_DELAYS: Final = (0.1, 0.2, 0.4, 0.8, 1.5, 2.0, 2.0, 3.0)
#: So many of them for a refusal that may mean the same; a real one should not be waited for as long.
_UNRESOLVED_DELAYS: Final = 5


#: Delays while IAM still says that something hangs on a user though all of it was deleted: people saw that for a third
#: of a second.
_CONFLICT_DELAYS: Final = (0.1, 0.4)
#: The path in the ARN of a user that a refusal names.
_PATH_IN_ARN: Final = re.compile(r"arn:[a-z0-9-]+:iam::[0-9]*:user(/(?:[^\s/]+/)*)")
#: So many names are remembered as this process's own; what is forgotten is asked for again.
_MOST_KNOWN: Final = 50_000


class IamApi:
    """The calls of one integration to IAM. Thread- and fork-safe."""

    def __init__(self, clients: AwsClients, *, path: str, username_prefix: str) -> None:
        self.clients: Final = clients
        self.path: Final = path
        self.username_prefix: Final = username_prefix
        self._known: set[str] = set()
        self._may_get_user = True

    def call(self, operation: str, *, deadline: SendDeadline | None = None, **arguments: Any) -> Any:
        """Make a call, named as in the API, and count what of it had no clear answer (``clients.requests``).

        Nothing of it is sent after ``deadline``.
        """
        method = method_of(self.clients.iam(), operation)
        self.clients.requests.begin(deadline)
        return _repeated(lambda: method(**arguments))

    def call_once_there(
        self, user_name: str, operation: str, arguments: Mapping[str, Any], *, wait: bool = True
    ) -> Any:
        """Make a call on a user that was created a moment ago and that a server may not know yet."""
        for number, delay in enumerate(PROPAGATION_DELAYS if wait else ()):
            try:
                return self.call(operation, UserName=user_name, **arguments)
            except Exception as exc:
                unresolved = number < _UNRESOLVED_DELAYS and is_unresolved(exc, user_name)
                if not unresolved and not is_missing(exc, user_name):
                    raise
            time.sleep(delay)
        return self.call(operation, UserName=user_name, **arguments)

    def call_once_free(self, operation: str, **arguments: Any) -> Any:
        """Make a call that deletes, and that IAM may refuse for a moment after what stood against it was deleted."""
        for delay in _CONFLICT_DELAYS:
            try:
                return self.call(operation, **arguments)
            except Exception as exc:
                if not is_conflict(exc):
                    raise
            time.sleep(delay)
        return self.call(operation, **arguments)

    def listed(self, operation: str, member: str, **arguments: Any) -> list[Any]:
        """Return what a listing has in all of its pages."""
        from botocore import xform_name

        client, name = self.clients.iam(), xform_name(operation)
        if not client.can_paginate(name):
            return list(self.call(operation, **arguments).get(member, ()))
        pages = client.get_paginator(name).paginate(**arguments)
        self.clients.requests.begin()
        entries: list[Any] = _repeated(lambda: [entry for page in pages for entry in page.get(member, ())])
        return entries

    def is_ours(self, user_name: str) -> bool:
        """Tell whether a name is formed like those of the users that this integration leases."""
        ours = rf"{re.escape(self.username_prefix)}[A-Za-z0-9]{{{RANDOM_LENGTH}}}"
        return re.fullmatch(ours, user_name) is not None

    def know(self, user_name: str) -> str:
        """Remember a name that this process has chosen, or AWS has listed under the path; return it."""
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known.add(user_name)
        return user_name

    def forget(self, user_name: str) -> None:
        """Forget a user that is gone."""
        self._known.discard(user_name)

    def is_elsewhere(self, user_name: str) -> bool:
        """Tell whether AWS says that a user is under another path, as far as the credentials may ask that.

        Those that leasing needs may not, and can reach no other path. Names that this process knows are not asked for.
        """
        if user_name in self._known or not self._may_get_user:
            return False
        try:
            path = self.call("GetUser", UserName=user_name)["User"]["Path"]
        except Exception as exc:
            code = code_of(exc)
            if code is None:
                raise
            self._may_get_user = code not in DENIED
            named = _PATH_IN_ARN.search(str(exc).partition("on resource:")[2])
            path = named.group(1) if named and code in DENIED else self.path
        return bool(path != self.path)

    def user_arguments(self, plan: Mapping[str, str]) -> dict[str, Any]:
        """Return what a user is created with: tags and boundary too, since accounts may demand them."""
        arguments: dict[str, Any] = {"Path": self.path}
        if "tags" in plan:
            arguments["Tags"] = [{"Key": key, "Value": value} for key, value in json.loads(plan["tags"]).items()]
        if "permissions_boundary" in plan:
            arguments["PermissionsBoundary"] = plan["permissions_boundary"]
        return arguments


def account_of(arn: str) -> str:
    """Return the number of the account that an ARN is of."""
    return arn.split(":")[4]


def _repeated(make: Callable[[], Any]) -> Any:
    """Return what a call returns, which is made again while it fails in a way that passes."""
    for delay in _PASSING_DELAYS:
        try:
            return make()
        except Exception as exc:
            if not is_unreadable(exc) and code_of(exc) not in PASSING:
                raise
        time.sleep(delay)
    return make()
