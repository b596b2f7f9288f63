"""Several readers of one log, as they come and go with the configuration."""

import asyncio
import logging

import pytest
from disk_logs import Counted, append_one_by_one, until

from collector.api import Outcome, Reader, Signal, StorageError
from collector.connectors.disk import files
from collector.testing.durable_connector import READERS, Quiet, append, content, life, lives, payloads, read_all

ONE, TWO, METRICS, LOGS = READERS
BLOCK = 20_000


def configured(directory, *readers, **options):
    log = Counted(directory, commit_interval=0, **options)
    log.readers = readers
    log.signals = frozenset(reader.signal for reader in readers)
    return log


async def _fill(log, count, *readers, size=200, commit=()):
    """Append, and commit what the readers have settled."""
    async with lives(log, *(Quiet(reader) for reader in readers)) as (connector, partitions):
        await append_one_by_one(connector, payloads(0, count, size))
        for partition, position in zip(partitions, commit, strict=False):
            await partition.commit(position)
            await partition.journal(b"of %s" % partition.reader.encode(), 1, position, 0)


async def test_a_new_reader_begins_at_the_oldest_record_that_is_kept(tmp_path):
    await _fill(configured(tmp_path, ONE, segment_size=100_000), 20, ONE, size=BLOCK, commit=[12])
    async with lives(configured(tmp_path, ONE, TWO), Quiet(ONE), Quiet(TWO)) as (_, (first, second)):
        assert (first.committed, first.end) == (12, 20)
        assert 0 < second.committed <= 12
        assert content(await read_all(second)) == b"".join(payloads(second.committed, 20 - second.committed, BLOCK))
        assert list(await second.load_journal()) == []


async def test_a_pipeline_that_is_renamed_misses_nothing(tmp_path, caplog):
    await _fill(configured(tmp_path, ONE), 10, ONE, commit=[4])
    async with life(configured(tmp_path, TWO), Quiet(TWO)) as (_, partition):
        assert partition.committed <= 4
        assert content(await read_all(partition))[-len(payloads(9, 1)[0]) :] == payloads(9, 1)[0]
    assert "no pipeline of the configuration is traces-one, for which 6 records of traces are kept" in caplog.text


async def test_a_reader_that_comes_back_goes_on_where_it_was(tmp_path):
    await _fill(configured(tmp_path, ONE, TWO, segment_size=100_000), 20, ONE, TWO, size=BLOCK, commit=[3, 12])
    async with life(configured(tmp_path, TWO), Quiet(TWO)) as (connector, partition):
        await append_one_by_one(connector, payloads(20, 5, BLOCK))
        await partition.commit(25)
    async with life(configured(tmp_path, ONE, TWO), Quiet(ONE)) as (_, partition):
        assert partition.committed == 3
        assert content(await read_all(partition)) == b"".join(payloads(3, 22, BLOCK))
        assert list(await partition.load_journal()) == [b"of traces-one"]


async def test_who_is_gone_gives_way_when_others_need_the_room(tmp_path, caplog):
    await _fill(configured(tmp_path, ONE, TWO, max_size=1 << 20), 15, ONE, TWO, size=BLOCK, commit=[2, 15])
    log = configured(tmp_path, TWO, max_size=1 << 20)
    async with life(log, Quiet(TWO)) as (connector, partition):
        assert len(list((tmp_path / "traces").glob("traces-*"))) == 2
        for number in range(100, 160):
            assert await append(connector, payloads(number, 1, BLOCK)) == [(Outcome.DELIVERED, "")]
            await partition.commit(partition.end)
            await until(lambda: connector.ready() is None)
        await until(lambda: not partition.under_pressure())
    assert [path.name for path in (tmp_path / "traces").glob("traces-*")] == ["traces-two"]
    (line,) = [each for each in caplog.text.splitlines() if "others need the room" in each and "deleted" in each]
    assert "no pipeline of the configuration is traces-one, and others need the room: " in line
    assert int(line.split("room: ")[1].split()[0]) >= 13
    assert log.lost() == 0
    caplog.clear()
    async with life(configured(tmp_path, TWO), Quiet(TWO)):
        assert not caplog.text


