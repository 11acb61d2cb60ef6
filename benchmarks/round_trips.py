"""How long a whole lease life takes, against the calls that others make, one after the other, and raw boto3."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

from benchmarks import raw, rounds, subjects
from benchmarks.report import Row
from benchmarks.rounds import Spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.stub import Stub

NOTE: Final = (
    "A life is issue and revoke, handed over at once (`wait=None`), on a SQLite file. HashiCorp Vault's ten calls "
    "(those of Infisical, too) are made by raw boto3 with the same client settings, in its order, one after the other, "
    "without a store. Phase's nine are made with a new client for each issue and each revocation, as its source does. "
    "Raw boto3 makes the library's six calls in the same pairs."
)
_LATENCIES: Final = (0, 10, 40, 100)
_TARGETS: Final = {40: 0.45}
_BASELINES: Final = {"vault": "Vault's ten calls", "phase": "Phase's nine calls", "raw": "raw boto3, six calls"}
_CALLS: Final = {"ours": 6, "vault": 10, "phase": 9, "raw": 6}
ROWS: Final = tuple(
    f"Lease life at {latency} ms a call, against {name}" for latency in _LATENCIES for name in _BASELINES.values()
)


def measure(stub: Stub, *, quick: bool) -> list[Row]:
    """Compare at several latencies of a call."""
    return [row for latency in _LATENCIES for row in _at(stub, latency, quick=quick)]


def _at(stub: Stub, latency: int, *, quick: bool) -> list[Row]:
    url = stub.url(latency)
    integration, config = subjects.aws_config(url)
    ours = integration.clients.iam()
    # Short lives are measured several at a time.
    times = max(1, 40 // max(latency, 4))
    with subjects.open_manager("sqlite") as manager, closing(raw.PairedLife(raw.iam_client(url, ours))) as paired:
        lives = {
            "vault": raw.serial(raw.iam_client(url, ours)),
            "phase": raw.PhasesLife(url, ours),
            "raw": paired,
            "ours": subjects.life(config, manager),
        }
        for name, life in lives.items():
            with stub.expecting(_CALLS[name]):
                life()
        measures = {name: rounds.seconds(life, times) for name, life in lives.items()}
        values = rounds.take_turns(measures, 3 if quick else 15)
    return [_row(latency, baseline, values) for baseline in _BASELINES]


def _row(latency: int, baseline: str, values: Mapping[str, list[float]]) -> Row:
    row = Row(
        what=f"Lease life at {latency} ms a call, against {_BASELINES[baseline]}",
        measured=_milliseconds(values["ours"]),
        baseline=_milliseconds(values[baseline]),
        ratio=rounds.ratios(values["ours"], values[baseline]),
    )
    return row.at_most(_TARGETS[latency]) if latency in _TARGETS and baseline == "vault" else row


def _milliseconds(values: list[float]) -> str:
    return f"{Spread.of(values).median * 1000:.1f} ms"
