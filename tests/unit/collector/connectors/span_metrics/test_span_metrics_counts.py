"""Spans in, cumulative series out: against counting with protobuf, over restarts, and at the limits."""

import logging
import random
import struct
from collections import Counter

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from collector.ack import Ack
from collector.batch import Batch
from collector.component.base import BuildContext
from collector.component.trace_board import Decided
from collector.connectors.span_metrics import SpanMetricsConnector, buckets
from collector.connectors.span_metrics.weights import weight_of

S = 10**9
MS = 10**6


class Counting:
    """A stage with the graph's part around it; `reports` are what it emitted."""

    def __init__(self, *, durable=False, board=None, **options):
        self.reports = []
        self.context = BuildContext("span_metrics", logging.getLogger("test"))
        if board is not None:
            self.context = BuildContext("span_metrics", logging.getLogger("test"), board=board)
        config = SpanMetricsConnector.Config.model_validate({"metrics_flush_interval": "10s"} | options)
        self.it = SpanMetricsConnector(config, self.context).stage("traces/count/0", self.emit, durable=durable)

    def emit(self, payload, count):
        request = ExportMetricsServiceRequest.FromString(payload)
        points = sum(len(each.sum.data_points or each.histogram.data_points or each.exponential_histogram.data_points)
                     for r in request.resource_metrics for each in r.scope_metrics[0].metrics)  # fmt: skip
        assert points == count
        self.reports.append(request)

    def see(self, request, mask=None):
        batch = Batch(request.SerializeToString(), Ack.ignore())
        if mask is not None:
            batch = batch.select(mask)
        assert self.it.process(batch) == (batch,)

    def report(self, seconds):
        """The points of the report that leaves by then, by metric and attributes."""
        self.reports.clear()
        self.it.tick(int(seconds * S))
        assert len(self.reports) <= 1
        return points(self.reports[0]) if self.reports else None


def points(request):
    found = {}
    for resource in request.resource_metrics:
        for metric in resource.scope_metrics[0].metrics:
            kind = metric.WhichOneof("data")
            for point in getattr(metric, kind).data_points:
                attributes = tuple(
                    sorted((a.key, a.value.string_value or a.value.bool_value) for a in point.attributes)
                )
                assert (metric.name, attributes) not in found
                found[metric.name, attributes] = point
    return found


def request_of(*spans, service="node", resource=()):
    """Each span: (name, kind, status, milliseconds, attributes)."""
    request = ExportTraceServiceRequest()
    each = request.resource_spans.add()
    each.resource.attributes.add(key="service.name").value.string_value = service
    for key, value in resource:
        each.resource.attributes.add(key=key).value.string_value = value
    scope = each.scope_spans.add()
    for number, (name, kind, status, ms, attributes) in enumerate(spans):
        span = scope.spans.add(name=name, kind=kind, trace_id=(number + 1).to_bytes(16, "big"), span_id=b"12345678")
        span.start_time_unix_nano, span.end_time_unix_nano = S, S + int(ms * MS)
        span.status.code = status
        for key, value in attributes.items():
            span.attributes.add(key=key).value.string_value = value
    return request


def random_traffic(rnd):
    spans = [
        (rnd.choice(["layer.execute", "consensus.vote", ""]), rnd.randrange(7), rnd.randrange(4),
         rnd.choice([0, 2, 2.5, 10, 100, 99999]), {"layer": rnd.choice("abc")} if rnd.random() < 0.6 else {})
        for _ in range(rnd.randrange(1, 40))
    ]  # fmt: skip
    return request_of(*spans, service=rnd.choice(["n1", "n2", ""]), resource=[("layer", "r")] * rnd.randrange(2))


KINDS = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER", "UNSPECIFIED"]
CODES = ["UNSET", "OK", "ERROR", "UNSET"]


