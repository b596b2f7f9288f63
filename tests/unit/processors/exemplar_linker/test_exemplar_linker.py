"""What leaves of a metrics request's exemplars, by the verdicts on the board."""

import logging

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from collector.api import Account, Ack, Batch, BuildContext, Decided, Signal
from processors.exemplar_linker import ExemplarLinker

KEPT, DROPPED, OPEN = 1, 2, 3  # trace IDs


def trace(number):
    return number.to_bytes(16, "big")


def columns(*traces):
    return np.zeros(len(traces), np.uint64), np.array(traces, np.uint64)


class Linker:
    def __init__(self, **options):
        self.context = BuildContext("exemplar_linker", logging.getLogger("test"))
        self.context.board.followed = True
        self.it = ExemplarLinker(ExemplarLinker.Config.model_validate(options), self.context)
        self.context.board.publish(Decided(*columns(KEPT, DROPPED), np.array([True, False])))

    def process(self, request):
        """The request that leaves, and whether it is the very same bytes."""
        payload = request.SerializeToString()
        account = Account("metrics")
        batch = Batch(payload, Ack.ignore(), signal=Signal.METRICS, account=account)
        account.accept(len(batch))
        (out,) = self.it.process(batch)
        assert account.imbalance() == 0
        assert len(out) == len(batch)
        assert account.held == len(batch), "a point without its exemplars is still a point"
        return ExportMetricsServiceRequest.FromString(out.to_bytes()), out.to_bytes() is payload

    def count(self, fate):
        labels = {"processor": "exemplar_linker", "fate": fate}
        return self.context.meter.registry.get_sample_value("butterfly_exemplars_total", labels)


def request_of(*points, kind="histogram", name="butterfly.request.duration"):
    """Each point: (attribute, [(trace number or bytes, value), ...])."""
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
    for attribute, exemplars in points:
        point = getattr(metric, kind).data_points.add(time_unix_nano=7)
        point.attributes.add(key="node").value.string_value = attribute
        if kind == "histogram":
            point.explicit_bounds.extend([1.0, 10.0])
            point.bucket_counts.extend([1, 2, 3])
        for number, value in exemplars:
            id_ = number if isinstance(number, bytes) else trace(number)
            exemplar = point.exemplars.add(trace_id=id_, span_id=b"12345678", as_double=value, time_unix_nano=5)
            exemplar.filtered_attributes.add(key="request_id").value.string_value = f"r{value}"
    return request


def left(request, kind="histogram"):
    metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
    points = getattr(metric, kind).data_points
    return [[(int.from_bytes(e.trace_id, "big"), e.as_double) for e in point.exemplars] for point in points]


@pytest.mark.parametrize("kind", ["gauge", "sum", "histogram", "exponential_histogram"])
def test_only_what_points_at_a_kept_trace_leaves_and_nothing_else_changes(kind):
    linker = Linker(swap=False)
    request = request_of(("a", [(DROPPED, 1), (KEPT, 2), (OPEN, 3)]), ("b", [(OPEN, 4)]), ("c", []), kind=kind)
    out, _ = linker.process(request)
    assert left(out, kind) == [[(KEPT, 2)], [], []]
    for point in getattr(request.resource_metrics[0].scope_metrics[0].metrics[0], kind).data_points:
        kept = [each for each in point.exemplars if each.trace_id == trace(KEPT)]
        del point.exemplars[:]
        point.exemplars.extend(kept)
    assert out == request
    assert (linker.count("kept"), linker.count("trace_dropped"), linker.count("trace_undecided")) == (1, 1, 2)


@pytest.mark.parametrize("key", ["trace_id", "trace.id", "traceID", "traceId"])
def test_a_trace_id_that_is_a_label_alone_points_at_a_trace_too(key):
    def labelled(*texts):
        request = request_of(("a", [(b"", value) for value in range(len(texts))]), kind="sum")
        point = request.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points[0]
        for each, text in zip(point.exemplars, texts, strict=True):
            each.filtered_attributes.add(key=key).value.string_value = text
        return request

    linker = Linker(swap=False)
    request = labelled(*(trace(each).hex().upper() for each in (DROPPED, KEPT, OPEN)), "0" * 32, "nothing", "2")
    out, _ = linker.process(request)
    assert [value for _, value in left(out, "sum")[0]] == [1.0, 3.0, 4.0], "short ones are 64 bits of an id, or fewer"
    hi, lo = linker.it.traces_of(Batch(request.SerializeToString(), Ack.ignore(), signal=Signal.METRICS))
    assert (hi.tolist(), lo.tolist()) == ([0] * 4, [DROPPED, KEPT, OPEN, 2])
    beside = request_of(("a", [(KEPT, 1)]))
    exemplar = beside.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points[0].exemplars[0]
    exemplar.filtered_attributes.add(key=key).value.string_value = trace(DROPPED).hex()
    assert linker.process(beside)[1], "the exemplar's own id counts"


