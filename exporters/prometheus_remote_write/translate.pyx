"""OTLP metrics to series and samples: one walk over the bytes of an `ExportMetricsServiceRequest`.

OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility".
"""

from libc.math cimport isinf, isnan
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free

from exporters.prometheus_remote_write.accumulate cimport BEHIND, FULL, KNOWN, NEXT, Accumulator, Place
from exporters.prometheus_remote_write.buckets cimport Buckets, representable, trim
from exporters.prometheus_remote_write.emitter cimport Emitter, Names
from exporters.prometheus_remote_write.labeller cimport Labeller
from exporters.prometheus_remote_write.labels cimport Text, next_field
from exporters.prometheus_remote_write.points cimport (
    EXPONENTIAL,
    GAUGE,
    HISTOGRAM,
    NO_RECORDED_VALUE,
    SUM,
    SUMMARY,
    Point,
    fill,
    read_point,
)
from exporters.prometheus_remote_write.reasons cimport (
    FUTURE,
    INVALID_DELTA,
    INVALID_NAME,
    INVALID_TIME,
    LATE,
    MALFORMED_HISTOGRAM,
    STREAM_LIMIT,
    TEMPORALITY,
    TOO_LARGE,
    UNSUPPORTED_SCALE,
)
from exporters.prometheus_remote_write.samples cimport TARGET_EVERY, SampleTable
from exporters.prometheus_remote_write.series cimport Labels, mix
from exporters.prometheus_remote_write.symbols cimport NONE
from exporters.prometheus_remote_write.total cimport Total, add_explicit, add_exponential
from exporters.wire.fields cimport BYTES, VARINT, Field
from exporters.wire.numbers cimport from_bits

cdef enum:
    DELTA = 1
    CUMULATIVE = 2
    NS_PER_MS = 1000000
    FINEST_READ = 40         # scale; protobuf allows any
    TARGETS = 100000         # whose target_info is remembered


