"""What a series that is made of others says, where the naive model leaves it open: odd values and edges of types."""

import math

import pytest
from cardinality_requests import OVERFLOW, Sent, limiter, points, through

MS = 10**6
HOUR = 3600 * 10**9


@pytest.fixture
def ours():
    """Has admitted one series, and folds all others of the metric `a`."""
    made = limiter(max_series=1)
    through(made, Sent().point("first", {}))
    return made


def folded(ours, *sent, name="a"):
    """The one point that comes out."""
    request = Sent()
    for labels, options in sent:
        request.point(name, {"k": labels}, **options)
    found = through(ours, request)
    if name not in found:
        return None
    ((labels, point),) = found[name]
    assert labels == OVERFLOW
    return point


HISTOGRAM = {"kind": "histogram", "count": 6, "sum": 9.0, "bucket_counts": [1, 2, 3], "explicit_bounds": [1.0, 2.0]}
EXPONENTIAL = {"kind": "exponential_histogram", "count": 3, "sum": 1.5, "scale": 2}


def exponential(offset, counts, **more):
    return EXPONENTIAL | {"count": sum(counts), "positive": {"offset": offset, "bucket_counts": counts}} | more


def test_integers_beyond_64_bits_go_on_as_doubles(ours):
    point = folded(ours, ("x", {"as_int": 2**63 - 1}), ("y", {"as_int": 2}))
    assert point.WhichOneof("value") == "as_double"
    assert point.as_double == 2.0**63
    assert folded(ours, ("x", {"as_int": 2**63 - 1, "time": 5}), ("z", {"as_int": 5})).as_double == pytest.approx(
        2.0**63
    )


def test_integers_and_doubles_add_up(ours):
    assert folded(ours, ("x", {"as_int": 3}), ("y", {"as_double": 0.25})).as_double == 3.25
    assert folded(ours, ("x", {"as_double": 3.5, "time": 3}), ("y", {"as_int": 1, "time": 3})).as_double == 4.5
    assert folded(ours, ("x", {"as_int": 1, "time": 4})).as_double == 5.5  # it fell: a life ended at 3.5


def test_small_parts_of_large_doubles_are_kept(ours):
    sent = [("big", {"as_double": 1e16})] + [(str(n), {"as_double": 0.1}) for n in range(1000)]
    assert folded(ours, *sent).as_double == pytest.approx(1e16 + 100, abs=2)
    assert folded(ours, ("big", {"as_double": 0.0, "time": 3})).as_double == pytest.approx(1e16 + 100, abs=2)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_left_out(ours, odd):
    assert folded(ours, ("x", {"as_double": odd})) is None
    assert ours.removed == 1
    assert folded(ours, ("x", {"as_double": odd}), ("y", {"as_double": 2.0})).as_double == 2.0
    assert folded(ours, ("h", HISTOGRAM | {"sum": odd}), name="h") is None


def test_sums_of_doubles_stay_finite(ours):
    point = folded(ours, ("x", {"as_double": 1.7e308}), ("y", {"as_double": 1.7e308}))
    assert math.isfinite(point.as_double)


def test_points_without_a_recorded_value_are_left_out(ours):
    assert folded(ours, ("x", {"flags": 1})) is None
    assert folded(ours, ("x", {"as_int": 4, "time": 3}), ("y", {"flags": 1})).as_int == 4


def test_an_empty_point_of_a_sum_is_left_out(ours):
    request = Sent().point("a", {"k": "x"})
    request.scope.metrics[0].sum.data_points[0].ClearField("as_int")
    assert through(ours, request) == {}


def test_a_restart_is_told_by_the_start_time(ours):
    assert folded(ours, ("x", {"as_int": 5, "start": 10, "time": 20})).as_int == 5
    assert folded(ours, ("x", {"as_int": 7, "start": 20, "time": 30})).as_int == 12
    # what came late, of the life before or this one
    assert folded(ours, ("x", {"as_int": 6, "start": 10, "time": 21})) is None
    assert folded(ours, ("x", {"as_int": 7, "start": 20, "time": 30})) is None
    assert folded(ours, ("x", {"as_int": 7, "start": 30, "time": 40})).as_int == 19
    # a start time that merely jitters is no restart
    assert folded(ours, ("x", {"as_int": 9, "start": 31, "time": 50})).as_int == 21
    assert folded(ours, ("x", {"as_int": 11, "start": 29, "time": 60})).as_int == 23


def test_a_restart_is_told_by_a_value_that_falls(ours):
    assert folded(ours, ("x", {"as_int": 5, "start": 0, "time": 20})).as_int == 5
    assert folded(ours, ("x", {"as_int": 3, "start": 0, "time": 30})).as_int == 8
    assert folded(ours, ("x", {"as_int": 4, "start": 0, "time": 40})).as_int == 9
    assert folded(ours, ("x", {"as_int": 4, "start": 0, "time": 40})) is None


