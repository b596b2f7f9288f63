"""The leading position: what it shows, in which order, and what it makes durable before the tail may pass."""

import asyncio

import pytest
from graph_fakes import FakeLog, FakeLookahead, made, turns

from collector.batch import Batch
from collector.component.connector import Partition
from collector.component.processor import Processor
from collector.errors import OwnershipLostError, StorageError
from collector.graph import head as head_module
from collector.graph import merging as merging_module
from collector.graph.head import Head
from collector.graph.observed import Observed
from collector.telemetry.ledger import Account
from collector.testing.batches import traces_payload


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(merging_module, "MERGE_BYTES", 1)
    monkeypatch.setattr(head_module, "RETRY_PAUSE_S", 0)
    monkeypatch.setattr(head_module, "ROOM_POLL_S", 0)
    monkeypatch.setattr(Partition, "pace_s", 0)


class Leading:
    """A head and everything around it; `allowed` is how far the tail might go."""

    def __init__(self, log, *before, books=True, processor=None):
        self.log, self.account, self.allowed = log, Account("traces"), []
        self.observed = Observed(log.committed) if books else None
        self.processor = processor or made(FakeLookahead)
        self.head = Head(log, before, self.processor, self.account, observed=self.observed, allow=self.allowed.append)

    async def decide(self, upto):
        self.processor.decide(upto)
        await self.head.publish()


async def test_records_are_shown_in_order_with_their_positions_and_times():
    line = Leading(FakeLog(b"0", b"1", b"2", counts=3))
    await line.head.advance()
    assert line.processor.calls == [(b"0", 0, 1, 0), (b"1", 1, 2, 1), (b"2", 2, 3, 2)]
    assert line.processor.ticked == [0, 1, 2]  # the time before each group, so that what was due comes first
    assert line.head.position == 3
    assert (line.account.accepted, line.observed.take(2), line.observed.take(3)) == (9, 6, 3)
    assert line.allowed == [0]


async def test_small_records_are_shown_as_one_that_counts_from_its_newest(monkeypatch):
    monkeypatch.setattr(merging_module, "MERGE_BYTES", 100)
    line = Leading(FakeLog(b"0", b"1", b"2"))
    await line.head.advance()
    assert line.processor.calls == [(b"012", 0, 3, 2)]
    assert line.processor.ticked == [0]


async def test_what_a_receiver_booked_is_not_booked_again():
    line = Leading(FakeLog(b"0"), books=False)
    await line.head.advance()
    assert line.account.accepted == 0


async def test_the_tail_passes_a_record_when_its_verdicts_are_durable():
    line = Leading(FakeLog(b"0", b"1", b"2"))
    await line.head.advance()
    await line.decide(2)
    assert line.log.blobs == [(b"[0, 1]", 2, 3)]
    assert line.allowed[-1] == 2
    await line.decide(3)
    assert line.log.blobs[1:] == [(b"[2]", 1, 3)]
    assert line.allowed[-1] == 3


async def test_verdicts_come_before_the_permission():
    line = Leading(FakeLog(b"0"))
    await line.head.advance()
    line.log.journal_gate = asyncio.Event()
    publishing = asyncio.create_task(line.decide(1))
    await turns()
    assert line.allowed == [0]
    line.log.journal_gate.set()
    await publishing
    assert line.allowed == [0, 1]


async def test_several_publishes_at_once_keep_their_order():
    line = Leading(FakeLog(b"0", b"1", b"2", b"3"))
    await line.head.advance()
    line.log.journal_gate = asyncio.Event()
    waiting = []
    for upto in (1, 2, 2, 3):
        waiting.append(asyncio.create_task(line.decide(upto)))
        await turns()
    assert (line.allowed, line.log.blobs) == ([0], [])
    line.log.journal_gate.set()
    await asyncio.gather(*waiting)
    assert [blob for blob, _, _ in line.log.blobs] == [b"[0]", b"[1]", b"[2]"]
    assert line.allowed == [0, 1, 2, 3]


async def test_a_boundary_without_new_verdicts_waits_for_those_before_it():
    line = Leading(FakeLog(b"0", None, b"2"))
    await line.head.advance()
    line.log.broken = 1
    await line.decide(1)
    assert line.allowed == [0]
    line.processor.open.remove(2)  # decided elsewhere: the boundary moves and nothing is to be saved
    line.log.journal_gate = asyncio.Event()
    publishing = asyncio.create_task(line.head.publish())
    await turns()
    assert line.allowed == [0]
    line.log.journal_gate.set()
    await publishing
    assert line.allowed == [0, 3]


async def test_a_log_that_cannot_be_written_holds_the_tail_back_and_later_lets_it_pass(caplog):
    line = Leading(FakeLog(b"0", b"1", b"2"))
    await line.head.advance()
    line.log.broken = 2
    await line.decide(1)
    await line.decide(2)
    assert (line.allowed, line.log.blobs) == ([0], [])
    assert caplog.text.count("verdicts wait for the log: the disk is full") == 2
    await line.head.publish()
    assert [blob for blob, _, _ in line.log.blobs] == [b"[0]", b"[1]"]
    assert line.allowed[-1] == 2
    await line.decide(3)
    assert [blob for blob, _, _ in line.log.blobs] == [b"[0]", b"[1]", b"[2]"]
    assert line.allowed[-1] == 3


async def test_ownership_that_is_lost_is_told_to_the_caller():
    class Lost(FakeLog):
        async def journal(self, *_):
            raise OwnershipLostError

    line = Leading(Lost(b"0"))
    await line.head.advance()
    with pytest.raises(OwnershipLostError):
        await line.decide(1)
    assert line.allowed == [0]


