"""The errors: one root, what they are beside that, what they carry, and that they travel."""

from __future__ import annotations

import copy
import pickle

import pytest

import dynsecrets
from dynsecrets import errors
from dynsecrets.errors import DynsecretsError, PermissionDenied

ALL = [thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, DynsecretsError)]
DOCUMENTED = {
    "InvalidTTL": (DynsecretsError, ValueError),
    "InvalidConfig": (DynsecretsError, ValueError),
    "ProvisionError": (DynsecretsError,),
    "RevocationError": (DynsecretsError,),
    "PermissionDenied": (DynsecretsError,),
    "QuotaExceeded": (DynsecretsError,),
    "LeaseExpired": (DynsecretsError,),
    "LeaseNotFound": (DynsecretsError, LookupError),
    "SecretNotAvailable": (DynsecretsError,),
    "StoreError": (DynsecretsError,),
    "NotUsableInTime": (DynsecretsError,),
    "VersionConflict": (DynsecretsError, errors.StoreError),
}


@pytest.mark.parametrize(("name", "bases"), DOCUMENTED.items())
def test_the_documented_errors(name: str, bases: tuple[type, ...]) -> None:
    """Each documented error is public and is all that it is said to be."""
    assert all(issubclass(getattr(dynsecrets, name), base) for base in bases)


def test_there_are_no_others() -> None:
    """Every error of the module is documented, or is the root of all."""
    assert {error.__name__ for error in ALL} == {*DOCUMENTED, "DynsecretsError"}


@pytest.mark.parametrize("error", ALL)
def test_each_error_says_what_it_is_about(error: type[DynsecretsError]) -> None:
    """An error has its message, and what the service said where it did."""
    raised = error("it failed", code="Throttling", operation="CreateUser", lease_id="id-1")
    plain = error("it failed")

    assert str(raised) == "it failed"
    assert (raised.code, raised.operation, raised.lease_id) == ("Throttling", "CreateUser", "id-1")
    assert (plain.code, plain.operation, plain.lease_id, plain.handle) == (None, None, None, None)
    assert error.__doc__


@pytest.mark.parametrize("error", ALL)
def test_each_error_can_be_pickled_and_copied(error: type[DynsecretsError]) -> None:
    """An error crosses a process boundary with all that it carries."""
    raised = error("it failed", code="Throttling", operation="CreateUser", lease_id="id-1")
    raised.handle = {"user_name": "u"}
    raised.add_note("a note")

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        twin = pickle.loads(pickle.dumps(raised, protocol))  # noqa: S301  # Our own.
        assert type(twin) is error
        assert (str(twin), vars(twin)) == (str(raised), vars(raised))
    assert vars(copy.copy(raised)) == vars(raised)


def test_permission_denied_names_all_that_is_missing() -> None:
    """The missing actions are a tuple, empty where they aren't known, and travel too."""
    error = PermissionDenied("not allowed", actions=["iam:CreateUser", "iam:TagUser"])

    assert error.actions == ("iam:CreateUser", "iam:TagUser")
    assert PermissionDenied("not allowed").actions == ()
    assert pickle.loads(pickle.dumps(error)).actions == error.actions  # noqa: S301  # Our own.