def test_the_start_is_the_first_members_and_time_moves_on(ours):
    first = folded(ours, ("x", {"start": 10 * MS, "time": 20 * MS}))
    assert (first.start_time_unix_nano, first.time_unix_nano) == (10 * MS, 20 * MS)
    second = folded(ours, ("y", {"start": 5 * MS, "time": 20 * MS}))
    assert (second.start_time_unix_nano, second.time_unix_nano) == (10 * MS, 21 * MS)
    third = folded(ours, ("z", {"start": 15 * MS, "time": 19 * MS}))
    assert (third.start_time_unix_nano, third.time_unix_nano, third.as_int) == (10 * MS, 22 * MS, 3)


def test_a_time_far_ahead_doesnt_stop_the_others(ours):
    folded(ours, ("x", {"time": 2**63}))
    assert folded(ours, ("y", {"time": 20})).time_unix_nano == 20
    folded(ours, ("x", {"kind": "gauge", "time": 2**63, "as_int": 1}), name="g")
    assert folded(ours, ("y", {"kind": "gauge", "time": 20, "as_int": 2}), name="g").as_int == 2


def test_gauges_have_the_newest_value(ours):
    gauge = {"kind": "gauge"}
    point = folded(ours, ("x", gauge | {"as_int": 1, "time": 30}), ("y", gauge | {"as_double": 2.5, "time": 20}))
    assert (point.as_int, point.time_unix_nano) == (1, 30)
    assert folded(ours, ("y", gauge | {"as_double": 2.5, "time": 30})) is None
    assert folded(ours, ("y", gauge | {"as_double": math.nan, "time": 31})).as_double != 0


def test_up_down_counters_are_present_values(ours):
    options = {"monotonic": False}
    assert folded(ours, ("x", options | {"as_int": 5}), ("y", options | {"as_int": -2})).as_int == 3
    assert folded(ours, ("x", options | {"as_int": 1, "time": 3})).as_int == -1
    assert folded(ours, ("x", options | {"as_int": 4, "start": 5, "time": 6})).as_int == 2
    for _ in range(17):
        ours.pass_time(10**9)
        through(ours, Sent().point("first", {}))
        assert folded(ours, ("x", options | {"as_int": 4, "time": 6})) is None
    assert ours.folded == 1
    assert folded(ours, ("x", options | {"as_int": 7, "start": 5, "time": 7})).as_int == 7


def test_deltas_are_of_this_request(ours):
    delta = {"temporality": 1}
    point = folded(
        ours, ("x", delta | {"as_int": 5, "start": 3, "time": 9}), ("y", delta | {"as_int": 1, "start": 2, "time": 8})
    )
    assert (point.as_int, point.start_time_unix_nano, point.time_unix_nano) == (6, 2, 9)
    point = folded(ours, ("x", delta | {"as_int": 2, "start": 9, "time": 10}))
    assert (point.as_int, point.start_time_unix_nano, point.time_unix_nano) == (2, 9, 10)
    assert ours.folded == 0


def test_histograms_of_other_bounds_are_brought_to_those_that_all_have(ours):
    point = folded(ours, ("x", HISTOGRAM))
    assert (list(point.explicit_bounds), list(point.bucket_counts)) == ([1.0, 2.0], [1, 2, 3])
    other = HISTOGRAM | {"bucket_counts": [1, 1, 1, 1], "explicit_bounds": [0.5, 1.0, 3.0], "count": 4}
    point = folded(ours, ("y", other))
    assert (list(point.explicit_bounds), list(point.bucket_counts)) == ([1.0], [1 + 2, 5 + 2])
    # the first one grows, whose newest point has bounds that are no more
    point = folded(ours, ("x", HISTOGRAM | {"bucket_counts": [2, 3, 4], "count": 9, "time": 3}))
    assert (list(point.bucket_counts), point.count) == ([4, 9], 13)
    none = {"kind": "histogram", "count": 2, "sum": 1.0}
    point = folded(ours, ("z", none))
    assert (list(point.explicit_bounds), list(point.bucket_counts), point.count) == ([], [], 15)


def test_bounds_that_change_for_ever_end_in_none(ours):
    bounds = [float(n) for n in range(40)]
    for left in range(40, 20, -1):
        point = folded(
            ours,
            (
                str(left),
                {"kind": "histogram", "count": 1, "explicit_bounds": bounds[:left], "bucket_counts": [1] + [0] * left},
            ),
        )
        if left > 32:
            assert (point.count, len(point.explicit_bounds)) == (41 - left, left)
    assert (point.count, len(point.explicit_bounds)) == (20, 0)
    point = folded(
        ours,
        (
            "40",
            {"kind": "histogram", "count": 4, "explicit_bounds": bounds, "bucket_counts": [4] + [0] * 40, "time": 9},
        ),
    )
    assert point.count == 23


