"""Deltas are added up as a naive model does, whatever comes again, and from one life of the gateway to the next."""

import itertools
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from bench.remote_write_messages import WriteRequest
from exporters.prometheus_remote_write.accumulate import Accumulator
from exporters.prometheus_remote_write.messages import Messages
from exporters.prometheus_remote_write.reasons import REASONS
from exporters.prometheus_remote_write.totals_file import TotalsFile
from tests.property.prw_metrics import NOW, fill_exponential
from tests.property.prw_reference import read_v1
from tests.property.test_prw_against_protobuf import translator

SECOND = 10**9
KINDS = ("sum", "histogram", "exponential_histogram")
BOUNDS = (1.0, 5.0)


def request(points):
    """Of (kind, series, interval, seed): a request with one delta each, the interval's number being its second."""
    made = ExportMetricsServiceRequest()
    scope = made.resource_metrics.add().scope_metrics.add()
    for kind, series, interval, seed in points:
        metric = scope.metrics.add(name=kind)
        data = getattr(metric, kind)
        data.aggregation_temporality = 1
        if kind == "sum":
            data.is_monotonic = True
        point = data.data_points.add(
            start_time_unix_nano=NOW + (interval - 1) * SECOND, time_unix_nano=NOW + interval * SECOND
        )
        point.attributes.add(key="series").value.int_value = series
        chooser = random.Random(seed)
        if kind == "sum":
            point.as_int = chooser.randint(1, 100)
        elif kind == "histogram":
            point.explicit_bounds.extend(BOUNDS)
            point.bucket_counts.extend(chooser.randint(0, 9) for _ in range(3))
            point.count = sum(point.bucket_counts)
            point.sum = float(chooser.randint(0, 50))
        else:
            fill_exponential(chooser, point, sound=True)
            point.zero_threshold = 0.0
            point.sum = float(chooser.randint(0, 50))
    return made.SerializeToString()


class Model:
    """Adds up what wasn't added before."""

    def __init__(self):
        self.added = {}

    def add(self, payload):
        """{(kind, series): [(time, point)]} of everything that was ever added."""
        for metric in ExportMetricsServiceRequest.FromString(payload).resource_metrics[0].scope_metrics[0].metrics:
            kind = metric.WhichOneof("data")
            for point in getattr(metric, kind).data_points:
                series = self.added.setdefault((kind, point.attributes[0].value.int_value), {})
                if not series or point.time_unix_nano > max(series):
                    series[point.time_unix_nano] = point

    def totals(self, until):
        """(count, sum, scale-free buckets) of each series, as far as it had come at `until`."""
        return {
            key: [point for time, point in series.items() if time <= until]
            for key, series in self.added.items()
            if min(series) <= until
        }


