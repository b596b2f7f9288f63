"""Butterfly's logs through the gateway of configs/gateway.yaml into a real Loki (2.2.1): every label and line."""

import json
import time
from collections import Counter

from expected_entries import expected_entries, ordered
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from pillars import post, request_of, scrubbed, three_pillars, with_trace_context

from bench.generator.clock import Clock
from bench.generator.log_records import LogShape
from bench.generator.traces import Mix
from bench.generator.traffic import Shape, Traffic
from tests.servers.process import free_ports


def in_order(count):
    """Requests of the generator's records, all in order of time: this Loki takes a stream no other way."""
    shape = Shape(seed=21, senders=3, batch=50, spans=1200, mix=Mix(), logs=LogShape(records=count, batch=50))
    clock = Clock()
    clock.start(0, time.time_ns() - 10 * 10**9, 5 * 10**9)
    single = []
    for made in Traffic(shape).logs.requests:
        for group in ExportLogsServiceRequest.FromString(made.encode(0, clock)).resource_logs:
            for scope in group.scope_logs:
                for record in scope.log_records:
                    request = ExportLogsServiceRequest()
                    own = request.resource_logs.add(resource=group.resource).scope_logs.add(scope=scope.scope)
                    own.log_records.append(record)
                    single.append((record.time_unix_nano, request.SerializeToString()))
    single.sort()
    return [b"".join(payload for _, payload in single[n : n + 25]) for n in range(0, len(single), 25)]


def said(line):
    """Of a line what it says, without the request id that `correlation` adds when it knows it by then."""
    members = json.loads(line)
    if members.get("request_id", "") == request_of(members.get("trace_id", "")):
        del members["request_id"]
    return ordered(members)


def test_every_line_arrives_equal_while_loki_is_killed(tmp_path, loki):
    (nobody,) = free_ports(1)  # neither metrics nor traces are sent

    def to_loki(config):
        config["exporters"]["loki"]["endpoint"] = loki.url

    requests = in_order(600)
    half = len(requests) // 2
    with three_pillars(tmp_path, nobody, nobody, nobody, change=to_loki) as gateway:
        for request in requests[:half]:
            post(gateway, "logs", request)
        gateway.drained()
        loki.kill()
        for request in requests[half:]:
            post(gateway, "logs", request)
        loki.start()
        gateway.drained()
        assert gateway.metric("butterfly_dead_lettered_items_total") == 0
        sent = expected_entries(map(with_trace_context, scrubbed(gateway, "logs", requests)))
        gateway.terminate()
    wanted = Counter((when, labels, said(line)) for when, labels, line, _ in sent.elements())
    found = Counter((when, ordered(dict(labels)), said(line)) for labels, when, line in loki.entries('{level=~".+"}'))
    assert wanted.total() == 600
    missing, extra = wanted - found, found - wanted
    assert (next(iter(missing), None), next(iter(extra), None)) == (None, None)
