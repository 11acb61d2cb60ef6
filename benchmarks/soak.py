"""A soak: very many leases through one manager, and whether anything of the process, or of the store, grows with them.

``python -m benchmarks.soak --leases 1000000 --store memory``. Nothing of AWS is called: the integration makes up its
credentials. Housekeeping is the manager's own, by its public arguments; a soak lives a month in minutes, so that it
comes more often and keeps tombstones for less long than users have it.

What is compared is the second quarter of the samples with the last one: by then the first tombstones were purged, the
pools have their threads, and the allocator its arenas. A measure grows if the *least* of the last quarter exceeds the
*most* of the second by more than its slack: what goes up and down doesn't, what goes up only does.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import tempfile
import threading
import time
import tracemalloc
import warnings
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from benchmarks import subjects
from dynsecrets import DynamoDBLeaseStore, LeaseManager, MemoryLeaseStore, SQLiteLeaseStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dynsecrets import LeaseStore

STORES: Final = ("memory", "sqlite", "dynamodb")
_SAMPLES: Final = 20
_TTL: Final = timedelta(minutes=30)
#: A month in minutes: the interval of housekeeping, and how long a tombstone is kept.
_HOUSEKEEPING: Final = "2s"
_KEEP_REVOKED: Final = "3s"
#: How many tombstones are weighed.
_WEIGHED: Final = 500
#: How much a measure may be more at the end: a share of what it was, and so much beside. The pool of workers starts a
#: thread when it first needs one, so that two may come late.
_SLACK: Final[dict[str, tuple[float, int]]] = {
    "rss": (0.05, 4 << 20),
    "blocks": (0.05, 5_000),
    "threads": (0.0, 2),
    "descriptors": (0.0, 2),
    "records": (0.25, 500),
    "file": (0.25, 1 << 20),
}


@attrs.frozen(kw_only=True)
class Sample:
    """What a process and its store have at a moment, after a number of leases.

    ``rss`` and ``file`` are bytes, ``blocks`` are what Python's own allocator has handed out.
    """

    leases: int
    seconds: float
    rss: int
    blocks: int
    threads: int
    descriptors: int
    records: int
    file: int

    def __str__(self) -> str:
        """Return it as a line."""
        rate = self.leases / self.seconds if self.seconds else 0
        return (
            f"{self.leases:>9,} leases {rate:>7,.0f}/s  rss {self.rss / 2**20:6.1f} MiB  {self.blocks:>9,} blocks  "
            f"{self.threads:>2} threads  {self.descriptors:>3} descriptors  {self.records:>7,} records  "
            f"file {self.file / 2**20:6.1f} MiB"
        )


def growing(samples: Sequence[Sample]) -> list[str]:
    """Return the measures that grow: the least of the last quarter is more than the most of the second, and its slack.

    Args:
        samples: At least eight, at even intervals.
    """
    quarter = len(samples) // 4
    if quarter < 2:
        msg = f"{len(samples)} samples say nothing; take at least 8"
        raise ValueError(msg)
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]
    found = []
    for name, (share, beside) in _SLACK.items():
        most = max(getattr(sample, name) for sample in second)
        if min(getattr(sample, name) for sample in last) > most * (1 + share) + beside:
            found.append(name)
    return found


def soak(store: LeaseStore, leases: int, tell: Callable[[Sample], object] = print) -> list[Sample]:
    """Lease and revoke so many times through one manager; return samples at even intervals, each told of too."""
    _, config = subjects.memory_config()
    samples: list[Sample] = []
    with LeaseManager(store, housekeeping=_HOUSEKEEPING, keep_revoked=_KEEP_REVOKED) as manager:
        live = subjects.life(config, manager)
        began, done = time.monotonic(), 0
        for number in range(1, _SAMPLES + 1):
            while done < leases * number // _SAMPLES:
                live()
                done += 1
            gc.collect()
            samples.append(_sample(manager, done, time.monotonic() - began))
            tell(samples[-1])
    return samples


def heap_bytes_a_tombstone(store: LeaseStore) -> float:
    """Return what Python's heap keeps for a tombstone: leases that are over, before anything is purged."""
    _, config = subjects.memory_config()
    with LeaseManager(store, housekeeping=None) as manager:
        live = subjects.life(config, manager)
        for _ in range(_WEIGHED):
            live()
        tracemalloc.start()
        try:
            before = _traced()
            for _ in range(_WEIGHED):
                live()
            return (_traced() - before) / _WEIGHED
        finally:
            tracemalloc.stop()


@contextmanager
def open_store(kind: str, endpoint_url: str | None = None) -> Iterator[LeaseStore]:
    """Open a new store of a kind for the length of a block; a table of DynamoDB is deleted after it."""
    with ExitStack() as stack:
        if kind == "memory":
            yield stack.enter_context(closing(MemoryLeaseStore()))
        elif kind == "sqlite":
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dynsecrets-soak-"))
            yield stack.enter_context(closing(SQLiteLeaseStore(Path(folder) / "leases.db")))
        else:
            yield stack.enter_context(_table(str(endpoint_url)))


@contextmanager
def _table(endpoint_url: str) -> Iterator[DynamoDBLeaseStore]:
    import boto3

    session = boto3.Session("AKIAEXAMPLE", "example", region_name=subjects.REGION)
    name = f"dynsecrets-soak-{os.getpid()}-{time.monotonic_ns()}"
    with closing(DynamoDBLeaseStore(name, session, endpoint_url=endpoint_url)) as store:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # What deletes old tombstones by itself is not for here.
            store.create_table()
        try:
            yield store
        finally:
            session.client("dynamodb", endpoint_url=endpoint_url).delete_table(TableName=name)


def _sample(manager: LeaseManager, leases: int, seconds: float) -> Sample:
    store = manager.store
    files = Path(store.path).parent.iterdir() if isinstance(store, SQLiteLeaseStore) else ()
    return Sample(
        leases=leases,
        seconds=seconds,
        rss=_rss(),
        blocks=sys.getallocatedblocks(),
        threads=threading.active_count(),
        descriptors=_descriptors(),
        records=sum(1 for _ in manager.records()),
        file=sum(file.stat().st_size for file in files),
    )


def _rss() -> int:
    """Return the resident memory, where /proc has it; elsewhere the most that there ever was."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _descriptors() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - one descriptor is this listing's own, each time.


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def main() -> None:
    """Soak, and say what grows; the status is 1 if anything does."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Lease very often; say what grows.")
    parser.add_argument("--leases", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--store", choices=STORES, default="memory")
    parser.add_argument("--endpoint-url", metavar="URL", help="of DynamoDB local or moto; it gets all the writes")
    asked = parser.parse_args()
    if asked.store == "dynamodb" and not asked.endpoint_url:
        parser.error("--store dynamodb needs --endpoint-url, of DynamoDB local or moto: a soak writes much")
    if asked.leases < _SAMPLES:
        parser.error(f"--leases {asked.leases} is too few; give at least {_SAMPLES}")
    logging.getLogger("dynsecrets").setLevel(logging.ERROR)
    with open_store(asked.store, asked.endpoint_url) as store:
        print(f"{heap_bytes_a_tombstone(store):,.0f} bytes of Python's heap a tombstone", flush=True)
    with open_store(asked.store, asked.endpoint_url) as store:
        found = growing(soak(store, asked.leases, lambda sample: print(sample, flush=True)))
    print(f"grows: {', '.join(found)}" if found else "flat")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
