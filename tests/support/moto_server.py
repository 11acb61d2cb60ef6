"""moto's server in a process of its own: calls and, on demand, permissions of many accounts in memory."""

from __future__ import annotations

import contextlib
import re
import sys
import urllib.parse
from typing import TYPE_CHECKING, Any, Final

from support.accounts import Account, new_account_id
from support.processes import HOST, ServerProcess, clean_environment, leashed, request

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOW_ALL: Final = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
_API_VERSION: Final = "2010-05-08"
_ADMINISTRATOR: Final = "administrator"


class MotoServer:
    """A running moto server."""

    def __init__(self, process: ServerProcess) -> None:
        self.url = process.url
        self.pid = process.pid

    def reset(self) -> None:
        """Forget everything in all accounts."""
        request(f"{self.url}/moto-api/reset", data=b"")

    def iam(self) -> Any:
        """Return an IAM client with dummy credentials, on moto's default account."""
        return Account(url=self.url, id="123456789012", access_key_id="test", secret_access_key="test").client("iam")

    def new_account(self) -> Account:
        """Make an account with nothing in it but an administrator at ``/``.

        moto finds the account by the access key, so everything done with this key, and with the keys of users that it
        makes, happens in that account alone.
        """
        account_id = new_account_id()
        self._call(account_id, "CreateUser", UserName=_ADMINISTRATOR)
        self._call(account_id, "PutUserPolicy", UserName=_ADMINISTRATOR, PolicyName="all", PolicyDocument=ALLOW_ALL)
        answer = self._call(account_id, "CreateAccessKey", UserName=_ADMINISTRATOR)
        key_id, secret = (_element(answer, name) for name in ("AccessKeyId", "SecretAccessKey"))
        return Account(url=self.url, id=account_id, access_key_id=key_id, secret_access_key=secret)

    @contextlib.contextmanager
    def enforcing(self) -> Iterator[None]:
        """Have moto check signatures and policies while the block runs; an unknown key is refused then too.

        It looks at actions, not at resources of IAM calls nor at conditions: ministack does those.
        """
        self._check_from(b"0")
        try:
            yield
        finally:
            self._check_from(b"inf")

    def _check_from(self, number: bytes) -> None:
        """Have moto check permissions from its Nth request on."""
        request(f"{self.url}/moto-api/reset-auth", data=number, headers={"Content-Type": "text/plain"})

    def _call(self, account_id: str, action: str, **parameters: str) -> str:
        """Call IAM without boto3, which would need many times as long for each test."""
        form = urllib.parse.urlencode({"Action": action, "Version": _API_VERSION, **parameters}).encode()
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/iam/aws4_request",
            "x-moto-account-id": account_id,
        }
        return request(self.url, data=form, headers=headers).decode()


@contextlib.contextmanager
def moto_server() -> Iterator[MotoServer]:
    """Run a moto server."""
    process = ServerProcess(
        "moto",
        lambda port: leashed(sys.executable, "moto.server", "-H", HOST, "-p", str(port)),
        environment=lambda _port, folder: clean_environment(
            TMPDIR=folder,
            # moto calls AWS itself for nothing; these keep its own boto3 from looking for credentials.
            AWS_ACCESS_KEY_ID="test",
            AWS_SECRET_ACCESS_KEY="test",
        ),
        health_path="/moto-api/",
    )
    with process:
        yield MotoServer(process)


def _element(xml: str, name: str) -> str:
    """Return the text of the first element of that name."""
    match = re.search(rf"<{name}>([^<]+)</{name}>", xml)
    assert match, f"no {name} in moto's answer"
    return match.group(1)
