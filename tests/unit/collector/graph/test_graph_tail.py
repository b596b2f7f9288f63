"""The trailing position: what it passes is settled, booked as lost, in the dead letter, or still in the log."""

import asyncio
import logging

import pytest
from graph_fakes import FakeDeadLetter, FakeLog, FakeLookahead, FakeOutlet, Hold, made, turns

from collector.ack import Outcome
from collector.component.processor import Processor
from collector.errors import OwnershipLostError, StorageError
from collector.graph import chain as chain_module
from collector.graph import merging as merging_module
from collector.graph import tail as tail_module
from collector.graph.observed import Observed
from collector.graph.tail import Tail
from collector.telemetry.ledger import Account
from collector.testing.batches import traces_payload


class Line:
    """A tail and everything around it. With `seen`, the head has observed (position, count) and booked it."""

    def __init__(self, log, *processors, seen=None, dead_letter=None):
        self.log, self.account = log, Account("traces")
        self.outlet = FakeOutlet(self.account)
        self.letters = dead_letter or FakeDeadLetter()
        self.processed = []
        self.observed = None
        if seen is not None:
            self.observed = Observed(log.committed)
            for position, count in seen:
                self.account.accept(count)
                self.observed.add(position, count)
        self.tail = Tail(
            log,
            processors,
            self.outlet,
            self.account,
            self.letters,
            books_accepted=seen is None,
            observed=self.observed,
            processed=self.processed.append,
        )

    async def upto(self, limit):
        self.tail.allow(limit)
        await self.tail.advance()

    @property
    def position(self):
        return self.tail.position, self.tail.watermark.position

    def balanced(self):
        return self.account.imbalance() == 0


@pytest.fixture(autouse=True)
def no_merging(monkeypatch):
    """A record a batch, so that a test can tell them apart."""
    monkeypatch.setattr(merging_module, "MERGE_BYTES", 1)


async def test_records_before_the_limit_go_on_in_order_and_none_behind_it():
    line = Line(FakeLog(b"0", b"1", b"2", b"3"))
    await line.upto(3)
    assert line.outlet.payloads == [b"0", b"1", b"2"]
    assert line.position == (3, 0)
    assert line.processed == [1, 2, 3]
    assert (line.account.accepted, line.account.held) == (6, 6)
    line.outlet.answer()
    assert line.position == (3, 3)
    await line.upto(4)
    line.outlet.answer()
    assert line.position == (4, 4)
    assert line.log.reads == [0]  # what was read and not allowed yet is not read again
    assert (line.account.held, line.balanced()) == (0, True)


async def test_the_limit_never_goes_back():
    line = Line(FakeLog(b"0", b"1"))
    line.tail.allow(2)
    line.tail.allow(1)
    assert line.tail.limit == 2


async def test_reading_begins_at_the_committed_position():
    line = Line(FakeLog(b"0", b"1", b"2", committed=2))
    assert line.position == (2, 2)
    await line.upto(3)
    assert line.outlet.payloads == [b"2"]
    line.outlet.answer()


async def test_the_mark_waits_for_the_first_answer_that_is_missing():
    line = Line(FakeLog(b"0", b"1", b"2"))
    await line.upto(3)
    first, *others = line.outlet.taken
    line.outlet.taken = others
    line.outlet.answer()
    assert line.position == (3, 0)
    line.outlet.taken = [first]
    line.outlet.answer()
    assert line.position == (3, 3)


LOST = [
    pytest.param([b"0", None, None, b"3"], 4, 4, 6, id="in the middle"),
    pytest.param([None, b"1"], 2, 2, 3, id="at the beginning"),
    pytest.param([b"0", None, None], 3, 3, 6, id="at the end"),
    pytest.param([b"0", None, None, b"3"], 2, 2, 3, id="ending beyond the limit, then a record"),
    pytest.param([None, None, None], 3, 3, 9, id="everything"),
]


