"""kill -9 at random moments: what was acknowledged, committed and journalled is there afterwards, for each reader."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from disk_victim import BEHIND, payload, signal_of, victims_log

from collector.testing.durable_connector import Quiet, content, lives, read_all

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[3]


def _run_and_kill(directory, first, blobs, compression, seconds):
    """The lines that a victim wrote before it was killed."""
    environment = os.environ | {"PYTHONPATH": f"{_ROOT}:{_HERE}"}
    with subprocess.Popen(
        [sys.executable, _HERE / "disk_victim.py", directory, str(first), json.dumps(blobs), compression],
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        begun = process.stdout.readline()  # importing takes longer than the crash we want to see
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        output = begun + process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    return [line.decode().split() for line in output[: output.rfind(b"\n")].split(b"\n")]


class _Promised:
    """What one reader was promised."""

    def __init__(self, reader):
        self.reader = reader
        self.committed, self.blobs = 0, -1

    async def is_kept(self, partition, acknowledged):
        """Check, and take what is there as what is promised from now on. The numbers of all records that it gets."""
        assert partition.committed >= self.committed, "the committed position went back"
        self.committed = partition.committed
        records = await read_all(partition)
        assert [record.position for record in records] == list(range(self.committed, partition.end))
        assert {record.signal for record in records} <= {self.reader.signal}
        joined = content(records)
        found = [int(match) for match in re.findall(rb"<(\d{12})>", joined)]
        assert found == sorted(set(found)), "out of order, or twice"
        assert joined == b"".join(payload(number) for number in found)
        # What lies before the committed position was settled, and may be gone.
        mine = {number for number in acknowledged if signal_of(number) is self.reader.signal}
        oldest = found[0] if found else max(mine, default=-1) + 1
        lost = {number for number in mine if number >= oldest} - set(found)
        assert not lost, f"{len(lost)} acknowledged batches are lost"
        assert found or not mine, "the victim never commits the last few"
        journal = [int(entry.split()[1]) for entry in await partition.load_journal()]
        assert journal == list(range(journal[0], journal[0] + len(journal))) if journal else self.blobs < 0
        assert not journal or journal[-1] >= self.blobs, "a durable verdict is lost"
        assert len(journal) >= min(self.blobs + 1, 50)
        self.blobs = journal[-1] if journal else -1
        return found


async def _survives(directory, turns, seed):
    source = random.Random(seed)
    promised = {reader.name: _Promised(reader) for reader in BEHIND}
    acknowledged, first = set(), 0
    for _ in range(turns):
        compression = source.choice(["none", "gzip", "zstd"])
        blobs = {name: each.blobs + 1 for name, each in promised.items()}
        for word, whose, number in _run_and_kill(directory, first, blobs, compression, source.uniform(0, 0.35)):
            if word == "append":
                acknowledged.add(int(number))
            elif word == "commit":
                promised[whose].committed = max(promised[whose].committed, int(number))
            else:
                promised[whose].blobs = max(promised[whose].blobs, int(number))
        log = victims_log(directory, recent_bytes=0)
        async with lives(log, *(Quiet(reader) for reader in BEHIND)) as (_, partitions):
            for each, partition in zip(promised.values(), partitions, strict=True):
                found = await each.is_kept(partition, acknowledged)
                first = max([first, *acknowledged, *found]) + 1
            assert log.lost() == 0
    return len(acknowledged)


async def test_kill_survived(tmp_path):
    assert await _survives(tmp_path / "log", 6, 1) > 200


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_sixty_kills_survived(tmp_path):
    assert await _survives(tmp_path / "log", 70, 2) > 2000