def truth(requests, bounds_ms):
    calls, sums, buckets = Counter(), Counter(), {}
    for request in requests:
        for resource in request.resource_spans:
            about = {a.key: a.value.string_value for a in resource.resource.attributes}
            for span in resource.scope_spans[0].spans:
                own = {a.key: a.value.string_value for a in span.attributes}
                layer = own.get("layer") or about.get("layer") or "none"
                key = tuple(sorted({
                    "service.name": about["service.name"] or False, "span.name": span.name or False,
                    "span.kind": f"SPAN_KIND_{KINDS[span.kind]}",
                    "status.code": f"STATUS_CODE_{CODES[span.status.code]}", "layer": layer}.items()))  # fmt: skip
                ms = (span.end_time_unix_nano - span.start_time_unix_nano) / MS
                calls[key] += 1
                sums[key] += ms
                row = buckets.setdefault(key, [0] * (len(bounds_ms) + 1))
                row[sum(ms > bound for bound in bounds_ms)] += 1
    return calls, sums, buckets


@pytest.mark.parametrize("seed", range(8))
def test_counts_are_those_that_protobuf_gives(seed):
    rnd = random.Random(seed)
    counting = Counting(
        dimensions=[{"name": "layer", "default": "none"}], histogram={"explicit": {"buckets": ["2ms", "10ms", "1s"]}}
    )
    counting.it.tick(5 * S)
    requests = [random_traffic(rnd) for _ in range(12)]
    for request in requests:
        counting.see(request)
    found = counting.report(15)
    calls, sums, buckets = truth(requests, [2, 10, 1000])
    assert {key for _, key in found} == set(calls)
    for key, count in calls.items():
        point = found["traces.span.metrics.calls", key]
        assert (point.as_int, point.start_time_unix_nano, point.time_unix_nano) == (count, 5 * S, 15 * S)
        point = found["traces.span.metrics.duration", key]
        assert list(point.bucket_counts) == buckets[key]
        assert list(point.explicit_bounds) == [2, 10, 1000]
        assert point.count == count
        assert point.sum == pytest.approx(sums[key])
        assert point.start_time_unix_nano == 5 * S


def test_reports_are_cumulative_and_come_in_time():
    counting = Counting()
    assert counting.report(1) is None, "there is nothing to tell"
    counting.see(request_of(("a", 1, 0, 5, {})))
    assert counting.report(2) is None, "the interval is not over"
    (first,) = [p.as_int for (name, _), p in counting.report(11).items() if name.endswith("calls")]
    counting.see(request_of(("a", 1, 0, 5, {}), ("a", 1, 0, 5, {})))
    (second,) = [p.as_int for (name, _), p in counting.report(21).items() if name.endswith("calls")]
    (again,) = [p.as_int for (name, _), p in counting.report(31).items() if name.endswith("calls")]
    assert (first, second, again) == (1, 3, 3)


def test_only_selected_spans_count():
    counting = Counting(exclude_dimensions=["span.kind", "status.code", "service.name"])
    counting.see(request_of(("a", 1, 0, 1, {}), ("b", 1, 0, 1, {}), ("a", 1, 0, 1, {})), mask=[True, True, False])
    found = counting.report(20)
    assert {key: p.as_int for (name, key), p in found.items() if name.endswith("calls")} == {
        (("span.name", "a"),): 1,
        (("span.name", "b"),): 1,
    }


def test_beyond_the_limit_spans_are_one_series_and_nothing_is_lost():
    counting = Counting(aggregation_cardinality_limit=3)
    for number in range(10):
        counting.see(request_of((f"s{number}", 1, 0, 1, {}), ("s0", 1, 0, 1, {})))
    calls = {key: p.as_int for (name, key), p in counting.report(20).items() if name.endswith("calls")}
    assert len(calls) == 4
    assert calls[(("otel.metric.overflow", True),)] == 7
    assert sum(calls.values()) == 20


def test_a_key_of_any_size_is_counted_and_not_kept():
    counting = Counting(dimensions=[{"name": "tenant"}])
    fits, too_long = "n" * 3000, "n" * 4096
    for number in range(3):
        spans = [(f"{number}{too_long}", {}), ("a", {"tenant": too_long}), (fits, {})]
        counting.see(request_of(*((name, 1, 0, 5, attributes) for name, attributes in spans)))
    found = counting.report(20)
    calls = {dict(key).get("span.name"): p.as_int for (name, key), p in found.items() if name.endswith("calls")}
    assert calls == {None: 6, fits: 3}
    assert sum(p.sum for (name, _), p in found.items() if name.endswith("duration")) == 9 * 5
    assert len(counting.it.snapshot()) < 8_000


