"""The contract of durable connectors as tests: subclass `DurableConnectorContract` in a pytest module.

    class TestMine(DurableConnectorContract):
        @pytest.fixture
        def log(self, tmp_path):
            context = BuildContext("mine", logger, readers=READERS)
            return lambda: MyConnector(MyConnector.Config(directory=tmp_path), context)

`log` makes a new connector on the same logs with each call: one life of the process each. The logs begin empty and have
one partition each; the configuration has `READERS`. Tests are coroutines: run them with pytest-asyncio in auto mode, or
wrap them.
"""

# ruff: noqa: S101 - a kit of tests is made of assertions

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.api import Ack, Batch, Context, Outcome, Reader, Signal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from collector.api import DurableConnector, Partition, Record

READERS = (
    Reader("traces/one", Signal.TRACES),
    Reader("traces/two", Signal.TRACES),
    Reader("metrics/one", Signal.METRICS),
    Reader("logs/one", Signal.LOGS),
)
"""The pipelines that read the connector by its configuration."""

_PATIENCE = 30
"""Seconds that anything may take."""


class Listener:
    """A reader that remembers what it was told, and commits everything when it is revoked."""

    def __init__(self, reader: Reader = READERS[0]) -> None:
        self.id = reader.id
        self.signal = reader.signal
        self.partitions: asyncio.Queue[Partition] = asyncio.Queue()
        self.revoked_partitions: list[Partition] = []
        self.committed_at_revoke: int | None = None

    async def assigned(self, partition: Partition) -> None:
        """Remember it."""
        await self.partitions.put(partition)

    async def revoked(self, partition: Partition) -> None:
        """Commit everything, as the graph does when all is settled."""
        await partition.commit(partition.end)
        self.committed_at_revoke = partition.committed
        self.revoked_partitions.append(partition)


class Quiet(Listener):
    """A reader that commits nothing when it is revoked."""

    async def revoked(self, partition: Partition) -> None:
        """Remember it."""
        self.revoked_partitions.append(partition)


@asynccontextmanager
async def lives(
    log: Callable[[], DurableConnector], *listeners: Listener
) -> AsyncIterator[tuple[DurableConnector, list[Partition]]]:
    """One life of a connector: started, a partition assigned to each listener; stopped at the end."""
    connector = log()
    await connector.start(listeners)
    try:
        async with asyncio.timeout(_PATIENCE):
            partitions = [await listener.partitions.get() for listener in listeners]
        yield connector, partitions
    finally:
        await connector.stop()


@asynccontextmanager
async def life(
    log: Callable[[], DurableConnector], listener: Listener | None = None
) -> AsyncIterator[tuple[DurableConnector, Partition]]:
    """One life of a connector with one reader."""
    async with lives(log, listener or Quiet()) as (connector, (partition,)):
        yield connector, partition


async def append(
    connector: DurableConnector,
    payloads: Iterable[bytes],
    *,
    context: Context | None = None,
    signal: Signal = Signal.TRACES,
) -> list[tuple[Outcome, str]]:
    """Append each payload as a batch of one item; the answers, in the order of the payloads."""
    loop = asyncio.get_running_loop()
    answers = []
    for payload in payloads:
        future = loop.create_future()

        def done(outcome: Outcome, reason: str, future: asyncio.Future[tuple[Outcome, str]] = future) -> None:
            future.set_result((outcome, reason))

        answers.append(future)
        connector.append(Batch(payload, Ack(done), signal=signal, count=1, context=context or Context()))
    return list(await asyncio.wait_for(asyncio.gather(*answers), _PATIENCE))


async def read_all(partition: Partition, position: int | None = None, max_bytes: int = 1 << 20) -> list[Record]:
    """Every record from `position`, or the committed one, to the end."""
    position = partition.committed if position is None else position
    records: list[Record] = []
    while position < partition.end:
        chunk = await asyncio.wait_for(partition.read(position, max_bytes), _PATIENCE)
        assert chunk.next > position, "a read must get on"
        records.extend(chunk.records)
        position = chunk.next
    return records


def content(records: Sequence[Record]) -> bytes:
    """All payloads; a connector may merge batches, so that only their concatenation is promised."""
    return b"".join(record.payload for record in records)


def payloads(first: int, count: int, size: int = 200, signal: Signal = Signal.TRACES) -> list[bytes]:
    """OTLP requests of one item each, a bit longer than `size`, that differ from each other."""
    make = {Signal.TRACES: _spans, Signal.METRICS: _points, Signal.LOGS: _records}[signal]
    texts = (f"<{number:08d}>" + chr(ord("a") + number % 26) * size for number in range(first, first + count))
    return [make(number, text) for number, text in enumerate(texts, start=first)]