@pytest.mark.parametrize(("payloads", "limit", "position", "lost"), LOST)
@pytest.mark.parametrize("per_read", [1000, 2, 1])
async def test_damaged_positions_are_booked_as_lost(payloads, limit, position, lost, per_read):
    log = FakeLog(*payloads, per_read=per_read, counts=3)
    line = Line(log, seen=[(n, 3) for n in range(len(payloads))])
    await asyncio.wait_for(line.upto(limit), 1)
    line.outlet.answer()
    assert line.position == (position, position)
    assert dict(line.account.lost) == {"damaged": lost}
    assert line.account.held == 3 * (len(payloads) - limit)
    assert line.balanced()
    await asyncio.wait_for(line.upto(log.end), 1)
    line.outlet.answer()
    assert line.position == (log.end, log.end)
    assert line.account.lost["damaged"] == 3 * payloads.count(None)
    assert (line.account.held, line.balanced()) == (0, True)


async def test_a_gap_at_the_end_that_ends_beyond_the_limit_is_passed_once():
    line = Line(FakeLog(b"0", None, None, None, counts=3), seen=[(0, 3), (1, 3)])
    await asyncio.wait_for(line.upto(2), 1)
    line.outlet.answer()
    assert line.account.lost["damaged"] == 3
    assert line.tail.watermark.position >= 2
    await line.upto(4)
    assert line.account.lost["damaged"] == 3
    assert line.tail.watermark.position == 4
    assert (line.account.held, line.balanced()) == (0, True)


async def test_a_gap_that_the_head_never_saw_is_no_loss_of_the_ledger():
    line = Line(FakeLog(None, b"1"), seen=[(1, 2)])
    await line.upto(2)
    line.outlet.answer()
    assert line.position == (2, 2)
    assert not line.account.lost
    assert line.account.held == 0


async def test_a_gap_is_told_to_the_processor_too():
    line = Line(FakeLog(b"0", None), seen=[(0, 1), (1, 1)])
    await line.upto(2)
    line.outlet.answer()
    assert line.processed[-1] == 2