@pytest.mark.parametrize("max_size", [2, 16, 160])
def test_exponential_buckets_hold_what_they_say(max_size):
    counting = Counting(histogram={"unit": "s", "exponential": {"max_size": max_size}})
    rnd = random.Random(max_size)
    durations = [0, 0, 1000, 0.001, *(rnd.lognormvariate(3, 2) for _ in range(500))]
    counting.see(request_of(*(("a", 1, 0, ms, {}) for ms in durations)))
    (point,) = [p for (name, _), p in counting.report(20).items() if name.endswith("duration")]
    assert point.zero_count == 2
    assert point.count == len(durations) == sum(point.positive.bucket_counts) + 2
    assert len(point.positive.bucket_counts) <= max_size
    for number, count in enumerate(point.positive.bucket_counts):
        low, high = (2 ** ((point.positive.offset + number + more) / 2**point.scale) for more in (0, 1))
        inside = [ms for ms in durations if low * (1 - 1e-9) < int(ms * MS) / S <= high * (1 + 1e-9)]
        assert len(inside) >= count
    assert point.sum == pytest.approx(sum(int(ms * MS) / S for ms in durations))


def _random_durations(rnd):
    """Of ten series, some of which are wide from the start, some later, and some never."""
    widths = [rnd.choice([0.01, 1, 20]) for _ in range(10)]
    series = np.array([rnd.randrange(10) for _ in range(rnd.randrange(1, 200))])
    exponents = np.array([rnd.uniform(-1, 1) * widths[each] for each in series])
    return series, np.where(exponents < -15, 0, 2.0 ** (30 + exponents)).astype(np.uint64)


@pytest.mark.parametrize("max_size", [2, 7, 160])
@pytest.mark.parametrize("seed", range(6))
def test_exponential_buckets_are_the_same_however_they_came(max_size, seed, monkeypatch):
    """At once, in pieces, gathered often, over restarts, and out of a state whose buckets were never made coarser."""
    monkeypatch.setattr(buckets, "_LOOSE", 300)
    rnd = random.Random(seed)
    columns = [_random_durations(rnd) for _ in range(12)]
    once, pieces, fine = (buckets.ExponentialBuckets(S, size) for size in (max_size, max_size, 1 << 14))
    everything = [np.concatenate(each) for each in zip(*columns, strict=True)]
    for it in (once, fine):
        it.add(everything[0], it.number(everything[1]), None, 10)
    for series, durations in columns:
        pieces.add(series, pieces.number(durations), None, 10)
        if rnd.random() < 0.3:
            pieces.reported(rnd.randrange(10))
        if rnd.random() < 0.3:
            state, pieces = pieces.snapshot(10), buckets.ExponentialBuckets(S, max_size)
            pieces.restore(state, 10)
    older = buckets.ExponentialBuckets(S, max_size)
    older.restore(fine.snapshot(10), 10)
    for series in range(10):
        scale, low, counts, zeros = once.reported(series)
        assert (scale, low, counts, zeros) == pieces.reported(series) == older.reported(series)
        _, fine_low, fine_counts, fine_zeros = fine.reported(series)
        by = buckets.SCALE - scale
        expected = Counter()
        for number, count in enumerate(fine_counts):
            expected[fine_low + number >> by] += count
        assert {low + number: count for number, count in enumerate(counts) if count} == +expected
        assert zeros == fine_zeros
        coarsest = [fine_low >> by - 1, fine_low + len(fine_counts) - 1 >> by - 1] if by else [0, max_size]
        assert coarsest[1] - coarsest[0] >= max_size, "no coarser than it must be"


def test_the_buckets_of_a_series_are_bounded_whatever_its_durations():
    it = buckets.ExponentialBuckets(S, 160)
    rng = np.random.default_rng(1)
    for _ in range(30):
        durations = (2.0 ** rng.uniform(0, 64, 20_000)).astype(np.uint64)
        it.add(rng.integers(0, 20, 20_000), it.number(durations), None, 20)
    assert len(it.snapshot(20)) <= 20 * (160 + 2) * 16
    assert sum(sum(it.reported(series)[2]) for series in range(20)) == 600_000


