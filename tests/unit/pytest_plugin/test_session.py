"""Leases of the plugin's fixtures end with the test, however that ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.pytest_projects import AWS, LEFT, MEMORY, summary

if TYPE_CHECKING:
    from support.accounts import Account
    from support.pytest_projects import Project

#: A test that comes after another one, and sees whether anything is left of that.
AFTER = """
def test_zz_nothing_is_left():
    from conftest import aws
    assert not aws.users
"""


def test_a_user_for_each_test(project: Project) -> None:
    """Each test has a user of its own, which works while the test runs and is gone in the next one."""
    result = project.run("""
from conftest import aws

seen = set()

def check(user):
    assert user.check()
    assert list(aws.users) == [user.username]
    assert user.id not in seen
    seen.add(user.id)

def test_one(dynsecrets_user):
    check(dynsecrets_user)

def test_two(dynsecrets_user):
    check(dynsecrets_user)
""")

    assert result.ret == 0
    assert summary(result) == "2 leases issued, 2 revoked, 0 leaked"
    assert project.left() == []


def test_the_factory_leases_as_told(project: Project) -> None:
    """Each call is another lease; TTL, wait and metadata are those given, else the test's name is kept with it."""
    result = project.run("""
from conftest import CONFIG, aws

def test_many(dynsecrets_lease, dynsecrets_manager):
    first = dynsecrets_lease(CONFIG, ttl="5m")
    second = dynsecrets_lease(CONFIG, 60, wait=None, metadata={"job": 1})
    assert {first.username, second.username} == set(aws.users)
    assert [(l.expires_at - l.issued_at).total_seconds() for l in (first, second)] == [300, 60]
    assert dynsecrets_manager.get(first.id).metadata == {"test": "test_project.py::test_many"}
    assert dynsecrets_manager.get(second.id).metadata == {"job": 1}
    assert dynsecrets_manager.get(first.id).held
    first.revoke()
    assert list(aws.users) == [second.username]
""")

    assert result.ret == 0
    assert summary(result) == "2 leases issued, 2 revoked, 0 leaked"
    assert project.left() == []


@pytest.mark.parametrize(
    ("outcome", "test"),
    [
        ({"passed": 1}, "def test_it(dynsecrets_user): pass"),
        ({"failed": 1}, "def test_it(dynsecrets_user): assert False"),
        ({"failed": 1}, "def test_it(dynsecrets_user): raise SystemExit(3)"),
        ({"skipped": 1}, "def test_it(dynsecrets_user): pytest.skip('no')"),
        ({"xfailed": 1}, "@pytest.mark.xfail\ndef test_it(dynsecrets_user): assert False"),
        ({"errors": 1}, "@pytest.fixture\ndef bad(): 1 / 0\n\ndef test_it(dynsecrets_user, bad): pass"),
        (
            {"passed": 1, "errors": 1},
            "@pytest.fixture\ndef bad():\n    yield\n    1 / 0\n\ndef test_it(dynsecrets_user, bad): pass",
        ),
        (
            {"passed": 1},
            (
                "import unittest\nclass TestIt(unittest.TestCase):\n"
                "    @pytest.fixture(autouse=True)\n    def user(self, dynsecrets_user): pass\n"
                "    def test_it(self): pass"
            ),
        ),
    ],
    ids=["passed", "failed", "exited", "skipped", "xfailed", "setup", "teardown", "unittest"],
)
def test_revoked_however_a_test_ends(project: Project, outcome: dict[str, int], test: str) -> None:
    """Whatever becomes of a test, its lease is revoked before the next test begins."""
    result = project.run(f"import pytest\n\n{test}\n{AFTER}")

    outcome = {**outcome, "passed": outcome.get("passed", 0) + 1}
    result.assert_outcomes(**outcome)
    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked"


@pytest.mark.parametrize(
    ("status", "how"),
    [
        (2, "raise KeyboardInterrupt"),
        (2, "import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(5)"),
        (2, "pytest.exit('enough')"),
    ],
    ids=["interrupt", "signal", "exit"],
)
def test_revoked_when_the_session_is_cut_short(project: Project, status: int, how: str) -> None:
    """Ctrl-C and ``pytest.exit`` end the session, and its leases with it."""
    result = project.start(f"import pytest\n\ndef test_it(dynsecrets_user):\n    {how}\n\ndef test_never(): pass\n")

    assert result.ret == status
    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked"
    assert project.left() == []


@pytest.mark.parametrize("option", ["-x", "--maxfail=1"])
def test_revoked_when_pytest_stops_early(project: Project, option: str) -> None:
    """Where the first failure ends the session, leases end too."""
    result = project.run("def test_a(dynsecrets_user): 1 / 0\n\ndef test_b(dynsecrets_user): pass\n", option)

    result.assert_outcomes(failed=1)
    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked"
    assert project.left() == []


