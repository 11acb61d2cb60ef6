"""What downloaded secrets promise: a mapping that shows nothing, renders everything, and revokes when it is left."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from dynsecrets import InvalidConfig, RevocationError
from dynsecrets.delivery.formats import FORMATS
from dynsecrets.delivery.secrets_config import SecretsConfig
from dynsecrets.model.masking import MASK
from support.forking import in_child, needs_fork
from support.showing import INSIDE, WAYS, show
from support.stubborn import stubborn_world
from support.world import Gate, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from dynsecrets.delivery.secrets import Secrets

LABELS = {"DYNSECRETS_PROJECT": "shop", "DYNSECRETS_ENVIRONMENT": "dev", "DYNSECRETS_CONFIG": "prd"}


def download(world: World, secrets: Any = (), names: tuple[str, ...] = ("ONE", "TWO")) -> Secrets:
    """Download secrets of the shop."""
    configs = [world.config(name=name) for name in names]
    return SecretsConfig("shop", "dev", "prd", dict(secrets), configs, manager=world.manager).download()


def test_it_is_a_sorted_mapping(world: World) -> None:
    """Names in order, of text; what isn't there isn't there."""
    secrets = download(world, {"b": "2", "A": "1", "_": "3"}, ())

    assert list(secrets.items()) == sorted({"b": "2", "A": "1", "_": "3", **LABELS}.items())
    assert len(secrets) == 6
    assert "c" not in secrets
    assert secrets.get("c") is None
    with pytest.raises(KeyError, match="c"):
        secrets["c"]
    with pytest.raises(TypeError):
        secrets["A"] = "2"  # type: ignore[index]
    with pytest.raises(TypeError):
        secrets.leases["A"] = None  # type: ignore[index]


def test_env_is_plain(world: World) -> None:
    """``env()`` is a new dict of plain text each time, secrets included."""
    secrets = download(world, {"A": "1"})

    env = secrets.env()
    env["A"] = "2"

    assert secrets.env() == dict(secrets)
    assert {type(value) for value in secrets.env().values()} == {str}
    assert MASK not in repr(secrets.env())


@pytest.mark.parametrize("format", FORMATS)
def test_it_renders_all_values(world: World, format: str) -> None:  # noqa: A002  # As in the library.
    """In each format there are all values, sorted by name; what is returned prints masked."""
    secrets = download(world, {"ZONE": "z", "API__URL": "https://x"})

    text = secrets.render(format)
    keys = [key.replace("__", ":") if format == "dotnet-json" else key for key in secrets]

    places = [text.index(key) for key in keys]
    assert places == sorted(places)
    assert all(value in text for value in secrets.values())
    assert repr(text) == repr(MASK)
    assert secrets.render(format=format) == text


def test_rendered_json_is_the_mapping(world: World) -> None:
    """What is read back is what was downloaded."""
    secrets = download(world, {"A": "it's\n"})

    assert json.loads(secrets.render("json")) == dict(secrets)


def test_names_are_spelt_as_readers_spell_them(world: World) -> None:
    """A name transformer renames all, the labels of the config too; they are sorted as they are written then."""
    secrets = download(world, {"API_KEY": "k", "A_URL": "u"})

    read = json.loads(secrets.render("json", "camel"))

    assert (read["apiKey"], read["aUrl"], read["oneLeaseId"]) == ("k", "u", secrets["ONE_LEASE_ID"])
    assert {"dynsecretsProject", "dynsecretsEnvironment", "dynsecretsConfig"} <= set(read)
    assert list(read) == sorted(read)
    assert repr(secrets.render("json", name_transformer="camel")) == repr(MASK)


def test_dotnet_json_has_dotnet_names_when_asked_for_them(world: World) -> None:
    """By itself ``dotnet-json`` keeps the names but for two underscores; with ``dotnet`` words are capitalised."""
    secrets = download(world, {"SMTP__USER_NAME": "n"})

    assert json.loads(secrets.render("dotnet-json"))["SMTP:USER_NAME"] == "n"
    assert json.loads(secrets.render("dotnet-json", "dotnet"))["Smtp:UserName"] == "n"


@pytest.mark.parametrize("format", ["env", "env-no-quotes", "docker"])
def test_names_that_no_environment_can_have_are_refused(world: World, format: str) -> None:  # noqa: A002  # As above.
    """Dashes are fine in JSON, and an error that names the first of them where variables are set."""
    secrets = download(world, {"API_KEY": "k"})

    assert "api-key" in secrets.render("json", "lower-kebab")
    with pytest.raises(InvalidConfig, match=f"'api-key' can't be the name .* the format {format} needs"):
        secrets.render(format, "lower-kebab")


def test_names_that_fall_together_are_refused(world: World) -> None:
    """Two names that become one are named."""
    secrets = download(world, {"A_B": "1", "A__B": "2"})

    with pytest.raises(InvalidConfig, match="camel makes aB of both A_B and A__B"):
        secrets.render("json", "camel")


def test_what_a_format_cannot_carry_revokes_nothing(world: World) -> None:
    """The error names the key; the leases are the caller's to keep or revoke."""
    secrets = download(world, {"PEM": "canary\nvalue"})

    with pytest.raises(InvalidConfig, match=r"^PEM can't be written as docker") as caught:
        secrets.render("docker")
    with pytest.raises(InvalidConfig, match=r"format 'dokcer' is not known; did you mean docker\?"):
        secrets.render("dokcer")

    assert "canary" not in str(caught.value)
    assert len(world.integration.live) == 2


def test_revoking_is_for_all_and_can_be_repeated(world: World) -> None:
    """All leases are revoked; again is fine; the values stay."""
    secrets = download(world, {"A": "1"})

    secrets.revoke()
    secrets.revoke()

    assert not world.integration.live
    assert all(lease.revoked for lease in secrets.leases.values())
    assert secrets["ONE_LEASE_ID"] == secrets.leases["ONE"].id


