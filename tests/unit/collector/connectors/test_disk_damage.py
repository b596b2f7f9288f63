"""A flipped, torn or missing byte anywhere: exactly the damaged records are lost and counted, all others are read."""

import os
import random
import resource
import shutil

import pytest
from disk_logs import Counted, append_one_by_one, crash_image

from collector.api import StorageError
from collector.testing.durable_connector import life, payloads, read_all

SMALL = payloads(0, 40, 300)
LARGE = [bytes(random.Random(7).randbytes(30_000)) + b"%d" % number for number in range(12)]
SENT = [*SMALL, *LARGE, *payloads(100, 20, 1500)]
COMMITTED = 7
BLOBS = [b"verdicts %d" % number * 200 for number in range(12)]


async def _fill(connector, partition):
    await append_one_by_one(connector, SENT)
    for number, blob in enumerate(BLOBS):
        await partition.journal(blob, 1, min(number * 8, len(SENT)), 1000)
        await partition.commit(min(number, COMMITTED))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two logs of the same content: closed, and killed."""
    import asyncio

    base = tmp_path_factory.mktemp("images")
    log = Counted(base / "closed", segment_size=300_000, compression="none", recent_bytes=0)
    asyncio.run(crash_image(log, base / "killed", fill=_fill))
    return base


async def _check(directory, *, journal_may_suffer, commit_may_suffer):
    """Everything that is there is right, and everything that isn't was counted. How many records were lost."""
    log = Counted(directory, recent_bytes=0)
    async with life(log) as (_, partition):
        committed = partition.committed
        assert committed == COMMITTED or (commit_may_suffer and committed <= COMMITTED)
        assert partition.end == len(SENT)
        records = await read_all(partition)
        for record in records:
            assert record.payload == SENT[record.position]
        positions = [record.position for record in records]
        assert positions == sorted(set(positions))
        missing = len(SENT) - committed - len(positions)
        blobs = list(await partition.load_journal())
        assert [blob for blob in BLOBS if blob in blobs] == blobs
        lost_blobs = len(BLOBS) - len(blobs)
        assert lost_blobs == 0 or journal_may_suffer
        assert log.counted("butterfly_log_lost_records_total", reason="damaged") == missing
        if lost_blobs:
            assert log.counted("butterfly_log_lost_records_total", reason="journal") >= 1
    return missing, lost_blobs


def _flip(path, offset, how):
    data = bytearray(path.read_bytes())
    data[offset] ^= how
    path.write_bytes(data)


@pytest.mark.parametrize("image", ["closed", "killed"])
async def test_a_flipped_byte_costs_one_record_at_most(images, tmp_path, image):
    random_source = random.Random(image)
    files = sorted(path for path in (images / image).rglob("*") if not path.is_dir())
    files = [path for path in files if path.stat().st_size and path.name not in {"lock", "reserve"}]
    names = [str(path.relative_to(images / image)) for path in files if not path.name.endswith("-shm")]
    assert any("/state." in name for name in names)
    records_lost = 0
    for turn in range(120):
        name = names[turn % len(names)]
        work = tmp_path / str(turn)
        shutil.copytree(images / image, work)
        size = (work / name).stat().st_size
        # The beginning is where SQLite keeps its own affairs.
        offset = random_source.choice([random_source.randrange(size), random_source.randrange(min(size, 8300))])
        _flip(work / name, offset, 1 << random_source.randrange(8))
        state = "/state." in name
        missing, lost_blobs = await _check(work, journal_may_suffer=state, commit_may_suffer=False)
        assert missing <= (0 if state else 1), (name, offset)
        assert lost_blobs <= 1, (name, offset)
        records_lost += missing
        shutil.rmtree(work)
    assert records_lost > 5, "many bytes are records' own"


@pytest.mark.parametrize("image", ["closed", "killed"])
async def test_torn_blocks_cost_only_what_was_in_them(images, tmp_path, image):
    random_source = random.Random(image)
    for turn in range(12):
        work = tmp_path / str(turn)
        shutil.copytree(images / image, work)
        path = max(work.rglob("*.log*"), key=lambda path: (path.stat().st_size, path.name))
        data = bytearray(path.read_bytes())
        offset = random_source.randrange(len(data) - 512) & ~511
        data[offset : offset + 512] = bytes(512)
        path.write_bytes(data)
        missing, _ = await _check(work, journal_may_suffer=False, commit_may_suffer=False)
        assert missing <= 512 // 300 + 2