def float_of(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def name_of(kind):
    return {"sum": "sum_total", "exponential_histogram": "exponential_histogram"}.get(kind, kind)


def compare(samples, model):
    """Every sample that was ever sent is the model's sum at its time."""
    seen = 0
    for labels, values in samples.items():
        names = dict(labels)
        name, series = names["__name__"], int(names["series"])
        kind = next(each for each in KINDS if name.startswith(name_of(each)))
        for time, value in values.items():
            points = [p for t, p in model.added[kind, series].items() if t <= time * 10**6]
            if kind == "sum":
                assert float_of(value) == sum(point.as_int for point in points)
            elif kind == "histogram":
                if name == "histogram_count":
                    expected = sum(point.count for point in points)
                elif name == "histogram_sum":
                    expected = sum(point.sum for point in points)
                else:
                    limit = float(names["le"])
                    expected = sum(
                        count
                        for point in points
                        for bound, count in zip((*BOUNDS, float("inf")), point.bucket_counts, strict=True)
                        if bound <= limit
                    )
                assert float_of(value) == expected
            else:
                compare_native(value, points)
            seen += 1
    return seen


def compare_native(value, points):
    _, count, total, scale, _, zero, negative, positive = value
    assert count == sum(point.count for point in points)
    assert float_of(total) == sum(point.sum for point in points)
    assert zero == sum(point.zero_count for point in points)
    begun = itertools.dropwhile(lambda point: not point.count, points)  # what is empty yet takes any scale
    assert scale <= min([8, *(point.scale for point in begun)])
    for found, side in ((negative, "negative"), (positive, "positive")):
        expected = {}
        for point in points:
            buckets = getattr(point, side)
            for at, each in enumerate(buckets.bucket_counts):
                if each:
                    index = ((buckets.offset + at) >> (point.scale - scale)) + 1
                    expected[index] = expected.get(index, 0) + each
        assert dict(found) == expected


class Lives:
    """A gateway with a log of requests: it may die at any time, and then sees again what wasn't committed."""

    def __init__(self, path):
        self.path = path
        self.stored = {}
        self.start()

    def start(self):
        self.file = TotalsFile(self.path)
        self.totals = Accumulator(1000, 10**18)
        assert self.file.open(self.totals) == 0
        self.translator = translator(totals=self.totals)

    def die(self):
        self.file.close()  # what SQLite has committed stays; what is in memory alone is gone
        self.start()

    def deliver(self, payload, dies=""):
        table = self.translator.translate(payload, NOW + 3600 * SECOND)
        if dies == "staged":
            return self.die()
        changes = self.totals.take_changes()
        self.file.write(*changes)
        if dies == "durable":
            return self.die()
        assert {REASONS[reason] for reason in table.reasons} <= {""}
        for begin, end in table.lanes:
            found = {}
            read_v1(WriteRequest.FromString(Messages(table).write_v1(begin, end)), found, {})
            for labels, values in found.items():
                for time, value in values.items():
                    assert self.stored.setdefault(labels, {}).setdefault(time, value) == value, "a sample was changed"
            if dies == "sending":
                return self.die()
        return None


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_crash_and_no_copy_makes_a_sum_wrong(data, tmp_path_factory):
    lives = Lives(tmp_path_factory.mktemp("totals") / "t.db")
    model = Model()
    log, committed, clock, seed = [], 0, 0, 0
    for _ in range(data.draw(st.integers(1, 12))):
        points = []
        for _ in range(data.draw(st.integers(1, 4))):
            seed += 1
            clock += 1
            points.append((data.draw(st.sampled_from(KINDS)), data.draw(st.integers(0, 2)), clock, seed))
        log.append(request(points))
        model.add(log[-1])
    position = 0
    dying = data.draw(st.lists(st.sampled_from(("", "", "", "staged", "durable", "sending", "sent")), max_size=20))
    while position < len(log):
        dies = dying.pop() if dying else ""
        # redelivered requests may be merged otherwise than before
        size = data.draw(st.integers(1, 3))
        lives.deliver(b"".join(log[position : position + size]), dies)
        if dies:
            if dies == "sent":
                lives.die()
            position = committed
        else:
            position = min(position + size, len(log))
            committed = data.draw(st.integers(committed, position))
    seen = compare(lives.stored, model)
    # the newest sum of every series has arrived
    for (kind, series), points in model.added.items():
        newest = max(points) // 10**6
        found = [
            labels
            for labels, values in lives.stored.items()
            if dict(labels)["series"] == str(series)
            and dict(labels)["__name__"].startswith(name_of(kind))
            and newest in values
        ]
        assert found
    assert seen
    lives.file.close()


def test_what_was_never_added_is_late_and_what_was_is_a_copy():
    totals = Accumulator(1000, 10**18)
    made = translator(totals=totals)
    for second in (1, 2, 5, 6):
        made.translate(request([("sum", 0, second, 1)]), NOW + 3600 * SECOND)
    reasons = {
        second: REASONS[made.translate(request([("sum", 0, second, 1)]), NOW + 3600 * SECOND).reasons[0]]
        for second in (6, 5, 2, 1, 3, 4)
    }
    assert reasons == {6: "", 5: "", 2: "", 1: "", 3: "late", 4: "late"}
    assert totals.duplicates == 4


def test_no_more_series_than_allowed_and_stale_ones_make_room():
    totals = Accumulator(2, 60 * SECOND)
    made = translator(totals=totals)
    now = NOW + 100 * SECOND
    table = made.translate(request([("sum", series, 1, 1) for series in range(3)]), now)
    assert [REASONS[reason] for reason in table.reasons] == ["", "", "stream_limit"]
    changed, expired = totals.take_changes()
    assert (len(changed), expired) == (2, [])
    now += 120 * SECOND
    table = made.translate(request([("sum", series, 90, 1) for series in range(3, 6)]), now)
    assert [REASONS[reason] for reason in table.reasons] == ["", "", "stream_limit"]
    changed, expired = totals.take_changes()
    assert {name for (name,) in expired}.isdisjoint(name for name, _ in changed)
    assert len(expired) == 2


def test_our_clock_may_step_by_a_day_and_no_sum_is_forgotten():
    totals = Accumulator(10, 60 * SECOND)
    made = translator(totals=totals)
    for second, now in ((1, NOW), (2, NOW + 86_400 * SECOND), (3, NOW + 10 * SECOND)):
        made.translate(request([("sum", series, second, 1) for series in range(second)]), now)
        assert totals.take_changes()[1] == []
    assert totals.count == 3


def test_other_bounds_begin_a_new_sum():
    made = translator(totals=Accumulator(10, 10**18))
    samples = {}
    for second, bounds in ((1, [1.0]), (2, [1.0]), (3, [2.0])):
        message = ExportMetricsServiceRequest()
        metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name="h")
        metric.histogram.aggregation_temporality = 1
        metric.histogram.data_points.add(
            time_unix_nano=NOW + second * SECOND, explicit_bounds=bounds, bucket_counts=[1, 2], count=3
        )
        table = made.translate(message.SerializeToString(), NOW + 100 * SECOND)
        for begin, end in table.lanes:
            read_v1(WriteRequest.FromString(Messages(table).write_v1(begin, end)), samples, {})
    counts = samples[(("__name__", "h_count"),)]
    assert [float_of(value) for value in counts.values()] == [3.0, 6.0, 3.0]


