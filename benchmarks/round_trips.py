"""How long a whole lease life takes, against the ten serial calls of HashiCorp Vault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks import raw, rounds, subjects
from benchmarks.report import Row
from benchmarks.rounds import Spread

if TYPE_CHECKING:
    from benchmarks.stub import Stub

NOTE: Final = (
    "A life is issue and revoke, handed over at once (`wait=None`), on a SQLite file. HashiCorp Vault's ten calls are "
    "made by raw boto3 with the same client settings, in its order, one after the other, without a store."
)
_LATENCIES: Final = (0, 10, 40, 100)
_TARGETS: Final = {40: 0.45}
_OUR_CALLS: Final = 6
_VAULTS_CALLS: Final = 10


def measure(stub: Stub, *, quick: bool) -> list[Row]:
    """Compare at several latencies of a call."""
    return [_at(stub, latency, quick=quick) for latency in _LATENCIES]


def _at(stub: Stub, latency: int, *, quick: bool) -> Row:
    integration, config = subjects.aws_config(stub.url(latency))
    client = raw.iam_client(stub.url(latency), integration.clients.iam())
    # Short lives are measured several at a time.
    times = max(1, 40 // max(latency, 4))
    with subjects.open_manager("sqlite") as manager:
        ours, vaults = subjects.life(config, manager), raw.serial(client)
        for life, calls in ((ours, _OUR_CALLS), (vaults, _VAULTS_CALLS)):
            with stub.expecting(calls):
                life()
        measures = {"vault": rounds.seconds(vaults, times), "ours": rounds.seconds(ours, times)}
        values = rounds.take_turns(measures, 3 if quick else 21)
    row = Row(
        what=f"Lease life at {latency} ms a call",
        measured=_milliseconds(values["ours"]),
        baseline=f"Vault's ten calls: {_milliseconds(values['vault'])}",
        ratio=rounds.ratios(values["ours"], values["vault"]),
    )
    return row.at_most(_TARGETS[latency]) if latency in _TARGETS else row


def _milliseconds(values: list[float]) -> str:
    return f"{Spread.of(values).median * 1000:.1f} ms"
