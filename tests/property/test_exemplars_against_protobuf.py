"""Exemplars, texts and resources found on the bytes are those that protobuf finds."""

import bisect
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.wire import (
    Malformed,
    edit_exemplars,
    find_exemplars,
    find_field,
    find_text,
    replace_points,
    resource_bodies,
    scan_logs,
    scan_metrics,
)
from tests.property.otlp_messages import REQUESTS, canonical, random_request, untidy


def points_of(request):
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                if kind is not None:
                    for point in getattr(metric, kind).data_points:
                        yield kind, point


def prune(request):
    """What holds no points disappears where anything is rewritten."""
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            keep(
                scope.metrics,
                lambda metric: metric.WhichOneof("data") and getattr(metric, metric.WhichOneof("data")).data_points,
            )
        keep(resource.scope_metrics, lambda scope: scope.metrics)
    keep(request.resource_metrics, lambda resource: resource.scope_metrics)


def keep(repeated, wanted):
    for number in reversed(range(len(repeated))):
        if not wanted(repeated[number]):
            del repeated[number]


def bucket_of(kind, point, value):
    return bisect.bisect_left(list(point.explicit_bounds), value) if kind == "histogram" else 0


def sprinkle(rnd, request):
    for kind, point in points_of(request):
        if kind == "summary":
            continue
        del point.exemplars[:]
        if kind == "histogram":
            del point.explicit_bounds[:]
            point.explicit_bounds.extend(sorted(rnd.uniform(-5, 5) for _ in range(rnd.randrange(4))))
        for _ in range(rnd.choice((0, 0, 1, 3))):
            exemplar = point.exemplars.add(trace_id=rnd.choice((b"", bytes(16), rnd.randbytes(16), b"x" * 15)))
            if rnd.random() < 0.5:
                exemplar.as_double = (
                    rnd.choice((rnd.uniform(-6, 6), *point.explicit_bounds[:1])) if kind == "histogram" else 1.5
                )
            else:
                exemplar.as_int = rnd.randrange(-6, 6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_exemplars_are_found_and_can_be_replaced(seed):
    rnd = random.Random(seed)
    request = random_request(rnd, "metrics")
    sprinkle(rnd, request)
    payload = request.SerializeToString()
    index = scan_metrics(payload)
    found = find_exemplars(payload, index)
    truth = [
        (row, kind, number, point, exemplar)
        for row, (kind, point) in enumerate(points_of(request))
        if kind != "summary"
        for number, exemplar in enumerate(point.exemplars)
    ]
    assert found.point.tolist() == [row for row, *_ in truth]
    for row, (_, kind, _, point, exemplar) in enumerate(truth):
        start = int(found.body_offset[row])
        assert payload[start : start + int(found.body_length[row])] == exemplar.SerializeToString()
        good = len(exemplar.trace_id) == 16
        whole = int(found.trace_hi[row]) << 64 | int(found.trace_lo[row])
        assert whole == (int.from_bytes(exemplar.trace_id, "big") if good else 0)
        if kind == "histogram":
            value = exemplar.as_int if exemplar.WhichOneof("value") == "as_int" else exemplar.as_double
            assert found.bucket[row] == bucket_of(kind, point, value)
    edits = {row: b"" for row in range(found.count) if rnd.random() < 0.5}
    out = replace_points(payload, index, edit_exemplars(payload, index, found, edits)) if edits else payload
    for row in sorted(edits, reverse=True):
        _, _, number, point, _ = truth[row]
        del point.exemplars[number]
    if edits:
        prune(request)
    assert canonical(ExportMetricsServiceRequest.FromString(out)) == canonical(request)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(sorted(REQUESTS)))
def test_texts_and_resources_are_found(seed, signal):
    rnd = random.Random(seed)
    request = random_request(rnd, signal)
    payload = untidy(rnd, request) if signal == "logs" else request.SerializeToString()
    truth = type(request).FromString(payload)
    (field,) = truth.DESCRIPTOR.fields
    offset, length = resource_bodies(payload)
    resources = getattr(truth, field.name)
    assert len(offset) == len(resources)
    if signal != "logs":
        for at, size, each in zip(offset.tolist(), length.tolist(), resources, strict=True):
            assert type(each.resource).FromString(payload[at : at + size]) == each.resource
    if signal == "logs":
        index = scan_logs(payload)
        records = [record for r in resources for s in r.scope_logs for record in s.log_records]
        keys = {pair.key for record in records for pair in record.attributes} | {"absent"}
        for key in keys:
            at, size = find_text(payload, index.offset, index.length, 6, key.encode())
            for start, many, record in zip(at.tolist(), size.tolist(), records, strict=True):
                values = [pair.value for pair in record.attributes if pair.key == key]
                assert payload[start : start + many].decode() == (values[-1].string_value if values else "")
        at, size = find_field(payload, index.offset, index.length, 3)
        for start, many, record in zip(at.tolist(), size.tolist(), records, strict=True):
            assert payload[start : start + many].decode() == record.severity_text


def test_what_is_no_telemetry_or_doesnt_fit_is_refused():
    one, none = np.array([1], np.uint32), np.array([], np.uint32)
    with pytest.raises(Malformed):
        resource_bodies(b"\x0a\xff")
    for call in (lambda *a: find_text(*a, 6, b"k"), lambda *a: find_field(*a, 6)):
        with pytest.raises(ValueError, match="different lengths"):
            call(b"\x0a\x00", one, none)
        with pytest.raises(ValueError, match="don't fit"):
            call(b"\x0a\x00", one, one * 9)
        with pytest.raises(Malformed):
            call(b"\x0a\xff", one, one)
    request = ExportMetricsServiceRequest()
    point = request.resource_metrics.add().scope_metrics.add().metrics.add().gauge.data_points.add()
    point.exemplars.add(as_double=1)
    index = scan_metrics(request.SerializeToString())
    with pytest.raises(ValueError, match="doesn't fit"):
        find_exemplars(b"", index)
