"""Lease a user, use it, and show what exists before, during and after.

    make demo                        on an embedded AWS in memory (moto)
    DYNSECRETS_DEMO=aws make demo    on your own AWS account: only IAM and STS calls, one user for some seconds

Ends with status 1 if anything isn't as the output says.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NoReturn

from dynsecrets import (
    DynamicSecretConfig,
    DynsecretsError,
    Integration,
    Lease,
    LeaseManager,
    MemoryLeaseStore,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import boto3

PATH: Final = "/dynsecrets/"
BUCKET: Final = "reports"
KEY: Final = "2026.csv"
POLICY: Final = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}],
}
#: IAM is eventually consistent: it takes some seconds until a change shows everywhere.
_PATIENCE_S: Final = 60.0
_PAUSE_S: Final = 0.5
_BOLD: Final = "\033[1m{}\033[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else "{}"


def main() -> int:
    """Run the demo; return the exit status."""
    mode = os.environ.get("DYNSECRETS_DEMO", "")
    if mode not in ("", "aws"):
        fail(f"DYNSECRETS_DEMO is {mode!r}; leave it out for the embedded AWS, or set it to aws")
    try:
        if mode == "aws":
            import boto3

            show(boto3.Session(), None)
        else:
            with embedded_aws() as (session, url):
                show(session, url)
    except expected_errors() as error:
        fail(f"{type(error).__name__}: {error}")
    return 0


def show(session: boto3.Session, url: str | None) -> None:
    """Lease one user, and look at the account before, during and after. ``url`` is that of the embedded AWS."""
    look = Look(session, url)
    say(
        "account", f"{look.account} {f'(embedded, in memory, at {url})' if url else '(the one at hand)'}, as {look.arn}"
    )
    say("before", f"users under {PATH}: {len(look.users()) or 'none'}")

    calls = Calls(session)
    config = DynamicSecretConfig(
        "AWS_USER", Integration.aws_iam(session=session, endpoint_url=url, path=PATH), POLICY, default_ttl="15m"
    )
    # On a real account, the record must outlive this process: it names what to delete, whatever happens here.
    with LeaseManager(MemoryLeaseStore() if url else open_store()) as manager:
        started = time.perf_counter()
        lease = manager.issue(config)
        try:
            say("leased", f"{took(started)}, the wait until it works included; IAM calls: {calls.take()}")
            for name, value in lease.items():
                # The secret's own repr is masked.
                more(name, repr(value).strip("'"))
            look.during(lease)
            use(lease, embedded=url is not None)
        finally:
            started = time.perf_counter()
            lease.revoke()
        say("revoked", f"{took(started)}; IAM calls: {calls.take()}")
        look.after(lease)
    print()
    print(_BOLD.format("All as claimed: the user existed while it was used, and is gone."))


class Look:
    """Looks at the account with the caller's own credentials, independently of the library."""

    def __init__(self, session: boto3.Session, url: str | None) -> None:
        self._iam = session.client("iam", endpoint_url=url)
        self._url = url
        identity = sts_of(session, url).get_caller_identity()
        self.account, self.arn = identity["Account"], identity["Arn"]

    def users(self) -> set[str]:
        """Return the names of the users under the path."""
        pages = self._iam.get_paginator("list_users").paginate(PathPrefix=PATH)
        return {user["UserName"] for page in pages for user in page["Users"]}

    def during(self, lease: Lease) -> None:
        """Show the leased user, its policy and its key, as the account has them."""
        user, name = lease.username, lease.policy_name
        until_true(lambda: user in self.users(), f"{user} does not show in the account")
        say("during", f"users under {PATH}: {len(self.users())}")
        more("user", lease.arn)
        until_true(lambda: self._refusal("get_user_policy", UserName=user, PolicyName=name) is None, f"no {name}")
        document = self._iam.get_user_policy(UserName=user, PolicyName=name)["PolicyDocument"]
        more("policy", name)
        for statement in document["Statement"]:
            condition = json.dumps(statement["Condition"]) if "Condition" in statement else ""
            more("", f"{statement['Effect']} {statement['Action']} on {statement['Resource']} {condition}".rstrip())
        expect(document["Statement"][-1]["Effect"] == "Deny", "the policy does not end with the expiry guard")
        keys = self._iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
        for key in keys:
            more("access key", f"{key['AccessKeyId']} {key['Status']}")
        expect([key["AccessKeyId"] for key in keys] == [lease.access_key_id], "the user has not just the leased key")

    def after(self, lease: Lease) -> None:
        """Show that the user is gone, and that its key is refused."""
        user = lease.username
        until_true(lambda: user not in self.users(), f"{user} is still listed")
        until_true(lambda: self._refusal("get_user", UserName=user) == "NoSuchEntity", f"{user} still exists")
        say("after", f"users under {PATH}: {len(self.users()) or 'none'}")
        more("user", f"{user}: NoSuchEntity")
        if self._url:
            # moto knows all keys until it is told to check them.
            data = urllib.request.Request(f"{self._url}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})  # noqa: S310 - this process's own server.
            urllib.request.urlopen(data).close()  # noqa: S310 - as above.
        sts = sts_of(lease.session(), None)
        until_true(lambda: refusal(sts.get_caller_identity) == "InvalidClientTokenId", "the leased key still works")
        more("access key", f"{lease.access_key_id}: InvalidClientTokenId")

    def _refusal(self, method: str, **arguments: str) -> str | None:
        """Make an IAM call; return the error code that it was refused with, or ``None`` where it was not."""
        return refusal(lambda: getattr(self._iam, method)(**arguments))


class Calls:
    """Counts the IAM calls of clients that are made from a session from now on."""

    def __init__(self, session: boto3.Session) -> None:
        self._names: list[str] = []
        session.events.register("before-call.iam", self._count)

    def _count(self, model: Any, **_kwargs: object) -> None:
        # Calls are made by several threads at once, and appending is atomic.
        self._names.append(model.name)

    def take(self) -> str:
        """Describe the calls since the last time."""
        names, self._names = self._names, []
        counted = Counter(names)
        shown = [name if count == 1 else f"{count} {name}" for name, count in counted.items()]
        return f"{len(names)} ({', '.join(shown)})"


def use(lease: Lease, *, embedded: bool) -> None:
    """Call AWS as the leased user."""
    session = lease.session()
    identity = sts_of(session, None).get_caller_identity()
    expect(identity["Arn"] == lease.arn, "the leased key is not the leased user's")
    say("used", "the leased key")
    more("sts:GetCallerIdentity", identity["Arn"])
    if embedded:
        body = session.client("s3").get_object(Bucket=BUCKET, Key=KEY)["Body"].read().decode()
        more("s3:GetObject", f"{BUCKET}/{KEY}: {body!r}")
    else:
        code = refusal(session.client("iam").list_users)
        expect(code == "AccessDenied", f"iam:ListUsers, which the policy does not allow, was answered by {code}")
        more("iam:ListUsers", "AccessDenied, since its policy does not allow that")
    more("lives on for", f"{lease.remaining.total_seconds():.0f} s, unless it is revoked before")


@contextlib.contextmanager
def embedded_aws() -> Iterator[tuple[boto3.Session, str]]:
    """Run an AWS in memory on a free loopback port, with one bucket, and ignore the user's AWS settings."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    # A proxy from the user's environment must not be asked for this process's own server.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    import boto3

    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        fail("the embedded AWS is missing: pip install 'dynsecrets[demo]', or run make demo")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        session = boto3.Session("AKIADEMO", "demo", region_name="us-east-1")
        s3 = session.client("s3", endpoint_url=url)
        s3.create_bucket(Bucket=BUCKET)
        s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"month,total\n1,42\n")
        yield session, url
    finally:
        server.stop()


def expected_errors() -> tuple[type[Exception], ...]:
    """Return the roots of the library's errors and of botocore's."""
    from botocore.exceptions import BotoCoreError, ClientError

    return DynsecretsError, BotoCoreError, ClientError


def sts_of(session: boto3.Session, url: str | None) -> Any:
    """Return an STS client; where no region is configured, any will do."""
    return session.client("sts", endpoint_url=url, region_name=session.region_name or "us-east-1")


def refusal(call: Callable[[], object]) -> str | None:
    """Make a call; return the error code that it was refused with, or ``None`` where it was not."""
    from botocore.exceptions import ClientError

    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return None


def until_true(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait until a condition holds; end the demo if it doesn't for too long."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        expect(time.monotonic() < deadline, f"{otherwise} after {_PATIENCE_S:.0f} s")
        time.sleep(_PAUSE_S)


def expect(claim: object, otherwise: str) -> None:
    """End the demo where a claim doesn't hold."""
    if not claim:
        fail(otherwise)


def say(head: str, text: str) -> None:
    """Print a step."""
    print()
    print(f"{_BOLD.format(f'{head:8}')} {text}")


def more(head: str, text: str) -> None:
    """Print a detail of a step."""
    print(f"         {head:28} {text}")


def took(started: float) -> str:
    """Say how long something took."""
    return f"in {time.perf_counter() - started:.2f} s"


def fail(why: str) -> NoReturn:
    """End the demo. The lease is revoked on the way out."""
    sys.exit(f"error: {why}")


if __name__ == "__main__":
    sys.exit(main())