def test_what_has_nothing_to_lose_passes_as_it_is():
    linker = Linker()
    for request in (
        request_of(("a", [])),
        request_of(("a", [(KEPT, 1)])),
        request_of(("a", [(b"", 1), (bytes(16), 2), (b"short", 3)])),
    ):
        out, same = linker.process(request)
        assert same
        assert out == request
    summary = ExportMetricsServiceRequest()
    summary.resource_metrics.add().scope_metrics.add().metrics.add().summary.data_points.add(count=3)
    assert linker.process(summary)[1]


def test_a_kept_traces_exemplar_of_the_same_series_and_bucket_steps_in():
    linker = Linker()
    linker.process(request_of(("a", [(KEPT, 0.5), (KEPT, 5)]), ("b", [(KEPT, 0.25)])))
    out, _ = linker.process(request_of(("a", [(DROPPED, 0.9), (DROPPED, 9), (DROPPED, 99)]), ("b", [(DROPPED, 1.0)])))
    assert left(out) == [[(KEPT, 0.5), (KEPT, 5)], [(KEPT, 0.25)]], "bounds are inclusive above"
    assert linker.count("swapped") == 3
    assert linker.count("trace_dropped") == 1
    out, _ = linker.process(request_of(("a", [(DROPPED, 0.9)]), name="another.metric"))
    assert left(out) == [[]]


def test_no_point_gets_the_same_exemplar_twice():
    linker = Linker()
    out, _ = linker.process(request_of(("a", [(DROPPED, 0.1), (DROPPED, 0.2), (KEPT, 0.5)])))
    assert left(out) == [[(KEPT, 0.5)]]
    out, _ = linker.process(request_of(("a", [(DROPPED, 0.1), (DROPPED, 0.2)])))
    assert left(out) == [[(KEPT, 0.5)]]


def test_what_is_remembered_is_bounded():
    linker = Linker(remembered_exemplars=2)
    linker.process(request_of(*((node, [(KEPT, 0.5)]) for node in "abc")))
    out, _ = linker.process(request_of(*((node, [(DROPPED, 0.5)]) for node in "abc")))
    assert left(out) == [[], [(KEPT, 0.5)], [(KEPT, 0.5)]]


def test_points_that_were_removed_before_stay_removed():
    linker = Linker(swap=False)
    payload = request_of(("a", [(DROPPED, 1)]), ("b", [(DROPPED, 2), (KEPT, 3)])).SerializeToString()
    batch = Batch(payload, Ack.ignore(), signal=Signal.METRICS).select([False, True])
    (out,) = linker.it.process(batch)
    assert left(ExportMetricsServiceRequest.FromString(out.to_bytes())) == [[(KEPT, 3)]]
    assert len(out) == 1


@pytest.mark.parametrize("keep", [True, False])
def test_a_record_waits_for_the_traces_it_points_at_and_may_ask_for_them(keep):
    linker = Linker(keep_exemplar_traces=keep, max_wait="5s")
    payload = request_of(("a", [(KEPT, 1), (OPEN, 2), (b"", 3)])).SerializeToString()
    linker.it.observe(Batch(payload, Ack.ignore(), signal=Signal.METRICS), 0, 1, 0)
    assert linker.it.boundary() == 0
    assert list(linker.context.board.pinned(*columns(OPEN))) == [keep]
    linker.context.board.publish(Decided(*columns(OPEN), np.array([True])))
    assert linker.it.boundary() == 1
    linker.it.observe(
        Batch(request_of(("a", [(9, 1)])).SerializeToString(), Ack.ignore(), signal=Signal.METRICS), 1, 2, 0
    )
    assert linker.it.boundary() == 1
    linker.context.board.elapsed_ns = 5 * 10**9
    assert linker.it.boundary() == 2