@pytest.mark.parametrize(
    "odd",
    [
        {"bucket_counts": [1, 2], "explicit_bounds": [1.0, 2.0]},
        {"bucket_counts": [1, 2, 3], "explicit_bounds": [2.0, 1.0]},
        {"bucket_counts": [1, 2, 3], "explicit_bounds": [1.0, math.nan]},
        {"bucket_counts": [1, 2, 3], "explicit_bounds": [1.0, math.inf]},
        {"bucket_counts": [1] * 1001, "explicit_bounds": [float(n) for n in range(1000)]},
    ],
)
def test_buckets_that_cant_be_leave_the_count(ours, odd):
    point = folded(ours, ("x", {"kind": "histogram", "count": 6, "sum": 1.0} | odd))
    assert (point.count, point.sum, list(point.bucket_counts), list(point.explicit_bounds)) == (6, 1.0, [], [])


def test_sum_and_extremes_are_there_when_all_have_them(ours):
    full = HISTOGRAM | {"min": 0.5, "max": 4.0}
    point = folded(ours, ("x", full), ("y", full | {"min": 0.25}))
    assert (point.sum, point.min, point.max) == (18.0, 0.25, 4.0)
    point = folded(ours, ("x", HISTOGRAM | {"time": 3}))
    assert (point.sum, point.HasField("min"), point.HasField("max")) == (18.0, False, False)
    assert not folded(ours, ("z", {"kind": "histogram", "count": 1})).HasField("sum")
    # an empty one says nothing about extremes
    empty = {"kind": "histogram", "count": 0, "sum": 0.0, "bucket_counts": [0, 0, 0], "explicit_bounds": [1.0, 2.0]}
    point = folded(ours, ("x", empty), ("y", full), name="b")
    assert (point.min, point.max) == (0.5, 4.0)


def test_exponential_histograms_take_the_lowest_scale(ours):
    point = folded(ours, ("x", exponential(4, [1, 2, 3, 4])))
    assert (point.scale, point.positive.offset, list(point.positive.bucket_counts)) == (2, 4, [1, 2, 3, 4])
    point = folded(ours, ("y", exponential(-1, [5, 6], scale=1)))
    assert (point.scale, point.positive.offset, list(point.positive.bucket_counts)) == (1, -1, [5, 6, 0, 3, 7])
    point = folded(ours, ("x", exponential(4, [1, 2, 3, 9], time=3)))
    assert list(point.positive.bucket_counts) == [5, 6, 0, 3, 12]


def test_an_odd_index_is_halved_downwards(ours):
    folded(ours, ("x", exponential(-3, [1, 1, 1, 1, 1, 1])))
    point = folded(ours, ("y", exponential(0, [0], scale=1)))
    assert (point.positive.offset, list(point.positive.bucket_counts)) == (-2, [1, 2, 2, 1])


@pytest.mark.parametrize("far", [1000, 2**20, 2**31 - 1])
def test_buckets_far_apart_lower_the_scale(ours, far):
    point = folded(ours, ("x", exponential(-far, [3])), ("y", exponential(far, [4])), ("z", exponential(0, [5])))
    buckets = list(point.positive.bucket_counts)
    assert len(buckets) <= 320
    assert (buckets[0], buckets[-1], sum(buckets)) == (3, 4, 12)
    shift = 2 - point.scale
    assert point.positive.offset == -far >> shift
    assert point.positive.offset + len(buckets) - 1 == far >> shift
    point = folded(ours, ("x", exponential(-far, [4], time=3)), ("y", exponential(far, [6], time=3)))
    buckets = list(point.positive.bucket_counts)
    assert (buckets[0], buckets[-1], sum(buckets), point.scale) == (4, 6, 15, 2 - shift)


def test_more_buckets_than_are_kept_lower_the_scale(ours):
    point = folded(ours, ("x", exponential(0, [1] * 1000)))
    assert (point.scale, list(point.positive.bucket_counts)) == (0, [4] * 250)


@pytest.mark.parametrize("scale", [-(2**31), 2**31 - 1, -11, 21])
def test_scales_that_cant_be_do_no_harm(ours, scale):
    point = folded(ours, ("x", exponential(-5, [1, 2], scale=scale)), ("y", exponential(7, [4])))
    assert sum(point.positive.bucket_counts) == 7
    assert folded(ours, ("x", exponential(-5, [2, 2], scale=scale, time=3))).count == 8


def test_zeros_and_thresholds(ours):
    one = EXPONENTIAL | {"zero_count": 2, "zero_threshold": 0.5}
    point = folded(ours, ("x", one), ("y", EXPONENTIAL | {"zero_count": 3, "zero_threshold": 0.25}))
    assert (point.zero_count, point.zero_threshold) == (5, 0.5)
    point = folded(ours, ("x", one | {"zero_count": 1, "time": 3}))
    assert point.zero_count == 6


