"""Full logs and full disks: refused with a reason, nothing that was acknowledged is lost, resumed without a restart."""

import asyncio
import contextlib
import errno
import sqlite3
import subprocess

import pytest
from disk_logs import Counted, append_one_by_one, until

from collector.api import Outcome, StorageError
from collector.connectors.disk import files, group_commit
from collector.testing.durable_connector import append, content, life, payloads, read_all

BLOCK = 20_000


async def _until_refused(connector, size=BLOCK, limit=2000):
    """Payloads that were taken before the first refusal, and the refusal."""
    taken = []
    for number in range(limit):
        payload = payloads(number, 1, size)[0]
        ((outcome, reason),) = await append(connector, [payload])
        if outcome != Outcome.DELIVERED:
            return taken, (outcome, reason)
        taken.append(payload)
    raise AssertionError("never refused")


def _on_disk(log):
    total = 0
    for path in log.files(".log", "-wal", ".db"):
        with contextlib.suppress(FileNotFoundError):  # a write-ahead log goes when its segment has been copied
            total += path.stat().st_size
    return total


async def test_a_full_log_refuses_and_resumes(tmp_path):
    log = Counted(tmp_path / "log", max_size=1 << 20, commit_interval=0)
    async with life(log) as (connector, partition):
        taken, refusals = [], 0
        while (
            connector.ready() is None
        ):  # a segment that is copied out of its write-ahead log meanwhile gives room back
            more, refusal = await _until_refused(connector)
            assert refusal == (Outcome.RETRY, "log_full")
            taken, refusals = taken + more, refusals + 1
            assert refusals < 10
        assert connector.ready() == "the log is full"
        assert partition.under_pressure()
        assert log.counted("butterfly_log_refused_total", reason="log_full") == refusals
        assert _on_disk(log) < 1.3 * (1 << 20)
        assert content(await read_all(partition)) == b"".join(taken)
        await partition.commit(partition.end // 2)
        await until(lambda: connector.ready() is None and not partition.under_pressure())
        assert (await append(connector, payloads(0, 1)))[0][0] == Outcome.DELIVERED


async def test_a_log_full_of_one_commit_still_gets_free(tmp_path):
    log = Counted(tmp_path / "log", max_size=1 << 20, max_pending=64 << 20, max_record_size=64 << 20)
    async with life(log) as (connector, partition):
        for turn in range(20):
            answers = await append(connector, payloads(turn * 100, 30, BLOCK))
            assert answers[0][0] == Outcome.DELIVERED
            await partition.commit(partition.end)
            await until(lambda: connector.ready() is None)
        end = partition.end
    async with life(log) as (_, partition):
        assert partition.committed == partition.end == end


async def test_what_waits_is_bounded(tmp_path):
    log = Counted(tmp_path / "log", max_pending=1 << 20)
    async with life(log) as (connector, _):
        answers = await append(connector, payloads(0, 100, BLOCK))
        taken = [answer for answer in answers if answer == (Outcome.DELIVERED, "")]
        assert 40 < len(taken) <= 53
        assert set(answers) == {(Outcome.DELIVERED, ""), (Outcome.RETRY, "log_busy")}
        assert log.counted("butterfly_log_refused_total", reason="log_busy") == 100 - len(taken)


async def test_settled_segments_are_deleted(tmp_path):
    log = Counted(tmp_path / "log", segment_size=100_000, recent_bytes=0)
    async with life(log) as (connector, partition):
        await append_one_by_one(connector, payloads(0, 60, BLOCK))
        assert len(log.files(".log")) > 8
        before = log.counted("butterfly_log_bytes")
        count = len(log.files(".log"))
        await partition.commit(30)
        await until(lambda: len(log.files(".log")) < count)
        assert content(await read_all(partition)) == b"".join(payloads(30, 30, BLOCK))
        await partition.commit(60)
        await until(lambda: len(log.files(".log")) <= 1 and log.counted("butterfly_log_bytes") < before / 3)
    assert not log.files("-wal", "-shm")


class FullDisk:
    """Makes the disk full and not full again, as far as SQLite and new files are concerned."""

    def __init__(self, monkeypatch):
        self._connections = []
        self.full = False
        connect, create = files.connect, files.create

        def limited_connect(file, synchronous, **options):
            connection = connect(file, synchronous, **options)
            self._connections.append(connection)
            self._limit(connection)
            return connection

        def limited_create(file, synchronous):
            if self.full:
                raise OSError(errno.ENOSPC, "no space")
            create(file, synchronous)

        monkeypatch.setattr(files, "connect", limited_connect)
        monkeypatch.setattr(files, "create", limited_create)

    def switch(self, full):
        self.full = full
        for connection in self._connections:
            with contextlib.suppress(sqlite3.ProgrammingError):  # closed meanwhile
                self._limit(connection)

    def _limit(self, connection):
        connection.execute(f"PRAGMA max_page_count={1 if self.full else 1 << 30}").close()


@pytest.fixture
def full_disk(monkeypatch):
    return FullDisk(monkeypatch)


@pytest.fixture
def soon_again(monkeypatch):
    monkeypatch.setattr(group_commit, "_RETRY_AFTER", 0.05)


def try_again(connector):
    """As when the time without an attempt is over."""
    for log in connector._logs.values():
        log._appends._retry_at = 0.0


async def test_a_full_disk_refuses_and_resumes(tmp_path, full_disk, caplog):
    log = Counted(tmp_path / "log", recent_bytes=0, commit_interval=0)
    async with life(log) as (connector, partition):
        taken = payloads(0, 5, BLOCK)
        await append_one_by_one(connector, taken)
        full_disk.switch(True)
        for _ in range(3):
            assert await append(connector, payloads(50, 1, BLOCK)) == [(Outcome.RETRY, "disk_full")]
            assert await append(connector, payloads(50, 1, BLOCK)) == [(Outcome.RETRY, "disk_full")]
            assert connector.ready() == "the disk is full"
            assert partition.under_pressure()
            try_again(connector)
        assert log.counted("butterfly_log_refused_total", reason="disk_full") == 6
        full_disk.switch(False)
        taken += payloads(5, 5, BLOCK)
        await append_one_by_one(connector, taken[5:])
        assert connector.ready() is None
        assert content(await read_all(partition)) == b"".join(taken)
    assert caplog.text.count("can't be written") == 1
    async with life(log) as (_, partition):
        assert content(await read_all(partition)) == b"".join(taken)
        assert partition.end == 10
        assert log.lost() == 0


async def test_a_full_disk_does_not_keep_the_log_from_freeing_room(tmp_path, full_disk, soon_again):
    log = Counted(tmp_path / "log", segment_size=100_000, recent_bytes=0)
    async with life(log) as (connector, partition):
        await append_one_by_one(connector, payloads(0, 30, BLOCK))
        before = len(log.files(".log"))
        full_disk.switch(True)
        with pytest.raises(StorageError):
            await partition.journal(bytes(100_000), 1, partition.end, 0)
        assert list(await partition.load_journal()) == []
        await partition.commit(20)
        await until(lambda: len(log.files(".log")) < before)
        full_disk.switch(False)
        await partition.journal(bytes(100_000), 1, partition.end, 0)
    async with life(log) as (_, partition):
        assert partition.committed == 20
        assert list(await partition.load_journal()) == [bytes(100_000)]
        assert content(await read_all(partition)) == b"".join(payloads(20, 10, BLOCK))


@pytest.fixture
def small_mount(tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", mount], check=True)
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


@pytest.mark.soak
async def test_a_really_full_disk(small_mount, soon_again):
    """Needs the right to mount."""
    log = Counted(small_mount / "log", segment_size=1 << 20, recent_bytes=0, commit_interval=0)
    async with life(log) as (connector, partition):
        taken, refusal = await _until_refused(connector, BLOCK)
        assert refusal == (Outcome.RETRY, "disk_full")
        assert len(taken) > 100
        assert content(await read_all(partition)) == b"".join(taken)
        position = partition.end // 2
        await partition.commit(position)
        await asyncio.sleep(0.3)
        more = payloads(5000, 20, BLOCK)
        await append_one_by_one(connector, more)
        assert partition.end == len(taken) + 20
        assert content(await read_all(partition)) == b"".join(taken[position:] + more)
        await _until_refused(connector, BLOCK)
        end = partition.end
    async with life(log) as (connector, partition):
        assert (partition.committed, partition.end) == (position, end)
        await partition.commit(end)
        await asyncio.sleep(0.3)
        await append_one_by_one(connector, more)
        assert log.lost() == 0


async def test_a_disk_that_the_log_fills_by_itself_gets_free_again(tmp_path, monkeypatch, soon_again):
    """Appends stop while there is room for verdicts, and these while there is room for commits."""
    free = [100 << 20]
    monkeypatch.setattr(files, "free", lambda _: free[0])
    log = Counted(tmp_path / "log", commit_interval=0)
    async with life(log) as (connector, partition):
        await append_one_by_one(connector, payloads(0, 5))
        free[0] = files.ROOM_FOR_STATE + 100
        assert await append(connector, payloads(5, 1)) == [(Outcome.RETRY, "disk_full")]
        assert len(log.files(".log")) == 1
        await partition.journal(b"verdicts", 1, partition.end, 100)
        free[0] = files.ROOM_FOR_COMMITS
        with pytest.raises(StorageError):
            await partition.journal(b"more verdicts", 1, partition.end, 100)
        free[0] = 0
        await partition.commit(3)
        assert partition.committed == 3
        free[0] = 100 << 20
        await asyncio.sleep(0.05)
        await append_one_by_one(connector, payloads(5, 5))
        assert len(log.files(".log")) == 1
        assert content(await read_all(partition)) == b"".join(payloads(3, 7))
        assert await partition.load_journal() == [b"verdicts"]


async def test_old_verdicts_and_many_commits_cannot_fill_a_small_log(tmp_path):
    log = Counted(tmp_path / "log", max_size=1 << 20, commit_interval=0)
    async with life(log) as (connector, partition):
        for turn in range(600):
            if turn % 20 == 0:
                answers = await append(connector, payloads(turn, 1))
                assert answers == [(Outcome.DELIVERED, "")]
            await partition.journal(b"%04d" % turn * 1000, 125, partition.end, 1_000_000)
            await partition.commit(partition.end)
        assert connector._room.used < 1 << 19
        kept = await partition.load_journal()
        assert len(kept) > 20
    async with life(log) as (connector, partition):
        assert await partition.load_journal() == kept
        assert connector.ready() is None


async def test_verdicts_that_a_restart_needs_are_kept_whatever_they_take(tmp_path):
    log = Counted(tmp_path / "log", max_size=1 << 20, commit_interval=0)
    blobs = [b"%04d" % turn * 1000 for turn in range(100)]
    async with life(log) as (connector, partition):
        await append(connector, payloads(0, 1))
        for blob in blobs:
            await partition.journal(blob, 125, partition.end, 10)
    async with life(log) as (_, partition):
        assert await partition.load_journal() == blobs