def _spans(number: int, text: str) -> bytes:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name=text)
    span.trace_id, span.span_id = number.to_bytes(16, "big"), b"contract"
    return request.SerializeToString()


def _points(number: int, text: str) -> bytes:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name=text)
    metric.gauge.data_points.add(as_int=number)
    return request.SerializeToString()


def _records(number: int, text: str) -> bytes:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=number)
    record.body.string_value = text
    return request.SerializeToString()


class DurableConnectorContract:
    """What `collector.component.connector` promises, one test a promise."""

    async def test_an_acknowledged_append_is_read_back(self, log: Callable[[], DurableConnector]) -> None:
        sent = payloads(0, 50)
        async with life(log) as (connector, partition):
            assert await append(connector, sent) == [(Outcome.DELIVERED, "")] * 50
            records = await read_all(partition)
        assert content(records) == b"".join(sent)
        assert sum(record.count for record in records) == 50
        assert {record.signal for record in records} == {Signal.TRACES}

    async def test_positions_count_up_and_time_does_not_go_back(self, log: Callable[[], DurableConnector]) -> None:
        async with life(log) as (connector, partition):
            for first in range(0, 30, 3):
                await append(connector, payloads(first, 3))
            records = await read_all(partition)
            assert [record.position for record in records] == list(range(partition.end))
            times = [record.time_ns for record in records]
            assert times == sorted(times)
            assert times[-1] <= partition.now_ns()

    async def test_contexts_are_kept_apart(self, log: Callable[[], DurableConnector]) -> None:
        one, two = payloads(0, 5), payloads(100, 5)
        async with life(log) as (connector, partition):
            await asyncio.gather(
                append(connector, one, context=Context("one")), append(connector, two, context=Context("two"))
            )
            records = await read_all(partition)
        for tenant, sent in (("one", one), ("two", two)):
            assert content([record for record in records if record.context == Context(tenant)]) == b"".join(sent)

    async def test_a_read_keeps_to_its_bytes_but_gives_one(self, log: Callable[[], DurableConnector]) -> None:
        async with life(log) as (connector, partition):
            for first in range(6):
                await append(connector, payloads(first, 1, 1000))
            one = await partition.read(0, 1)
            assert (len(one.records), one.next) == (1, 1)
            some = await partition.read(0, 2500)
            assert sum(len(record.payload) for record in some.records) <= 2500
            assert 1 <= len(some.records) == some.next <= 2
            assert content(await read_all(partition, max_bytes=1)) == b"".join(payloads(0, 6, 1000))

    async def test_wait_returns_when_there_is_something(self, log: Callable[[], DurableConnector]) -> None:
        async with life(log) as (connector, partition):
            waiting = asyncio.ensure_future(partition.wait(0))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            await append(connector, payloads(0, 1))
            await asyncio.wait_for(waiting, _PATIENCE)
            assert partition.end == 1
            await asyncio.wait_for(partition.wait(0), _PATIENCE)

    async def test_the_log_survives_a_restart(self, log: Callable[[], DurableConnector]) -> None:
        async with life(log) as (connector, partition):
            await append(connector, payloads(0, 20))
            before = await read_all(partition)
        async with life(log) as (connector, partition):
            assert await read_all(partition) == before
            await append(connector, payloads(20, 20))
            records = await read_all(partition)
        assert content(records) == b"".join(payloads(0, 40))
        assert [record.position for record in records] == list(range(len(records)))

    async def test_commit_is_where_the_next_life_begins(self, log: Callable[[], DurableConnector]) -> None:
        async with life(log) as (connector, partition):
            for first in range(10):
                await append(connector, payloads(first, 1))
            await partition.commit(4)
            assert partition.committed == 4
        async with life(log) as (connector, partition):
            assert (partition.committed, partition.end) == (4, 10)
            assert content(await read_all(partition)) == b"".join(payloads(4, 6))

    async def test_a_commit_never_goes_back(self, log: Callable[[], DurableConnector]) -> None:
        async with life(log) as (connector, partition):
            for first in range(5):
                await append(connector, payloads(first, 1))
            await partition.commit(3)
            await partition.commit(1)
            assert partition.committed == 3
        async with life(log) as (_, partition):
            assert partition.committed == 3

    async def test_positions_are_never_used_again(self, log: Callable[[], DurableConnector]) -> None:
        for turn in range(3):
            async with life(log, Listener()) as (connector, partition):
                assert partition.committed == partition.end == turn
                await append(connector, payloads(turn, 1))
                assert [record.position for record in await read_all(partition)] == [turn]

    async def test_the_journal_survives_in_order(self, log: Callable[[], DurableConnector]) -> None:
        blobs = [b"verdicts %d" % number * 100 for number in range(20)]
        async with life(log) as (connector, partition):
            await append(connector, payloads(0, 1))
            for blob in blobs:
                await partition.journal(blob, 10, partition.end, 0)
            assert list(await partition.load_journal()) == blobs
        async with life(log) as (_, partition):
            assert list(await partition.load_journal()) == blobs

    async def test_the_journal_keeps_what_it_must(self, log: Callable[[], DurableConnector]) -> None:
        async with life(log) as (connector, partition):
            for first in range(10):
                await append(connector, payloads(first, 1))
                await partition.journal(b"%d" % first, 1, first + 1, 3)
            assert len(await partition.load_journal()) == 10, "nothing is committed"
            await partition.commit(5)
            for _ in range(20):
                await partition.journal(b"later", 1, 10, 3)
            kept = await partition.load_journal()
            assert {b"%d" % number for number in range(5, 10)} <= set(kept), "heads after the committed position"
            await partition.commit(10)
            await partition.journal(b"last", 1, 10, 3)
            assert len(await partition.load_journal()) >= 3
        async with life(log) as (_, partition):
            assert [*await partition.load_journal()][-1] == b"last"

    async def test_the_journal_keeps_what_is_needed_at_the_end(self, log: Callable[[], DurableConnector]) -> None:
        """A head one beyond the end is no record, and kept until there is one and it is settled."""
        async with life(log) as (connector, partition):
            for number in range(3):
                await append(connector, payloads(number, 1))
            await partition.journal(b"state at 3", 1, 4, 0)
            await partition.commit(3)
        for turn in range(2):
            async with life(log) as (connector, partition):
                assert (partition.committed, partition.end) == (3, 3)
                assert b"state at 3" in await partition.load_journal()
                for number in range(3):
                    await partition.journal(b"at no position %d" % number, 1, 0, 0)
                assert b"state at 3" in await partition.load_journal(), turn
        async with life(log) as (connector, partition):
            assert b"state at 3" in await partition.load_journal()
            await append(connector, payloads(3, 1))
            assert content(await read_all(partition)) == payloads(3, 1)[0]
            await partition.commit(4)
            for number in range(3):
                await partition.journal(b"later %d" % number, 1, 0, 0)
        async with life(log) as (_, partition):
            assert b"state at 3" not in await partition.load_journal()

    async def test_stream_time_does_not_go_back_across_lives(self, log: Callable[[], DurableConnector]) -> None:
        last = 0
        for turn in range(3):
            async with life(log) as (connector, partition):
                assert partition.now_ns() >= last
                await append(connector, payloads(turn, 1))
                last = (await read_all(partition))[-1].time_ns
                assert partition.now_ns() >= last

    async def test_stop_revokes_while_the_partition_is_usable(self, log: Callable[[], DurableConnector]) -> None:
        listener = Listener()
        async with life(log, listener) as (connector, partition):
            await append(connector, payloads(0, 5))
        assert listener.revoked_partitions == [partition]
        assert listener.committed_at_revoke == partition.end

    async def test_stop_finishes_what_was_appended(self, log: Callable[[], DurableConnector]) -> None:
        sent = payloads(0, 200)
        async with life(log) as (connector, _):
            answers = asyncio.ensure_future(append(connector, sent))
            await asyncio.sleep(0)
        assert await answers == [(Outcome.DELIVERED, "")] * 200
        async with life(log) as (_, partition):
            assert content(await read_all(partition)) == b"".join(sent)

    async def test_nothing_is_taken_before_start_or_after_stop(self, log: Callable[[], DurableConnector]) -> None:
        connector = log()
        assert connector.ready() is not None
        ((outcome, reason),) = await append(connector, payloads(0, 1))
        assert outcome == Outcome.RETRY
        assert reason
        await connector.start(())
        assert connector.ready() is None
        await connector.stop()
        assert connector.ready() is not None
        assert (await append(connector, payloads(0, 1)))[0][0] == Outcome.RETRY

    async def test_a_process_may_only_write(self, log: Callable[[], DurableConnector]) -> None:
        connector = log()
        await connector.start(())
        assert (await append(connector, payloads(0, 3))) == [(Outcome.DELIVERED, "")] * 3
        await connector.stop()
        async with life(log) as (_, partition):
            assert content(await read_all(partition)) == b"".join(payloads(0, 3))

    async def test_each_reader_has_a_position_of_its_own(self, log: Callable[[], DurableConnector]) -> None:
        one, two = READERS[:2]
        async with lives(log, Quiet(one), Quiet(two)) as (connector, (first, second)):
            for number in range(10):
                await append(connector, payloads(number, 1))
            for partition in (first, second):
                assert content(await read_all(partition)) == b"".join(payloads(0, 10))
            await first.commit(3)
            assert (first.committed, second.committed) == (3, 0)
            await second.commit(8)
            assert (first.committed, second.committed) == (3, 8)
        async with lives(log, Quiet(two), Quiet(one)) as (connector, (second, first)):
            assert (first.committed, second.committed) == (3, 8)
            await append(connector, payloads(10, 1))
            assert content(await read_all(first)) == b"".join(payloads(3, 8))
            assert content(await read_all(second)) == b"".join(payloads(8, 3))

    async def test_what_one_reader_has_settled_stays_for_the_others(self, log: Callable[[], DurableConnector]) -> None:
        one, two = READERS[:2]
        async with lives(log, Quiet(one), Quiet(two)) as (connector, (first, _)):
            await append(connector, payloads(0, 50, 2000))
            await first.commit(first.end)
        async with life(log, Listener(one)) as (connector, first):
            assert first.committed == first.end
            await append(connector, payloads(50, 50, 2000))
        async with lives(log, Quiet(two), Quiet(one)) as (_, (second, first)):
            assert (second.committed, first.committed) == (0, first.end)
            assert content(await read_all(second)) == b"".join(payloads(0, 100, 2000))

    async def test_each_reader_has_a_journal_of_its_own(self, log: Callable[[], DurableConnector]) -> None:
        kept: dict[str, list[bytes]] = {reader.id: [] for reader in READERS[:2]}
        for turn in range(2):
            async with lives(log, *(Quiet(reader) for reader in READERS[:2])) as (connector, partitions):
                await append(connector, payloads(turn, 1))
                for number in range(10):
                    # At the same time: the one must not take the other's for a stranger's.
                    blobs = [b"%d/%d of %s" % (turn, number, id_.encode()) for id_ in kept]
                    await asyncio.gather(
                        *(each.journal(blob, 1, each.end, 0) for each, blob in zip(partitions, blobs, strict=True))
                    )
                    for blob, blobs_so_far in zip(blobs, kept.values(), strict=True):
                        blobs_so_far.append(blob)
                for partition, blobs_so_far in zip(partitions, kept.values(), strict=True):
                    assert list(await partition.load_journal()) == blobs_so_far

    async def test_signals_do_not_meet(self, log: Callable[[], DurableConnector]) -> None:
        readers = {reader.signal: reader for reader in reversed(READERS)}
        sent: dict[Signal, list[bytes]] = {signal: [] for signal in readers}
        for turn in range(2):
            async with lives(log, *(Quiet(reader) for reader in readers.values())) as (connector, partitions):
                for number in range(10):
                    first = turn * 100 + number * 5
                    given = {signal: payloads(first, 1 + at, signal=signal) for at, signal in enumerate(readers)}
                    await asyncio.gather(*(append(connector, each, signal=signal) for signal, each in given.items()))
                    for signal, each in given.items():
                        sent[signal] += each
                for signal, partition in zip(readers, partitions, strict=True):
                    records = await read_all(partition)
                    assert {record.signal for record in records} == {signal}
                    assert content(records) == b"".join(sent[signal])
                    assert sum(record.count for record in records) == len(sent[signal])
                    assert [record.position for record in records] == list(range(partition.committed, partition.end))
                await partitions[turn].commit(partitions[turn].end)
                sent[list(readers)[turn]].clear()

    async def test_a_reader_goes_on_while_another_is_revoked(self, log: Callable[[], DurableConnector]) -> None:
        gone = asyncio.Event()

        class Failing(Quiet):
            async def revoked(self, partition: Partition) -> None:
                gone.set()
                raise RuntimeError(f"{partition.name} can't be let go")

        class Slow(Listener):
            async def revoked(self, partition: Partition) -> None:
                await asyncio.wait_for(gone.wait(), _PATIENCE)
                await asyncio.sleep(0.05)
                await partition.journal(b"at the end", 1, partition.end, 0)
                await super().revoked(partition)

        one, two = Failing(READERS[0]), Slow(READERS[1])
        with suppress(RuntimeError):
            async with lives(log, one, two) as (connector, (_, partition)):
                await append(connector, payloads(0, 5))
                assert content(await read_all(partition)) == b"".join(payloads(0, 5))
        async with lives(log, Quiet(READERS[0]), Quiet(READERS[1])) as (_, (first, second)):
            assert content(await read_all(first)) == b"".join(payloads(0, 5))
            assert second.committed == second.end
            assert list(await second.load_journal()) == [b"at the end"]
