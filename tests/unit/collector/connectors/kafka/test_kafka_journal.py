from types import SimpleNamespace

import pytest

from collector.connectors.kafka.journal import EPOCH_KEY, LAST_FEW, TRIES, DecisionJournal
from collector.connectors.kafka.topic_log import TopicLog
from collector.errors import OwnershipLostError, StorageError


class Log:
    """A partition of the decisions topic. `fails` holds what the next appends do: an error, or -1."""

    def __init__(self):
        self.records, self.fails, self.reads, self.intruders = [], [], [], []

    @property
    def end(self):
        return self.records[-1].offset + 1 if self.records else 0

    def land(self, key, value, headers=()):
        self.records.append(SimpleNamespace(offset=self.end, key=key, value=value, headers=list(headers)))
        return self.end - 1

    async def append(self, key, value, headers):
        fault = self.fails.pop(0) if self.fails else None
        if isinstance(fault, StorageError):
            raise fault
        if self.intruders:
            self.land(*self.intruders.pop(0))
        offset = self.land(key, value, headers)
        return offset if fault is None else fault

    async def begin(self):
        return self.records[0].offset if self.records else 0

    async def read(self, start, stop):
        self.reads.append((start, stop))
        return [each for each in self.records if start <= each.offset < stop]

    def compact(self):
        newest = {each.key: each.offset for each in self.records}
        self.records = [each for each in self.records if newest[each.key] == each.offset]

    def verdicts(self):
        return [each.value for each in self.records if each.key != EPOCH_KEY and each.value]


async def opened(log, end=1 << 40):
    journal = DecisionJournal(log)
    await journal.open()
    return journal, await journal.load(end)


def number(record, name):
    return int(dict(record.headers)[name])


async def test_a_journal_begins_empty_and_with_an_epoch():
    log = Log()
    _, blobs = await opened(log)
    assert blobs == []
    assert [each.key for each in log.records] == [EPOCH_KEY]


async def test_verdicts_come_back_oldest_first():
    log = Log()
    journal, _ = await opened(log)
    for n in range(5):
        await journal.append(b"%d" % n, 1, n, 100, 0)
    assert (await opened(log))[1] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_record_says_what_readers_need():
    log = Log()
    journal, _ = await opened(log)
    await journal.append(b"a", 7, 42, 100, 0)
    await journal.append(b"b", 3, 50, 100, 0)
    names = ("epoch", "at", "head", "count", "from")
    assert [[number(each, name) for name in names] for each in log.records[1:]] == [[0, 1, 42, 7, 1], [0, 2, 50, 3, 1]]


async def test_what_is_settled_gives_its_key_to_the_next():
    log = Log()
    journal, _ = await opened(log)
    for n in range(50):
        await journal.append(b"%d" % n, 1, n, 2, n)
    log.compact()
    assert len(log.records) <= 6
    blobs = (await opened(log))[1]
    assert blobs[-2:] == [b"48", b"49"]


async def test_what_is_not_settled_stays_however_much_comes():
    log = Log()
    journal, _ = await opened(log)
    for n in range(20):
        await journal.append(b"%d" % n, 1, 10, 0, 9)
    log.compact()
    assert len((await opened(log))[1]) == 20


async def test_as_many_verdicts_stay_as_are_asked_for():
    log = Log()
    journal, _ = await opened(log)
    for n in range(20):
        await journal.append(b"%d" % n, 10, 0, 35, 100)
    log.compact()
    assert (await opened(log))[1][-4:] == [b"16", b"17", b"18", b"19"]


async def test_a_reader_need_not_begin_at_the_beginning():
    log = Log()
    journal, _ = await opened(log)
    for n in range(500):
        await journal.append(b"%d" % n, 1, n, 2, n)
    log.reads.clear()
    await opened(log)
    assert min(start for start, _ in log.reads) >= 500 - LAST_FEW
    assert log.reads[-1][0] > 490


async def test_a_predecessors_keys_are_buried_when_they_are_no_longer_needed():
    log = Log()
    journal, _ = await opened(log)
    for n in range(10):
        await journal.append(b"old %d" % n, 1, 5, 100, 0)
    successor, _ = await opened(log)
    for n in range(30):
        await successor.append(b"new %d" % n, 1, 100 + n, 0, 100 + n)
    log.compact()
    assert not any(value.startswith(b"old") for value in log.verdicts())
    assert len(log.verdicts()) <= 4