def test_summaries_keep_count_and_sum(ours):
    summary = {"kind": "summary", "count": 3, "sum": 1.5, "quantile_values": [{"quantile": 0.5, "value": 1.0}]}
    point = folded(ours, ("x", summary), ("y", summary))
    assert (point.count, point.sum, list(point.quantile_values)) == (6, 3.0, [])


def test_exemplars_are_kept_up_to_a_number():
    made = limiter(max_series=1, max_exemplars=3)
    through(made, Sent().point("first", {}))
    for kind, fields in (("sum", {"as_int": 1}), ("histogram", HISTOGRAM), ("exponential_histogram", EXPONENTIAL)):
        options = dict(fields, kind=kind)
        ids = [bytes([n]) * 16 for n in range(5)]
        point = folded(made, *[(str(n), options | {"exemplars": [{"trace_id": ids[n]}]}) for n in range(5)], name=kind)
        assert [each.trace_id for each in point.exemplars] == ids[:3]
        # of a point that is no news there is none
        point = folded(
            made,
            ("0", options | {"exemplars": [{"trace_id": ids[4]}]}),
            ("9", options | {"exemplars": [{"trace_id": ids[3]}]}),
            name=kind,
        )
        assert [each.trace_id for each in point.exemplars] == [ids[3]]


def test_state_of_every_kind_goes_on(ours):
    sent = (
        Sent()
        .point("sum", {"k": "x"}, as_double=0.5)
        .point("updown", {"k": "x"}, monotonic=False)
        .point("gauge", {"k": "x"}, kind="gauge")
        .point("histogram", {"k": "x"}, **HISTOGRAM)
        .point("histogram", {"k": "y"}, **HISTOGRAM | {"explicit_bounds": [1.0, 3.0]})
        .point("unsaid", {"k": "x"}, temporality=0, **HISTOGRAM)
        .point("unsaid", {"k": "y"}, temporality=0, **HISTOGRAM | {"explicit_bounds": [1.0, 3.0]})
        .point("exp", {"k": "x"}, **exponential(4, [1, 2], negative={"offset": 3, "bucket_counts": [1]}))
        .point("summary", {"k": "x"}, kind="summary", count=2, sum=1.0)
    )
    through(ours, sent)
    blob = b"".join(ours.state_pieces())
    again = limiter(max_series=1)
    again.load_state(blob)
    assert b"".join(again.state_pieces()) == blob
    later = (
        Sent()
        .point("sum", {"k": "x"}, as_double=2.0, time=3)
        .point("histogram", {"k": "x"}, **HISTOGRAM | {"time": 3})
        .point("unsaid", {"k": "x"}, temporality=0, **HISTOGRAM | {"time": 3})
        .point("exp", {"k": "x"}, **exponential(4, [1, 5], time=3))
    )
    limited = ours.limit_request(later.payload)
    assert limited == again.limit_request(later.payload)
    (said,), (unsaid,) = points(limited)["histogram"], points(limited)["unsaid"]
    assert list(unsaid[1].bucket_counts) == list(said[1].bucket_counts), "without a temporality it is cumulative"
    with pytest.raises(ValueError, match="in use"):
        again.load_state(blob)
    with pytest.raises(ValueError, match="another release"):
        limiter().load_state(b"\x09" + blob[1:])
    for cut in (1, 30, len(blob) // 2, len(blob) - 1):
        with pytest.raises(ValueError, match=r"damaged|another release"):
            limiter().load_state(blob[:cut])


def test_a_later_window_is_another_one(ours):
    through(ours, Sent().point("a", {"k": "x"}))
    for _ in range(10):
        ours.pass_time(10**9)
    again = limiter(max_series=1, window="32s")
    again.load_state(b"".join(ours.state_pieces()))
    for _ in range(11):
        again.pass_time(2 * 10**9)
    assert again.active == 1
    again.pass_time(2 * 10**9)
    assert again.active == 0


def test_points_of_one_series_in_several_metrics_of_a_request(ours):
    request = Sent().point("a", {"k": "x"}, as_int=1)
    metric = request.scope.metrics.add()
    metric.CopyFrom(request.scope.metrics[0])
    metric.sum.data_points[0].as_int, metric.sum.data_points[0].time_unix_nano = 5, 9
    limited = ours.limit_request(request.payload)
    assert [p.as_int for m in points_in_order(limited) for p in m] == [1, 5]
    assert points(limited)["a"]


def points_in_order(payload):
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    request = ExportMetricsServiceRequest.FromString(payload)
    return [metric.sum.data_points for metric in request.resource_metrics[0].scope_metrics[0].metrics]
