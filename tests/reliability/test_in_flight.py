"""A request of a process that is gone may still be under way when its leases are reaped."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import DynamicSecretConfig, LeaseManager
from support.forking import needs_fork, start_child
from support.processes import wait_until
from support.world import started

if TYPE_CHECKING:
    from collections.abc import Callable

    from reliability.places import Place
    from support.accounts import Account
    from support.proxy import Call, Fault, Proxy

pytestmark = needs_fork


@pytest.fixture(name="place")
def place_fixture(new_place: Callable[..., Place]) -> Place:
    """An account and a store; a user counts as settled after so long that whoever looks for it finds it first."""
    return new_place(settles_after_s=30.0)


@pytest.fixture
def kind_of_store() -> str:
    """One kind of store: what is proved is not about stores."""
    return "sqlite"


def kill_while(fault: Fault, place: Place) -> None:
    """Kill a process that issues a lease, while a fault holds its request."""

    def issue() -> None:
        config = DynamicSecretConfig("AWS_USER", place.integration(), wait=None)
        LeaseManager(place.open_store()).issue(config)

    pid = start_child(issue)
    assert fault.arrived.wait(60)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def begin_reaping(place: Place) -> Callable[[], Any]:
    """Begin to reap; return how to wait for the report."""

    def reap() -> tuple[list[str], list[str]]:
        with contextlib.closing(place.open_store()) as store, LeaseManager(store) as manager:
            report = manager.reap(integrations=[place.integration()])
            return report.revoked, [record.id for record in store.records() if record.live]

    return started(reap)


def test_a_user_that_comes_to_be_while_it_is_reaped_is_found(aws: Account, proxy: Proxy, place: Place) -> None:
    """CreateUser takes effect after the reaper was told that there is no such user: it looks again."""
    fault = proxy.fail("CreateUser", "hold")
    kill_while(fault, place)

    reaped = begin_reaping(place)
    wait_until(lambda: "ListAccessKeys" in proxy.actions(), "the reaper has looked once")
    fault.release()
    revoked, live = reaped()

    assert (len(revoked), live) == (1, [])
    assert aws.users() == []


def test_so_it_is_where_permissions_are_limited_to_a_path(aws: Account, proxy: Proxy, place: Place) -> None:
    """There AWS refuses instead of saying that there is no such user; the reaper finds out, and looks again."""

    def is_absent(call: Call) -> bool:
        return call.user_name not in aws.users()

    fault = proxy.fail("CreateUser", "hold")
    kill_while(fault, place)
    for action in ("ListAccessKeys", "ListUserPolicies", "DeleteUser"):
        proxy.fail(action, "AccessDenied", times=None, when=is_absent)

    reaped = begin_reaping(place)
    wait_until(lambda: proxy.count("CreateUser") > 1, "the reaper has looked once")
    wait_until(lambda: aws.users() == [], "the reaper's own user is gone")
    fault.release()
    revoked, live = reaped()

    assert (len(revoked), live) == (1, [])
    assert aws.users() == []


def test_a_key_that_comes_to_be_while_its_user_is_reaped_is_found(aws: Account, proxy: Proxy, place: Place) -> None:
    """CreateAccessKey takes effect after the reaper has listed the keys: DeleteUser meets a conflict, and says so."""
    key = proxy.fail("CreateAccessKey", "hold")
    kill_while(key, place)
    end = proxy.fail("DeleteUser", "hold")

    reaped = begin_reaping(place)
    assert end.arrived.wait(60)
    key.release()
    iam, (user,) = aws.client("iam"), aws.users()
    wait_until(lambda: bool(iam.list_access_keys(UserName=user)["AccessKeyMetadata"]), "there is a key")
    end.release()
    revoked, live = reaped()

    assert (len(revoked), live) == (1, [])
    assert aws.users() == []


@pytest.mark.parametrize("first", ["500", "drop_before"])
def test_trouble_before_no_such_user_proves_nothing(aws: Account, proxy: Proxy, place: Place, first: Any) -> None:
    """A listing that broke off, and then a server that doesn't know the young user yet: that's no deletion."""
    fault = proxy.fail("PutUserPolicy", "hold")
    kill_while(fault, place)
    fault.release()
    proxy.fail("ListAccessKeys", first, nth=1)
    for action in ("ListAccessKeys", "ListUserPolicies"):
        proxy.fail(action, "NoSuchEntity", nth=1)

    revoked, live = begin_reaping(place)()

    assert (len(revoked), live) == (1, [])
    assert aws.users() == []
