"""A log record with an id that is none, before a backend that refuses whole requests for it, as the Collector does."""

import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from gateway_process import Gateway, free_port
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

from collector.export_queue.dead_letter import read

RECORDS = 200
BAD = 77


def records_of(request):
    return [record for r in request.resource_logs for s in r.scope_logs for record in s.log_records]


@contextmanager
def strict_backend():
    """The port of a backend that takes no request with such an id, and the records that it took."""
    taken = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            records = records_of(ExportLogsServiceRequest.FromString(body))
            good = all(len(record.trace_id) in (0, 16) for record in records)
            if good:
                taken.extend(records)
            self.send_response(200 if good else 400)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, taken
        server.shutdown()


@pytest.mark.parametrize("scrubbed", [False, True], ids=["as it is", "behind the scrubber"])
def test_only_the_record_itself_is_at_stake(tmp_path, scrubbed):
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for number in range(RECORDS):
        records.add(time_unix_nano=number + 1, trace_id=b"\1" * (15 if number == BAD else 16), span_id=b"\2" * 8)
    with strict_backend() as (port, taken):
        config = {
            "receivers": {
                "otlp": {"protocols": {name: {"endpoint": f"127.0.0.1:{free_port()}"} for name in ("grpc", "http")}}
            },
            "processors": {"pii_scrubber": {"ephemeral_pepper": True}} if scrubbed else {},
            "exporters": {
                "otlp": {"protocol": "http", "endpoint": f"http://127.0.0.1:{port}", "compression": "none"},
            },
            "service": {
                "data_dir": str(tmp_path / "data"),
                "telemetry": {"metrics": {"address": f"127.0.0.1:{free_port()}"}},
                "pipelines": {
                    "logs": {
                        "receivers": ["otlp"],
                        "processors": ["pii_scrubber"] if scrubbed else [],
                        "exporters": ["otlp"],
                    }
                },
            },
        }
        with Gateway(config, tmp_path) as gateway:
            post = urllib.request.Request(
                f"http://{gateway.http}/v1/logs",
                request.SerializeToString(),
                {"content-type": "application/x-protobuf"},
            )
            with urllib.request.urlopen(post, timeout=10) as reply:
                partial = ExportLogsServiceResponse.FromString(reply.read()).partial_success
            assert (partial.rejected_log_records, "16 bytes" in partial.error_message) == (0, True)
            gateway.drained()
            lost = 0 if scrubbed else 1
            assert gateway.metric("butterfly_accepted_items_total", pipeline="logs") == RECORDS
            assert gateway.metric("butterfly_export_items_total", outcome="delivered") == RECORDS - lost
            assert gateway.metric("butterfly_export_items_total", outcome="dead_lettered") == lost
            gateway.terminate()
    missing = set() if scrubbed else {BAD + 1}
    assert sorted(record.time_unix_nano for record in taken) == sorted({*range(1, RECORDS + 1)} - missing)
    letters = [
        ExportLogsServiceRequest.FromString(letter.payload) for letter in read(tmp_path / "data" / "dead-letter")
    ]
    assert [record.trace_id for letter in letters for record in records_of(letter)] == [b"\1" * 15] * lost