async def test_who_is_gone_and_waits_for_nothing_goes_quietly(tmp_path, caplog):
    await _fill(configured(tmp_path, ONE, TWO), 10, ONE, TWO, commit=[10, 4])
    caplog.set_level(logging.WARNING)
    async with life(configured(tmp_path, TWO), Quiet(TWO)) as (_, partition):
        assert content(await read_all(partition)) == b"".join(payloads(4, 6))
    assert not caplog.text
    assert files.readers(tmp_path / "traces") == ["traces-two"]


async def test_a_signal_that_nobody_uses_any_more_gives_way_too(tmp_path, caplog):
    async with life(configured(tmp_path, METRICS, max_size=1 << 20), Quiet(METRICS)) as (connector, _):
        given = payloads(0, 12, BLOCK, signal=Signal.METRICS)
        assert {outcome for outcome, _ in await append(connector, given, signal=Signal.METRICS)} == {Outcome.DELIVERED}
    log = configured(tmp_path, ONE, max_size=1 << 20)
    async with life(log, Quiet(ONE)) as (connector, partition):
        held = connector._room.used
        assert held > 12 * BLOCK, "they count"
        for number in range(36):
            assert await append(connector, payloads(number, 1, BLOCK)) == [(Outcome.DELIVERED, "")]
            await until(lambda: connector.ready() is None)
        assert len(await read_all(partition)) == 36
    assert "records of metrics are deleted" in caplog.text
    assert not list((tmp_path / "metrics").iterdir())
    async with lives(configured(tmp_path, ONE, METRICS), Quiet(ONE), Quiet(METRICS)) as (connector, (_, partition)):
        assert (partition.committed, partition.end) == (0, 0)
        await append(connector, payloads(0, 1, signal=Signal.METRICS), signal=Signal.METRICS)
        assert len(await read_all(partition)) == 1


async def test_a_reader_that_another_selection_of_pipelines_runs_loses_nothing(tmp_path, caplog):
    log = configured(tmp_path, ONE, TWO)
    async with life(log, Quiet(ONE)) as (connector, partition):
        await append_one_by_one(connector, payloads(0, 5))
        await partition.commit(5)
    assert "no pipeline of the configuration" not in caplog.text
    async with life(log, Quiet(TWO)) as (_, partition):
        assert content(await read_all(partition)) == b"".join(payloads(0, 5))


async def copied(connector):
    """Wait until no segment is being copied out of its write-ahead log."""
    for log in connector._logs.values():
        await asyncio.get_running_loop().run_in_executor(log._clean_pool, lambda: None)
    await asyncio.sleep(0)


async def test_one_slow_reader_fills_the_log_for_all_and_only_it_is_pressed(tmp_path):
    log = configured(tmp_path, ONE, TWO, METRICS, max_size=1 << 20)
    async with lives(log, Quiet(ONE), Quiet(TWO), Quiet(METRICS)) as (connector, (slow, quick, metrics)):
        await append(connector, payloads(0, 1, signal=Signal.METRICS), signal=Signal.METRICS)
        answer = (Outcome.DELIVERED, "")
        number = refusals = 0
        while connector.ready() is None:  # a segment that is copied meanwhile gives room back
            number += 1
            assert number < 1000
            (answer,) = await append(connector, payloads(number, 1, BLOCK))
            await quick.commit(quick.end)
            if answer[0] != Outcome.DELIVERED:
                assert answer == (Outcome.RETRY, "log_full")
                refusals += 1
            await copied(connector)
        assert connector.ready() == "the log is full"
        (refused,) = await append(connector, payloads(1, 1, signal=Signal.METRICS), signal=Signal.METRICS)
        assert refused == (Outcome.RETRY, "log_full")
        assert [each.under_pressure() for each in (slow, quick, metrics)] == [True, False, False]
        await slow.commit(slow.end)
        await until(lambda: connector.ready() is None and not slow.under_pressure())
        (taken,) = await append(connector, payloads(1, 1, signal=Signal.METRICS), signal=Signal.METRICS)
        assert taken == (Outcome.DELIVERED, "")
    assert log.counted("butterfly_log_refused_total", reason="log_full") == refusals + 1


