"""What the proofs share: accounts that are as strict as AWS, stores of each kind, and a server of doomed processes."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import attrs
import pytest

from reliability.places import Place
from reliability.strict import Strictness
from support.processes import clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.accounts import Account
    from support.moto_server import MotoServer
    from support.proxy import Proxy

_TESTS: Final = Path(__file__).parents[1]
_CHILD: Final = Path(__file__).with_name("crash_child.py")


@attrs.frozen
class Ended:
    """How a child ended: the points it told, if it lived to tell them, and its exit status, negative for a signal."""

    points: list[str] | None
    exit: int


class Crasher:
    """The server of doomed processes, running from ``with`` to its end."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, str(_CHILD)],
            env=clean_environment(
                PYTHONPATH=os.pathsep.join((str(_TESTS), str(_TESTS.parent))),
                AWS_CONFIG_FILE=os.devnull,
                AWS_SHARED_CREDENTIALS_FILE=os.devnull,
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        """Return the server once it is ready."""
        assert self._read() == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        self._server.communicate(timeout=60)

    def play(self, scenario: str, place: Place, kill_at: str | None = None) -> Ended:
        """Have a new process play a scenario, killed at a point; return how it ended, once it is gone."""
        assert self._server.stdin is not None
        job = {"scenario": scenario, "place": attrs.asdict(place), "kill_at": kill_at}
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        return Ended(**json.loads(self._read()))

    def _read(self) -> str:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, "the server of doomed processes is gone"
        return line.strip()


@pytest.fixture(scope="session")
def crasher() -> Iterator[Crasher]:
    """A server of doomed processes."""
    with Crasher() as crasher:
        yield crasher


@pytest.fixture
def strict(aws: Account, proxy: Proxy) -> Account:
    """The test's account by way of its proxy, which is as strict as AWS about deleting users."""
    Strictness(aws.client("iam")).rule(proxy)
    return attrs.evolve(aws, url=proxy.url)


@pytest.fixture(params=["sqlite", "dynamodb"])
def kind_of_store(request: pytest.FixtureRequest) -> str:
    """Each kind of store that processes share, in turn."""
    return str(request.param)


@pytest.fixture
def new_place(strict: Account, moto_server: MotoServer, kind_of_store: str, tmp_path: Path) -> Any:
    """Return how to get a new store, and the way to the test's account."""

    def new_place(**options: Any) -> Place:
        name = f"leases-{secrets.token_hex(6)}"
        place = Place(
            url=strict.url,
            access_key_id=strict.access_key_id,
            secret_access_key=strict.secret_access_key,
            store=str(tmp_path / name) if kind_of_store == "sqlite" else name,
            dynamodb=None if kind_of_store == "sqlite" else moto_server.url,
            **options,
        )
        place.make_store()
        return place

    return new_place