def test_fixtures_may_use_the_lease_until_they_end(project: Project) -> None:
    """A lease lives until all fixtures have ended that came after it, and ends before those that it was made in."""
    result = project.run("""
import pytest
from conftest import CONFIG, aws

@pytest.fixture
def world():
    yield
    assert not aws.users

@pytest.fixture
def service(world, dynsecrets_user):
    yield dynsecrets_user
    assert dynsecrets_user.check()

def test_it(dynsecrets_lease, service):
    dynsecrets_lease(CONFIG)
    assert len(aws.users) == 2
""")

    result.assert_outcomes(passed=1)
    assert result.ret == 0


def test_the_factory_ends_with_its_test(project: Project) -> None:
    """A factory that somebody has kept leases nothing once its test is over."""
    result = project.run("""
import pytest
from dynsecrets import DynsecretsError
from conftest import CONFIG, aws

kept = []

def test_one(dynsecrets_lease):
    kept.append(dynsecrets_lease)

def test_two():
    with pytest.raises(DynsecretsError, match="is over"):
        kept[0](CONFIG)
    assert not aws.users
""")

    result.assert_outcomes(passed=2)


def test_threads_of_a_test_lease_too(project: Project) -> None:
    """The factory can be called from many threads at once; all that they leased ends with the test."""
    result = project.run(f"""
from concurrent.futures import ThreadPoolExecutor
from conftest import CONFIG, aws

def test_one(dynsecrets_lease):
    with ThreadPoolExecutor(4) as pool:
        leases = list(pool.map(lambda _: dynsecrets_lease(CONFIG), range(8)))
    assert {{lease.username for lease in leases}} == set(aws.users)
{AFTER}
""")

    result.assert_outcomes(passed=2)
    assert summary(result) == "8 leases issued, 8 revoked, 0 leaked"


def test_a_forked_child_revokes_nothing(project: Project) -> None:
    """A child that a test forks and that ends as Python does leaves the parent's lease alone."""
    result = project.start("""
import os, warnings

def test_one(dynsecrets_user):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    assert dynsecrets_user.check()
""")

    assert result.ret == 0
    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked"


# Leaks


def test_a_leak_fails_the_run(project: Project) -> None:
    """What a test issued with the manager and left is revoked, told with its id, and fails a run that passed."""
    result = project.run(
        """
def test_it(dynsecrets_manager, dynsecrets_config):
    print("LEFT", dynsecrets_manager.issue(dynsecrets_config).id)
""",
        "-s",
    )

    (line,) = (line for line in result.outlines if "LEFT" in line)
    lease_id = line.partition("LEFT ")[2].split()[0].rstrip(".")
    result.assert_outcomes(passed=1)
    assert result.ret == 1
    assert summary(result) == "1 lease issued, 0 revoked, 1 leaked"
    result.stdout.fnmatch_lines([f"LEAKED {lease_id} {LEFT} *revoked now"])
    assert project.left() == []


def test_what_is_revoked_in_time_is_no_leak(project: Project) -> None:
    """A fixture of any scope may issue with the manager, if it revokes in its end."""
    result = project.run("""
import pytest

@pytest.fixture(scope="session")
def admin(dynsecrets_manager, dynsecrets_config):
    lease = dynsecrets_manager.issue(dynsecrets_config)
    yield lease
    lease.revoke()

def test_a(admin): assert admin.check()
def test_b(admin): assert admin.check()
""")

    assert result.ret == 0
    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked"


def test_a_lease_that_cannot_be_revoked_is_a_leak(project: Project) -> None:
    """Where AWS refuses, the test has an error, and the run tells which lease is left, of which test."""
    result = project.run("""
from dynsecrets import PermissionDenied
from conftest import aws

def test_it(dynsecrets_user):
    aws.fail("revoke", PermissionDenied("no", actions=["iam:DeleteUser"]), times=None)
""")

    result.assert_outcomes(passed=1, errors=1)
    assert result.ret == 1
    assert summary(result) == "1 lease issued, 0 revoked, 1 leaked"
    result.stdout.fnmatch_lines([f"LEAKED * {LEFT} *could not be*"])
    assert len(project.left()) == 1


def test_what_another_process_revoked_is_no_leak(project: Project) -> None:
    """A lease that was revoked behind the manager's back, by another process with the same store, is not left."""
    result = project.run("""
from dynsecrets import LeaseManager
from conftest import aws

def test_it(dynsecrets_manager, dynsecrets_config):
    lease = dynsecrets_manager.issue(dynsecrets_config)
    with LeaseManager(dynsecrets_manager.store, integrations=[aws]) as other:
        other.revoke(lease.id)
""")

    result.assert_outcomes(passed=1)
    assert result.ret == 0
    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked"


