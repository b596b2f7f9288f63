"""The delivery algorithm under crashes at any await: nothing acknowledged is lost, no verdict changes, no trace splits.

The log, the journal and the commits of `StoredLog` survive; everything else dies with a life. The policy is random on
purpose: without the journal in the right place, two lives would decide differently. The backend remembers what it was
sent whether or not the answer got back.
"""

import asyncio
import collections
import json
import random

import pytest

from collector.ack import Outcome
from collector.component.base import BuildContext
from collector.component.connector import Chunk, Partition, Record
from collector.component.processor import Lookahead, Verdicts
from collector.graph import outlet as outlet_module
from collector.graph import runner as runner_module
from collector.graph.outlet import Outlet
from collector.graph.runner import PartitionRunner
from collector.options import Options
from collector.telemetry.ledger import Account

WAIT = 40
RECORDS = 250


def traffic(rng):
    """Records of (trace, span number, is error); the spans of a trace come up to a few waits apart."""
    log = [[] for _ in range(RECORDS)]
    for trace in range(RECORDS // 2):
        start, bad = rng.randrange(RECORDS - 70), rng.randrange(6)
        error = rng.random() < 0.3
        for number in range(rng.randint(1, 6)):
            at = min(RECORDS - 1, start + int(rng.expovariate(1 / 15)))
            log[at].append((trace, number, error and number == bad))
    return log


def encode(spans):
    """Like OTLP requests, concatenated payloads are one payload."""
    return b"".join(b"%d %d %d\n" % span for span in spans)


def decode(payload):
    return [tuple(int(field) for field in line.split()) for line in payload.splitlines()]


class StoredLog(Partition):
    name = "0"
    pace_s = 0

    def __init__(self, rng, log):
        self.rng, self.counts, self.log = rng, [len(spans) for spans in log], [encode(spans) for spans in log]
        self.stored, self.mark, self.written, self.extra = [], 0, 0, 0

    async def stumble(self, most=4):
        for _ in range(self.rng.randrange(most)):
            await asyncio.sleep(0)

    def reopen(self):
        self.extra = 0
        return self

    @property
    def committed(self):
        return self.mark

    @property
    def end(self):
        return self.written

    def append_some(self):
        self.written = min(len(self.log), self.written + self.rng.randrange(4))

    def now_ns(self):
        if self.written == len(self.log):
            self.extra += 3
        return self.written - 1 + self.extra

    async def wait(self, position):
        while self.written <= position:
            await asyncio.sleep(0)

    async def read(self, position, max_bytes):
        await self.stumble()
        upto = min(self.written, position + 1 + self.rng.randrange(5))
        records = [Record(n, n, self.log[n], self.counts[n]) for n in range(position, upto)]
        return Chunk(records, upto)

    async def commit(self, position):
        await self.stumble()
        assert position >= self.mark
        self.mark = position
        await self.stumble()

    async def journal(self, blob, count, head, keep):
        await self.stumble(40)  # slow, so that a tail that didn't wait for it would be caught
        self.stored.append(blob)
        await self.stumble()

    async def load_journal(self):
        await self.stumble()
        return list(self.stored)


class Coin(Lookahead):
    """Keeps traces with an error, and the rest by a coin that falls differently in every life."""

    def __init__(self, rng, flips):
        super().__init__(Options(), BuildContext("coin", None))
        self.rng, self.flips = rng, flips
        self.open, self.verdicts, self.fresh, self.last, self.now = {}, {}, {}, 0, 0

    def observe(self, batch, position, upto, now_ns):
        for trace, _, error in decode(batch.payload):
            if trace not in self.verdicts:
                first = self.open.setdefault(trace, [position, now_ns, False])
                first[2] |= error
        self.last = upto

    def tick(self, now_ns):
        self.decide(now_ns)
        return ()

    def decide(self, now):
        for trace in [t for t, (_, began, _) in self.open.items() if began + WAIT <= now]:
            keep = self.open.pop(trace)[2] or self.rng.random() < 0.5
            self.verdicts[trace] = self.fresh[trace] = keep

    def boundary(self):
        return min((first for first, _, _ in self.open.values()), default=self.last)

    def take_verdicts(self):
        fresh, self.fresh = self.fresh, {}
        return Verdicts(json.dumps(list(fresh.items())).encode(), len(fresh)) if fresh else None

    def restore(self, blob):
        for trace, keep in json.loads(blob):
            self.flips[0] += self.verdicts.get(trace, keep) != keep
            self.verdicts[trace] = keep

    def settled(self, position):
        pass

    def shed(self, position):
        raise AssertionError("no pressure here")

    def decide_all(self):
        raise AssertionError("a durable log is never decided at stop")

    def process(self, batch):
        spans = [span for span in decode(batch.payload) if self.verdicts[span[0]]]
        return (batch.replace(encode(spans), count=len(spans)),)


class Backend:
    """Takes what it is sent, now and then gives it back, and sometimes the answer is lost in a crash."""

    def __init__(self, rng):
        self.rng, self.got, self.waiting = rng, collections.Counter(), []

    def has_room(self, size):
        return len(self.waiting) < 2

    async def room(self, size):
        await asyncio.sleep(0)

    def offer(self, batch):
        self.waiting.append(batch)
        return True

    async def answer(self):
        while True:
            await asyncio.sleep(0)
            if self.waiting and self.rng.random() < 0.25:
                batch = self.waiting.pop(self.rng.randrange(len(self.waiting)))
                if self.rng.random() < 0.1:
                    batch.ack.resolve(Outcome.RETRY, "busy")
                    continue
                for trace, number, _ in decode(batch.payload):
                    self.got[trace, number] += 1
                await asyncio.sleep(0)
                batch.ack.resolve(Outcome.DELIVERED)

    def crash(self):
        for batch in self.waiting:
            batch.ack.resolve(Outcome.RETRY, "crashed")
        self.waiting.clear()


async def life(rng, log, backend, flips, account, *, steps):
    """One life of the process; True when everything is settled."""
    runner = PartitionRunner(
        log.reopen(),
        [Coin(rng, flips)],
        Outlet(account, [backend], from_log=True),
        account,
        dead_letter=None,
        fatal=pytest.fail,
    )
    answering = asyncio.create_task(backend.answer())
    await runner.start()
    for _ in range(steps):
        await asyncio.sleep(0)
        if rng.random() < 0.3:
            log.append_some()
        if rng.random() < 0.2:
            await runner.tick()
        if log.mark == len(log.log):
            break
    if rng.random() < 0.5:
        await runner.stop(0.002)  # a graceful end, in less time than the backend may need
        answering.cancel()
    else:
        answering.cancel()
        await runner._cancel()
        runner._outlet.stop()
        runner.tail.abandon()
    backend.crash()
    return log.mark == len(log.log)


@pytest.mark.parametrize("seed", range(25))
def test_kill_anywhere_loses_nothing_and_changes_no_verdict(seed, monkeypatch):
    monkeypatch.setattr(runner_module, "COMMIT_EVERY_S", 0)
    monkeypatch.setattr(outlet_module, "RETRY_PAUSE_S", 0)
    rng = random.Random(seed)
    spans = traffic(rng)
    log, backend, flips, account = StoredLog(rng, spans), Backend(rng), [0], Account("traces")

    async def lives():
        crashes = 0
        while not await life(rng, log, backend, flips, account, steps=rng.randrange(20, 200)):
            crashes += 1
            assert crashes < 500
        return crashes

    crashes = asyncio.run(lives())
    verdict = {trace: keep for blob in log.stored for trace, keep in json.loads(blob)}
    everything = [tuple(span) for record in spans for span in record]
    wanted = {(trace, number) for trace, number, _ in everything if verdict[trace]}
    assert set(backend.got) == wanted  # none lost, none sent against its verdict, so no trace is split
    assert flips == [0]
    first = {}
    for at, record in enumerate(spans):
        for trace, _, error in record:
            first.setdefault(trace, at)
            if error and at < first[trace] + WAIT:
                assert verdict[trace], "an error seen in time was not kept"
    assert crashes > 0
    assert account.imbalance() == 0
