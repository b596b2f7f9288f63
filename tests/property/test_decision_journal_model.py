"""The decision journal under takeovers at any await: what was acted on is what everybody later goes by.

The log is a list that survives everything. Appends may fail with the record in, out, or in later; offsets may be
unknown; compaction drops whatever a later record of the same key supersedes. Owners of the partition take over from
each other at any moment, and those that lost it go on for as long as they like. Verdicts are random on purpose: two
owners that don't hear of each other contradict each other.

Trace `t` stands at position `t` of the data. An owner begins at the committed position, decides traces before its head
in any order, acts on a verdict when the journal has it, and commits only what is acted on.
"""

import asyncio
import json
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.connectors.kafka import journal as journal_module
from collector.connectors.kafka.journal import EPOCH_KEY, DecisionJournal
from collector.errors import OwnershipLostError, StorageError

ENDLESS = 1 << 60
"""The data's log; owners decide on what they have seen of it."""


class ViolationError(AssertionError):
    """The journal broke its promise."""


@dataclass
class Entry:
    offset: int
    key: bytes
    value: bytes | None
    headers: list


@dataclass
class World:
    """What outlives every owner: the log, the committed position, and what was acted on."""

    rng: random.Random
    faults: float = 0.2
    log: list = field(default_factory=list)
    end: int = 0
    epochs: list = field(default_factory=list)
    committed: int = 0
    acted: dict = field(default_factory=dict)
    owners: int = 0
    compacted: int = 0
    fenced: int = 0
    late: set[asyncio.Future] = field(default_factory=set)

    async def stumble(self, most=4):
        if self.rng.random() < 0.02:
            most = 200  # suspended
        for _ in range(self.rng.randrange(most)):
            await asyncio.sleep(0)

    def land(self, key, value, headers):
        entry = Entry(self.end, key, value, list(headers))
        self.log.append(entry)
        self.end += 1
        if key == EPOCH_KEY:
            self.epochs.append(entry.offset)
        return entry.offset

    def compact(self):
        newest = {entry.key: entry.offset for entry in self.log}
        kept = [entry for entry in self.log if newest[entry.key] == entry.offset or self.rng.random() < 0.3]
        self.compacted += len(self.log) - len(kept)
        self.log = kept

    def act(self, trace, keep, head):
        known = self.acted.setdefault(trace, (keep, head))
        if known[0] != keep:
            raise ViolationError(f"two verdicts were acted on for trace {trace}")
        self.acted[trace] = keep, max(head, known[1])

    def check_loaded(self, loaded):
        for trace, keep in loaded:
            if trace in self.acted and self.acted[trace][0] != keep:
                raise ViolationError(f"a void verdict for trace {trace} was loaded")

    def check_complete(self, there, committed):
        for trace, (_, head) in self.acted.items():
            if head > committed and trace not in there:
                raise ViolationError(f"the verdict for trace {trace} is needed and gone")


class Log:
    """The world's log as one owner reaches it."""

    def __init__(self, world):
        self.world = world

    async def append(self, key, value, headers):
        world = self.world
        await world.stumble()
        fault = world.rng.random()
        if fault < world.faults / 4:
            raise StorageError("not in")
        if fault < world.faults / 2:
            task = asyncio.ensure_future(self.land_late(key, value, headers))
            world.late.add(task)
            task.add_done_callback(world.late.discard)
            raise StorageError("in later")
        offset = world.land(key, value, headers)
        await world.stumble()
        if fault < world.faults * 3 / 4:
            raise StorageError("in, but the answer is lost")
        return -1 if fault < world.faults else offset

    async def land_late(self, key, value, headers):
        await self.world.stumble(60)
        self.world.land(key, value, headers)

    async def begin(self):
        await self.world.stumble()
        return self.world.log[0].offset

    async def read(self, start, stop):
        await self.world.stumble()
        if self.world.rng.random() < self.world.faults / 4:
            raise StorageError("not now")
        found = [entry for entry in self.world.log if start <= entry.offset < stop]
        await self.world.stumble()
        return found


class Owner:
    """One owner's life: open, load, decide, act; until it is told that it is one no longer."""

    def __init__(self, world):
        self.world = world
        self.number = world.owners
        world.owners += 1
        self.committed = self.head = 0
        self.verdicts = {}

    async def live(self):
        try:
            await self.own()
        except OwnershipLostError:
            self.world.fenced += 1

    async def own(self):
        world = self.world
        journal = await self.opened()
        await world.stumble()
        self.committed = self.begin()
        blobs = await retried(lambda: journal.load(ENDLESS))
        loaded = [(trace, keep, head) for head, traces in map(json.loads, blobs) for trace, keep in traces]
        world.check_loaded([(trace, keep) for trace, keep, _ in loaded])
        if world.epochs[-1] == journal._epoch:  # or a successor may have settled and forgotten some
            world.check_complete({trace for trace, _, _ in loaded}, self.committed)
        for trace, keep, head in loaded:
            self.verdicts[trace] = keep
            if trace >= self.committed:
                world.act(trace, keep, head)  # the tail goes by what the journal says
        while True:
            await world.stumble()
            self.head = max(self.head, self.committed) + world.rng.randrange(3)
            open_traces = [trace for trace in range(self.committed, self.head) if trace not in self.verdicts]
            if open_traces:
                await self.decide(journal, world.rng.sample(open_traces, world.rng.randint(1, len(open_traces))))
            self.commit()

    def begin(self):
        """Asked when the epoch is there, and not before."""
        return self.world.committed

    async def opened(self):
        while True:
            journal = DecisionJournal(Log(self.world))
            try:
                await journal.open()
            except StorageError:
                await self.world.stumble()
            else:
                return journal

    async def decide(self, journal, traces):
        world = self.world
        fresh = [(trace, world.rng.random() < 0.5) for trace in traces]
        blob = json.dumps([self.head, fresh]).encode()
        keep = world.rng.randrange(4)
        lost_before = world.epochs[-1] != journal._epoch

        async def append():
            await journal.append(blob, len(fresh), self.head, keep, self.committed)

        await retried(append)
        if lost_before:
            raise ViolationError("acted after another's epoch")
        for trace, verdict in fresh:
            self.verdicts[trace] = verdict
            world.act(trace, verdict, self.head)

    def commit(self):
        """The group refuses all but its present member."""
        if self.number == self.world.owners - 1 and self.world.rng.random() < 0.4:
            boundary = self.committed
            while boundary in self.verdicts and boundary < self.head:
                boundary += 1
            self.committed = self.world.rng.randint(self.committed, boundary)
            self.world.committed = max(self.world.committed, self.committed)


