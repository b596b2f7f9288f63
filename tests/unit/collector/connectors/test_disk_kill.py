"""kill -9 at random moments: what was acknowledged, committed and journalled is there afterwards."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from disk_logs import Counted
from disk_victim import payload

from collector.testing.durable_connector import content, life, read_all

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[3]


def _run_and_kill(directory, first, blob, compression, seconds):
    """The lines that a victim wrote before it was killed."""
    environment = os.environ | {"PYTHONPATH": f"{_ROOT}:{_HERE}"}
    with subprocess.Popen(
        [sys.executable, _HERE / "disk_victim.py", directory, str(first), str(blob), compression],
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        begun = process.stdout.readline()  # importing takes longer than the crash we want to see
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        output = begun + process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    return [line.split() for line in output[: output.rfind(b"\n")].split(b"\n")]


async def _survives(directory, turns, seed):
    source = random.Random(seed)
    acknowledged, committed, blobs, first, blob = set(), 0, -1, 0, 0
    for _ in range(turns):
        compression = source.choice(["none", "gzip", "zstd"])
        for word, number in _run_and_kill(directory, first, blob, compression, source.uniform(0, 0.35)):
            if word == b"append":
                acknowledged.add(int(number))
            elif word == b"commit":
                committed = max(committed, int(number))
            else:
                blobs = max(blobs, int(number))
        log = Counted(directory, recent_bytes=0)
        async with life(log) as (_, partition):
            assert partition.committed >= committed, "the committed position went back"
            committed = partition.committed
            records = await read_all(partition)
            assert [record.position for record in records] == list(range(committed, partition.end))
            joined = content(records)
            found = [int(match) for match in re.findall(rb"<(\d{12})>", joined)]
            assert found == sorted(set(found)), "out of order, or twice"
            assert joined == b"".join(payload(number) for number in found)
            # What lies before the committed position was settled, and may be gone.
            oldest = found[0] if found else max(acknowledged, default=-1) + 1
            lost = {number for number in acknowledged if number >= oldest} - set(found)
            assert not lost, f"{len(lost)} acknowledged batches are lost"
            assert found or not acknowledged, "the victim never commits the last 60"
            journal = [int(entry.split()[1]) for entry in await partition.load_journal()]
            assert journal == list(range(journal[0], journal[0] + len(journal))) if journal else blobs < 0
            assert not journal or journal[-1] >= blobs, "a durable verdict is lost"
            assert len(journal) >= min(blobs + 1, 50)
            assert log.lost() == 0
            blob = journal[-1] + 1 if journal else 0
            blobs = blob - 1
            first = max([first, *acknowledged, *found]) + 1
    return len(acknowledged)


async def test_kill_survived(tmp_path):
    assert await _survives(tmp_path / "log", 6, 1) > 200


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_sixty_kills_survived(tmp_path):
    assert await _survives(tmp_path / "log", 70, 2) > 2000
