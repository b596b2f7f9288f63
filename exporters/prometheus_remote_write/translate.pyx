"""OTLP metrics to series and samples: one walk over the bytes of an `ExportMetricsServiceRequest`.

OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility".
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free

from exporters.prometheus_remote_write.accumulate cimport Accumulator
from exporters.prometheus_remote_write.delta_to_cumulative cimport DeltaToCumulative
from exporters.prometheus_remote_write.emitter cimport Emitter
from exporters.prometheus_remote_write.exemplars cimport Exemplars
from exporters.prometheus_remote_write.families cimport Families
from exporters.prometheus_remote_write.labeller cimport Labeller
from exporters.prometheus_remote_write.point_checks cimport check_point
from exporters.prometheus_remote_write.points cimport (
    EXPONENTIAL,
    GAUGE,
    HISTOGRAM,
    NO_RECORDED_VALUE,
    SUM,
    SUMMARY,
    Point,
    read_point,
)
from exporters.prometheus_remote_write.reasons cimport (
    FUTURE,
    INVALID_NAME,
    INVALID_TIME,
    TAKEN,
    TEMPORALITY,
    TOO_LARGE,
    Reason,
)
from exporters.prometheus_remote_write.request cimport Text, next_field
from exporters.prometheus_remote_write.samples cimport SampleTable
from exporters.prometheus_remote_write.series cimport Labels, mix
from exporters.prometheus_remote_write.symbols cimport NONE, Symbol
from exporters.prometheus_remote_write.target_info cimport TargetInfo
from exporters.prometheus_remote_write.total cimport Total
from exporters.wire.fields cimport BYTES, VARINT, Field

cdef enum:
    DELTA = 1
    CUMULATIVE = 2
    NS_PER_MS = 1000000


cdef class Translator:
    """Translates requests, one after the other in the order in which they are sent.

    `key`: 32 secret bytes that identify series from one life of the gateway to the next, together with the totals of
    `totals` (an `Accumulator`). `names(name, unit, kind)` gives the metric's name and unit for Prometheus, `render`
    the text of an AnyValue that is none of string, bool and int, `bound` the text of a bucket's upper bound.
    `external` are (name, value) of labels for every series. `target_name` is empty where there shall be no target_info.
    """

    cdef SampleTable table
    cdef Families families
    cdef TargetInfo target_info
    cdef Labeller labeller
    cdef DeltaToCumulative deltas
    cdef Emitter emitter
    cdef bytes key
    cdef uint32_t lanes
    cdef uint64_t tolerance, now
    cdef Point point
    cdef uint32_t kind, temporality, row
    cdef bint monotonic
    cdef uint64_t newest     # time of the resource's points

    def __init__(
        self, bytes key, Accumulator totals, *, names, render, bound, external=(), bint resource_labels=False,
        bint scope_labels=True, bint utf8=False, bytes target_name=b"target_info", uint32_t lanes=1,
        uint64_t tolerance_ns=600_000_000_000
    ):
        self.key = key
        self.families = Families(names)
        self.target_info = TargetInfo(target_name)
        self.deltas = DeltaToCumulative(totals)
        self.labeller = Labeller(render, external, resource_labels, scope_labels, utf8)
        self.emitter = Emitter(self.labeller, Exemplars(render, utf8), bound)
        self.emitter.point = &self.point
        self.lanes = max(lanes, 1)
        self.tolerance = tolerance_ns

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
        self.families.begin(table)
        self.target_info.begin(table)
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
        cdef Labels labels
        self.newest = 0
        self.labeller.begin_resource(begin, end)
        while at < end:
            next_field(at, end, &field)
            at = field.after
            if field.number == 2 and field.wire == BYTES:
                self.on_scope(field.body, field.after)
        if self.newest and self.target_info.name and self.labeller.of_target(&labels):
            self.target_info.add(&labels, <int64_t>(self.newest // NS_PER_MS))
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
        self.families.name(
            &name, &about, &unit, self.kind, self.kind == SUM and self.monotonic, &self.emitter.metric
        )
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

    # -- points

    cdef int on_point(self, const uint8_t* begin, const uint8_t* end) except -1:
        cdef SampleTable table = self.table
        cdef Labels labels
        cdef Point* point = &self.point
        cdef Reason reason
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
        else:
            reason = check_point(point, self.kind, self.temporality == DELTA)
            if reason != TAKEN:
                return table.refuse(self.row, reason)
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

    cdef bint add_up(self, Labels* labels, int64_t* time, int64_t* created) except -1:
        """Put the running total in the place of a delta. False where there is nothing to send."""
        cdef Symbol* name = self.table.symbols + self.emitter.metric.base
        cdef Reason reason = TAKEN
        cdef Total* total = self.deltas.replace(
            &self.point, self.kind, labels.lo + mix(name.lo, self.kind), labels.hi + mix(name.hi, self.kind), &reason
        )
        if total == NULL:
            self.table.refuse(self.row, reason)  # which a copy isn't
            return False
        time[0] = <int64_t>(total.ends[0] // NS_PER_MS)
        if created[0] or (self.kind != SUM or self.monotonic):
            created[0] = <int64_t>(total.start // NS_PER_MS)
        return True


cdef bint is_kind(uint32_t number) noexcept nogil:
    return number == GAUGE or number == SUM or number == HISTOGRAM or number == EXPONENTIAL or number == SUMMARY
