"""The encoder of the `loki` exporter makes what a plain one on protobuf's objects makes."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from loki_reference import Reference
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from otlp_messages import DOUBLES, TEXTS, random_request, untidy

from exporters.loki.encoder import REFUSALS, Encoder
from exporters.loki.plan import Limits, Plan
from tests.unit.exporters.loki.loki_push import PushRequest, entries_of

NOW = 1_790_000_000_123_456_789
KEYS = (
    *("service.name", "service_name", "service.namespace", "level", "butterfly.node.id", "node_id", "request_id"),
    *("butterfly.request.id", "component", "trace_id", "scope_name", "tenant", "a.b", "a_b", "1a", "", "é", "message"),
)
PLANS = (
    Plan(),
    Plan(json_line=False),
    Plan(
        labels=("tenant", "service.name", "butterfly.node.id"), metadata=frozenset({"a.b", "level", "component", "é"})
    ),
    Plan(labels=("level",), static_labels=(("cluster", 'e"u'), ("zone", "1")), json_line=False, metadata=frozenset()),
    Plan(labels=("tenant",), json_line=False),
    Plan(labels=("service.name",), limits=Limits(max_line_size=140, max_label_value_length=3)),
    Plan(
        limits=Limits(
            max_line_size=20,
            max_structured_metadata_entries_count=4,
            max_structured_metadata_size=60,
            max_age=10**12,
            max_ahead=10**9,
        ),
        json_line=False,
    ),
    Plan(
        limits=Limits(max_line_size=200, truncate_lines=False, max_structured_metadata_size=100, max_age=0, max_ahead=0)
    ),
)


class Some:
    """Admits label sets by chance, but the same ones each time."""

    def __init__(self, share):
        self.share = share

    def admit(self, labels):
        labels = labels if isinstance(labels, bytes) else labels.encode()
        return Random(labels).random() < self.share


def value(rnd, any_value, depth=0):
    kind = rnd.randrange(9 if depth < 3 else 6)
    if kind in (0, 6):
        any_value.string_value = rnd.choice(TEXTS)
    elif kind == 1:
        any_value.bool_value = rnd.random() < 0.5
    elif kind == 2:
        any_value.int_value = rnd.choice((0, 1, -1, 2**63 - 1, -(2**63), 300))
    elif kind == 3:
        any_value.double_value = rnd.choice(DOUBLES)
    elif kind == 4:
        any_value.bytes_value = rnd.randbytes(rnd.randrange(7))
    elif kind == 7:
        any_value.array_value.SetInParent()
        for _ in range(rnd.randrange(3)):
            value(rnd, any_value.array_value.values.add(), depth + 1)
    elif kind == 8:
        any_value.kvlist_value.SetInParent()
        for _ in range(rnd.randrange(3)):
            pair = any_value.kvlist_value.values.add(key=rnd.choice(TEXTS))
            if rnd.random() < 0.9:
                value(rnd, pair.value, depth + 1)


def attributes(rnd, to):
    for key in rnd.sample(KEYS, rnd.randrange(6)) + rnd.choices(KEYS, k=rnd.randrange(2)):
        pair = to.add(key=key)
        if rnd.random() < 0.9:
            value(rnd, pair.value)


def body(rnd, any_value):
    if rnd.random() < 0.5:
        value(rnd, any_value)
    elif rnd.random() < 0.5:
        keys = rnd.sample(("message", "trace_id", "span_id", "request_id", "butterfly.node.id", "x", "fields"), 4)
        members = {key: rnd.choice(("v", "", 1, None, {"a": ["}", {"b": '"'}]}, [], "é", -1.5e3, True)) for key in keys}
        text = json.dumps(members, indent=rnd.choice((None, 1)), ensure_ascii=False)
        any_value.string_value = rnd.choice((text, text, f" {text}\n", text[:-1], f"{text}x", f"[{text}]", text + text))
    else:
        for key in rnd.sample(("message", "trace_id", "span_id", "node_id", "x"), 3):
            value(rnd, any_value.kvlist_value.values.add(key=key).value)


def logs(rnd):
    request = ExportLogsServiceRequest()
    for _ in range(rnd.randrange(1, 4)):
        resource = request.resource_logs.add()
        attributes(rnd, resource.resource.attributes)
        for _ in range(rnd.randrange(1, 3)):
            scope = resource.scope_logs.add()
            scope.scope.name = rnd.choice(("", "consensus", "layers"))
            scope.scope.version = rnd.choice(("", "1.0"))
            attributes(rnd, scope.scope.attributes)
            for _ in range(rnd.randrange(5)):
                record = scope.log_records.add(
                    time_unix_nano=rnd.choice((0, NOW, NOW - 5, NOW - 10**12 - 1, NOW + 10**9 + 1, NOW - 10**15)),
                    observed_time_unix_nano=rnd.choice((0, NOW, NOW + 1, 2**64 - 1)),
                    severity_number=rnd.choice((0, 0, 1, 9, 10, 17, 24, 25, -1)),
                    severity_text=rnd.choice(("", "INFO", "Warning", "crit", "odd", "x" * 40)),
                    trace_id=rnd.choice((b"", bytes(16), rnd.randbytes(16), b"short")),
                    span_id=rnd.choice((b"", bytes(8), rnd.randbytes(8), bytes(7) + b"\1\1")),
                    flags=rnd.choice((0, 1)),
                    dropped_attributes_count=rnd.choice((0, 3)),
                    event_name=rnd.choice(("", "vote")),
                )
                body(rnd, record.body)
                attributes(rnd, record.attributes)
    return request


def check(rnd, payload, plan, encoder, reference):
    wanted, refused = reference.encode(ExportLogsServiceRequest.FromString(payload), NOW)
    entries = encoder.encode(payload, NOW)
    assert [REFUSALS[each] for each in entries.refused] == refused
    push = PushRequest.FromString(entries.push(np.arange(len(entries), dtype=np.uint32)))
    assert [tuple(each[:4]) for each in wanted] == entries_of(push)
    assert [each[4] for each in wanted] == entries.rows.tolist()
    assert [each[1] for each in wanted] == entries.times.tolist()
    assert len({stream.labels for stream in push.streams}) == len(push.streams)
    some = np.flatnonzero([rnd.random() < 0.5 for _ in wanted]).astype(np.uint32)
    part = PushRequest.FromString(entries.push(some))
    assert entries_of(part) == [tuple(wanted[i][:4]) for i in some]


@pytest.mark.parametrize("number", range(len(PLANS)))
@pytest.mark.parametrize("share", [1.0, 0.4])
def test_entries_are_the_references(number, share):
    rnd = Random(number * 2 + share)
    plan, some = PLANS[number], Some(share)
    encoder, reference = Encoder(plan, some), Reference(plan, some.admit)
    for _ in range(60):
        request = logs(rnd)
        payload = request.SerializeToString() if rnd.random() < 0.5 else untidy(rnd, request)
        check(rnd, payload, plan, encoder, reference)


def test_any_request_that_protobuf_reads_becomes_the_references_entries():
    rnd = Random(7)
    plan = replace(PLANS[1], limits=Limits(max_age=0, max_ahead=0))
    for json_line in (True, False):
        each = replace(plan, json_line=json_line)
        encoder, reference = Encoder(each, Some(1)), Reference(each)
        for _ in range(80):
            check(rnd, untidy(rnd, random_request(rnd, "logs")), each, encoder, reference)


def test_what_protobuf_does_not_read_is_refused_and_never_read_beyond_its_end():
    rnd = Random(8)
    encoder = Encoder(Plan(), Some(1))
    for _ in range(300):
        payload = bytearray(logs(rnd).SerializeToString())
        for _ in range(rnd.randrange(1, 4)):
            if payload:
                payload[rnd.randrange(len(payload))] = rnd.randrange(256)
        payload = bytes(payload[: rnd.randrange(len(payload) + 1)])
        try:
            entries = encoder.encode(payload, NOW)
        except ValueError:
            with pytest.raises(Exception, match=r"."):
                ExportLogsServiceRequest.FromString(payload)
        else:
            entries.push(np.arange(len(entries), dtype=np.uint32))