def test_a_passing_blip_is_no_leak(project: Project) -> None:
    """A revocation that fails once is made again, and nobody hears of it."""
    result = project.run("from conftest import aws\n\ndef test_it(dynsecrets_user):\n    aws.fail('revoke')\n")

    assert result.ret == 0
    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked"


def test_nothing_is_said_where_nothing_was_leased(project: Project) -> None:
    """Sessions that don't use the fixtures are left alone: no line, no folder, no file."""
    result = project.run("def test_it(): pass\n")

    assert result.ret == 0
    assert "dynsecrets:" not in result.stdout.str()
    assert not project.folder.joinpath(".pytest_cache", "dynsecrets").exists()


def test_a_killed_run_is_cleaned_up_by_the_next(project: Project, aws_env: Account) -> None:
    """What a run that was killed had leased is revoked by the next run that leases, long before its TTL is over."""
    killed = project.start(
        "import os, signal\n\ndef test_it(dynsecrets_user):\n    os.kill(os.getpid(), signal.SIGKILL)\n", conftest=AWS
    )
    assert killed.ret == -9
    assert len(aws_env.users()) == 1

    result = project.start("def test_it(dynsecrets_user): pass\n", "--cache-clear", conftest=AWS)

    assert result.ret == 0
    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked; 1 of an earlier run revoked"
    assert aws_env.users() == []


def test_leases_on_a_server(project: Project, aws_env: Account) -> None:
    """On an AWS that the environment names, a user exists while its test runs, and boto3 works with it."""
    result = project.start(
        """
import boto3

def test_it(dynsecrets_user):
    arn = dynsecrets_user.session().client("sts").get_caller_identity()["Arn"]
    assert arn == dynsecrets_user.arn
    boto3.client("iam").get_user(UserName=dynsecrets_user.username)
""",
        conftest=AWS,
    )

    assert result.ret == 0
    assert aws_env.users() == []


# Without a config


def test_a_missing_config_is_explained(project: Project) -> None:
    """Where ``dynsecrets_config`` isn't defined, the error shows how to define it."""
    result = project.run("def test_it(dynsecrets_user): pass\n", conftest="")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*Put it into conftest.py:*", "*def dynsecrets_config():*"])
    assert "dynsecrets: " not in result.stdout.str()


def test_fixtures_say_what_they_are(project: Project) -> None:
    """``pytest --fixtures`` has a line for each fixture."""
    result = project.run(None, "--fixtures", conftest="")

    result.stdout.fnmatch_lines_random(
        [
            "dynsecrets_lease -- *",
            "dynsecrets_user -- *",
            "dynsecrets_config -- *",
            "dynsecrets_manager [[]session scope[]] -- *",
            "    Lease credentials for this test: *",
        ]
    )


# Overriding


@pytest.mark.parametrize("scope", ["function", "class", "module", "package", "session"])
@pytest.mark.parametrize("fixture", ["dynsecrets_config", "dynsecrets_manager", "dynsecrets_user", "dynsecrets_lease"])
def test_overrides_may_have_any_scope(project: Project, fixture: str, scope: str) -> None:
    """Each fixture may be overridden with any scope; leases end with whatever they were made for."""
    bodies = {
        "dynsecrets_config": "():\n    return CONFIG",
        "dynsecrets_manager": "():\n    with LeaseManager(MemoryLeaseStore()) as manager:\n        yield manager",
        "dynsecrets_user": "(dynsecrets_manager):\n"
        "    with lease(CONFIG, manager=dynsecrets_manager) as creds:\n        yield creds",
        "dynsecrets_lease": "(dynsecrets_manager):\n    with contextlib.ExitStack() as stack:\n"
        "        yield lambda config, ttl=None: stack.enter_context(lease(config, ttl, manager=dynsecrets_manager))",
    }
    override = f"@pytest.fixture(scope={scope!r})\ndef {fixture}{bodies[fixture]}\n"
    imports = "import contextlib\nfrom dynsecrets import LeaseManager, MemoryLeaseStore, lease\n"
    # A session-scoped fixture can't ask for the user that each test has of its own.
    user = "dynsecrets_user" if fixture != "dynsecrets_lease" else "dynsecrets_lease"
    use = "dynsecrets_user" if fixture != "dynsecrets_lease" else "dynsecrets_lease(CONFIG)"

    result = project.run(
        f"from conftest import CONFIG\n\ndef test_a({user}):\n    assert {use}.check()\n\ndef test_b({user}):\n"
        f"    assert {use}.check()\n",
        conftest=f"{MEMORY}\n{imports}\n{override}",
    )

    result.assert_outcomes(passed=2)
    assert result.ret == 0
    assert project.left() == []


