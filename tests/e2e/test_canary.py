"""The canary fails tests that show a secret, and shows none itself."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import pytest

from dynsecrets.model.grant import Grant
from support import canary
from support.places import ROOTS

CONFTEST = """
from support.canary import Canary

def pytest_configure(config):
    config.pluginmanager.register(Canary(), "canary")
"""
TESTS = """
import logging, os, sys, urllib.parse
import pytest
from dynsecrets.model.grant import Grant
from dynsecrets.model.masking import Secret

TEXT = os.environ["THE_SECRET"]

@pytest.fixture(autouse=True)
def boxed():
    Secret(TEXT)

@pytest.fixture
def printing_at_the_end():
    yield
    print(TEXT)

def test_leaks_by_failing(): raise RuntimeError("the key is " + TEXT)
def test_leaks_to_stdout(): print(TEXT)
def test_leaks_to_stderr(): sys.stderr.write(TEXT)
def test_leaks_in_a_url(): print(urllib.parse.urlencode({"key": TEXT}))
def test_leaks_to_a_log(): logging.getLogger("anyone").debug("got %s", TEXT)
def test_leaks_to_a_file(tmp_path): (tmp_path / "note").write_bytes(b"\\0" + TEXT.encode() + b"\\0")
def test_leaks_while_ending(printing_at_the_end): pass
@pytest.mark.xfail(reason="a leak is worse than a known failure", strict=False)
def test_leaks_in_a_known_failure(): raise RuntimeError(TEXT)
def test_leaks_before_it_is_boxed():
    logging.getLogger("anyone").debug("got %s", TEXT[::-1])
    Secret(TEXT[::-1])

def test_is_fine(tmp_path):
    (tmp_path / "note").write_text("nothing")
    print(Secret(TEXT), repr(Secret(TEXT).reveal()))
    logging.getLogger("anyone").debug("got %s", Secret(TEXT))
@pytest.mark.reveals
def test_may(tmp_path):
    (tmp_path / "note").write_text(TEXT)
"""
LEAKS = TESTS.count("def test_leaks_")


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    """A secret as long as AWS's own, with the characters that URLs quote; known to the inner session alone."""
    text = f"{secrets.token_hex(17)}/+/+/+"
    monkeypatch.setenv("THE_SECRET", text)
    return text


@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2")], ids=["alone", "xdist"])
def test_every_way_to_show_a_secret_fails(pytester: pytest.Pytester, secret: str, workers: tuple[str, ...]) -> None:
    """A test that shows a secret anywhere fails, one that does not passes, and the run's output has it nowhere."""
    pytester.makeini(f"[pytest]\npythonpath = {' '.join(ROOTS)}")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TESTS)

    result = pytester.runpytest_subprocess("-rA", "-p", "no:asyncio", *workers)

    outcomes = result.parseoutcomes()
    assert outcomes["passed"] - outcomes.get("errors", 0) == 2
    assert outcomes["failed"] + outcomes["errors"] == LEAKS
    output = result.stdout.str() + result.stderr.str()
    assert secret not in output
    assert secret[::-1] not in output
    assert "a secret stands in" in output


def test_the_search_finds_secrets_of_any_shape() -> None:
    """A secret is found within other text, whatever its characters, as it is and quoted for a URL."""
    collector = canary.Collector()
    plain, odd, other = "wJalrXUtnFEMI/K7MDENG", "with a blank & more", "wJalrXUtnFEMI-another"
    for text in (plain, odd, other):
        collector.add(text)

    found = collector.found_in(f"x={plain}yyy {odd}; k=wJalrXUtnFEMI%2FK7MDENG")

    assert found == {plain, odd, "wJalrXUtnFEMI%2FK7MDENG"}


def test_the_names_in_a_grant_are_no_secrets(request: pytest.FixtureRequest) -> None:
    """A grant boxes user names and ARNs with its secrets; they may be shown."""
    plugin = request.config.pluginmanager.get_plugin("canary")
    assert isinstance(plugin, canary.Canary)
    name, secret = secrets.token_hex(20), secrets.token_hex(20)

    Grant({"USERNAME": name, "SECRET_ACCESS_KEY": secret}, datetime.now(UTC), {})

    assert plugin.collector.found_in(f"{name} {secret}") == {secret}


def test_an_integration_says_what_is_public(request: pytest.FixtureRequest) -> None:
    """A database's host may be shown where its integration says so, and a user name may not where it doesn't."""
    plugin = request.config.pluginmanager.get_plugin("canary")
    assert isinstance(plugin, canary.Canary)
    host, name = f"db-{secrets.token_hex(20)}", secrets.token_hex(20)

    Grant({"HOST": host, "USERNAME": name}, datetime.now(UTC), {}).check_handle({"HOST"})

    assert plugin.collector.found_in(f"{host} {name}") == {name}


def test_access_key_ids_are_no_secrets() -> None:
    """An access key id stands in every signed request."""
    collector = canary.Collector()

    collector.add("AKIAIOSFODNN7EXAMPLE")

    assert not collector.found_in("AKIAIOSFODNN7EXAMPLE")


def test_short_texts_are_no_secrets() -> None:
    """Texts that tests make up are too short to be told from other words."""
    collector = canary.Collector()

    collector.add("s3cret")

    assert not collector.found_in("s3cret")
