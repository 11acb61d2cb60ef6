"""How a store is named by a URL."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dynsecrets import InvalidConfig, MemoryLeaseStore, SQLiteLeaseStore, open_store


def path_of(store: object) -> Path:
    """Return the path of a store in SQLite."""
    assert isinstance(store, SQLiteLeaseStore)
    return store.path


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Put a store in DynamoDB's place that keeps what it is called with; return that."""
    calls: list[Any] = []
    module = ModuleType("dynsecrets.stores.dynamodb.store")
    module.DynamoDBLeaseStore = lambda *args, **kwargs: calls.append((args, kwargs))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def test_opens_memory() -> None:
    """``memory://`` is a store in memory, a new one each time."""
    first, second = open_store("memory://"), open_store("memory://")

    assert isinstance(first, MemoryLeaseStore)
    assert first is not second


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///leases.db", "leases.db"),
        ("sqlite:///a/../b%20c/%C3%BC%3f%23.db", "a/../b c/ü?#.db"),
        ("sqlite:////var/leases.db", "/var/leases.db"),
        ("sqlite:///a#b.db", "a#b.db"),
    ],
)
def test_opens_files(url: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes begin a path relative to the working directory, four an absolute one; %-escapes are decoded."""
    monkeypatch.chdir(tmp_path)

    assert path_of(open_store(url)) == Path(path).absolute()


def test_opens_files_relative_to_a_base(tmp_path: Path) -> None:
    """A file that names a store is what the store's path is relative to."""
    assert path_of(open_store("sqlite:///x/leases.db", base=tmp_path)) == tmp_path / "x" / "leases.db"
    assert path_of(open_store("sqlite:////x/leases.db", base=tmp_path)) == Path("/x/leases.db").absolute()


def test_opens_tables(dynamodb: list[Any]) -> None:
    """A table comes with its region and endpoint, where they are given."""
    open_store("dynamodb://My.Table_1")
    open_store("dynamodb://t?region=eu-west-1&endpoint_url=http%3A%2F%2F127.0.0.1:8000")
    open_store("dynamodb://t?endpoint_url=http://127.0.0.1:8000")

    assert dynamodb == [
        (("My.Table_1",), {"region": None, "endpoint_url": None}),
        (("t",), {"region": "eu-west-1", "endpoint_url": "http://127.0.0.1:8000"}),
        (("t",), {"region": None, "endpoint_url": "http://127.0.0.1:8000"}),
    ]


def test_takes_the_store_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variable sets the default; a base is not for it; a URL that is given wins."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DYNSECRETS_STORE", "sqlite:///env.db")

    assert path_of(open_store(base=Path("/elsewhere"))) == tmp_path / "env.db"
    assert isinstance(open_store("memory://"), MemoryLeaseStore)


@pytest.mark.parametrize("value", [None, ""])
def test_takes_the_users_own_store(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    """Without anything, and with an empty variable, it is the file in the user's state folder."""
    if value is not None:
        monkeypatch.setenv("DYNSECRETS_STORE", value)

    assert path_of(open_store()) == SQLiteLeaseStore().path


def test_names_the_variable_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error says where the URL came from."""
    monkeypatch.setenv("DYNSECRETS_STORE", "leases.db")

    with pytest.raises(InvalidConfig, match=r"DYNSECRETS_STORE 'leases\.db'"):
        open_store()


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("", "sqlite:///relative"),
        ("leases.db", "sqlite:///relative"),
        ("sqlite", "sqlite:///relative"),
        ("sqllite:///leases.db", r"did you mean sqlite://\?"),
        ("SQLite:///leases.db", r"did you mean sqlite://\?"),
        ("postgres://db/leases", "names no store"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite://leases.db", "three slashes"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///a%00b", "path"),
        ("sqlite:///a%ff", "UTF-8"),
        ("sqlite:///leases.db?mode=ro", "unknown parameter 'mode'.*%3F"),
        ("memory://name", "no names"),
        ("memory://?x=1", "unknown parameter 'x'"),
        ("dynamodb://", "names no table"),
        ("dynamodb://?region=eu-west-1", "names no table"),
        ("dynamodb://table/index", "names no table"),
        ("dynamodb://t?reigon=eu-west-1", r"'reigon' \(did you mean region\?\).*region and endpoint_url"),
        ("dynamodb://t?region=a&region=b", "one value for region"),
        ("dynamodb://t?region=", "one value for region"),
        (None.__class__, "not text"),
        (b"memory://", "not text"),
        (Path("leases.db"), "not text"),
    ],
)
def test_refuses_what_names_no_store(url: Any, hint: str, dynamodb: list[Any]) -> None:
    """Everything else is refused, with what is accepted."""
    with pytest.raises(InvalidConfig, match=hint):
        open_store(url)

    assert not dynamodb


def test_refuses_the_special_name_with_a_base_too(tmp_path: Path) -> None:
    """A name that means memory to SQLite isn't taken for a file."""
    with pytest.raises(InvalidConfig, match="memory://"):
        open_store("sqlite:///:memory:", base=tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://me:hunter2@db/leases",
        "postgres://me:hun?ter2@db",
        "dynamodb://me:hunter2@t",
        "dynamodb://t?x=hunter2",
    ],
)
def test_shows_no_password(url: str) -> None:
    """What may be a password in a URL is not in the error."""
    with pytest.raises(InvalidConfig) as caught:
        open_store(url)

    assert "hunter2" not in str(caught.value)
    assert "ter2" not in str(caught.value)
