"""The disk logs against lists: append, read, commit, journal, restart, crash, and readers that come and go, in any
order."""

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
_ONE, _TWO, _METRICS, _ = READERS
_SIGNALS = st.sampled_from([Signal.TRACES, Signal.TRACES, Signal.METRICS])
_READERS = st.sampled_from([_ONE, _TWO, _METRICS])
_CONFIGURATIONS = st.sampled_from([(_ONE, _TWO, _METRICS), (_ONE, _TWO, _METRICS), (_ONE, _METRICS), (_TWO, _ONE)])


class _Place:
    """What the log must not lose of one reader: its position, its journal."""

    def __init__(self, committed=0):
        self.committed = committed
        self.verdicts = []


class DiskLogModel(RuleBasedStateMachine):
    """`records` is what the log of a signal must hold, position by position; `places` is where its readers are."""

    def __init__(self):
        super().__init__()
        self.base = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.lives = 0
        self.made = 0
        self.records = {Signal.TRACES: [], Signal.METRICS: []}
        self.time_ns = dict.fromkeys(self.records, 0)
        self.maybe = {signal: [] for signal in self.records}
        self.places = {}
        self.monotonic = 5_000

    @initialize(
        readers=_CONFIGURATIONS,
        compression=st.sampled_from(["none", "gzip", "zstd"]),
        segment_size=st.sampled_from([64 << 10, 200_000]),
        recent_bytes=st.sampled_from([0, 5000, 1 << 20]),
    )
    def begin(self, readers, **options):
        self.options = options | {"commit_interval": 0, "max_record_size": 8192}
        self.directory = self.base / "0"
        self.readers = readers
        self._start()

    def _start(self):
        config = DiskOptions(directory=self.directory, **self.options)
        wall = 1_000_000 * (3 - self.lives % 3)  # it steps back, and nothing minds
        context = BuildContext(
            "disk", _LOG, signals=frozenset(each.signal for each in self.readers), readers=self.readers
        )
        self.connector = DiskConnector(config, context, monotonic_ns=lambda: self.monotonic, wall_ns=lambda: wall)
        self._run(self.connector.start(()))
        for log in self.connector._logs.values():
            self._run(asyncio.wait([*log._forgetting, asyncio.ensure_future(asyncio.sleep(0), loop=self.loop)]))
        self.lives += 1
        for signal in self.records:
            self._settle_maybe(signal)
        self._readers_come_and_go()
        self.positions_agree()

    def _log(self, signal):
        return self.connector._logs.get(signal)

    def _partition(self, reader):
        log = self._log(reader.signal)
        return None if log is None else log.partitions.get(reader.name)

    def _readers_come_and_go(self):
        for reader in (_ONE, _TWO, _METRICS):
            place, partition = self.places.get(reader), self._partition(reader)
            if reader in self.readers:
                if place is None:
                    others = [self.places[each].committed for each in self._others(reader)]
                    assert partition.committed <= min(others, default=0)
                    self.places[reader] = _Place(partition.committed)
            elif place is not None and place.committed == len(self.records[reader.signal]):
                assert partition is None, "nothing waits for it"
                del self.places[reader]
                if not self._others(reader):
                    self.records[reader.signal], self.time_ns[reader.signal] = [], 0

    def _others(self, reader):
        return [each for each in self.places if each.signal is reader.signal and each is not reader]

    def _settle_maybe(self, signal):
        """What was in flight at the crash may be there or not, in order and without holes."""
        maybe, self.maybe[signal] = self.maybe[signal], []
        if self._log(signal) is not None and signal in {each.signal for each in self.readers}:
            extra = self._read(signal, len(self.records[signal]), 1 << 30)
            found = [record.payload for record in extra]
            assert b"".join(maybe).startswith(b"".join(found))
            self.records[signal] += found

    def _run(self, coroutine):
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, 20))

    def _read(self, signal, position, max_bytes):
        records, log = [], self._log(signal)
        while position < log.end:
            chunk = self._run(log.read(position, max_bytes))
            assert chunk.next > position
            records += chunk.records
            position = chunk.next
        return records

    def _payload(self, size):
        self.made += 1
        return b"%d;" % self.made + bytes([self.made % 256]) * size

    def _submit(self, signal, payload, answers, tenant=""):
        ack = Ack(lambda outcome, _reason: answers.append(outcome))
        self.connector.append(Batch(payload, ack, signal=signal, count=1, context=Context(tenant)))

    def _takes(self, signal):
        return signal in {each.signal for each in self.readers}

    @rule(signal=_SIGNALS, sizes=_SIZES)
    def append(self, signal, sizes):
        if not self._takes(signal):
            return
        for payload in [self._payload(size) for size in sizes]:
            answers = []
            self._submit(signal, payload, answers)
            self._run(self._log(signal).wait(len(self.records[signal])))
            assert answers == [Outcome.DELIVERED]
            self.records[signal].append(payload)

    @rule(sizes=_SIZES)
    def append_together(self, sizes):
        signals = [signal for signal in self.records if self._takes(signal)]
        payloads = [(signals[at % len(signals)], self._payload(size)) for at, size in enumerate(sizes)]
        before = {signal: len(self.records[signal]) for signal in signals}
        answers = []
        for signal, payload in payloads:
            self._submit(signal, payload, answers)

        async def all_answered():
            while len(answers) < len(payloads):
                await asyncio.sleep(0.001)

        self._run(all_answered())
        assert set(answers) == {Outcome.DELIVERED}
        for signal in signals:
            found = [record.payload for record in self._read(signal, before[signal], 1 << 30)]
            assert b"".join(found) == b"".join(payload for to, payload in payloads if to is signal)
            self.records[signal] += found

    @rule(ns=st.integers(0, 10**12))
    def time_passes(self, ns):
        self.monotonic += ns

    @rule(reader=_READERS, share=st.floats(0, 1))
    def commit(self, reader, share):
        if reader not in self.readers:
            return
        position = round(share * len(self.records[reader.signal]))
        self._run(self._partition(reader).commit(position))
        self.places[reader].committed = max(self.places[reader].committed, position)

    @rule(
        reader=_READERS,
        count=st.integers(0, 20),
        keep=st.integers(0, 30),
        size=st.sampled_from([0, 10, 6000]),
        beyond=st.integers(0, 1),
    )
    def journal(self, reader, count, keep, size, beyond):
        if reader not in self.readers:
            return
        blob, head, place = self._payload(size), len(self.records[reader.signal]) + beyond, self.places[reader]
        self._run(self._partition(reader).journal(blob, count, head, keep))
        place.verdicts.append((blob, count, head))
        while place.verdicts:
            newer = sum(count for _, count, _ in place.verdicts[1:])
            if place.verdicts[0][2] > place.committed or newer < keep or len(place.verdicts) == 1:
                break
            del place.verdicts[0]

    @rule(reader=_READERS, share=st.floats(0, 1), max_bytes=st.sampled_from([1, 4000, 100_000]))
    def read(self, reader, share, max_bytes):
        if reader not in self.readers:
            return
        signal, committed = reader.signal, self.places[reader].committed
        position = committed + round(share * (len(self.records[signal]) - committed))
        records = self._read(signal, position, max_bytes)
        assert [record.position for record in records] == list(range(position, len(self.records[signal])))
        assert [record.payload for record in records] == self.records[signal][position:]
        assert {record.signal for record in records} <= {signal}
        times = [record.time_ns for record in records]
        assert times == sorted(times)
        if times:
            assert times[-1] <= self._partition(reader).now_ns()
            self.time_ns[signal] = max(self.time_ns[signal], times[-1])

    @rule(readers=_CONFIGURATIONS)
    def restart(self, readers):
        self._run(self.connector.stop())
        self.readers = readers
        self.monotonic = 0
        self._start()

    @rule(sizes=st.one_of(st.just([]), _SIZES))
    def crash(self, sizes):
        ignored = []
        for at, size in enumerate(sizes):
            signal = Signal.METRICS if at % 3 == 2 and self._takes(Signal.METRICS) else Signal.TRACES
            payload = self._payload(size)
            self.maybe[signal].append(payload)
            self._submit(signal, payload, ignored)
        if sizes:
            self._run(asyncio.sleep(0))
        image = self.base / str(self.lives)
        for path in sorted(self.directory.rglob("*")):
            copy = image / path.relative_to(self.directory)
            copy.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # the log tidies up behind our back: it was gone at the crash
                if path.is_dir():
                    copy.mkdir(exist_ok=True)
                else:
                    shutil.copy2(path, copy)
        self._run(self.connector.stop())
        shutil.rmtree(self.directory)
        self.directory = image
        self.monotonic = 0
        self._start()

    @invariant()
    def positions_agree(self):
        for reader, place in self.places.items() if self.lives else ():
            partition = self._partition(reader)
            assert partition.end == len(self.records[reader.signal])
            assert partition.committed == place.committed
            assert partition.now_ns() >= self.time_ns[reader.signal]
            kept = list(self._run(partition.load_journal()))
            assert kept[len(kept) - len(place.verdicts) :] == [blob for blob, _, _ in place.verdicts]

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
