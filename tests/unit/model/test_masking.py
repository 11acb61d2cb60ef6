"""How secrets are held: boxes and masked text show nothing, and the text is there for whoever takes it out."""

from __future__ import annotations

import copy
import json
import os
import pickle
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dynsecrets.integrations.aws.options import PUBLIC_VALUES
from dynsecrets.model.grant import Grant
from dynsecrets.model.masking import MASK, MaskedStr, Secret
from support.fakes import aws_values
from support.showing import INSIDE, WAYS, show

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def canary() -> str:
    """A secret that nobody knows; the plugin of the tests watches for it too once it is boxed."""
    return secrets.token_urlsafe(30)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_box_shows_no_secret(canary: str, way: Callable[[Any], str]) -> None:
    """In none of the ways to show an object does a ``Secret`` show its text."""
    assert canary not in show(way, Secret(canary))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_grant_shows_no_secret(canary: str, way: Callable[[Any], str]) -> None:
    """In none of the ways to show an object does a ``Grant`` show the secret that it carries."""
    grant = Grant(aws_values(canary), datetime.now(UTC) + timedelta(hours=1), {"user_name": "u"})

    shown = show(way, grant)

    assert canary not in shown


@pytest.mark.parametrize("way", INSIDE.values(), ids=INSIDE)
def test_masked_text_shows_no_secret_inside_of_other_things(canary: str, way: Callable[[Any], str]) -> None:
    """Wherever a ``repr`` is made of it or of what holds it, masked text shows the mask."""
    shown = show(way, MaskedStr(canary))

    assert canary not in shown
    assert MASK in shown


def test_masked_text_is_text(canary: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masked text compares, hashes, joins, encodes and goes into JSON and the environment like the text that it is."""
    masked = MaskedStr(canary)

    monkeypatch.setenv("CANARY", masked)

    assert masked == canary
    assert hash(masked) == hash(canary)
    assert f"<{masked}>" == f"<{canary}>"
    assert masked.encode() == canary.encode()
    assert json.loads(json.dumps([masked])) == [canary]
    assert os.environ["CANARY"] == canary
    assert type(str(masked)) is str


@pytest.mark.parametrize(
    "take",
    [
        lambda text: text[4:30],
        lambda text: text[5],
        list,
        lambda text: list(reversed(text)),
        lambda text: text.split("-"),
        lambda text: text.rsplit("-", 1),
        lambda text: text.splitlines(),
        lambda text: text.partition("-"),
        lambda text: text.rpartition("-"),
        lambda text: text.strip().lstrip("a").rstrip("z"),
        lambda text: text.removeprefix("a").removesuffix("z"),
        lambda text: text.replace("-", "").translate({45: None}).expandtabs(),
        lambda text: (text.center(50), text.ljust(50), text.rjust(50), text.zfill(50)),
        lambda text: (text.lower(), text.upper(), text.casefold(), text.capitalize(), text.swapcase(), text.title()),
    ],
)
def test_parts_of_masked_text_are_masked(take: Callable[[str], Any]) -> None:
    """What is taken out of a secret is what plain text would give, and is masked as well."""
    text = "abcdefgh-ijklmnopqrst-uvwxyz-0123456789"

    parts = take(MaskedStr(text))

    assert parts == take(text)
    assert all(type(part) is MaskedStr for part in ([parts] if isinstance(parts, str) else parts))
    assert not any(letter.isalnum() for letter in repr(parts))


def test_what_is_composed_with_masked_text_is_plain(canary: str) -> None:
    """Who puts a secret into a URL, a header or a signature means to use it."""
    masked = MaskedStr(canary)

    composed = [f"x{masked}", "x" + masked, masked + "x", f"{masked}x{masked}", f"x{masked}"]

    assert {type(each) for each in composed} == {str}
    assert all(canary in each for each in composed)
    assert type(masked.encode()) is bytes


def test_masked_text_is_pickled_and_copied_as_plain_text(canary: str) -> None:
    """Whoever took a secret out of its lease can send it on, as text without a class of this library."""
    masked = MaskedStr(canary)

    for twin in (pickle.loads(pickle.dumps(masked)), copy.copy(masked), copy.deepcopy(masked)):  # noqa: S301  # Our own.
        assert type(twin) is str
        assert twin == canary


def test_a_box_reveals_its_text(canary: str) -> None:
    """A box opens as often as asked, and what comes out is masked text."""
    box = Secret(canary)

    assert box.reveal() == canary
    assert type(box.reveal()) is MaskedStr


def test_boxes_are_not_compared_by_text(canary: str) -> None:
    """Two boxes of one text are not equal, and neither equals the text: nothing can be found out by asking."""
    box: object = Secret(canary)

    assert box != Secret(canary)
    assert box != canary


@pytest.mark.parametrize("move", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_box_cannot_be_pickled_or_copied(canary: str, move: Callable[[object], object]) -> None:
    """Pickling and copying a box raise with the reason."""
    with pytest.raises(TypeError, match="revealed once and can't be pickled or copied"):
        move(Secret(canary))


def test_a_handle_with_a_secret_is_refused(canary: str) -> None:
    """A grant whose handle would carry a secret into the store is refused, without showing it."""
    with pytest.raises(ValueError, match="the handle of a grant holds the value of SECRET_ACCESS_KEY") as caught:
        Grant(aws_values(canary), datetime.now(UTC), {"key": canary}).check_handle(PUBLIC_VALUES)

    assert canary not in str(caught.value)