async def test_with_nothing_open_the_tail_passes_everything_that_was_read_lost_positions_too():
    line = Leading(FakeLog(b"0", None, None))
    await line.head.advance()
    assert line.allowed == [0]
    await line.decide(1)
    assert line.allowed == [0, 3]


async def test_a_log_that_is_all_damage_is_passed():
    line = Leading(FakeLog(b"-", b"-", None, None, committed=2))
    await line.head.advance()
    assert line.allowed == [4]


async def test_an_open_trace_holds_back_the_damage_behind_it():
    line = Leading(FakeLog(b"0", None))
    await line.head.advance()
    assert line.allowed == [0]


# -- what stands before the lookahead processor


class DropAll(Processor):
    pure = True

    def process(self, batch):
        return (batch.replace(b"", count=0),)


class Halve(Processor):
    pure = True

    def process(self, batch):
        return batch.split([row % 2 == 0 for row in range(batch.index.count)])


async def test_what_is_filtered_before_is_not_shown_and_holds_nothing_back():
    line = Leading(FakeLog(b"-", b"-", b"2", b"3", committed=2), made(DropAll))
    await line.head.advance()
    assert line.processor.calls == []
    assert line.allowed == [4]


async def test_filtered_records_behind_shown_ones_hold_nothing_back():
    class DropOdd(Processor):
        pure = True

        def process(self, batch):
            return (batch.replace(b"", count=0),) if batch.payload == b"1" else (batch,)

    line = Leading(FakeLog(b"0", b"1"), made(DropOdd))
    await line.head.advance()
    assert line.allowed == [0]
    await line.decide(1)
    assert line.allowed == [0, 2]


async def test_batches_that_a_processor_divides_are_shown_and_leak_no_acknowledgement():
    payload = traces_payload(10, 1)
    line = Leading(FakeLog(payload, counts=10), made(Halve))
    await line.head.advance()
    assert [(position, upto) for _, position, upto, _ in line.processor.calls] == [(0, 1), (0, 1)]


async def test_one_poisoned_span_does_not_hide_the_others_of_its_record():
    payload = traces_payload(10, 1)
    shown = []

    class Chokes(Processor):
        pure = True

        def process(self, batch):
            if any(span.row == 3 for span in batch.spans()):
                raise RuntimeError
            return (batch,)

    class Ahead(FakeLookahead):
        def observe(self, batch, position, upto, now_ns):
            super().observe(batch, position, upto, now_ns)
            shown.extend(span.row for span in batch.spans())

    line = Leading(FakeLog(payload, counts=10), made(Chokes), processor=made(Ahead))
    await line.head.advance()
    assert sorted(shown) == [0, 1, 2, 4, 5, 6, 7, 8, 9]


async def test_what_is_shown_needs_no_answer():
    kept = []

    class Keeps(FakeLookahead):
        def observe(self, batch, position, upto, now_ns):
            assert isinstance(batch, Batch)
            kept.append(batch)
            super().observe(batch, position, upto, now_ns)

    line = Leading(FakeLog(b"0"), processor=made(Keeps))
    await line.head.advance()
    assert kept[0].account is None  # nothing of the first reading is booked


# -- time, room, restoring


async def test_at_the_end_of_the_log_time_is_the_partitions_and_in_a_backlog_the_records():
    line = Leading(FakeLog(b"0", b"1", per_read=1))
    line.log.now = 77
    await line.head.advance()
    await line.head.tick()
    assert line.processor.ticked == [0]
    await line.head.advance()
    await line.head.tick()
    assert line.processor.ticked == [0, 1, 77]


async def test_tick_publishes_what_is_due():
    line = Leading(FakeLog(b"0"))
    await line.head.advance()
    line.processor.decide(1)
    await line.head.tick()
    assert line.allowed[-1] == 1


async def test_run_waits_for_records_and_reads_on():
    line = Leading(FakeLog())
    running = asyncio.create_task(line.head.run())
    await turns()
    assert line.log.reads == []
    line.log.append(b"0", b"1")
    await turns()
    assert line.head.position == 2
    line.log.append(b"2")
    await turns()
    assert line.head.position == 3
    running.cancel()


async def test_without_room_nothing_is_read():
    line = Leading(FakeLog(b"0"))
    line.processor.room = False
    running = asyncio.create_task(line.head.run())
    await turns()
    assert (line.log.reads, line.head.position) == ([], 0)
    line.processor.room = True
    await turns()
    assert line.head.position == 1
    running.cancel()


async def test_a_log_that_cannot_be_read_now_is_read_later(caplog):
    class Closed(FakeLog):
        failures = 2

        async def read(self, position, max_bytes):
            if self.failures:
                self.failures -= 1
                raise StorageError("too many open files")
            return await super().read(position, max_bytes)

    line = Leading(Closed(b"0"))
    running = asyncio.create_task(line.head.run())
    await turns()
    assert line.head.position == 1
    assert caplog.text.count("too many open files") == 2
    running.cancel()


async def test_earlier_verdicts_are_restored_in_order():
    line = Leading(FakeLog())
    line.log.blobs = [(b"one", 1, 0), (b"two", 1, 0)]
    await line.head.restore()
    assert line.processor.restored == [b"one", b"two"]


async def test_a_journal_that_nobody_understands_ends_the_start():
    line = Leading(FakeLog())
    line.log.blobs = [(b"bad", 1, 0)]
    with pytest.raises(StorageError, match="partition 0: the decision journal is unreadable: an unknown version"):
        await line.head.restore()
