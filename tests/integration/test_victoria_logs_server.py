"""What the real VictoriaLogs of the tests takes through Loki's push API and OTLP, and gives back."""

import time
import urllib.error
import urllib.request

import cramjam
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from test_prometheus_server import field

HEADERS = {"content-type": "application/x-protobuf"}


def stream(labels, *entries):
    """A stream of a push request; an entry is (Unix nanoseconds, line, structured metadata)."""
    written = field(1, labels)
    for when, line, metadata in entries:
        seconds, nanos = divmod(when, 10**9)
        pairs = b"".join(field(3, field(1, name) + field(2, value)) for name, value in metadata.items())
        written += field(2, field(1, field(1, seconds) + field(2, nanos)) + field(2, line) + pairs)
    return field(1, written)


def push(server, payload):
    request = urllib.request.Request(server.push_url, bytes(cramjam.snappy.compress_raw(payload)), HEADERS)
    with urllib.request.urlopen(request, timeout=10) as reply:
        return reply.status


def test_lines_labels_and_metadata_come_back(victoria_logs):
    now = time.time_ns()
    trace = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "request_id": "r-1"}
    line = '{"level":"error","message":"layer 3 \\"failed\\" ü"}'
    payload = stream('{app="a",node="n-\\"1\\""}', (now, line, trace), (now + 1, "plain", {}))
    assert push(victoria_logs, payload + stream('{app="b"}', (now, "other", {}))) == 204
    found = {each["_msg"]: each for each in victoria_logs.entries('{app="a"}')}
    assert set(found) == {line, "plain"}
    assert found[line].items() >= {"app": "a", "node": 'n-"1"', **trace}.items()
    assert "message" not in found[line]  # not taken apart
    whole, nanos = found[line]["_time"].rstrip("Z").split(".")
    assert f"{nanos:0<9}" == f"{now % 10**9:09}"
    assert time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)) == whole
    assert [each["_msg"] for each in victoria_logs.entries(f'trace_id:="{trace["trace_id"]}"')] == [line]
    assert victoria_logs.streams('{app=~"a|b"}') == ['{app="a",node="n-\\"1\\""}', '{app="b"}']
    assert victoria_logs.count('{app="a"}') == 2


def test_the_same_pushed_again_is_there_twice(victoria_logs):
    now = time.time_ns()
    for _ in range(2):
        assert push(victoria_logs, stream('{app="copies"}', (now, "again", {}))) == 204
    assert victoria_logs.count('{app="copies"}') == 2


def test_entries_of_any_age_are_taken(victoria_logs):
    times = (1_500_000_000 * 10**9, 1_790_000_000 * 10**9, time.time_ns() + 40 * 86400 * 10**9)
    assert push(victoria_logs, stream('{app="old"}', *((when, str(when), {}) for when in times))) == 204
    assert {each["_msg"] for each in victoria_logs.entries('{app="old"}')} == set(map(str, times))


def test_what_is_no_push_request_is_refused(victoria_logs):
    with pytest.raises(urllib.error.HTTPError) as refused:
        push(victoria_logs, stream("no labels", (1, "x", {})))
    with refused.value:
        assert refused.value.code == 400


def test_otlp_comes_back(victoria_logs):
    request = ExportLogsServiceRequest()
    logs = request.resource_logs.add()
    logs.resource.attributes.add(key="service.name").value.string_value = "otlp"
    record = logs.scope_logs.add().log_records.add(time_unix_nano=time.time_ns(), severity_number=17)
    record.body.string_value = "from otlp"
    record.trace_id = bytes(range(16))
    body = request.SerializeToString()
    with urllib.request.urlopen(urllib.request.Request(victoria_logs.otlp_url, body, HEADERS), timeout=10) as reply:
        assert reply.status == 200
    (entry,) = victoria_logs.entries('"from otlp"')
    assert (entry["service.name"], entry["trace_id"]) == ("otlp", bytes(range(16)).hex())


def test_what_it_stored_is_there_after_a_stop(victoria_logs):
    assert push(victoria_logs, stream('{app="lasting"}', (time.time_ns(), "kept", {}))) == 204
    before = victoria_logs.push_url
    victoria_logs.stop()
    with pytest.raises(OSError):
        push(victoria_logs, b"")
    victoria_logs.start()
    assert victoria_logs.push_url == before
    assert victoria_logs.count('{app="lasting"}') == 1


def test_what_it_drops_without_a_word(victoria_logs):
    payload = stream('{app="drop"}', (1, "x" * (2 << 20), {}), (2, "short", {"request_id": ""}), (3, "", {"k": "v"}))
    assert push(victoria_logs, payload) == 204
    short, empty = sorted(victoria_logs.entries('{app="drop"}'), key=lambda entry: entry["_time"])
    assert short["_msg"] == "short"
    assert "request_id" not in short
    assert "_msg" not in empty
    assert empty["k"] == "v"
