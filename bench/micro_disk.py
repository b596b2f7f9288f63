"""What the disk connector costs: `python -m bench.micro_disk`.

Append, head read and tail read of the generator's traffic, at saturation and at a fixed rate, by compression and record
size: CPU-seconds per million spans of the whole process, MB/s, bytes written, milliseconds to an acknowledgement.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from bench.generator.traffic import Shape, Traffic
from collector.api import Ack, Batch, BuildContext, Outcome, Signal
from collector.connectors.disk import DiskConnector, DiskOptions

if TYPE_CHECKING:
    from collector.api import Partition

_WINDOW = 16 << 20
"""Bytes that are unanswered at once at saturation."""
_CHUNK = 4 << 20


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table. `rate` is in spans per second; 0 is as fast as it goes."""

    compression: str
    record: int
    batch: int
    rate: int
    synchronous: str = "normal"


class Collected(asyncio.Event):
    """A listener that keeps the partition it is given."""

    id = "traces/bench"
    signal = Signal.TRACES
    partition: Partition

    async def assigned(self, partition: Partition) -> None:
        self.partition = partition

    async def revoked(self, partition: Partition) -> None:
        del partition


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _blocks() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_oublock * 512


class Run:
    """One case: a sender, a head that follows the end and a tail behind it, in one loop."""

    def __init__(self, case: Case, requests: list[bytes], spans: int) -> None:
        self._case = case
        self._requests = requests
        self._spans = spans
        self._inside = 0
        self._room = asyncio.Event()
        self._latencies: list[float] = []
        self._sent = asyncio.Event()

    async def measure(self, directory: Path, tail: bool) -> str:
        """Its row of the table."""
        case = self._case
        config = DiskOptions.model_validate(
            {
                "directory": directory,
                "compression": case.compression,
                "max_record_size": case.record,
                "synchronous": case.synchronous,
            }
        )
        connector = DiskConnector(config, BuildContext("disk", logging.getLogger("bench")))
        listener = Collected()
        await connector.start([listener])
        cpu, written, started = _cpu(), _blocks(), time.monotonic()
        head = asyncio.ensure_future(self._follow(listener.partition, 0))
        behind = asyncio.ensure_future(self._follow(listener.partition, _WINDOW * 2)) if tail else None
        await self._send(connector)
        self._sent.set()
        await head
        if behind is not None:
            await behind
        cpu, written, seconds = _cpu() - cpu, _blocks() - written, time.monotonic() - started
        size = sum(map(len, self._requests))
        await connector.stop()
        self._latencies.sort()
        return (
            f"{case.compression:5} {case.record >> 10:5}K n={case.batch:<4} {case.synchronous:6} "
            f"{'head+tail' if tail else 'head':9} {case.rate or 'max':>6}/s  {cpu / self._spans * 1e6:6.3f} CPU-s/M "
            f"{cpu / seconds * 100:5.1f}% of a core "
            f"{self._spans / seconds:9,.0f} spans/s {size / seconds / 1e6:6.1f} MB/s "
            f"written {written / size:5.2f}x  ack p50 {self._quantile(0.5):6.2f} p99 {self._quantile(0.99):6.2f} ms"
        )

    async def _send(self, connector: DiskConnector) -> None:
        pause = self._case.batch / self._case.rate if self._case.rate else 0
        due = time.monotonic()
        for payload in self._requests:
            if pause:
                due += pause
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            while self._inside > _WINDOW:
                self._room.clear()
                await self._room.wait()
            self._inside += len(payload)
            connector.append(Batch(payload, self._ack(len(payload)), count=self._case.batch))
        while self._inside:
            self._room.clear()
            await self._room.wait()

    def _ack(self, size: int) -> Ack:
        begun = time.monotonic()

        def done(outcome: Outcome, reason: str) -> None:
            if outcome is not Outcome.DELIVERED:
                raise RuntimeError(f"refused: {reason}")
            self._inside -= size
            self._latencies.append(time.monotonic() - begun)
            self._room.set()

        return Ack(done)

    async def _follow(self, partition: Partition, lag: int) -> None:
        """Read to the end of all that is sent; commit what is `lag` bytes behind."""
        position = read = 0
        total = sum(map(len, self._requests))
        written = self._requests and partition
        while read < total and written:
            if partition.end <= position:
                await partition.wait(position)
            if lag and not self._sent.is_set():
                await asyncio.sleep(0.2)
            chunk = await partition.read(position, _CHUNK)
            position = chunk.next
            read += sum(len(record.payload) for record in chunk.records)
            if lag:
                await partition.commit(position)

    def _quantile(self, share: float) -> float:
        return self._latencies[int(share * (len(self._latencies) - 1))] * 1000


def _requests(batch: int, spans: int) -> list[bytes]:
    traffic = Traffic(Shape(batch=batch))
    made: list[bytes] = []
    cycle = 0
    while len(made) * batch < spans:
        ends = traffic.ends(time.time_ns(), 10**9)
        made += [request.encode(cycle, ends) for request in traffic.requests]
        cycle += 1
    return made


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=600_000, help="spans of a saturated run")
    parser.add_argument("--seconds", type=int, default=6, help="length of a run at 10,000 spans/s")
    parser.add_argument("--directory", type=Path, help="where the logs are written")
    options = parser.parse_args()
    saturated = [
        Case(compression, record, 100, 0) for compression in ("none", "gzip", "zstd") for record in (256 << 10, 1 << 20)
    ]
    paced = [Case(compression, 1 << 20, batch, 10_000) for compression in ("none", "gzip") for batch in (100, 10)]
    for case in (*saturated, Case("none", 1 << 20, 100, 0, "full"), *paced):
        requests = _requests(case.batch, case.rate * options.seconds or options.spans)
        for tail in (False, True):
            run = Run(case, requests, len(requests) * case.batch)
            with tempfile.TemporaryDirectory(dir=options.directory) as directory:
                print(uvloop.run(run.measure(Path(directory) / "log", tail)), flush=True)


if __name__ == "__main__":
    main()