def test_a_damaged_state_of_exponential_buckets_is_refused():
    it = buckets.ExponentialBuckets(S, 2)
    it.add(np.zeros(2, np.int64), it.number(np.array([1, 2**60], np.uint64)), None, 1)
    keys, counts = np.frombuffer(it.snapshot(1), np.int64).reshape(2, -1).copy()
    it = buckets.ExponentialBuckets(S, 2)
    counts[-1] = np.float64(-40).view(np.int64)
    with pytest.raises(ValueError, match="a scale"):
        it.restore(keys.tobytes() + counts.tobytes(), 1)
    with pytest.raises(ValueError, match="of no series"):
        it.restore(keys[::-1].tobytes() + counts.tobytes(), 1)


def board_of(**kept):
    counting = Counting()
    board = counting.context.board
    board.followed = True
    ids = np.array([int(name[1:]) for name in kept], np.uint64)
    board.publish(Decided(np.zeros(len(ids), np.uint64), ids, np.array(list(kept.values()), np.bool_)))
    return board


def test_exemplars_are_of_kept_traces_and_wait_for_the_verdict():
    board = board_of(t1=True, t2=False)
    counting = Counting(board=board, exemplars={"enabled": True})
    counting.see(request_of(("a", 1, 0, 1, {}), ("a", 1, 0, 300, {}), ("a", 1, 0, 20_000, {})))  # traces 1, 2 and 3
    (point,) = [p for (name, _), p in counting.report(20).items() if name.endswith("duration")]
    assert [(int.from_bytes(e.trace_id, "big"), e.as_double) for e in point.exemplars] == [(1, 1.0)]
    board.publish(Decided(np.zeros(1, np.uint64), np.array([3], np.uint64), np.array([True])))
    (point,) = [p for (name, _), p in counting.report(40).items() if name.endswith("duration")]
    assert [(int.from_bytes(e.trace_id, "big"), e.as_double, e.span_id) for e in point.exemplars] == [
        (3, 20_000.0, b"12345678")
    ]
    (point,) = [p for (name, _), p in counting.report(60).items() if name.endswith("duration")]
    assert not point.exemplars


def test_exemplars_can_be_of_any_trace_and_are_bounded():
    counting = Counting(exemplars={"enabled": True, "traces": "all", "max_per_data_point": 2})
    counting.see(request_of(*(("a", 1, 0, ms, {}) for ms in (1, 3, 5, 7, 9))))
    (point,) = [p for (name, _), p in counting.report(20).items() if name.endswith("duration")]
    assert len(point.exemplars) == 2


def test_a_restart_goes_on_where_the_state_was_taken():
    rnd = random.Random(3)
    requests = [random_traffic(rnd) for _ in range(10)]
    for options in ({}, {"histogram": {"exponential": None}}, {"histogram": {"disable": True}}, {"weighted": True}):
        whole, first = Counting(**options), Counting(**options)
        for it in (whole, first):
            it.it.tick(S)
        for request in requests[:5]:
            whole.see(request)
            first.see(request)
        second = Counting(**options)
        second.it.restore(first.it.snapshot())
        for request in requests[5:]:
            whole.see(request)
            second.see(request)
        assert second.report(20) == whole.report(20)


def test_a_sum_of_durations_goes_on_beyond_what_64_bits_hold():
    began = 1_700_000_000
    whole = Counting()
    for _ in range(3):
        # A span that doesn't say when it started, as it were since 1970: eleven of them are 584 years.
        whole.see(request_of(*[("a", 1, 0, began * 1000, {}) for _ in range(5)], ("a", 1, 0, 1, {})))
    restarted = Counting()
    restarted.it.restore(whole.it.snapshot())
    for counting in (whole, restarted):
        counting.see(request_of(("a", 1, 0, 7, {})))
        (found,) = (p for (name, _), p in counting.report(20).items() if name.endswith("duration"))
        assert found.sum == 15 * began * 1000 + 10