def test_revoking_tries_all() -> None:
    """What can be revoked is, and the error says what can't; the manager goes on trying."""
    with stubborn_world() as world:
        secrets = download(world, (), ("ONE", "TWO", "THREE"))
        world.integration.refusals = 2

        with pytest.raises(RevocationError, match=r"^2 leases could not be revoked: "):
            secrets.revoke()

        assert len(world.integration.live) == 2
        world.integration.refusals = 0
        world.advance(600)
        assert not world.integration.live


def test_leaving_the_block_revokes(world: World) -> None:
    """Entering gives the secrets themselves; leaving revokes, also a nested block of the same ones."""
    secrets = download(world)

    with secrets as same, secrets:
        alive = len(world.integration.live)

    assert same is secrets
    assert alive == 2
    assert not world.integration.live


def test_an_error_of_the_block_goes_on(world: World) -> None:
    """The block's own error is raised, when the leases are revoked."""
    with pytest.raises(ZeroDivisionError), download(world):
        raise ZeroDivisionError

    assert not world.integration.live


def test_an_error_of_the_block_is_not_masked(caplog: pytest.LogCaptureFixture) -> None:
    """Where revoking fails too, the block's error gets a note of it, and it is logged."""
    with stubborn_world() as world:
        secrets = download(world)
        world.integration.refusals = 1

        with pytest.raises(ZeroDivisionError) as caught, secrets:
            raise ZeroDivisionError

        (note,) = caught.value.__notes__
        assert "could not be revoked when the block ended" in note
        assert "not now" in caplog.text


def test_a_failed_revocation_is_raised_where_the_block_was_fine() -> None:
    """Nobody would know otherwise."""
    with stubborn_world() as world:
        secrets = download(world)
        world.integration.refusals = 1

        with pytest.raises(RevocationError, match="not now"), secrets:
            pass


def test_async_with(world: World) -> None:
    """Leaving an asynchronous block revokes while the event loop goes on."""
    gate = Gate()
    went_on: list[str] = []

    async def go_on() -> None:
        await asyncio.to_thread(gate.until_reached)
        went_on.append("yes")
        gate.open()

    async def main() -> None:
        other = asyncio.create_task(go_on())
        async with download(world) as secrets:
            assert secrets.leases["ONE"].is_valid()
            world.integration.fail("revoke", gate)
        await other

    asyncio.run(main())

    assert went_on == ["yes"]
    assert not world.integration.live


def test_a_cancelled_task_revokes(world: World) -> None:
    """Cancelling the task in the block revokes before the cancellation goes on."""

    async def body(entered: asyncio.Event) -> None:
        async with download(world):
            entered.set()
            await asyncio.Event().wait()

    async def main() -> None:
        entered = asyncio.Event()
        task = asyncio.create_task(body(entered))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not world.integration.live

    asyncio.run(main())


@needs_fork
def test_a_forked_child_that_leaves_the_block_revokes_nothing(world: World) -> None:
    """The leases are its parent's; it may revoke them if it says so."""
    secrets = download(world)

    def leave() -> bool:
        secrets.__exit__(None, None, None)
        return all(not lease.revoked for lease in secrets.leases.values())

    with secrets:
        assert in_child(leave)
        assert secrets.leases["ONE"].is_valid()
        assert len(world.integration.live) == 2

    assert not world.integration.live


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_it_shows_no_value(world: World, canary: str, way: Callable[[Any], str]) -> None:
    """In none of the ways to show an object does it show a value, static or leased."""
    secrets = download(world, {"PASSWORD": canary}, ("ONE",))

    shown = show(way, secrets)

    assert canary not in shown
    assert str.__str__(secrets["ONE_TOKEN"]) not in shown


@pytest.mark.parametrize("way", INSIDE.values(), ids=INSIDE)
def test_a_copy_as_a_dict_shows_no_value(world: World, canary: str, way: Callable[[Any], str]) -> None:
    """Nor does a dict of it, and what was rendered, inside of anything."""
    secrets = download(world, {"PASSWORD": canary}, ())

    shown = show(way, dict(secrets)) + show(way, secrets.render("env"))

    assert canary not in shown


def test_its_repr_tells_what_it_is(world: World) -> None:
    """Where it is from, how much there is, and which leases."""
    secrets = download(world, {"A": "1"}, ("ONE",))

    assert repr(secrets) == f"<Secrets of shop/dev/prd: 8 values, ONE {secrets.leases['ONE'].id}>"
    assert f"{secrets:>5}" == f"{secrets}" == str(secrets) == repr(secrets)
    assert repr(download(world, (), ())) == "<Secrets of shop/dev/prd: 3 values, no leases>"


@pytest.mark.parametrize("move", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_cannot_be_pickled_or_copied(world: World, move: Callable[[object], object]) -> None:
    """It says why, and what to do."""
    with pytest.raises(TypeError, match=r"the secrets of shop/dev/prd can't be pickled or copied: .* download its own"):
        move(download(world, {"A": "1"}))


def test_comparing(world: World) -> None:
    """It is equal to a mapping of the same values, as any mapping, and has no hash, as it is no key of anything."""
    secrets = download(world, {"A": "1"}, ())

    assert secrets == {"A": "1", **LABELS}
    assert secrets != {"A": "2", **LABELS}
    with pytest.raises(TypeError, match="unhashable"):
        hash(secrets)


def test_an_interrupt_of_the_block_revokes(world: World) -> None:
    """Ctrl-C in the block goes on when the leases are revoked."""

    def body() -> NoReturn:
        with download(world):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        body()

    assert not world.integration.live