def test_zero_buckets_of_other_widths_are_merged_and_do_not_creep():
    made = translator(totals=Accumulator(10, 10**18))
    steps = (
        (0.0, 0, -2, [3, 4], (1e-128, 0, ((-1, 3), (0, 4)))),
        (0.5, 2, 0, [1], (0.5, 5, ((0, 4), (1, 1)))),  # ends where bucket (0.25, 0.5] ends
        (0.25, 1, -2, [2], (0.5, 8, ((0, 4), (1, 1)))),  # what lies within the wider one is part of it
        (0.7, 1, 0, [], (1.0, 13, ((1, 1),))),  # in the middle of (0.5, 1], which isn't empty
        (0.7, 1, 0, [], (1.0, 14, ((1, 1),))),
        (1.0, 1, 0, [], (1.0, 15, ((1, 1),))),
    )
    for second, (threshold, zero, offset, counts, expected) in enumerate(steps, start=1):
        message = ExportMetricsServiceRequest()
        metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name="e")
        metric.exponential_histogram.aggregation_temporality = 1
        point = metric.exponential_histogram.data_points.add(
            time_unix_nano=NOW + second * SECOND, zero_threshold=threshold, zero_count=zero, count=zero + sum(counts)
        )
        point.positive.offset = offset
        point.positive.bucket_counts.extend(counts)
        table = made.translate(message.SerializeToString(), NOW + 100 * SECOND)
        samples = {}
        for begin, end in table.lanes:
            read_v1(WriteRequest.FromString(Messages(table).write_v1(begin, end)), samples, {})
        (value,) = next(iter(samples.values())).values()
        assert (float_of(value[4]), value[5], value[7]) == expected


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_delta_that_is_no_number_spoils_nothing(value):
    made = translator(totals=Accumulator(10, 10**18))
    message = ExportMetricsServiceRequest()
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name="s")
    metric.sum.aggregation_temporality = 1
    metric.sum.data_points.add(time_unix_nano=NOW, as_double=value)
    assert [REASONS[r] for r in made.translate(message.SerializeToString(), NOW).reasons] == ["invalid_delta"]


@pytest.mark.parametrize("damage", [b"", b"x" * 200, b"\7" + bytes(117)])
def test_damaged_totals_are_refused(damage):
    totals = Accumulator(10, 10**18)
    if damage[:1] == b"\7":
        totals.load(bytes(16), damage)  # a sum of nothing: legal
        with pytest.raises(ValueError, match="twice"):
            totals.load(bytes(16), damage)
        return
    with pytest.raises(ValueError, match="damaged"):
        totals.load(bytes(16), damage)
