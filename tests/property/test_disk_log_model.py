"""The disk log against a list: append, read, commit, journal, restart and crash, in any order."""

import asyncio
import contextlib
import logging
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from collector.api import Ack, Batch, BuildContext, Context, Outcome, Signal
from collector.connectors.disk import DiskConnector, DiskOptions
from collector.testing.durable_connector import READERS

_LOG = logging.getLogger("disk")
_SIZES = st.lists(st.sampled_from([0, 1, 40, 3000, 4062, 30_000]), min_size=1, max_size=6)


class DiskLogModel(RuleBasedStateMachine):
    """`records` is what the log must hold, position by position; `verdicts` what the journal must not lose."""

    def __init__(self):
        super().__init__()
        self.base = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.lives = 0
        self.made = 0
        self.records = []
        self.committed = 0
        self.verdicts = []
        self.monotonic = 5_000
        self.time_ns = 0
        self.maybe = []

    @initialize(
        compression=st.sampled_from(["none", "gzip", "zstd"]),
        segment_size=st.sampled_from([64 << 10, 200_000]),
        recent_bytes=st.sampled_from([0, 5000, 1 << 20]),
    )
    def begin(self, **options):
        self.options = options | {"commit_interval": 0, "max_record_size": 8192}
        self.directory = self.base / "0"
        self._start()

    def _start(self):
        config = DiskOptions(directory=self.directory, **self.options)
        wall = 1_000_000 * (3 - self.lives % 3)  # it steps back, and nothing minds
        self.connector = DiskConnector(
            config,
            BuildContext("disk", _LOG, readers=READERS[:1]),
            monotonic_ns=lambda: self.monotonic,
            wall_ns=lambda: wall,
        )
        self._run(self.connector.start(()))
        self.partition = self.connector._logs[Signal.TRACES].partitions[READERS[0].name]
        self.lives += 1
        self._settle_maybe()
        assert self.partition.end == len(self.records)
        assert self.partition.committed == self.committed
        assert self.partition.now_ns() >= self.time_ns

    def _settle_maybe(self):
        """What was in flight at the crash may be there or not, in order and without holes."""
        extra = self._read(len(self.records), 1 << 30)
        found = [record.payload for record in extra]
        joined = b"".join(self.maybe)
        assert joined.startswith(b"".join(found))
        self.records += found
        self.maybe = []

    def _run(self, coroutine):
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 20))

    def _read(self, position, max_bytes):
        records = []
        while position < self.partition.end:
            chunk = self._run(self.partition.read(position, max_bytes))
            assert chunk.next > position
            records += chunk.records
            position = chunk.next
        return records

    def _payload(self, size):
        self.made += 1
        return b"%d;" % self.made + bytes([self.made % 256]) * size

    def _submit(self, payload, answers, tenant=""):
        ack = Ack(lambda outcome, _reason: answers.append(outcome))
        self.connector.append(Batch(payload, ack, count=1, context=Context(tenant)))

    @rule(sizes=_SIZES)
    def append(self, sizes):
        for payload in [self._payload(size) for size in sizes]:
            answers = []
            self._submit(payload, answers)
            self._run(self.partition.wait(len(self.records)))
            assert answers == [Outcome.DELIVERED]
            self.records.append(payload)

    @rule(sizes=_SIZES)
    def append_together(self, sizes):
        payloads = [self._payload(size) for size in sizes]
        answers, before = [], len(self.records)
        for payload in payloads:
            self._submit(payload, answers)

        async def all_answered():
            while len(answers) < len(payloads):
                await asyncio.sleep(0.001)

        self._run(all_answered())
        assert set(answers) == {Outcome.DELIVERED}
        found = [record.payload for record in self._read(before, 1 << 30)]
        assert b"".join(found) == b"".join(payloads)
        self.records += found

    @rule(ns=st.integers(0, 10**12))
    def time_passes(self, ns):
        self.monotonic += ns

    @rule(share=st.floats(0, 1))
    def commit(self, share):
        position = round(share * len(self.records))
        self._run(self.partition.commit(position))
        self.committed = max(self.committed, position)

    @rule(count=st.integers(0, 20), keep=st.integers(0, 30), size=st.sampled_from([0, 10, 6000]))
    def journal(self, count, keep, size):
        blob, head = self._payload(size), len(self.records)
        self._run(self.partition.journal(blob, count, head, keep))
        self.verdicts.append((blob, count, head))
        while self.verdicts:
            newer = sum(count for _, count, _ in self.verdicts[1:])
            if self.verdicts[0][2] > self.committed or newer < keep or len(self.verdicts) == 1:
                break
            del self.verdicts[0]

    @rule(share=st.floats(0, 1), max_bytes=st.sampled_from([1, 4000, 100_000]))
    def read(self, share, max_bytes):
        position = self.committed + round(share * (len(self.records) - self.committed))
        records = self._read(position, max_bytes)
        assert [record.position for record in records] == list(range(position, len(self.records)))
        assert [record.payload for record in records] == self.records[position:]
        times = [record.time_ns for record in records]
        assert times == sorted(times)
        if times:
            assert times[-1] <= self.partition.now_ns()
            self.time_ns = max(self.time_ns, times[-1])

    @rule()
    def restart(self):
        self._run(self.connector.stop())
        self.monotonic = 0
        self._start()

    @rule(sizes=st.one_of(st.just([]), _SIZES))
    def crash(self, sizes):
        ignored = []
        self.maybe = [self._payload(size) for size in sizes]
        for payload in self.maybe:
            self._submit(payload, ignored)
        if sizes:
            self._run(asyncio.sleep(0))
        image = self.base / str(self.lives)
        for path in sorted(self.directory.rglob("*")):
            copy = image / path.relative_to(self.directory)
            copy.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # the log tidies up behind our back: it was gone at the crash
                if not path.is_dir():
                    shutil.copy2(path, copy)
        self._run(self.connector.stop())
        shutil.rmtree(self.directory)
        self.directory = image
        self.monotonic = 0
        self._start()

    @invariant()
    def positions_agree(self):
        if self.lives:
            assert self.partition.end == len(self.records)
            assert self.partition.committed == self.committed
            kept = list(self._run(self.partition.load_journal()))
            assert kept[len(kept) - len(self.verdicts) :] == [blob for blob, _, _ in self.verdicts]

    def teardown(self):
        if self.lives:
            self._run(self.connector.stop())
        self.loop.close()
        shutil.rmtree(self.base)


TestDiskLogModel = DiskLogModel.TestCase
TestDiskLogModel.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