async def test_cancelled_between_processing_and_sending_loses_nothing():
    line = Line(FakeLog(b"0", b"1", b"2"))
    line.outlet.open.clear()
    line.tail.allow(3)
    task = asyncio.create_task(line.tail.run())
    await turns()
    assert (line.outlet.asked, line.outlet.taken, line.tail.position) == (1, [], 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    line.outlet.open.set()
    await line.tail.advance()
    assert line.outlet.payloads == [b"0", b"1", b"2"]
    line.outlet.answer()
    assert line.position == (3, 3)
    assert (line.account.accepted, line.account.held) == (6, 0)


async def test_cancelled_and_abandoned_leaves_it_in_the_log():
    line = Line(FakeLog(b"0", b"1"))
    await line.upto(1)
    line.outlet.open.clear()
    line.tail.allow(2)
    task = asyncio.create_task(line.tail.run())
    await turns()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    line.tail.abandon()
    line.tail.abandon()  # once is enough
    line.outlet.answer()
    await line.tail.settle(0)
    assert line.tail.watermark.position == 1
    assert dict(line.account.returned) == {"stopped": 2}
    assert (line.account.held, line.balanced()) == (0, True)
    await line.tail.commit()
    assert line.log.commits == [1]


async def test_run_goes_on_as_the_limit_moves():
    line = Line(FakeLog(b"0", b"1"))
    task = asyncio.create_task(line.tail.run())
    await turns()
    line.tail.allow(1)
    await turns()
    assert line.outlet.payloads == [b"0"]
    line.tail.allow(2)
    await turns()
    assert line.outlet.payloads == [b"0", b"1"]
    line.outlet.answer()
    task.cancel()


async def test_run_sends_what_is_released_while_the_limit_stands():
    line = Line(FakeLog(b"0"), made(Hold))
    task = asyncio.create_task(line.tail.run())
    line.tail.allow(1)
    await turns()
    assert line.outlet.taken == []
    line.tail.tick(1)
    await turns()
    assert line.outlet.payloads == [b"0"]
    line.outlet.answer()
    assert line.position == (1, 1)
    task.cancel()


async def test_drain_gives_what_is_held_to_advance():
    line = Line(FakeLog(b"0", b"1"), made(Hold))
    await line.upto(2)
    line.tail.drain()
    assert line.outlet.taken == []
    await line.tail.advance()
    assert line.outlet.payloads == [b"0", b"1"]
    line.outlet.answer()


async def test_a_lookahead_processor_is_told_the_time_by_the_head_alone():
    class Ahead(FakeLookahead):
        def process(self, batch):
            return (batch,)

    ahead = made(Ahead)
    line = Line(FakeLog(b"0"), ahead)
    line.tail.tick(7)
    assert ahead.ticked == []


# -- poison


def spans(batch):
    return [span.span_id for span in batch.spans()]


class Chokes(Processor):
    """Raises where a span of `on` is among the selected; counts how often it is asked."""

    on = frozenset()
    asked = 0

    def process(self, batch):
        type(self).asked += 1
        for span in batch.spans():
            if span.span_id in self.on:
                raise RuntimeError("do not show this")
        return (batch,)


def chokes(*on, pure=True):
    return made(type("Chokes", (Chokes,), {"on": frozenset(on), "pure": pure, "asked": 0}), "chokes")


@pytest.fixture
def payload():
    return traces_payload(40, 3)


def ids_of(payload):
    from collector.ack import Ack
    from collector.batch import Batch

    return spans(Batch(payload, Ack.ignore()))


async def poisoned(payload, *on, pure=True, dead_letter=None):
    processor = chokes(*on, pure=pure)
    line = Line(FakeLog(payload, traces_payload(5, 9), counts=40), processor, dead_letter=dead_letter)
    await line.upto(1)
    await turns()
    return line, processor


async def test_what_a_pure_processor_raises_on_is_buried_alone(payload, caplog):
    ids = ids_of(payload)
    line, _ = await poisoned(payload, ids[7], ids[31])
    sent = sorted(span for batch in line.outlet.taken for span in spans(batch))
    assert sent == sorted(set(ids) - {ids[7], ids[31]})
    assert sorted(ids_of(letter) for letter, *_ in line.letters.letters) == sorted([[ids[7]], [ids[31]]])
    assert {(count, pipeline, reason) for _, count, pipeline, reason in line.letters.letters} == {
        (1, "traces", "chokes_failed")
    }
    assert line.tail.watermark.position == 0
    line.outlet.answer()
    assert line.position == (1, 1)
    assert dict(line.account.dead_lettered) == {"chokes_failed": 2}
    assert (line.account.delivered, line.account.held, line.balanced()) == (38, 0, True)
    assert "do not show" not in caplog.text


async def test_what_another_processor_raises_on_is_buried_whole(payload):
    ids = ids_of(payload)
    line, processor = await poisoned(payload, ids[7], pure=False)
    assert [(letter, count) for letter, count, *_ in line.letters.letters] == [(payload, 40)]
    assert (line.outlet.taken, processor.asked) == ([], 1)
    assert line.position == (1, 1)
    assert dict(line.account.dead_lettered) == {"chokes_failed": 40}
    assert (line.account.held, line.balanced()) == (0, True)


async def test_a_processor_that_raises_on_everything_costs_a_bounded_number_of_attempts(payload, monkeypatch):
    monkeypatch.setattr(chain_module, "MAX_HALVINGS", 6)
    line, processor = await poisoned(payload, *ids_of(payload))
    assert processor.asked == 2 * 6 + 1
    assert sum(count for _, count, *_ in line.letters.letters) == 40
    assert len(line.letters.letters) == 7
    assert line.position == (1, 1)
    assert (line.account.dead_lettered["chokes_failed"], line.account.held) == (40, 0)


async def test_a_record_that_cannot_be_read_is_buried_whole_and_does_not_stop_the_reading():
    class Reads(Processor):
        pure = True

        def process(self, batch):
            assert batch.index.count
            return (batch,)

    line = Line(FakeLog(b"\xff\xff", counts=2), made(Reads))
    await line.upto(1)
    await turns()
    assert [(letter, count) for letter, count, *_ in line.letters.letters] == [(b"\xff\xff", 2)]
    assert line.position == (1, 1)


async def test_what_a_generator_gave_before_it_raised_is_not_sent_as_well(payload):
    class Midway(Processor):
        def process(self, batch):
            yield batch
            raise RuntimeError

    line = Line(FakeLog(payload, counts=40), made(Midway))
    await line.upto(1)
    await turns()
    assert (len(line.letters.letters), line.outlet.taken) == (1, [])
    assert line.position == (1, 1)
    assert line.balanced()


@pytest.mark.parametrize("error", [StorageError("full"), OSError(28, "No space left on device")])
async def test_a_dead_letter_that_cannot_be_written_now_is_tried_again(payload, monkeypatch, caplog, error):
    monkeypatch.setattr(tail_module, "RETRY_PAUSE_S", 0)
    letters = FakeDeadLetter(refuse=3, error=error)
    line, _ = await poisoned(payload, ids_of(payload)[0], pure=False, dead_letter=letters)
    assert letters.refuse == 0
    assert len(letters.letters) == 1
    assert line.position == (1, 1)
    assert len([r for r in caplog.records if "dead letter can't be written" in r.getMessage()]) == 3


async def test_the_record_stays_in_the_log_while_the_dead_letter_is_full(payload):
    processor = chokes(ids_of(payload)[0], pure=False)
    line = Line(FakeLog(payload, traces_payload(5, 9), counts=40), processor, dead_letter=FakeDeadLetter(refuse=1))
    line.tail.allow(2)
    reading = asyncio.create_task(line.tail.run())
    await turns()
    assert line.position == (1, 0)  # and nothing more is processed meanwhile
    assert line.account.held == 40
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    line.tail.abandon()
    await line.tail.settle(0)
    assert line.tail.watermark.position == 0
    assert (dict(line.account.returned), line.account.held) == ({"stopped": 40}, 0)
    assert line.balanced()


# -- committing


async def test_commit_says_nothing_twice_and_never_goes_back():
    line = Line(FakeLog(b"0", b"1"))
    await line.tail.commit()
    await line.upto(2)
    line.outlet.answer()
    await line.tail.commit()
    await line.tail.commit()
    assert line.log.commits == [2]


async def test_a_commit_that_fails_is_tried_at_the_next_call(caplog):
    line = Line(FakeLog(b"0"))
    line.log.commit_errors.extend([StorageError("the disk is full"), StorageError("the disk is full")])
    await line.upto(1)
    line.outlet.answer()
    for _ in range(3):
        await line.tail.commit()
    assert line.log.commits == [1]
    assert caplog.text.count("commit postponed: the disk is full") == 2


async def test_a_lost_partition_is_told_to_the_caller():
    line = Line(FakeLog(b"0"))
    line.log.commit_errors.append(OwnershipLostError())
    await line.upto(1)
    line.outlet.answer()
    with pytest.raises(OwnershipLostError):
        await line.tail.commit()


async def test_settle_returns_when_all_is_answered_and_says_what_stays(caplog):
    caplog.set_level(logging.INFO)
    line = Line(FakeLog(b"0", b"1"))
    await line.upto(2)
    await line.tail.settle(0)
    assert "2 records stay in the log" in caplog.text
    line.outlet.taken[0].ack.resolve(Outcome.DELIVERED)
    waiting = asyncio.create_task(line.tail.settle(30))
    await turns()
    assert not waiting.done()
    line.outlet.taken[1].ack.resolve(Outcome.RETRY)
    await asyncio.wait_for(waiting, 1)
