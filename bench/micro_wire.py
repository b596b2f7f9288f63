"""What a span, a data point and a log record cost on the wire: `python -m bench.micro_wire`.

Parses with protobuf, validates, and scans (spans with 0, 1 and 10 probes, data points with and without the hashes of
their series) the same pre-built payload, alternating, and prints nanoseconds an item (CPU time of the process, Python's
call included) and the ratio to protobuf's parse of the same round: median [min-max] over the rounds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from bench.wire_requests import ROUTES, logs_request, metrics_request, put, put_resource
from collector.wire import (
    Probes,
    scan,
    scan_logs,
    scan_metrics,
    validate,
    validate_logs,
    validate_metrics,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PARSE = "protobuf parse"
SIGNALS = ("spans", "points", "logs")
AGENTS = ("Mozilla/5.0 (X11; Linux x86_64) Chrome/126.0", "okhttp/4.12.0", "grpc-java-netty/1.64.0")


def payload(spans: int, seed: int = 7) -> bytes:
    """A request like an SDK's: 420 bytes and 9-11 attributes a span, events on a third, three scopes."""
    rnd = random.Random(seed)
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    put_resource(rnd, resource.resource)
    scopes = [resource.scope_spans.add() for _ in range(3)]
    for number, scope in enumerate(scopes):
        scope.scope.name = f"io.opentelemetry.library-{number}"
    for number in range(spans):
        failed = rnd.random() < 0.03
        route, method = rnd.choice(ROUTES), rnd.choice(("GET", "POST", "PUT"))
        start = 1_718_000_000_000_000_000 + rnd.randrange(10**9)
        span = scopes[number % 3].spans.add(
            trace_id=rnd.randbytes(16), span_id=rnd.randbytes(8), parent_span_id=rnd.randbytes(8),
            name=f"{method} {route}", kind=rnd.choice((1, 2, 3)),
            flags=0x101, start_time_unix_nano=start, end_time_unix_nano=start + 10**7,
        )  # fmt: skip
        put(span.attributes, {
            "http.request.method": method, "http.route": route,
            "http.response.status_code": 500 if failed else rnd.choice((200, 201, 204, 304, 404)),
            "url.path": route.replace("{id}", str(rnd.randrange(10**6))), "server.address": "shop.internal",
            "server.port": 8443, "thread.id": rnd.randrange(400), "user_agent.original": rnd.choice(AGENTS),
            "client.address": f"203.0.113.{rnd.randrange(255)}",
        })  # fmt: skip
        if rnd.random() < 0.2:
            put(span.attributes, {"user.email": f"user{rnd.randrange(10**6)}@example.com"})
        if rnd.random() < 0.35:
            event = span.events.add(time_unix_nano=start + 1000, name="exception" if failed else "message")
            put(event.attributes, {"message.type": "SENT", "message.id": rnd.randrange(1000)})
        if failed:
            span.status.MergeFrom(Status(code=Status.STATUS_CODE_ERROR, message="upstream timed out"))
    return request.SerializeToString()


def one_probe() -> Probes:
    probes = Probes()
    probes.attribute_bool("butterfly.byzantine.detected", value=True, where=("span",))
    return probes


def ten_probes() -> Probes:
    """A sampler's: what Butterfly keeps, and a few conditions that do find their key on each span."""
    probes = one_probe()
    probes.attribute_exists("butterfly.byzantine.fault_type")
    probes.status(2)
    probes.event_name(["byzantine.fault_detected", "byzantine.verification_failed"])
    probes.name(prefixes=["verify."])
    probes.attribute_string("service.name", ["checkout", "cart"])
    probes.attribute_string("http.request.method", ["POST"])
    probes.attribute_number("http.response.status_code", 500, None)
    probes.attribute_pattern("http.route", lambda text: text.startswith("/api/"))
    probes.attribute_exists("tenant.id")
    return probes


def rows_of(signal: str, items: int) -> tuple[int, dict[str, Callable[[], object]]]:
    """Bytes of a request of so many items, and what is done with it."""
    if signal == "spans":
        data = payload(items)
        return len(data), {
            PARSE: partial(ExportTraceServiceRequest.FromString, data),
            "validate": partial(validate, data),
            "scan": partial(scan, data),
            "scan, 1 probe": partial(scan, data, one_probe()),
            "scan, 10 probes": partial(scan, data, ten_probes()),
        }
    if signal == "points":
        data = metrics_request(items)
        return len(data), {
            PARSE: partial(ExportMetricsServiceRequest.FromString, data),
            "validate": partial(validate_metrics, data),
            "scan": partial(scan_metrics, data),
            "scan and series": lambda: scan_metrics(data).series,
        }
    data = logs_request(items)
    return len(data), {
        PARSE: partial(ExportLogsServiceRequest.FromString, data),
        "validate": partial(validate_logs, data),
        "scan": partial(scan_logs, data),
    }


def measure(function: Callable[[], object], items: int, seconds: float) -> float:
    """CPU nanoseconds an item, over calls that fill at least `seconds`."""
    calls = 0
    begin = now = time.process_time()
    while now - begin < seconds:
        for _ in range(max(1, 2000 // items)):
            function()
            calls += 1
        now = time.process_time()
    return (now - begin) / calls / items * 1e9


def spread(values: list[float], digits: int) -> str:
    middle = f"{statistics.median(values):.{digits}f}"
    return f"{middle} [{min(values):.{digits}f}-{max(values):.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each measurement")
    parser.add_argument("--items", type=int, nargs="+", default=[1, 10, 100, 2000], help="a request")
    parser.add_argument("--signals", nargs="+", default=SIGNALS, choices=SIGNALS)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    options = parser.parse_args()
    report: dict[str, dict[int, dict[str, list[float]]]] = {}
    for signal in options.signals:
        for items in options.items:
            size, rows = rows_of(signal, items)
            found: dict[str, list[float]] = {name: [] for name in rows}
            for _ in range(max(3, options.rounds)):
                for name, function in rows.items():
                    found[name].append(measure(function, items, options.seconds))
            report.setdefault(signal, {})[items] = found
            if options.json:
                continue
            print(f"{items} {signal} a request, {size / items:.0f} bytes each")
            for name, values in found.items():
                ratios = [parse / value for parse, value in zip(found[PARSE], values, strict=True)]
                print(f"  {name:16} {spread(values, 1):>24} ns each   1/{spread(ratios, 1)} of the parse")
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