async def test_damage_is_counted_for_each_reader_that_has_not_settled_it(tmp_path):
    await _fill(configured(tmp_path, ONE, TWO, METRICS), 10, ONE, TWO, METRICS, commit=[2, 7])
    (segment,) = (tmp_path / "traces").glob("*.log")
    data = bytearray(segment.read_bytes())
    for number in (1, 4, 8):
        data[data.index(b"<%08d>" % number) + 20] ^= 1
    segment.write_bytes(data)
    log = configured(tmp_path, ONE, TWO, METRICS, recent_bytes=0)
    async with lives(log, Quiet(ONE), Quiet(TWO)) as (_, (first, second)):
        for _ in range(2):
            assert [record.position for record in await read_all(first)] == [2, 3, 5, 6, 7, 9]
            assert [record.position for record in await read_all(second)] == [7, 9]
        assert log.lost(pipeline="traces/one", reason="damaged") == 2
        assert log.lost(pipeline="traces/two", reason="damaged") == 1
        assert log.lost() == 3


async def test_a_destroyed_state_is_one_readers_affair(tmp_path, caplog):
    await _fill(configured(tmp_path, ONE, TWO), 10, ONE, TWO, commit=[6, 7])
    (state,) = (tmp_path / "traces" / "traces-one").glob("state.*.db")
    state.write_bytes(bytes(100))
    log = configured(tmp_path, ONE, TWO)
    async with lives(log, Quiet(ONE), Quiet(TWO)) as (_, (first, second)):
        assert (first.committed, second.committed) == (0, 7)
        assert (list(await first.load_journal()), list(await second.load_journal())) == ([], [b"of traces-two"])
        assert log.lost(pipeline="traces/one", reason="journal") == log.lost() == 1
    assert "the state file of traces-one is destroyed, with its decision journal" in caplog.text


async def test_a_reader_half_made_or_half_removed_is_nobody(tmp_path):
    await _fill(configured(tmp_path, ONE), 10, ONE, commit=[6])
    for name in ("new", "gone"):
        (tmp_path / "traces" / name).mkdir()
        (tmp_path / "traces" / name / "state.00000001-0011223344556677.v1.db").write_bytes(b"half")
    log = configured(tmp_path, ONE, TWO)
    async with lives(log, Quiet(ONE), Quiet(TWO)) as (_, (first, second)):
        assert (first.committed, second.committed) == (6, 0)
        assert log.lost() == 0


async def test_a_log_of_the_earlier_layout_is_refused(tmp_path):
    await _fill(configured(tmp_path, ONE), 3, ONE)
    for path in [*(tmp_path / "traces").glob("*.log"), *(tmp_path / "traces" / "traces-one").glob("state*")]:
        path.rename(tmp_path / path.name)
    with pytest.raises(StorageError, match="holds a log of an earlier version"):
        await configured(tmp_path, ONE)().start(())
    assert files.segments(tmp_path), "nothing is touched"


def test_names_of_readers_are_their_own():
    ids = ["traces", "traces/a", "traces/a-b", "traces/a/b", "traces/a.b", "traces/ä", "traces/" + "x" * 128]
    names = [Reader(id_, Signal.TRACES).name for id_ in ids]
    assert names[:3] == ["traces", "traces-a", "traces-a-b"]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 100 and name.isascii() and "/" not in name for name in names)
