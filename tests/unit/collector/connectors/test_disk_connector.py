"""The disk connector's own promises, beside the contract's: files, lock, clock, options."""

import asyncio
import contextlib
import sqlite3
import stat
from pathlib import Path

import pytest
from disk_logs import Counted, append_one_by_one, crash_image

from collector.api import BuildContext, Outcome, StorageError
from collector.connectors.disk import DiskConnector, DiskOptions, files, rows
from collector.connectors.disk.salvage import Salvage
from collector.testing.durable_connector import Quiet, append, content, life, payloads, read_all


async def test_files_are_the_owners_alone(tmp_path):
    log = Counted(tmp_path / "log")
    async with life(log) as (connector, partition):
        await append(connector, payloads(0, 3))
        await partition.journal(b"verdicts", 1, 1, 0)
        assert len(log.files()) == 8
        assert {stat.S_IMODE(path.stat().st_mode) for path in log.files()} == {0o600}
        assert stat.S_IMODE(log.directory.stat().st_mode) == 0o700


async def test_a_log_has_one_owner(tmp_path):
    log = Counted(tmp_path / "log")
    async with life(log):
        with pytest.raises(StorageError, match="in use by another process"):
            await log().start(())
    async with life(log) as (connector, _):
        assert (await append(connector, payloads(0, 1)))[0][0] == Outcome.DELIVERED


def test_the_directory_follows_from_the_name():
    context = BuildContext("disk/spare", None, data_dir=Path("/data"))
    assert DiskConnector(DiskOptions(), context).directory == Path("/data/disk-spare")
    assert DiskConnector(DiskOptions(directory=Path("/there")), context).directory == Path("/there")


async def test_stream_time_is_neither_downtime_nor_wall_clock(tmp_path):
    log = Counted(tmp_path / "log")
    clock = {"monotonic": 7_000, "wall": 1_000_000}
    log.clocks = {"monotonic_ns": lambda: clock["monotonic"], "wall_ns": lambda: clock["wall"]}
    async with life(log) as (connector, partition):
        assert partition.now_ns() == 1_000_000
        clock.update(monotonic=7_500, wall=5)
        assert partition.now_ns() == 1_000_500
        await append(connector, payloads(0, 1))
    clock.update(monotonic=99, wall=10**15)
    async with life(log) as (_, partition):
        assert partition.now_ns() == 1_000_500
        assert (await read_all(partition))[0].time_ns == 1_000_500
        await partition.commit(1)
    async with life(log) as (_, partition):
        assert partition.now_ns() == 1_000_500
        assert not log.files(".log"), "nothing is left of a settled log but its state"


async def test_waiters_are_told_when_the_log_closes(tmp_path):
    async with life(Counted(tmp_path / "log")) as (_, partition):
        waiting = asyncio.ensure_future(partition.wait(0))
        await asyncio.sleep(0)
    with pytest.raises(StorageError):
        await waiting
    with pytest.raises(StorageError):
        await partition.read(0, 1)


async def test_what_was_never_written_is_not_committed(tmp_path):
    async with life(Counted(tmp_path / "log")) as (_, partition):
        with pytest.raises(ValueError, match="never written"):
            await partition.commit(1)


async def test_batches_merge_up_to_the_record_size(tmp_path):
    log = Counted(tmp_path / "log", max_record_size=1024)
    async with life(log) as (connector, partition):
        await append(connector, payloads(0, 40, 90))
        records = await read_all(partition)
        assert content(records) == b"".join(payloads(0, 40, 90))
        assert len(records) < 10
        assert all(len(record.payload) <= 1024 for record in records)


async def test_one_batch_may_be_larger_than_a_record(tmp_path):
    async with life(Counted(tmp_path / "log", max_record_size=1024, recent_bytes=0)) as (connector, partition):
        await append(connector, payloads(0, 3, 5000))
        assert [record.payload for record in await read_all(partition)] == payloads(0, 3, 5000)


async def test_salvage_finds_what_sqlite_finds(tmp_path):
    async def fill(connector, _partition):
        await append_one_by_one(connector, payloads(0, 60, 10) + payloads(60, 20, 4000) + payloads(80, 9, 60_000))

    await crash_image(Counted(tmp_path / "closed", compression="none"), tmp_path / "killed", fill=fill)
    for image in ("closed", "killed"):
        (file,) = files.segments(tmp_path / image / "traces")
        with contextlib.closing(Salvage(file)) as salvage:
            keys = salvage.keys()
            salvaged = [(number, bytes(salvage.row((kind, number)).body)) for kind, number in keys]
            assert salvage.claimed == set(keys)
        with contextlib.closing(sqlite3.connect(file.path)) as connection:
            by_sqlite = [
                (number, bytes(rows.decode(file.magic, data).body))
                for number, data in connection.execute("SELECT number, data FROM rows ORDER BY number")
            ]
        assert salvaged == by_sqlite
        assert len(by_sqlite) == 89


@pytest.mark.parametrize("size", [0, 1, 3, 100, 5000])
def test_a_row_is_itself_or_damaged(size):
    magic = bytes(range(8))
    row = rows.Row(rows.Kind.RECORD, 77, 123, 4, bytes(size), size, codec=1, signal=2, tenant=b"tenant")
    data = rows.encode(magic, row)
    again = rows.decode(magic, data)
    assert (again.number, again.time_ns, again.count, bytes(again.body), again.tenant) == (
        77,
        123,
        4,
        bytes(size),
        b"tenant",
    )
    for offset in range(0, len(data) - rows.FOOTER_SIZE, 1 + size // 100):
        damaged = bytearray(data)
        damaged[offset] ^= 0x10
        with pytest.raises(rows.DamagedError):
            rows.decode(magic, bytes(damaged))
    with pytest.raises(rows.DamagedError):
        rows.decode(magic, data[:-1])


async def test_half_a_log_is_warned_of_and_the_other_half_refused(tmp_path, caplog):
    log = Counted(tmp_path / "log")
    writer = log()
    await writer.start(())
    assert "no pipeline of this process reads the log" in caplog.text
    with pytest.raises(StorageError, match="joins pipelines of one process"):
        await log().start([Quiet()])
    await writer.stop()
