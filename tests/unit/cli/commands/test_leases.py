"""``leases``, ``revoke``, ``reap``, ``verify`` and ``policy``, on moto."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from dynsecrets import DynamicSecretConfig, Integration, Lease, LeaseManager, SQLiteLeaseStore
from dynsecrets.model.capabilities import NeedsIamPolicy
from support.cli import PASSWORD, TOML, Workplace, only_line, workplace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.accounts import Account
    from support.moto_server import MotoServer
    from support.proxy import Proxy

OTHER = TOML.replace("[integrations.aws]", '[integrations.other]\ntype = "aws-iam"\n\n[integrations.aws]')


@pytest.fixture
def manager(work: Workplace, aws: Account) -> Iterator[LeaseManager]:
    """A manager on the same store as the command's."""
    store = SQLiteLeaseStore(work.folder / "leases.db")
    with LeaseManager(store) as manager:
        yield manager
    store.close()


@pytest.fixture
def integration(aws: Account) -> Integration:
    """The integration of the file, as a program would make it."""
    return Integration.aws_iam(
        access_key_id=aws.access_key_id,
        secret_access_key=aws.secret_access_key,
        endpoint_url=aws.url,
        region=aws.region,
    )


def issue(manager: LeaseManager, integration: Integration, ttl: str = "30m") -> Lease:
    """Lease a user."""
    return manager.issue(DynamicSecretConfig("AWS_USER", integration), ttl, wait=None)


def test_leases_are_a_table(work: Workplace, manager: LeaseManager, integration: Integration) -> None:
    """Each lease that lives is a row: id, name, state, what remains, and what the integration calls it."""
    first, second = issue(manager, integration), issue(manager, integration, "3h")
    gone = issue(manager, integration)
    gone.revoke()

    done = work.run("leases")

    assert done.returncode == 0, done.stderr
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["ID", "NAME", "STATE", "REMAINING", "CREDENTIAL"]
    assert [row.split()[0] for row in rows] == [first.id, second.id]
    assert re.fullmatch(rf"{second.id}  AWS_USER  active  2h59m\d*s? +user {second.username}", rows[1])
    assert done.stderr == ""
    assert first.secret_access_key not in done.stdout


def test_leases_as_json(work: Workplace, manager: LeaseManager, integration: Integration) -> None:
    """``--json`` is an array of objects with ``id``; with ``--all`` it has those that are revoked."""
    living, gone = issue(manager, integration), issue(manager, integration)
    gone.revoke()

    (listed,) = work.leases()
    both = work.leases("--all")

    assert listed["id"] == living.id
    assert (listed["name"], listed["state"], listed["stuck"]) == ("AWS_USER", "active", False)
    assert (listed["user"], listed["integration"]) == (living.username, "aws")
    assert listed["credential"] == f"user {living.username}"
    assert listed["expires_at"] == living["AWS_USER_LEASE_EXPIRATION"]
    assert 1700 < listed["remaining_s"] <= 1800
    assert [(each["id"], each["state"], each["remaining_s"] > 0) for each in both] == [
        (living.id, "active", True),
        (gone.id, "revoked", False),
    ]


def test_no_leases_are_none(work: Workplace) -> None:
    """An empty store is an empty array, and a line on stderr for people; static secrets' variables aren't needed."""
    del work.environment["PGPASSWORD"]

    assert work.leases() == []
    assert work.run("leases").stderr == "dynsecrets: there are no leases\n"


def test_a_stuck_lease_is_marked(
    work: Workplace, manager: LeaseManager, integration: Integration, moto_server: MotoServer
) -> None:
    """A revocation that failed often stands out in the table, and ``--json`` says why."""
    lease = issue(manager, integration)
    record = manager.get(lease.id)
    now = record.created_at
    for _ in range(5):
        record = manager.store.update(record.failed(now=now, error="AccessDenied", jitter=0, handle=record.handle))

    (listed,) = work.leases()

    assert (listed["state"], listed["stuck"], listed["attempts"]) == ("revoking", True, 5)
    assert listed["last_error"] == "AccessDenied"
    assert "  revoking (stuck)  " in work.run("leases").stdout