async def test_burying_that_an_owner_didnt_finish_is_its_successors():
    log = Log()
    journal, _ = await opened(log)
    for n in range(100):
        await journal.append(b"old %d" % n, 1, 5, 100, 0)
    for _ in range(3):
        journal, _ = await opened(log)
        for n in range(8):
            await journal.append(b"new %d" % n, 1, 100, 0, 100)
    log.compact()
    left = sum(value.startswith(b"old") for value in log.verdicts())
    journal, _ = await opened(log)
    for _ in range(60):
        await journal.append(b"last", 1, 100, 0, 100)
    log.compact()
    assert 0 < left < 100
    assert not any(value.startswith(b"old") for value in log.verdicts())


async def test_verdicts_about_a_topic_that_was_made_anew_are_forgotten_all_the_same():
    log = Log()
    journal, _ = await opened(log)
    for n in range(10):
        await journal.append(b"old %d" % n, 1, 1_000_000, 0, 0)
    journal, blobs = await opened(log, end=0)
    assert len(blobs) == 10
    for n in range(20):
        await journal.append(b"new", 1, n, 0, n)
    log.compact()
    assert len(log.verdicts()) <= 3


async def test_an_owner_that_was_superseded_is_told_before_it_acts():
    log = Log()
    first, _ = await opened(log)
    await first.append(b"a", 1, 1, 10, 0)
    second, blobs = await opened(log)
    assert blobs == [b"a"]
    with pytest.raises(OwnershipLostError):
        await first.append(b"void", 1, 1, 10, 0)
    await second.append(b"b", 1, 1, 10, 0)
    assert (await opened(log))[1] == [b"a", b"b"]


async def test_an_owner_that_was_superseded_writes_once_and_never_again():
    log = Log()
    first, _ = await opened(log)
    await opened(log)
    for _ in range(3):
        with pytest.raises(OwnershipLostError):
            await first.append(b"void", 1, 1, 10, 0)
    assert len(log.records) == 3


async def test_a_void_verdict_stays_void_when_compaction_has_removed_what_made_it_void():
    log = Log()
    first, _ = await opened(log)
    await opened(log)
    with pytest.raises(OwnershipLostError):
        await first.append(b"void", 1, 1, 10, 0)
    await opened(log)
    log.compact()
    assert log.verdicts() == [b"void"]
    assert (await opened(log))[1] == []


async def test_a_void_verdict_takes_no_successors_verdict_away():
    log = Log()
    first, _ = await opened(log)
    second, _ = await opened(log)
    await second.append(b"acted on", 1, 1, 10, 0)
    with pytest.raises(OwnershipLostError):
        await first.append(b"void", 1, 1, 10, 0)
    log.compact()
    assert (await opened(log))[1] == [b"acted on"]


async def test_a_void_verdict_misleads_no_reader_about_where_to_begin():
    log = Log()
    await opened(log)
    second, _ = await opened(log)
    await second.append(b"acted on", 1, 1, 10, 0)
    log.land(b"0/1", b"void", [("epoch", b"0"), ("at", b"1"), ("from", b"3")])
    assert (await opened(log))[1] == [b"acted on"]


async def test_what_was_settled_when_a_successor_came_is_forgotten_and_nothing_since():
    log = Log()
    first, _ = await opened(log)
    await first.append(b"needed", 1, 5, 0, 4)
    successor = DecisionJournal(log)
    await successor.open()  # and asks for the committed position, which is 4
    with pytest.raises(OwnershipLostError):
        await first.append(b"void", 1, 9, 0, 9)
    log.compact()
    assert await successor.load(9) == [b"needed"]


async def test_a_successor_isnt_disturbed_by_what_its_predecessor_still_writes():
    log = Log()
    first, _ = await opened(log)
    second, _ = await opened(log)
    with pytest.raises(OwnershipLostError):
        await first.append(b"void", 1, 1, 10, 0)
    await second.append(b"b", 1, 1, 10, 0)
    await second.append(b"c", 1, 1, 10, 0)
    assert (await opened(log))[1] == [b"b", b"c"]