def test_leases_of_another_manager_are_counted(project: Project) -> None:
    """The factory's leases are counted and revoked with a manager of the project's own, too."""
    conftest = f"""{MEMORY}
from dynsecrets import LeaseManager, MemoryLeaseStore

@pytest.fixture
def dynsecrets_manager():
    manager = LeaseManager(MemoryLeaseStore())
    yield manager
    assert not [record for record in manager.records() if record.live]
    manager.close()
"""

    result = project.run(f"def test_it(dynsecrets_user): pass\n{AFTER}", conftest=conftest)

    result.assert_outcomes(passed=2)
    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked"


@pytest.mark.parametrize(("times", "fate"), [("None", "could not be"), ("1", "revoked now")], ids=["stays", "ends"])
def test_what_another_manager_left_is_a_leak(project: Project, times: str, fate: str) -> None:
    """What could not be revoked when the test ended is tried again at the session's end, and fails the run."""
    conftest = f"""{MEMORY}
from dynsecrets import LeaseManager, MemoryLeaseStore, PermissionDenied

@pytest.fixture(scope="session")
def dynsecrets_manager():
    return LeaseManager(MemoryLeaseStore())

@pytest.fixture(autouse=True)
def refused(dynsecrets_user):
    yield
    aws.fail("revoke", PermissionDenied("no", actions=["iam:DeleteUser"]), times={times})
"""

    result = project.run("def test_it(): pass\n", conftest=conftest)

    result.assert_outcomes(passed=1, errors=1)
    assert result.ret == 1
    assert summary(result) == "1 lease issued, 0 revoked, 1 leaked"
    result.stdout.fnmatch_lines([f"LEAKED * of AWS_USER, leased by test_project.py::test_it: *{fate}*"])


#: A manager of the project's own, which the plugin hears nothing of.
OWN_MANAGER = """
from dynsecrets import LeaseManager, MemoryLeaseStore

@pytest.fixture(scope="session")
def dynsecrets_manager():
    return LeaseManager(MemoryLeaseStore())
"""


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("manager", ["", OWN_MANAGER], ids=["plugin", "project"])
def test_what_a_third_party_ends_later_is_no_leak(project: Project, ended: bool, manager: str) -> None:
    """A lease that was given back, or of which something is taken away later, was revoked as far as a test can."""
    conftest = MEMORY.replace(
        "aws = MemoryIntegration()",
        f"""
from datetime import UTC, datetime, timedelta
from dynsecrets import Remainder

class Later(MemoryIntegration):
    def revoke(self, handle):
        return Remainder({ended}, datetime.now(UTC) + timedelta(minutes=5))

aws = Later()
""",
    )

    result = project.run("def test_it(dynsecrets_user): pass\n", conftest=conftest + manager)

    result.assert_outcomes(passed=1)
    assert result.ret == 0
    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked"


def test_a_cache_that_is_removed_loses_no_lease(project: Project, aws_env: Account) -> None:
    """Where pytest's cache is removed during the run, what was leased before and after that is found."""
    killed = """
import os, shutil, signal

def test_it(dynsecrets_lease, dynsecrets_config):
    dynsecrets_lease(dynsecrets_config)
    shutil.rmtree(".pytest_cache")
    dynsecrets_lease(dynsecrets_config)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert project.start(killed, conftest=AWS).ret == -9
    left = aws_env.users()

    result = project.start("def test_it(dynsecrets_user): pass\n", conftest=AWS)

    assert len(left) == 2
    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked; 2 of an earlier run revoked"
    assert aws_env.users() == []


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "released"])
@pytest.mark.parametrize(
    "fixture", ["dynsecrets_lease(dynsecrets_config)", "dynsecrets_manager.issue(dynsecrets_config)"]
)
def test_what_is_left_for_later_is_no_leak(project: Project, ended: bool, fixture: str) -> None:
    """A lease that the third party takes away later was given back, and fails no run."""
    conftest = f"""
from datetime import UTC, datetime, timedelta
import pytest
from dynsecrets import DynamicSecretConfig, Remainder
from dynsecrets.testing import MemoryIntegration

class Slow(MemoryIntegration):
    def revoke(self, handle):
        return Remainder({ended}, datetime.now(UTC) + timedelta(hours=1))

CONFIG = DynamicSecretConfig("AWS_USER", Slow())

@pytest.fixture(scope="session")
def dynsecrets_config():
    return CONFIG
"""

    result = project.start(
        f"""
def test_it(dynsecrets_lease, dynsecrets_manager, dynsecrets_config):
    {fixture}.revoke()
""",
        conftest=conftest,
    )

    result.assert_outcomes(passed=1)
    assert result.ret == 0
    assert summary(result) == "1 lease issued, 1 revoked, 0 leaked"