def test_revoking_deletes_the_user(
    work: Workplace, manager: LeaseManager, integration: Integration, aws: Account
) -> None:
    """Revoking by id, from another process, deletes the user; twice is fine, and several at once."""
    first, second = issue(manager, integration), issue(manager, integration)

    done = work.run("revoke", first.id, second.id)
    again = work.run("revoke", first.id)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert aws.users() == []


def test_an_unknown_id_is_a_failure(
    work: Workplace, manager: LeaseManager, integration: Integration, aws: Account
) -> None:
    """An id that the store doesn't know is status 1 and one line; the others are revoked all the same."""
    lease = issue(manager, integration)

    done = work.run("revoke", "5d4a9800-7c7e-4009-9113-2a3dda2e9ff1", lease.id)
    nonsense = work.run("revoke", "nonsense")

    assert done.returncode == 1
    assert "5d4a9800-7c7e-4009-9113-2a3dda2e9ff1" in only_line(done)
    assert aws.users() == []
    assert nonsense.returncode == 1
    assert "nonsense" in only_line(nonsense)


def test_revoking_that_fails_is_one_line(work: Workplace, manager: LeaseManager, integration: Integration) -> None:
    """A lease that can't be revoked is status 1, and one line names it and says why."""
    lease = issue(manager, integration)
    endpoint = work.environment["AWS_ENDPOINT_URL"]
    work.environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    work.write(
        TOML.replace('type = "aws-iam"', 'type = "aws-iam"\nbotocore_config = { retries = { total_max_attempts = 1 } }')
    )

    failed = work.run("revoke", lease.id)
    work.environment["AWS_ENDPOINT_URL"] = endpoint
    again = work.run("revoke", lease.id)

    assert failed.returncode == 1
    assert lease.id in only_line(failed)
    assert "EndpointConnectionError" in only_line(failed)
    assert (again.returncode, again.stderr) == (0, "")


def test_an_integration_that_is_not_in_the_file_is_named(
    work: Workplace, manager: LeaseManager, integration: Integration
) -> None:
    """A lease of an integration that the file has no more can't be revoked by it; the error says what is missing."""
    lease = issue(manager, integration)
    work.write(TOML.replace("integrations.aws", "integrations.awsome").replace('= "aws"', '= "awsome"'))

    listed = work.run("leases")
    done = work.run("revoke", lease.id)

    assert listed.stdout.rstrip().endswith("  of aws")
    assert done.returncode == 1
    assert "made with the integration 'aws', which " in only_line(done)
    assert only_line(done).endswith("did you mean awsome?")


def test_reaping_revokes_what_is_overdue(
    work: Workplace, manager: LeaseManager, integration: Integration, aws: Account
) -> None:
    """What a dead process left is revoked, and counted; what lives is left alone."""
    living, dead = issue(manager, integration), issue(manager, integration)
    record = manager.get(dead.id)
    manager.store.update(record.failed(now=record.created_at, error="x", jitter=0, handle=record.handle))

    done = work.run("reap")

    assert (done.returncode, done.stdout, done.stderr) == (0, "1 revoked, 0 failed, 0 left to others\n", "")
    assert aws.users() == [living.username]


def test_reaping_that_fails_is_status_1(
    tmp_path: Path, work: Workplace, manager: LeaseManager, integration: Integration, aws: Account, proxy: Proxy
) -> None:
    """Where something overdue can't be revoked, the status says so, and one line says why."""
    lease = issue(manager, integration)
    record = manager.get(lease.id)
    manager.store.update(record.failed(now=record.created_at, error="x", jitter=0, handle=record.handle))
    work.environment["AWS_ACCESS_KEY_ID"] = "AKIAIOSFODNN7EXAMPLE"
    work.environment["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    work.write(
        TOML.replace('type = "aws-iam"', 'type = "aws-iam"\nbotocore_config = { retries = { total_max_attempts = 1 } }')
    )

    done = work.run("reap")

    assert done.returncode == 1
    assert done.stdout == "0 revoked, 1 failed, 0 left to others\n"
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if lease.id in line]
    assert line.startswith(f"dynsecrets: lease {lease.id} is not revoked: ")
    assert "EndpointConnectionError" in line


