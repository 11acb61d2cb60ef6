"""The soak: what it samples of each kind of store, and what it calls growing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from benchmarks import soak

if TYPE_CHECKING:
    from support.moto_server import MotoServer

LEVEL = soak.Sample(
    leases=1, seconds=1, rss=100 << 20, blocks=100_000, threads=4, descriptors=9, records=10_000, file=9 << 20
)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Log no lease of thousands, as the command doesn't."""
    caplog.set_level("ERROR", "dynsecrets")


def sampled(name: str, values: list[int]) -> list[soak.Sample]:
    """Return samples of which one measure has these values."""
    return [attrs.evolve(LEVEL, **{name: value}) for value in values]


@pytest.mark.parametrize(("kind", "leases"), [("memory", 3_000), ("sqlite", 500), ("dynamodb", 100)])
def test_a_small_soak_leaves_threads_and_descriptors_as_they_were(
    kind: str, leases: int, request: pytest.FixtureRequest
) -> None:
    """Whatever is leased, the same threads and descriptors do, and each lease has left one tombstone at the most."""
    url = None
    if kind == "dynamodb":
        server: MotoServer = request.getfixturevalue("moto_server")
        url = server.url

    with soak.open_store(kind, url) as store:
        samples = soak.soak(store, leases, tell=lambda _: None)

    grown = set(soak.growing(samples))
    assert [sample.leases for sample in samples][-1] == leases
    assert all(0 < sample.records <= sample.leases for sample in samples)
    assert not grown & {"threads", "descriptors"}
    assert all((sample.file > 0) == (kind == "sqlite") for sample in samples)


def test_a_tombstone_is_weighed() -> None:
    """In memory a tombstone takes Python's heap: about a kilobyte, and whatever else this process does meanwhile."""
    with soak.open_store("memory") as store:
        assert 500 < soak.heap_bytes_a_tombstone(store) < 5_000


def test_tombstones_are_forgotten_while_leasing_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are kept for no time at all, housekeeping leaves only those since it last came."""
    monkeypatch.setattr(soak, "_HOUSEKEEPING", "1s")
    monkeypatch.setattr(soak, "_KEEP_REVOKED", "0s")
    samples: list[soak.Sample] = []
    with soak.open_store("sqlite") as store:
        while not samples or samples[-1].records == samples[-1].leases:
            samples = soak.soak(store, 500, tell=lambda _: None)

    assert samples[-1].records < samples[-1].leases


@pytest.mark.parametrize("name", ["rss", "blocks", "threads", "descriptors", "records", "file"])
def test_what_only_goes_up_grows(name: str) -> None:
    """Each measure that ends twice as high as it was is named, and it alone."""
    level = getattr(LEVEL, name)

    assert soak.growing(sampled(name, [level + level * i // 10 for i in range(20)])) == [name]


def test_what_goes_up_and_down_is_flat() -> None:
    """Neither a warm-up nor a wave is growth."""
    warmed_up = [20 << 20] * 3 + [100 << 20] * 17
    wave = [1_000, 9_000] * 10

    assert soak.growing(sampled("rss", warmed_up)) == []
    assert soak.growing(sampled("records", wave)) == []


def test_threads_grow_by_more_than_workers_that_came_late() -> None:
    """Two more are workers that were first needed late; three are a leak."""
    assert soak.growing(sampled("threads", [4] * 15 + [6] * 5)) == []
    assert soak.growing(sampled("threads", [4] * 15 + [7] * 5)) == ["threads"]


def test_few_samples_say_nothing() -> None:
    """A verdict on too little is refused."""
    with pytest.raises(ValueError, match="at least 8"):
        soak.growing(sampled("rss", [1] * 7))
