import asyncio
import base64
import os
import stat

import orjson
import pytest

from collector.api import Ack, Batch, Outcome, Signal, StorageError
from collector.export_queue.dead_letter import DeadLetter, read


@pytest.fixture
def batch():
    batch = Batch(b"\x0a\x00", Ack(lambda _outcome, _reason: None), count=3)
    yield batch
    batch.ack.resolve(Outcome.REJECTED)


async def test_what_is_written_is_read_back(tmp_path, batch):
    dead = DeadLetter(tmp_path / "deep" / "dead", 1 << 20)
    await dead.write(batch, "otlp/a", "rejected: no")
    await dead.write(batch, "jaeger", "partial_success", 2)
    first, second = read(tmp_path / "deep" / "dead")
    assert (first.exporter, first.reason, first.rejected) == ("otlp/a", "rejected: no", None)
    assert (second.exporter, second.reason, second.rejected) == ("jaeger", "partial_success", 2)
    assert (first.signal, first.items, first.payload) == (Signal.TRACES, 3, b"\x0a\x00")
    assert not batch.ack.resolved


async def test_a_line_is_the_documented_json(tmp_path, batch):
    await DeadLetter(tmp_path, 1 << 20).write(batch, "otlp", "shutdown")
    (line,) = (tmp_path / "dead-letter.jsonl").read_bytes().splitlines()
    entry = orjson.loads(line)
    assert list(entry) == ["time", "exporter", "reason", "signal", "items", "payload"]
    assert entry["time"].endswith("Z")
    assert base64.b64decode(entry["payload"]) == b"\x0a\x00"


async def test_it_is_readable_by_its_owner_alone(tmp_path, batch):
    await DeadLetter(tmp_path / "dead", 1 << 20).write(batch, "otlp", "x")
    assert stat.S_IMODE((tmp_path / "dead").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "dead" / "dead-letter.jsonl").stat().st_mode) == 0o600


async def test_full_refuses_without_a_trace_and_room_comes_back(tmp_path, batch):
    dead = DeadLetter(tmp_path, 2000)
    refused = None
    n = 0
    while refused is None and n < 100:
        try:
            await dead.write(batch, "otlp", "rejected")
            n += 1
        except StorageError as error:
            refused = str(error)
    assert "full" in refused
    files = list(tmp_path.glob("*.jsonl"))
    assert n == len(list(read(tmp_path))) > 8
    assert 1500 < sum(file.stat().st_size for file in files) <= 2000
    assert len(files) > 2
    min(files).unlink()
    await dead.write(batch, "otlp", "rejected")


async def test_files_are_set_aside_and_read_in_order(tmp_path, batch):
    dead = DeadLetter(tmp_path, 8000)
    for i in range(20):
        await dead.write(batch, "otlp", f"r{i}")
    assert len(list(tmp_path.glob("*.jsonl"))) > 1
    assert [each.reason for each in read(tmp_path)] == [f"r{i}" for i in range(20)]


async def test_a_torn_line_is_cut_off_before_the_next(tmp_path, batch):
    await DeadLetter(tmp_path, 1 << 20).write(batch, "otlp", "first")
    path = tmp_path / "dead-letter.jsonl"
    with path.open("ab") as file:
        file.write(b'{"time": "20')
    assert [each.reason for each in read(tmp_path)] == ["first"]
    await DeadLetter(tmp_path, 1 << 20).write(batch, "otlp", "second")
    assert [each.reason for each in read(tmp_path)] == ["first", "second"]


async def test_a_directory_that_cannot_be_written_is_a_storage_error_without_a_path(tmp_path, batch):
    (tmp_path / "dead").write_text("a file in the way")
    with pytest.raises(StorageError) as refused:
        await DeadLetter(tmp_path / "dead", 1 << 20).write(batch, "otlp", "x")
    assert "dead letter can't be written" in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


async def test_writes_reach_the_disk_before_they_return(tmp_path, batch, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(os.fstat(file).st_size))
    await DeadLetter(tmp_path, 1 << 20).write(batch, "otlp", "x")
    assert synced == [(tmp_path / "dead-letter.jsonl").stat().st_size]


async def test_many_queues_may_write_at_once(tmp_path, batch):
    dead = DeadLetter(tmp_path, 1 << 20)
    await asyncio.gather(*(dead.write(batch, "otlp", f"r{i}") for i in range(40)))
    assert {each.reason for each in read(tmp_path)} == {f"r{i}" for i in range(40)}


def test_an_absent_dead_letter_is_empty(tmp_path):
    assert list(read(tmp_path / "nothing")) == []


@pytest.mark.parametrize("size", [0, 1, 2, 3, 196_607, 196_608, 196_609, 1_000_000])
async def test_a_payload_of_any_length_is_read_back(tmp_path, size):
    payload = os.urandom(size)
    batch = Batch(payload, Ack(lambda _outcome, _reason: None), count=1)
    await DeadLetter(tmp_path, 2 << 20).write(batch, "otlp", "rejected: no")
    batch.ack.resolve(Outcome.REJECTED)
    (found,) = read(tmp_path)
    assert found.payload == payload
