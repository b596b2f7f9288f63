"""The encoder of the `loki` exporter makes what a plain one on protobuf's objects makes."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from otlp_messages import random_request, untidy

from exporters.loki.encoder import REFUSALS, Encoder
from exporters.loki.plan import Limits, Plan
from tests.property.loki_reference import Reference
from tests.property.loki_requests import NOW, logs
from tests.unit.exporters.loki.loki_push import PushRequest, entries_of

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
