"""A log, a lookahead processor, a backend and a dead letter that do what a test tells them to."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from collector.ack import Outcome
from collector.batch import ANONYMOUS
from collector.component.base import BuildContext
from collector.component.connector import Chunk, Partition, Record
from collector.component.processor import Lookahead, Processor, Verdicts
from collector.errors import StorageError
from collector.options import Options


def made(cls, id_=None):
    return cls(Options(), BuildContext(id_ or cls.__name__.lower(), logging.getLogger("test")))


async def turns(count=20):
    """Let everything that can run do so."""
    for _ in range(count):
        await asyncio.sleep(0)


class FakeLog(Partition):
    """Payloads by position; those that are None are damaged. `now` is stream time, a record's is its position."""

    name = "0"

    def __init__(self, *payloads, committed=0, per_read=1000, counts=2):
        self.payloads, self.mark, self.per_read, self.counts = list(payloads), committed, per_read, counts
        self.now, self.pressed, self.reads, self.commits, self.blobs = 0, False, [], [], []
        self.broken = 0
        self.commit_errors, self.journal_gate = deque(), None
        self.grown = asyncio.Event()

    @property
    def committed(self):
        return self.mark

    @property
    def end(self):
        return len(self.payloads)

    def append(self, *payloads):
        self.payloads.extend(payloads)
        self.grown.set()

    def record(self, position):
        payload = self.payloads[position]
        context = ANONYMOUS
        return Record(position, position, payload, self.counts, context=context)

    def now_ns(self):
        return self.now

    def under_pressure(self):
        return self.pressed

    async def wait(self, position):
        while self.end <= position:
            self.grown.clear()
            await self.grown.wait()

    async def read(self, position, max_bytes):
        await asyncio.sleep(0)
        upto = min(self.end, position + self.per_read)
        self.reads.append(position)
        return Chunk([self.record(n) for n in range(position, upto) if self.payloads[n] is not None], upto)

    async def commit(self, position):
        if self.commit_errors:
            raise self.commit_errors.popleft()
        self.commits.append(position)
        self.mark = position

    async def journal(self, blob, count, head, keep):
        if self.journal_gate is not None:
            await self.journal_gate.wait()
        if self.broken:
            self.broken -= 1
            raise StorageError("the disk is full")
        self.blobs.append((blob, count, head))

    async def load_journal(self):
        return [blob for blob, _, _ in self.blobs]


class FakeLookahead(Lookahead):
    """Every record is a trace, open until `decide(position)`; what it does is in `calls`."""

    def __init__(self, *args):
        super().__init__(*args)
        self.calls, self.open, self.last, self.fresh, self.room, self.settled_at = [], [], 0, [], True, []
        self.restored, self.ticked, self.shed_before = [], [], []

    def observe(self, batch, position, upto, now_ns):
        self.calls.append((batch.payload, position, upto, now_ns))
        self.open.append(position)
        self.last = upto

    def tick(self, now_ns):
        self.ticked.append(now_ns)
        return ()

    def decide(self, upto):
        self.fresh += [position for position in self.open if position < upto]
        self.open = [position for position in self.open if position >= upto]

    def boundary(self):
        return min(self.open, default=self.last)

    def take_verdicts(self):
        fresh, self.fresh = self.fresh, []
        return Verdicts(repr(fresh).encode(), len(fresh)) if fresh else None

    def restore(self, blob):
        if blob == b"bad":
            raise ValueError("an unknown version")
        self.restored.append(blob)

    def settled(self, position):
        self.settled_at.append(position)

    def has_room(self):
        return self.room

    def shed(self, position):
        self.shed_before.append(position)
        self.decide(position)

    def decide_all(self):
        self.decide(self.last)


class FakeOutlet:
    """Takes what it is given, while it is open, and answers when it is told to."""

    def __init__(self, account):
        self.account, self.taken, self.stopped = account, [], False
        self.open = asyncio.Event()
        self.open.set()
        self.asked = 0

    async def room(self, size):
        self.asked += 1
        await self.open.wait()

    def emit(self, batch):
        self.taken.append(batch)

    def stop(self):
        self.stopped = True

    @property
    def payloads(self):
        return [batch.to_bytes() for batch in self.taken]

    def answer(self, outcome=Outcome.DELIVERED):
        for batch in self.taken:
            self.account.settle(len(batch), outcome, "")
            batch.ack.resolve(outcome)
        self.taken.clear()


class FakeDeadLetter:
    """Remembers what it is given; the first `refuse` times it can't."""

    def __init__(self, refuse=0, error=None):
        self.refuse, self.letters, self.error = refuse, [], error or StorageError("the dead letter is full")
        self.rejected = []

    async def write(self, batch, exporter_id, reason, rejected=None):
        await asyncio.sleep(0)
        if self.refuse:
            self.refuse -= 1
            raise self.error
        self.letters.append((batch.to_bytes(), len(batch), exporter_id, reason))
        self.rejected.append(rejected)


class Hold(Processor):
    """Holds until it is ticked or drained."""

    def __init__(self, *args):
        super().__init__(*args)
        self.held = []

    def process(self, batch):
        self.held.append(batch)
        return ()

    def tick(self, now_ns):
        return self.drain()

    def drain(self):
        held, self.held = self.held, []
        return held