def test_a_state_of_before_whose_sums_had_64_bits_is_read_as_it_was():
    counting = Counting(histogram={"disable": True})
    counting.see(request_of(("a", 1, 0, 1, {})))
    blob = bytearray(counting.it.snapshot())
    assert struct.unpack_from("<I", blob, 12) == (32,)  # of two series, two halves each
    struct.pack_into("<I", blob, 12, 16)
    older = Counting(histogram={"disable": True})
    older.it.restore(bytes(blob[:-32]) + struct.pack("<2Q", 0, 2**64 - 1))
    older.see(request_of(("a", 1, 0, 1, {})))
    assert older.it._aggregate.sum_ns(1) == 2**64 - 1 + MS


def test_a_state_of_other_options_or_a_damaged_one_begins_anew():
    counting = Counting()
    counting.see(request_of(("a", 1, 0, 1, {})))
    blob = counting.it.snapshot()
    other = Counting(exclude_dimensions=["span.name"])
    with pytest.raises(ValueError, match="was changed"):
        other.it.restore(blob)
    other.see(request_of(("a", 1, 0, 1, {})))
    assert sum(p.as_int for (name, _), p in other.report(20).items() if name.endswith("calls")) == 1
    for broken in (b"", blob[:40], blob[:-1], b"\xff" * 100):
        with pytest.raises(ValueError, match=r"."):
            Counting().it.restore(broken)
    smaller = Counting(aggregation_cardinality_limit=1)
    counting.see(request_of(("b", 1, 0, 1, {})))
    with pytest.raises(ValueError, match="more series than the limit"):
        smaller.it.restore(counting.it.snapshot())


def test_out_of_a_log_nothing_is_reported_that_a_restart_might_take_back():
    counting = Counting(durable=True)
    counting.it.tick(S)
    counting.see(request_of(("a", 1, 0, 1, {})))
    assert counting.report(12) is None
    counting.it.snapshot()
    counting.see(request_of(("a", 1, 0, 1, {})))
    assert not counting.reports
    counting.it.kept(1)
    assert [p.as_int for (name, _), p in points(counting.reports[0]).items() if name.endswith("calls")] == [1]
    counting.reports.clear()
    counting.it.snapshot()  # nobody asked for a report yet
    counting.it.kept(2)
    assert not counting.reports
    counted = counting.report(30)
    assert [p.as_int for (name, _), p in counted.items() if name.endswith("calls")] == [2], "what is kept can be told"


def test_weights_come_from_the_threshold():
    assert weight_of(b"ot=th:8") == 2
    assert weight_of(b"vendor=x,ot=rv:0123456789abcd;th:c") == 4
    assert weight_of(b"ot=th:0") == 1
    assert weight_of(b"ot=rv:0123456789abcd") == 1
    assert weight_of(b"") == 1
    assert weight_of(b"ot=th:e666") == pytest.approx(10, rel=1e-3)
    assert weight_of(b"hot=th:8") == 1
    counting = Counting(weighted=True)
    request = request_of(("a", 1, 0, 1, {}), ("a", 1, 0, 1, {}))
    request.resource_spans[0].scope_spans[0].spans[0].trace_state = "ot=th:c"
    counting.see(request)
    found = counting.report(20)
    assert [p.as_double for (name, _), p in found.items() if name.endswith("calls")] == [5.0]
    assert [(p.count, p.sum) for (name, _), p in found.items() if name.endswith("duration")] == [(5, 5.0)]


def test_weighted_counts_are_unbiased_over_thousands_of_seeds():
    """A tenth is kept by its randomness, errors whole; the estimate's mean is the truth."""
    spans, errors, share, runs = 200, 10, 0.1, 4000
    rng = np.random.default_rng(7)
    threshold = f"ot=th:{int((1 - share) * 2**56):014x}".encode()
    kept = rng.random((runs, spans - errors)) < share
    estimates = kept.sum(axis=1) * weight_of(threshold) + errors * weight_of(b"ot=th:0")
    standard_error = estimates.std() / runs**0.5
    assert abs(estimates.mean() - spans) < 4 * standard_error
    assert standard_error < 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"histogram": {"explicit": {"buckets": ["2ms", "1ms"]}}}, "durations that increase"),
        ({"metrics_flush_interval": "10ms"}, "greater than or equal"),
        ({"exclude_dimensions": ["span.colour"]}, "service.name"),
    ],
)
def test_wrong_options_are_told(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        SpanMetricsConnector.Config.model_validate(options)
