import errno
import json
import logging
import os

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.api import Ack, Batch, BuildContext, ConfigError, Outcome, RetryableExportError
from exporters.file import FileExporter, FileOptions


def batch_of(*names):
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for name in names:
        scope.spans.add(name=name, trace_id=bytes(15) + b"\xab", span_id=bytes(7) + b"\xcd", start_time_unix_nano=5)
    return Batch(request.SerializeToString(), Ack(lambda _outcome, _reason: None))


@pytest.fixture
def make():
    made = []

    def build(path, **options):
        config = FileOptions.model_validate({"path": str(path), **options})
        made.append(FileExporter(config, BuildContext("file", logging.getLogger("test"))))
        return made[-1]

    return build


async def export(exporter, *names):
    batch = batch_of(*names)
    try:
        assert await exporter.export(batch) == 0
    finally:
        batch.ack.resolve(Outcome.DELIVERED)


async def test_one_request_a_line_in_otlp_json(make, tmp_path):
    path = tmp_path / "deep" / "traces.jsonl"
    exporter = make(path)
    await exporter.start()
    await export(exporter, "a", "b")
    await export(exporter, "c")
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    await exporter.stop()
    spans = first["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert spans[0] == {"traceId": "0" * 30 + "ab", "spanId": "0" * 14 + "cd", "name": "a", "startTimeUnixNano": "5"}
    assert second["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"] == "c"
    assert path.stat().st_mode & 0o777 == 0o600


async def test_what_a_crash_left_is_repaired_at_start(make, tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"resourceSpans":[]}\n{"resou')
    exporter = make(path)
    await exporter.start()
    assert path.read_bytes() == b'{"resourceSpans":[]}\n'
    await exporter.stop()


async def test_it_survives_the_process_before_it_counts_as_delivered(make, tmp_path):
    path = tmp_path / "t.jsonl"
    exporter = make(path)
    await exporter.start()
    await export(exporter, "a")
    assert path.read_bytes().endswith(b"}\n")
    await exporter.stop()


@pytest.mark.parametrize("fsync", [True, False])
async def test_fsync_waits_for_the_disk_when_asked(make, tmp_path, monkeypatch, fsync):
    synced = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    exporter = make(tmp_path / "t.jsonl", fsync=fsync)
    await exporter.start()
    await export(exporter, "a")
    assert len(synced) == fsync
    await exporter.stop()


async def test_a_full_disk_is_retryable_and_leaves_no_half_line(make, tmp_path, monkeypatch):
    path = tmp_path / "t.jsonl"
    exporter = make(path)
    await exporter.start()
    await export(exporter, "a")
    before = path.read_bytes()
    write = os.write

    def full(file, data):
        if len(data) < 60:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:30])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(RetryableExportError) as refused:
            await export(exporter, "b")
    assert refused.value.reason == "the file can't be written: No space left on device"
    assert path.read_bytes() == before
    await export(exporter, "b")
    assert len(path.read_bytes().splitlines()) == 2
    await exporter.stop()


async def test_a_really_full_device_is_retryable(make, tmp_path):
    """/dev/full is no regular file, so a file size limit plays the full disk."""
    import resource
    import signal

    path = tmp_path / "t.jsonl"
    exporter = make(path)
    await exporter.start()
    await export(exporter, "a")
    size = path.stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
        with pytest.raises(RetryableExportError):
            await export(exporter, "b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.stat().st_size == size
    await export(exporter, "b")
    await exporter.stop()


async def test_rotation(make, tmp_path):
    exporter = make(tmp_path / "t.jsonl", rotation={"max_megabytes": 1, "max_backups": 2})
    await exporter.start()
    for i in range(5):
        await export(exporter, "x" * 700_000, f"{i}")
    await exporter.stop()
    files = sorted(tmp_path.glob("t-*.jsonl"))
    assert len(files) == 2
    assert all(len(file.read_bytes().splitlines()) == 1 for file in files)


async def test_a_path_that_cannot_be_opened_stops_the_start(make, tmp_path):
    with pytest.raises(ConfigError, match="Is a directory") as refused:
        await make(tmp_path).start()
    assert str(tmp_path) not in str(refused.value)


def test_files_are_written_in_order(make, tmp_path):
    assert make(tmp_path / "t").order == "fifo"


async def test_a_long_line_is_written_in_pieces_and_counts_for_the_rotation(make, tmp_path):
    path = tmp_path / "traces.jsonl"
    exporter = make(path, rotation={"max_megabytes": 6, "max_backups": 2})
    await exporter.start()
    name = "\x01" * (1 << 20)
    for _ in range(2):
        await export(exporter, name)  # 6 MiB of text each
    await exporter.stop()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    for file in files:
        (line,) = file.read_bytes().splitlines()
        assert json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"] == name
