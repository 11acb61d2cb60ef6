"""The set-ups of the page on scheduled reaping work: their policies, their commands, and the job itself."""

from __future__ import annotations

import json
import sys
import zipfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets import DynamicSecretConfig, DynamoDBLeaseStore, Integration, LeaseManager
from dynsecrets.testing import FakeClock
from support.docs import blocks
from support.places import ROOT
from support.processes import wait_until
from support.scripts import run_python
from support.shell_pages import ACCOUNT, REGION, Reader

if TYPE_CHECKING:
    from pathlib import Path

    from support.accounts import Account
    from support.proxy import Proxy

PAGE = "how-to/reap-on-a-schedule.md"
EXAMPLE = ROOT / "examples" / "lambda_reaper"
TABLE = "dynsecrets-leases"
#: What EventBridge Scheduler sends where a schedule has no input of its own.
EVENT = {
    "version": "0",
    "id": "d32c5kddcf5bb8c3",
    "detail-type": "Scheduled Event",
    "source": "aws.scheduler",
    "account": ACCOUNT,
    "time": "2026-02-15T17:05:00Z",
    "region": REGION,
    "resources": [f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/dynsecrets-reaper"],
    "detail": "{}",
}
CALL = f"import json, handler; print(json.dumps(handler.handler({EVENT!r}, None)))"

posix = pytest.mark.skipif(sys.platform == "win32", reason="the page's commands are typed into a POSIX shell")


def shown(name: str) -> str:
    """Return the file that the page shows under a name."""
    (block,) = (block for block in blocks(ROOT / "docs" / PAGE) if block.file == name)
    return block.text


def leave_overdue(account: Account, count: int = 1) -> list[str]:
    """Lease users for a second each, as a process does that ends right after it; return the lease ids."""
    store = DynamoDBLeaseStore(TABLE, account.session(), account.url, region=REGION)
    store.create_table()
    aws = Integration.aws_iam(session=account.session(), endpoint_url=account.url)
    # For its own manager the second never ends, or that might revoke the users itself.
    with LeaseManager(store, clock=FakeClock(datetime.now(UTC))) as manager:
        config = DynamicSecretConfig("AWS_USER", aws, wait=None)
        leases = [manager.issue(config, "1s") for _ in range(count)]
    store.close()
    return [lease.id for lease in leases]


def regional(account: Account, service: str) -> Any:
    """Return a client of the region that the page names."""
    session: Any = account.session()
    return session.client(service, endpoint_url=account.url, region_name=REGION)


def states(account: Account) -> list[str]:
    """Return where all leases of the table stand."""
    store = DynamoDBLeaseStore(TABLE, account.session(), account.url, region=REGION)
    return [record.state.value for record in store.records()]


@pytest.fixture(params=["the example", "the page"])
def handler(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the function: the example's, and the one that the page shows."""
    example = EXAMPLE.joinpath("handler.py").read_text(encoding="utf-8")
    text = example if request.param == "the example" else shown("handler.py")
    tmp_path.joinpath("handler.py").write_text(text, encoding="utf-8")
    return tmp_path


def call(folder: Path, environment: dict[str, str]) -> dict[str, int]:
    """Call the function as Lambda does, in a process of its own; return its answer."""
    settings = {"DYNSECRETS_STORE": f"dynamodb://{TABLE}?region={REGION}"}
    done = run_python(["-c", CALL], folder, environment | settings)
    assert done.returncode == 0, done.stderr
    answer: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_the_function_revokes_what_is_overdue(handler: Path, aws: Account) -> None:
    """Called with an event of the scheduler, it revokes what nobody else did; called again, it finds nothing to do."""
    leave_overdue(aws, 2)
    revoked: list[int] = []

    def all_are_revoked() -> bool:
        revoked.append(call(handler, aws.environment())["revoked"])
        return sum(revoked) == 2

    wait_until(all_are_revoked, "both leases are over and revoked")

    assert aws.users() == []
    assert states(aws) == ["revoked", "revoked"]
    assert call(handler, aws.environment()) == {"revoked": 0, "skipped": 0}


def test_the_function_needs_no_more_than_its_policy(ministack: Account, tmp_path: Path) -> None:
    """Where permissions are checked, the reaper's policy is enough, also for a user that somebody deleted already."""
    tmp_path.joinpath("handler.py").write_text(shown("handler.py"), encoding="utf-8")
    leave_overdue(ministack, 2)
    gone = ministack.users()[0]
    iam = ministack.client("iam")
    for name in iam.list_user_policies(UserName=gone)["PolicyNames"]:
        iam.delete_user_policy(UserName=gone, PolicyName=name)
    for key in iam.list_access_keys(UserName=gone)["AccessKeyMetadata"]:
        iam.delete_access_key(UserName=gone, AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName=gone)
    # To ministack a user's ARN has no path, so what is limited to the path is limited to the prefix for it.
    policy = shown("reaper-policy.json").replace(ACCOUNT, ministack.id)
    keys = ministack.user_with(policy.replace("user/dynsecrets/*", "user/Dynsecrets-Dynamic-*"), name="reaper")
    environment = ministack.environment() | {
        "AWS_ACCESS_KEY_ID": keys["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": keys["secret_access_key"],
    }

    wait_until(
        lambda: call(tmp_path, environment) == {"revoked": 0, "skipped": 0} and not ministack.users(),
        "both leases are over and revoked",
    )

    assert states(ministack) == ["revoked", "revoked"]


def test_the_function_fails_where_something_is_left(handler: Path, aws: Account, proxy: Proxy) -> None:
    """A lease that can't be revoked makes the run an error, which names it, so that an alarm rings."""
    (lease_id,) = leave_overdue(aws)
    environment = aws.environment(url=proxy.url) | {"DYNSECRETS_STORE": f"dynamodb://{TABLE}?region={REGION}"}
    said: list[str] = []

    def fails() -> bool:
        proxy.fail("DeleteUser", "AccessDenied")
        done = run_python(["-c", CALL], handler, environment)
        said.append(done.stderr)
        return done.returncode != 0

    wait_until(fails, "the lease is over, and can't be revoked")

    assert lease_id in said[-1].splitlines()[-1]
    assert len(aws.users()) == 1


def test_the_function_refuses_to_guess_its_store(handler: Path, aws: Account) -> None:
    """Without the variable it fails, instead of finding nothing to do in an empty store of its own."""
    done = run_python(["-c", CALL], handler, aws.environment())

    assert done.returncode == 1
    assert "DYNSECRETS_STORE" in done.stderr


@posix
def test_its_commands_deploy_it(aws: Account, tmp_path: Path) -> None:
    """Typed in an empty account, they make roles, function, schedule and alarm; the package that they make works."""
    environment = aws.environment() | {"AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION}
    reader = Reader(PAGE, tmp_path, environment, account_id=aws.id)
    # What pip would fetch is in the tests' own environment; everything else is as printed.
    reader.program(
        "python",
        f"""case "$*" in
        *"pip install --target package ."*) mkdir package && cp -r '{ROOT / "dynsecrets"}' package/ ;;
        *) exec '{sys.executable}' "$@" ;;
        esac""",
    )
    tmp_path.joinpath("examples").symlink_to(ROOT / "examples")

    reader.shell(having="aws ", without="lambda invoke")

    function = regional(aws, "lambda").get_function(FunctionName="dynsecrets-reaper")["Configuration"]
    schedule = regional(aws, "scheduler").get_schedule(Name="dynsecrets-reaper")
    (alarm,) = regional(aws, "cloudwatch").describe_alarms(AlarmNames=["dynsecrets-reaper"])["MetricAlarms"]
    assert function["Environment"]["Variables"] == {"DYNSECRETS_STORE": f"dynamodb://{TABLE}?region={REGION}"}
    assert schedule["Target"]["Arn"] == function["FunctionArn"]
    assert alarm["Dimensions"] == [{"Name": "FunctionName", "Value": "dynsecrets-reaper"}]
    package = tmp_path / "unpacked"
    with zipfile.ZipFile(tmp_path / "function.zip") as archive:
        archive.extractall(package)
    assert {"handler.py", "dynsecrets"} <= {path.name for path in package.iterdir()}
    leave_overdue(aws)
    wait_until(lambda: call(package, environment)["revoked"] == 1, "the lease is over and revoked")
    assert aws.users() == []


def test_the_example_has_the_files_of_the_page() -> None:
    """The policies that the page shows are those of the example, letter by letter."""
    for path in EXAMPLE.glob("*.json"):
        assert path.read_text(encoding="utf-8") == shown(path.name)


def test_the_job_says_nothing_where_there_is_nothing_to_do(aws: Account, tmp_path: Path) -> None:
    """What a job prints is mailed by cron, so it prints only what matters."""
    tmp_path.joinpath("reap_job.py").write_text(shown("reap_job.py"), encoding="utf-8")
    environment = aws.environment() | {"DYNSECRETS_STORE": f"sqlite:///{tmp_path / 'leases.db'}"}

    done = run_python(["reap_job.py"], tmp_path, environment)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