async def retried(attempt):
    while True:
        try:
            return await attempt()
        except StorageError:
            await asyncio.sleep(0)


async def history(seed, *, takeovers=25, faults=0.2):
    """Some lives of a partition. Raises `ViolationError`."""
    world = World(random.Random(seed), faults)
    owners = []
    for _ in range(takeovers):
        owner = asyncio.ensure_future(Owner(world).live())
        owners.append(owner)
        for _ in range(world.rng.randrange(120)):
            await asyncio.sleep(0)
            if world.rng.random() < 0.1:
                world.compact()
        if world.rng.random() < 0.3:
            owner.cancel()
    for each in (*owners, *world.late):
        each.cancel()
    results = await asyncio.gather(*owners, *world.late, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return world


async def histories(count):
    for seed in range(count):
        await history(seed, takeovers=40)


@pytest.mark.parametrize("seed", range(100))
def test_what_was_acted_on_stands(seed):
    asyncio.run(history(seed))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.sampled_from([0.0, 0.05, 0.2, 0.5]))
def test_what_was_acted_on_stands_however_often_appends_fail(seed, takeovers, faults):
    asyncio.run(history(seed, takeovers=takeovers, faults=faults))


def test_the_model_gets_to_what_it_is_about():
    worlds = [asyncio.run(history(seed)) for seed in range(20)]
    assert sum(world.fenced for world in worlds) > 100
    assert sum(world.compacted for world in worlds) > 1000
    assert sum(len(world.acted) for world in worlds) > 500
    assert all(world.committed > 0 for world in worlds)


def accept_company(monkeypatch):
    async def check(self, offset):
        if offset < 0:
            raise StorageError("unknown")
        self._next = offset + 1

    monkeypatch.setattr(DecisionJournal, "_check_alone", check)


def count_what_is_void(monkeypatch):
    monkeypatch.setattr(journal_module, "counts", lambda record: True)


def share_keys(monkeypatch):
    def new_key(self):
        self._keys += 1
        return b"%d" % self._keys

    monkeypatch.setattr(DecisionJournal, "_new_key", new_key)


def give_keys_again_that_were_not_answered(monkeypatch):
    entry = journal_module._Entry
    monkeypatch.setattr(journal_module, "_Entry", lambda *given, again=True: entry(*given, again=again))


def act_before_the_journal_has_it(monkeypatch):
    append = DecisionJournal.append

    async def hasty(self, *given):
        self.task = asyncio.ensure_future(append(self, *given))
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())

    monkeypatch.setattr(DecisionJournal, "append", hasty)


def begin_where_it_was_before(monkeypatch):
    opened = Owner.opened

    async def early(self):
        self.early = self.world.committed
        return await opened(self)

    monkeypatch.setattr(Owner, "opened", early)
    monkeypatch.setattr(Owner, "begin", lambda self: self.early)


@pytest.mark.parametrize(
    "sabotage",
    [
        accept_company,
        count_what_is_void,
        share_keys,
        give_keys_again_that_were_not_answered,
        act_before_the_journal_has_it,
        begin_where_it_was_before,
    ],
)
def test_every_rule_is_needed(sabotage, monkeypatch):
    sabotage(monkeypatch)
    with pytest.raises(ViolationError):
        asyncio.run(histories(400))


@pytest.mark.parametrize("seed", range(10))
def test_compaction_forgets_what_nobody_needs(seed):
    """However the owners came and went, the last one cleans up behind them; one that was fenced may leave a key."""

    async def settle(world):
        world.faults = 0
        journal = DecisionJournal(Log(world))
        await journal.open()
        left = len(await journal.load(ENDLESS))
        for _ in range(len(world.log)):
            await journal.append(b"x", 1, world.end, 0, world.end)
        world.log = list({entry.key: entry for entry in world.log}.values())
        successor = DecisionJournal(Log(world))
        await successor.open()
        return left, [entry for entry in world.log if entry.value], await successor.load(ENDLESS)

    world = asyncio.run(history(seed, faults=0.05))
    left, stored, loaded = asyncio.run(settle(world))
    assert left > 0
    assert loaded == [b"x"] * len(loaded)
    assert len(stored) <= 3 + world.fenced < world.end // 4