def test_verifying_says_who_and_that_they_can(work: Workplace, aws: Account) -> None:
    """Each integration's account and ARN are printed, after a user was made and deleted."""
    work.write(OTHER)

    done = work.run("verify")

    assert done.returncode == 0, done.stderr
    arn = f"arn:aws:iam::{aws.id}:user/administrator"
    assert done.stdout == f"other: account {aws.id}, {arn}\naws: account {aws.id}, {arn}\n"
    assert aws.users() == []


def test_an_endpoint_needs_no_region(work: Workplace, aws: Account) -> None:
    """An endpoint in the file is enough: nobody has to name a region for IAM."""
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_REGION"):
        del work.environment[name]
    work.write(TOML.replace('type = "aws-iam"', f'type = "aws-iam"\nendpoint_url = "{aws.url}"'))

    verified, ran = work.run("verify"), work.run("run", "--", "sh", "-c", "echo $AWS_USER_ARN")

    assert (verified.returncode, ran.returncode) == (0, 0), verified.stderr + ran.stderr
    assert ran.stdout.startswith(f"arn:aws:iam::{aws.id}:user/dynsecrets/")


def test_verifying_names_what_is_missing(tmp_path: Path, ministack: Account) -> None:
    """Credentials that may not do the job are one line for each integration, with the missing actions, and status 1."""
    keys = ministack.user_with(
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}'
    )
    work = workplace(tmp_path / "work", ministack)
    work.environment["AWS_ACCESS_KEY_ID"] = keys["access_key_id"]
    work.environment["AWS_SECRET_ACCESS_KEY"] = keys["secret_access_key"]

    done = work.run("verify")

    assert done.returncode == 1
    assert done.stdout == ""
    assert only_line(done).startswith("aws: ")
    assert "iam:CreateUser" in only_line(done)


def test_no_credentials_are_one_line(work: Workplace) -> None:
    """Where boto3 finds no credentials, or no such profile, that is said without a traceback."""
    del work.environment["AWS_ACCESS_KEY_ID"], work.environment["AWS_SECRET_ACCESS_KEY"]
    work.environment["AWS_CONFIG_FILE"] = work.environment["AWS_SHARED_CREDENTIALS_FILE"] = str(work.folder / "none")

    done = work.run("verify")
    work.write(TOML.replace('type = "aws-iam"', 'type = "aws-iam"\nprofile = "nope"'))
    profile = work.run("verify")

    assert (done.returncode, profile.returncode) == (1, 1)
    assert "redentials" in only_line(done)
    assert "nope" in only_line(profile)


def test_debug_shows_the_traceback(work: Workplace) -> None:
    """With ``--debug`` the log and the traceback come before the line."""
    done = work.run("--debug", "revoke", "nonsense")

    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("dynsecrets: ")


def test_the_policy_is_what_the_library_says(work: Workplace, integration: Integration) -> None:
    """The document serves the file's dynamic secrets; its account and partition can be given."""
    work.write(TOML.replace('policy = "app-policy.json"', 'policy = "app-policy.json"\ntags = { team = "data" }'))
    config = DynamicSecretConfig("AWS_USER", integration, tags={"team": "data"})

    done = work.run("policy", "--account-id", "123456789012")

    assert done.returncode == 0, done.stderr
    assert isinstance(integration, NeedsIamPolicy)
    assert json.loads(done.stdout) == integration.required_policy(config, account_id="123456789012")
    assert "iam:TagUser" in done.stdout
    wrong = work.run("policy", "--account-id", "12")
    assert wrong.returncode == 2
    assert "'12'" in only_line(wrong)


def test_of_several_integrations_one_is_named(work: Workplace) -> None:
    """With two integrations in the file, ``policy`` wants to know which."""
    work.write(OTHER)

    unnamed, wrong, named = work.run("policy"), work.run("policy", "othr"), work.run("policy", "other")

    assert unnamed.returncode == 2
    assert "name the integration: other, aws" in only_line(unnamed)
    assert wrong.returncode == 2
    assert "no integration 'othr'; did you mean other?" in only_line(wrong)
    assert named.returncode == 0
    assert PASSWORD not in named.stdout


def test_a_file_without_integrations_is_told(work: Workplace) -> None:
    """There is nothing to verify then."""
    work.write('project = "p"\nenvironment = "e"\nconfig = "c"\n')

    assert "has no integration" in only_line(work.run("verify"))