async def test_a_destroyed_segment_is_lost_and_only_that(images, tmp_path):
    shutil.copytree(images / "closed", tmp_path / "log")
    segments = sorted((tmp_path / "log").rglob("*.log"))
    bases = [int(path.name[:20]) for path in segments]
    assert len(segments) >= 2
    segments[0].write_bytes(b"")
    missing, _ = await _check(tmp_path / "log", journal_may_suffer=False, commit_may_suffer=False)
    assert missing == bases[1] - COMMITTED


async def test_a_destroyed_newest_segment_is_known_by_the_mark(images, tmp_path):
    shutil.copytree(images / "closed", tmp_path / "log")
    newest = max((tmp_path / "log").rglob("*.log"))
    newest.write_bytes(b"nothing of this is SQLite" * 100)
    missing, _ = await _check(tmp_path / "log", journal_may_suffer=False, commit_may_suffer=False)
    assert missing == len(SENT) - int(newest.name[:20])


async def test_a_missing_first_segment_is_said_at_once(images, tmp_path):
    shutil.copytree(images / "closed", tmp_path / "log")
    segments = sorted((tmp_path / "log").rglob("*.log"))
    segments[0].unlink()
    first = int(segments[1].name[:20])
    log = Counted(tmp_path / "log")
    async with life(log) as (_, partition):
        assert partition.committed == first
        assert log.counted("butterfly_log_lost_records_total", reason="missing") == first - COMMITTED


@pytest.mark.parametrize("ruin", ["remove", "empty", "zeros", "noise"])
async def test_a_destroyed_state_is_loud(images, tmp_path, caplog, ruin):
    shutil.copytree(images / "closed", tmp_path / "log")
    (state,) = (tmp_path / "log").rglob("state.*.db")
    size = state.stat().st_size
    if ruin == "remove":
        state.unlink()
    else:
        state.write_bytes({"empty": b"", "zeros": bytes(size), "noise": random.Random(1).randbytes(size)}[ruin])
    log = Counted(tmp_path / "log", recent_bytes=0)
    async with life(log) as (_, partition):
        assert (partition.committed, partition.end) == (0, len(SENT))
        assert [record.payload for record in await read_all(partition)] == SENT
        assert list(await partition.load_journal()) == []
        assert log.counted("butterfly_log_lost_records_total", reason="journal") == 1
    assert "state file" in caplog.text
    caplog.clear()
    async with life(log):
        assert log.lost() == 0
    assert not caplog.text, "it is said once"


async def test_losses_are_counted_once_however_often_they_are_read(images, tmp_path):
    shutil.copytree(images / "closed", tmp_path / "log")
    path = max((tmp_path / "log").rglob("*.log"), key=lambda path: path.stat().st_size)
    _flip(path, path.read_bytes().index(LARGE[3][5000:5100]), 1)
    log = Counted(tmp_path / "log", recent_bytes=0)
    async with life(log) as (_, partition):
        for _ in range(3):
            records = await read_all(partition)
            assert {record.position for record in records} == set(range(COMMITTED, len(SENT))) - {SENT.index(LARGE[3])}
        assert log.lost() == 1


async def test_damage_to_what_was_settled_is_no_loss(images, tmp_path):
    shutil.copytree(images / "closed", tmp_path / "log")
    path = min((tmp_path / "log").rglob("*.log"))
    _flip(path, path.read_bytes().index(SENT[3][:50]), 1)
    missing, _ = await _check(tmp_path / "log", journal_may_suffer=False, commit_may_suffer=False)
    assert missing == 0


async def test_another_format_is_refused(images, tmp_path):
    shutil.copytree(images / "closed", tmp_path / "log")
    path = max((tmp_path / "log").rglob("*.log"))
    path.rename(path.with_name(path.name.replace(".v1.", ".v2.")))
    with pytest.raises(StorageError, match="format 2"):
        await Counted(tmp_path / "log")().start(())


async def test_a_file_that_cannot_be_opened_now_is_not_called_lost(tmp_path):
    """A process out of descriptors must not mistake its own log for a destroyed one, and let go of it."""
    log = Counted(tmp_path / "log", recent_bytes=0, segment_size=100_000)
    sent = payloads(0, 12, 30_000)
    async with life(log) as (connector, partition):
        await append_one_by_one(connector, sent)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        next_free = os.dup(0)
        os.close(next_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, hard))
        try:
            with pytest.raises(StorageError, match="Too many open files"):
                await partition.read(0, 1 << 20)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert [record.payload for record in await read_all(partition)] == sent
        assert log.lost() == 0