cdef class Translator:
    """Translates requests, one after the other in the order in which they are sent.

    `key`: 32 secret bytes that identify series from one life of the gateway to the next, together with the totals of
    `totals` (an `Accumulator`). `names(name, unit, kind)` gives the metric's name and unit for Prometheus, `render`
    the text of an AnyValue that is none of string, bool and int, `bound` the text of a bucket's upper bound.
    `external` are (name, value) of labels for every series. `target_name` is empty where there shall be no target_info.
    """

    cdef SampleTable table
    cdef Accumulator totals
    cdef Labeller labeller
    cdef Emitter emitter
    cdef object names
    cdef bytes key, target_name
    cdef uint32_t lanes
    cdef uint64_t tolerance, now
    cdef dict targets, families
    cdef Point point
    cdef uint32_t kind, temporality, row
    cdef bint monotonic
    cdef uint64_t newest     # time of the resource's points
    cdef uint64_t latest     # time of all deltas: sums go stale by it, so that our own clock may step

    def __init__(
        self, bytes key, Accumulator totals, *, names, render, bound, external=(), bint resource_labels=False,
        bint scope_labels=True, bint utf8=False, bytes target_name=b"target_info", uint32_t lanes=1,
        uint64_t tolerance_ns=600_000_000_000
    ):
        self.key = key
        self.totals = totals
        self.names = names
        self.labeller = Labeller(render, external, resource_labels, scope_labels, utf8)
        self.emitter = Emitter(self.labeller, bound)
        self.emitter.point = &self.point
        self.target_name = target_name
        self.lanes = max(lanes, 1)
        self.tolerance = tolerance_ns
        self.targets = {}

    def __dealloc__(self):
        free(self.point.attributes.items)
        free(self.point.exemplars.items)
        free(self.point.quantiles.items)
        free(self.point.bounds.items)
        free(self.point.counts.items)
        free(self.point.negatives.items)

    def translate(self, bytes payload not None, uint64_t now_ns):
        """The series and samples of one request; `now_ns` is our own clock. Raises `ValueError` where it isn't OTLP."""
        cdef const uint8_t* at = payload
        cdef const uint8_t* end = at + len(payload)
        cdef Field field
        cdef SampleTable table = SampleTable(self.key)
        self.table = table
        self.now = now_ns
        self.families = {}
        self.labeller.begin(table)
        self.emitter.begin(table)
        try:
            while at < end:
                next_field(at, end, &field)
                at = field.after
                if field.number == 1 and field.wire == BYTES:
                    self.on_resource(field.body, field.after)
            table.arrange(self.lanes)
        finally:
            self.table = None
        return table

    # -- resources and scopes

    cdef int on_resource(self, const uint8_t* begin, const uint8_t* end) except -1:
        cdef const uint8_t* at = begin
        cdef Field field
        self.newest = 0
        self.labeller.begin_resource(begin, end)
        while at < end:
            next_field(at, end, &field)
            at = field.after
            if field.number == 2 and field.wire == BYTES:
                self.on_scope(field.body, field.after)
        if self.newest and self.target_name:
            self.add_target()
        return 0

    cdef int on_scope(self, const uint8_t* begin, const uint8_t* end) except -1:
        cdef const uint8_t* at = begin
        cdef Field field
        self.labeller.begin_scope(begin, end)
        while at < end:
            next_field(at, end, &field)
            at = field.after
            if field.number == 2 and field.wire == BYTES:
                self.on_metric(field.body, field.after)
        return self.labeller.end_scope()

    cdef int add_target(self) except -1:
        """`target_info` at the newest time of the resource's points, unless there was one a short time before."""
        cdef Labels labels
        cdef int64_t time = <int64_t>(self.newest // NS_PER_MS), last
        cdef uint32_t series, name
        if not self.labeller.of_target(&labels):
            return 0
        key = (labels.lo, labels.hi)
        last = self.targets.get(key, 0)
        if last and time < last + TARGET_EVERY:
            return 0
        name = self.table.intern_bytes(self.target_name)
        if self.target_name not in self.families:
            self.families[self.target_name] = self.table.family(
                name, 6, self.table.intern_bytes(b"Target metadata"), 0
            )
        series = self.table.series_of(&labels, name, NONE, 0, 0, False, self.families[self.target_name])
        if series == NONE:
            return 0
        if len(self.targets) >= TARGETS:
            self.targets.clear()
        self.targets[key] = time
        self.table.sample(series, time, 1.0, 0, NONE)
        return 0

    # -- metrics

    cdef int on_metric(self, const uint8_t* begin, const uint8_t* end) except -1:
        cdef const uint8_t* at = begin
        cdef Field field
        cdef Field inner
        cdef Text name, about, unit
        name.begin = about.begin = unit.begin = NULL
        name.size = about.size = unit.size = 0
        self.kind = self.temporality = 0
        self.monotonic = False
        # The last kind counts, and several messages of that kind in a row are one: the first of them is at `first`.
        cdef const uint8_t* first = NULL
        while at < end:
            next_field(at, end, &field)
            if field.wire == BYTES:
                if field.number == 1:
                    name.begin, name.size = field.body, field.after - field.body
                elif field.number == 2:
                    about.begin, about.size = field.body, field.after - field.body
                elif field.number == 3:
                    unit.begin, unit.size = field.body, field.after - field.body
                elif is_kind(field.number):
                    if field.number != self.kind:
                        self.kind = field.number
                        self.temporality = 0
                        self.monotonic = False
                        first = at
                    self.read_kind(field.body, field.after)
            at = field.after
        if first == NULL:
            return 0
        self.name_metric(&name, &about, &unit)
        at = first
        while at < end:
            next_field(at, end, &field)
            at = field.after
            if field.number != self.kind or field.wire != BYTES:
                continue
            first = field.body
            while first < field.after:
                next_field(first, field.after, &inner)
                first = inner.after
                if inner.number == 1 and inner.wire == BYTES:
                    self.on_point(inner.body, inner.after)
        return 0

    cdef int read_kind(self, const uint8_t* at, const uint8_t* end) except -1:
        """Temporality and monotonicity of a Sum, Histogram or ExponentialHistogram."""
        cdef Field field
        while at < end:
            next_field(at, end, &field)
            at = field.after
            if field.wire != VARINT or self.kind == GAUGE or self.kind == SUMMARY:
                continue
            if field.number == 2:
                self.temporality = <uint32_t>field.value
            elif field.number == 3 and self.kind == SUM:
                self.monotonic = field.value != 0
        return 0

    cdef int name_metric(self, Text* name, Text* about, Text* unit) except -1:
        """Names and family of the metric; `base` is NONE where there is no name for it."""
        cdef SampleTable table = self.table
        cdef uint32_t kind
        cdef Names* names
        cdef bint counter = self.kind == SUM and self.monotonic
        key = (slice_of(name), slice_of(unit), slice_of(about), self.kind, counter)
        found = self.families.get(key)
        if found is None:
            base, short = self.names(key[0], key[1], 1 if counter else (0 if self.kind == GAUGE else 2))
            if not base:
                found = ()
            else:
                kind = 3
                if self.kind == GAUGE or self.kind == SUM:
                    kind = 1 if counter else 2
                elif self.kind == SUMMARY:
                    kind = 5
                named = table.intern_bytes(base)
                family = table.family(named, kind, table.intern_bytes(key[2]), table.intern_bytes(short))
                found = (
                    family, named, table.intern_bytes(base + b"_bucket"), table.intern_bytes(base + b"_sum"),
                    table.intern_bytes(base + b"_count"),
                )
            self.families[key] = found
        if not found:
            self.emitter.metric.base = NONE
            return 0
        names = &self.emitter.metric
        names.family, names.base, names.bucket, names.sum, names.count = found
        return 0

    # -- points

    cdef int on_point(self, const uint8_t* begin, const uint8_t* end) except -1:
        cdef SampleTable table = self.table
        cdef Labels labels
        cdef Point* point = &self.point
        cdef int64_t time, created = 0
        self.row = self.emitter.row = <uint32_t>table.row_count
        self.emitter.first = table.sample_count
        table.next_row()
        read_point(self.kind, begin, end, point)
        if self.emitter.metric.base == NONE:
            return table.refuse(self.row, INVALID_NAME)
        if point.time == 0 or point.time >> 63:
            return table.refuse(self.row, INVALID_TIME)
        if point.time > self.now + self.tolerance:
            return table.refuse(self.row, FUTURE)
        if self.kind != GAUGE and self.kind != SUMMARY and self.temporality != DELTA and self.temporality != CUMULATIVE:
            return table.refuse(self.row, TEMPORALITY)
        if point.flags & NO_RECORDED_VALUE:
            point.exemplars.count = 0
        elif not self.well_formed():
            return 0
        self.labeller.of_point(&point.attributes, &labels)
        if labels.count + 2 > 1 << 16:
            return table.refuse(self.row, TOO_LARGE)
        time = <int64_t>(point.time // NS_PER_MS)
        if 0 < point.start <= point.time and self.kind != GAUGE and (self.kind != SUM or self.monotonic):
            created = <int64_t>(point.start // NS_PER_MS)
        if self.temporality == DELTA and not point.flags & NO_RECORDED_VALUE:
            if not self.add_up(&labels, &time, &created):
                return 0
        if point.time > self.newest:
            self.newest = point.time
        if self.kind == GAUGE or self.kind == SUM:
            return self.emitter.emit_number(&labels, time, created)
        if self.kind == HISTOGRAM:
            return self.emitter.emit_histogram(&labels, time, created)
        if self.kind == SUMMARY:
            return self.emitter.emit_summary(&labels, time, created)
        return self.emitter.emit_exponential(&labels, time, created)

    cdef bint well_formed(self) except -1:
        """Whether the numbers of a point fit together; otherwise it is refused."""
        cdef Point* point = &self.point
        cdef size_t at
        cdef uint64_t total = point.zero, huge = 0
        cdef Buckets positive, negative
        if self.kind == SUM and self.temporality == DELTA and (isnan(point.value) or isinf(point.value)):
            self.table.refuse(self.row, INVALID_DELTA)
            return False
        if self.temporality == DELTA and point.has_sum and (isnan(point.sum) or isinf(point.sum)):
            self.table.refuse(self.row, INVALID_DELTA)
            return False
        if self.kind == HISTOGRAM:
            if point.counts.count and point.counts.count != point.bounds.count + 1:
                self.table.refuse(self.row, MALFORMED_HISTOGRAM)
                return False
            if point.counts.count == 0:
                point.bounds.count = 0
            for at in range(point.bounds.count):
                if isnan(from_bits(point.bounds.items[at])) or (
                    at and not from_bits(point.bounds.items[at - 1]) < from_bits(point.bounds.items[at])
                ):
                    self.table.refuse(self.row, MALFORMED_HISTOGRAM)
                    return False
            return True
        if self.kind != EXPONENTIAL:
            return True
        for at in range(point.counts.count):
            total += point.counts.items[at]
            huge |= point.counts.items[at]
        for at in range(point.negatives.count):
            total += point.negatives.items[at]
            huge |= point.negatives.items[at]
        if huge >> 56 or total != point.count or isnan(point.threshold) or point.threshold < 0:
            self.table.refuse(self.row, MALFORMED_HISTOGRAM)
            return False
        positive.offset, positive.counts, positive.count = point.positive_offset, point.counts.items, point.counts.count
        negative.offset, negative.counts, negative.count = (
            point.negative_offset, point.negatives.items, point.negatives.count
        )
        trim(&positive)
        trim(&negative)
        point.counts.count, point.positive_offset = positive.count, positive.offset
        point.negatives.count, point.negative_offset = negative.count, negative.offset
        if point.scale > FINEST_READ or not representable(<int32_t>point.scale, &positive, &negative):
            self.table.refuse(self.row, UNSUPPORTED_SCALE)
            return False
        return True

    cdef bint add_up(self, Labels* labels, int64_t* time, int64_t* created) except -1:
        """Put the running total in the place of a delta. False where there is nothing to send."""
        cdef Point* point = &self.point
        cdef uint64_t lo, hi, begin = 0
        cdef Total* total = NULL
        cdef Place place
        cdef Buckets positive, negative
        cdef int result = 0
        lo = labels.lo + mix(self.table.symbols[self.emitter.metric.base].lo, self.kind)
        hi = labels.hi + mix(self.table.symbols[self.emitter.metric.base].hi, self.kind)
        if point.time > self.latest:
            self.latest = point.time
        place = self.totals.place(lo, hi, <uint8_t>self.kind, point.start, point.time, self.latest, &total)
        if place == FULL:
            self.table.refuse(self.row, STREAM_LIMIT)
            return False
        if place == BEHIND:
            self.table.refuse(self.row, LATE)
            return False
        if place == KNOWN:
            return False
        if place == NEXT:
            if self.kind == SUM:
                total.sum += point.value
            elif self.kind == HISTOGRAM:
                if point.counts.count == 0:
                    fill(&point.counts, &point.count, 1)
                result = total.ends[0] != 0
                if add_explicit(
                    total, point.bounds.count, <double*>point.bounds.items, point.counts.items, point.count, point.sum,
                    point.has_sum
                ) and result:
                    begin = point.start if 0 < point.start < point.time else point.time
                    result = 0
            else:
                positive.offset, positive.count = point.positive_offset, point.counts.count
                positive.counts = point.counts.items
                negative.offset, negative.count = point.negative_offset, point.negatives.count
                negative.counts = point.negatives.items
                if add_exponential(
                    total, <int32_t>point.scale, point.zero, point.threshold, &positive, &negative, point.count,
                    point.sum, point.has_sum
                ):
                    self.table.refuse(self.row, UNSUPPORTED_SCALE)
                    return False
            self.totals.commit(total, begin, point.time, self.latest)
        point.value = total.sum
        point.sum = total.sum
        point.has_sum = total.has_sum
        point.count = total.count
        point.zero = total.zero
        point.threshold = total.threshold
        point.scale = total.scale
        if self.kind == HISTOGRAM:
            fill(&point.bounds, <const uint64_t*>total.bounds, total.bound_count)
        fill(&point.counts, total.positive.counts, total.positive.count)
        fill(&point.negatives, total.negative.counts, total.negative.count)
        point.positive_offset = total.positive.offset
        point.negative_offset = total.negative.offset
        time[0] = <int64_t>(total.ends[0] // NS_PER_MS)
        if created[0] or (self.kind != SUM or self.monotonic):
            created[0] = <int64_t>(total.start // NS_PER_MS)
        return True


cdef bint is_kind(uint32_t number) noexcept nogil:
    return number == GAUGE or number == SUM or number == HISTOGRAM or number == EXPONENTIAL or number == SUMMARY


cdef bytes slice_of(Text* text):
    return (<const char*>text.begin)[:text.size] if text.size else b""