async def test_an_append_that_failed_is_tried_again_under_another_key():
    log = Log()
    journal, _ = await opened(log)
    log.fails = [StorageError("away")]
    with pytest.raises(StorageError):
        await journal.append(b"a", 1, 1, 10, 0)
    await journal.append(b"a", 1, 1, 10, 0)
    assert log.records[-1].key.endswith(b"/2")
    assert (await opened(log))[1] == [b"a"]


async def test_an_append_whose_place_isnt_known_is_tried_again():
    log = Log()
    journal, _ = await opened(log)
    log.fails = [-1]
    with pytest.raises(StorageError):
        await journal.append(b"a", 1, 1, 10, 0)
    await journal.append(b"a", 1, 1, 10, 0)
    assert (await opened(log))[1][-1] == b"a"


async def test_verdicts_behind_a_strangers_record_are_written_again():
    log = Log()
    journal, _ = await opened(log)
    log.intruders = [(b"stranger", b"junk"), (None, b"junk")]
    await journal.append(b"a", 1, 1, 10, 0)
    assert (await opened(log))[1] == [b"a"]


async def test_a_stranger_that_never_stops_is_waited_out():
    log = Log()
    journal, _ = await opened(log)
    log.intruders = [(b"stranger", b"junk")] * TRIES
    with pytest.raises(StorageError):
        await journal.append(b"a", 1, 1, 10, 0)
    await journal.append(b"a", 1, 1, 10, 0)
    assert (await opened(log))[1] == [b"a"]


@pytest.mark.parametrize("headers", [[], [("at", b"x")], [("at", None)], [("at", b"-1")], [("epoch", b"9" * 30)]])
async def test_junk_in_the_topic_is_no_verdict(headers):
    log = Log()
    log.land(b"junk", b"junk", headers)
    assert (await opened(log))[1] == []


async def test_an_epoch_whose_place_isnt_known_is_none():
    log = Log()
    log.fails = [-1]
    with pytest.raises(StorageError):
        await DecisionJournal(log).open()


async def test_a_topic_log_is_one_partition_of_the_decisions_topic():
    sent, forgotten = [], []
    tp = SimpleNamespace(topic="decisions", partition=5)

    class Producer:
        async def send(self, topic, records, headers):
            sent.append((topic, records, headers))
            return [SimpleNamespace(offset=77)]

    class Reader:
        forget = staticmethod(forgotten.append)

        async def bounds(self, asked):
            return (3, 9) if asked is tp else None

        async def range(self, asked, start, stop):
            return [start, stop] if asked is tp else None

    log = TopicLog(tp, Producer(), Reader())
    assert await log.append(b"key", None, [("a", b"1")]) == 77
    assert sent == [("decisions", [(5, b"key", None)], [("a", b"1")])]
    assert await log.begin() == 3
    assert await log.read(4, 8) == [4, 8]
    assert forgotten == [tp]


async def test_what_holds_no_verdicts_is_forgotten_among_those_that_are_kept():
    log = Log()
    journal, _ = await opened(log)
    for position in range(1, 50):
        await journal.append(b"verdict %d" % position, 1, position, 1000, position - 1)
        for part in range(3):
            await journal.append(b"state %d.%d" % (position, part), 0, position + 1, 1000, position - 1)
    log.compact()
    left = log.verdicts()
    assert [each for each in left if each.startswith(b"v")] == [b"verdict %d" % n for n in range(1, 50)]
    states = [each for each in left if each.startswith(b"s")]
    assert {b"state 49.0", b"state 49.1", b"state 49.2", b"state 48.0"} <= set(states)
    assert len(states) <= 9
    _, blobs = await opened(log)
    assert blobs == left
    journal, _ = await opened(log)
    await journal.append(b"verdict 50", 1, 50, 1000, 50)
    await journal.append(b"verdict 51", 1, 51, 1000, 50)
    for _ in range(9):
        await journal.append(b"more", 1, 51, 1000, 50)
    log.compact()
    assert [each for each in log.verdicts() if each.startswith(b"s")] == []
