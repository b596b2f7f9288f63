"""The compiled translation gives what a plain one with protobuf objects gives, in both versions of the message."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from bench.remote_write_messages import Request, WriteRequest
from collector.api import Malformed, scan_metrics, validate_metrics
from exporters.prometheus_remote_write.accumulate import Accumulator
from exporters.prometheus_remote_write.messages import Messages
from exporters.prometheus_remote_write.naming import Names
from exporters.prometheus_remote_write.reasons import REASONS
from exporters.prometheus_remote_write.text import bound_text, value_text
from exporters.prometheus_remote_write.translate import Translator
from tests.property.otlp_messages import untidy
from tests.property.prw_metrics import NOW, metrics_request
from tests.property.prw_reference import Reference, read_v1, read_v2

KEY = bytes(range(32))
SETTINGS = (
    {},
    {"strategy": "NoTranslation", "resource": True},
    {"strategy": "NoUTF8EscapingWithSuffixes", "namespace": "ns", "scope": False},
    {
        "strategy": "UnderscoreEscapingWithoutSuffixes",
        "resource": True,
        "external": (("region", "eu"), ("job", "none")),
    },
)


def translator(lanes=3, totals=None, *, strategy="UnderscoreEscapingWithSuffixes", namespace="", **options):
    names = Names(strategy, namespace)
    target = f"{namespace}_target_info" if namespace else "target_info"
    return Translator(
        KEY, totals or Accumulator(1000, 3600 * 10**9), names=names.translate, render=value_text, bound=bound_text,
        external=[(name.encode(), value.encode()) for name, value in options.get("external", ())],
        resource_labels=options.get("resource", False), scope_labels=options.get("scope", True), utf8=names.utf8,
        target_name=target.encode(), lanes=lanes,
    )  # fmt: skip


def ranges(table, most=1 << 40):
    for first, end in table.lanes:
        begin = first
        while begin < end:
            stop = table.next(begin, end, 1 << 40, most)
            yield begin, stop
            begin = stop


def content(table, version):
    samples, exemplars = {}, {}
    for begin, end in ranges(table):
        if version == 1:
            read_v1(WriteRequest.FromString(Messages(table).write_v1(begin, end)), samples, exemplars)
        else:
            read_v2(Request.FromString(Messages(table).write_v2(begin, end)), samples, exemplars)
    return samples, exemplars


@given(seed=st.integers(0, 1 << 32), options=st.sampled_from(SETTINGS))
@settings(max_examples=300, deadline=None)
def test_the_content_is_the_references(seed, options):
    chooser = random.Random(seed)
    message = metrics_request(chooser)
    payload = untidy(chooser, message) if seed % 2 else message.SerializeToString()
    expected = Reference(**options).translate(payload)
    table = translator(**options).translate(payload, NOW)
    reasons = {row: REASONS[reason] for row, reason in enumerate(table.reasons) if reason}
    conflicts = {row for row, reason in reasons.items() if reason == "conflict"}
    assert {row: reason for row, reason in reasons.items() if row not in conflicts} == expected.refused
    assert table.rows == expected.row
    for version in (1, 2):
        samples, exemplars = content(table, version)
        targets = {labels for labels in expected.samples if ("__name__", expected.target_name) in labels}
        for labels in targets & set(samples):  # of one target only one a minute is sent
            assert samples[labels].items() <= expected.samples[labels].items()
            expected.samples[labels] = samples[labels]
        assert samples == expected.samples
        # exemplars of samples that were there twice may go with them
        for labels, found in exemplars.items():
            assert set(found) <= set(expected.exemplars[labels])
        if not conflicts and not table.duplicates:
            assert {k: sorted(v) for k, v in exemplars.items()} == {k: sorted(v) for k, v in expected.exemplars.items()}


@pytest.mark.parametrize("seed", range(20))
def test_any_division_holds_the_same_samples(seed):
    chooser = random.Random(seed)
    payload = b"".join(metrics_request(chooser).SerializeToString() for _ in range(5))
    table = translator().translate(payload, NOW)
    whole, _ = content(table, 1)
    samples = {}
    rows = 0
    for begin, end in ranges(table, most=400):
        part = {}
        read_v1(WriteRequest.FromString(Messages(table).write_v1(begin, end)), part, {})
        rows += sum(map(len, part.values()))
        for labels, values in part.items():
            assert not samples.get(labels, {}).keys() & values.keys()
            samples.setdefault(labels, {}).update(values)
        assert sum(table.counts(begin, end)[:2]) == end - begin
    assert samples == whole
    assert rows == sum(end - begin for begin, end in table.lanes)


def test_a_series_stays_in_its_lane():
    chooser = random.Random(1)
    lanes = {}
    for _ in range(20):
        table = translator(lanes=4).translate(metrics_request(chooser).SerializeToString(), NOW)
        for lane, (begin, end) in enumerate(table.lanes):
            samples = {}
            read_v1(WriteRequest.FromString(Messages(table).write_v1(begin, end)), samples, {})
            for labels in samples:
                assert lanes.setdefault(labels, lane) == lane
    assert len(set(lanes.values())) == 4


@given(data=st.data(), seed=st.integers(0, 1 << 16))
@settings(max_examples=200, deadline=None)
def test_damaged_bytes_are_refused_or_read_as_protobuf_reads_them(data, seed):
    payload = bytearray(metrics_request(random.Random(seed)).SerializeToString())
    if not payload:
        return
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    payload = bytes(payload[: data.draw(st.integers(0, len(payload)))])
    try:
        rows = validate_metrics(payload).count
    except Malformed:
        rows = None
    try:
        table = translator().translate(payload, NOW)
    except ValueError:
        assert rows is None
        return
    assert rows in {None, table.rows}
    messages = Messages(table)
    for begin, end in ranges(table):
        assert messages.write_v1(begin, end, metadata=True)
        assert messages.write_v2(begin, end)


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=100, deadline=None)
def test_rows_are_those_of_the_index(seed):
    payload = metrics_request(random.Random(seed)).SerializeToString()
    assert translator().translate(payload, NOW).rows == scan_metrics(payload).count


def test_a_metric_of_two_kinds_is_of_the_last():
    both = Metric(name="m")
    both.gauge.data_points.add(time_unix_nano=NOW, as_int=1)
    twice = Metric()
    twice.sum.data_points.add(time_unix_nano=NOW, as_int=2)
    twice.sum.aggregation_temporality = 2
    again = Metric()
    again.sum.data_points.add(time_unix_nano=NOW + 10**9, as_int=3)
    again.sum.is_monotonic = True
    body = both.SerializeToString() + twice.SerializeToString() + again.SerializeToString()
    metric = Metric.FromString(body)
    assert len(metric.sum.data_points) == 2
    payload = field(1, field(2, field(2, body)))
    table = translator().translate(payload, NOW)
    assert table.rows == scan_metrics(payload).count == 2
    assert content(table, 1)[0] == Reference().translate(payload).samples


def field(number, body):
    size, head = len(body), bytearray((number << 3 | 2,))
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((*head, size)) + body
