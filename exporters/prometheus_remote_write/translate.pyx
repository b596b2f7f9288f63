"""OTLP metrics to series and samples: one walk over the bytes of an `ExportMetricsServiceRequest`.

OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility".
"""

from libc.math cimport INFINITY, isinf, isnan
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset

from exporters.prometheus_remote_write.accumulate cimport (
    BEHIND,
    FULL,
    KNOWN,
    NEXT,
    Accumulator,
    Buckets,
    Place,
    Total,
    add_explicit,
    add_exponential,
    representable,
    shrink,
    trim,
)
from exporters.prometheus_remote_write.labels cimport (
    Attribute,
    Attributes,
    Text,
    add_attribute,
    append_name,
    label_name,
    next_field,
    order_of,
    read_attribute,
    sort_attributes,
)
from exporters.prometheus_remote_write.points cimport (
    EXPONENTIAL,
    GAUGE,
    HISTOGRAM,
    SUM,
    SUMMARY,
    Numbers,
    Point,
    read_point,
)
from exporters.prometheus_remote_write.series cimport (
    FUTURE,
    INVALID_DELTA,
    INVALID_NAME,
    INVALID_TIME,
    LATE,
    MALFORMED_HISTOGRAM,
    NONE,
    STREAM_LIMIT,
    TEMPORALITY,
    TOO_LARGE,
    UNSUPPORTED_SCALE,
    Exemplar,
    Labels,
    Pair,
    Sample,
    SeriesTable,
    mix,
)
from exporters.prometheus_remote_write.wire cimport (
    BYTES,
    FIXED64,
    VARINT,
    Buffer,
    Field,
    close_length,
    load64,
    load_double,
    open_length,
    put,
    put_double,
    put_varint,
    zigzag,
)

cdef enum:
    NO_RECORDED_VALUE = 1
    DELTA = 1
    CUMULATIVE = 2
    NS_PER_MS = 1000000
    FINEST_READ = 40
    FINEST = 8               # scales of native histograms
    MOST_CHARACTERS = 128    # of all labels of an exemplar
    TARGETS = 100000         # whose target_info is remembered
    TARGET_EVERY = 60000     # ms between two samples of one target_info; queries look back for 300000

cdef const char* HEX = "0123456789abcdef"

cdef uint64_t STALE = 0x7ff0000000000002
cdef double THRESHOLD = 1e-128  # of a zero bucket, where the point doesn't say
cdef uint64_t ORDINARY_NAN = 0x7ff8000000000001


cdef double from_bits(uint64_t bits) noexcept nogil:
    cdef double value
    memcpy(&value, &bits, 8)
    return value


cdef double plain(double value) noexcept nogil:
    """`value`, but that no NaN is taken for the mark of a stale series."""
    return from_bits(ORDINARY_NAN) if isnan(value) else value


cdef size_t characters(const uint8_t* text, size_t size) noexcept nogil:
    cdef size_t at, count = 0
    for at in range(size):
        count += text[at] & 0xc0 != 0x80
    return count


cdef struct Names:
    uint32_t family, base, bucket, sum, count


cdef class Translator:
    """Translates requests, one after the other in the order in which they are sent.

    `key`: 32 secret bytes that identify series from one life of the gateway to the next, together with the totals of
    `totals` (an `Accumulator`). `names(name, unit, kind)` gives the metric's name and unit for Prometheus, `render`
    the text of an AnyValue that is none of string, bool and int, `bound` the text of a bucket's upper bound.
    `external` are (name, value) of labels for every series. `target_name` is empty where there shall be no target_info.
    """

    cdef SeriesTable table
    cdef Accumulator totals
    cdef object names, render, bound
    cdef bytes key, target_name
    cdef list external_labels
    cdef bint utf8, resource_labels, scope_labels
    cdef uint32_t lanes
    cdef uint64_t tolerance, now
    cdef dict targets, families, bounds
    cdef Buffer scratch, joined, blob
    cdef Point point
    cdef Attributes own, resource, scope, merged, fixed, external, scratch_list
    cdef Pair* pairs
    cdef size_t pair_room
    cdef Pair* plain_pairs
    cdef size_t plain_room
    cdef Names metric
    cdef uint32_t kind, temporality, row, le, quantile
    cdef bint monotonic
    cdef uint64_t newest
    cdef uint32_t* heads
    cdef size_t heads_room
    cdef Numbers known_bounds
    cdef uint32_t* known_texts
    cdef size_t known_room
    cdef bint knows_bounds

    def __init__(
        self, bytes key, Accumulator totals, *, names, render, bound, external=(), bint resource_labels=False,
        bint scope_labels=True, bint utf8=False, bytes target_name=b"target_info", uint32_t lanes=1,
        uint64_t tolerance_ns=600_000_000_000
    ):
        self.key = key
        self.totals = totals
        self.names, self.render, self.bound = names, render, bound
        self.external_labels = sorted(external)
        self.resource_labels, self.scope_labels, self.utf8 = resource_labels, scope_labels, utf8
        self.target_name = target_name
        self.lanes = max(lanes, 1)
        self.tolerance = tolerance_ns
        self.targets = {}

    def __dealloc__(self):
        free(self.scratch.data)
        free(self.joined.data)
        free(self.blob.data)
        free(self.point.attributes.items)
        free(self.point.exemplars.items)
        free(self.point.quantiles.items)
        free(self.point.bounds.items)
        free(self.point.counts.items)
        free(self.point.negatives.items)
        free(self.own.items)
        free(self.resource.items)
        free(self.scope.items)
        free(self.merged.items)
        free(self.fixed.items)
        free(self.external.items)
        free(self.scratch_list.items)
        free(self.pairs)
        free(self.plain_pairs)
        free(self.heads)
        free(self.known_bounds.items)
        free(self.known_texts)

    def translate(self, bytes payload not None, uint64_t now_ns):
        """The series and samples of one request; `now_ns` is our own clock. Raises `ValueError` where it isn't OTLP."""
        cdef const uint8_t* at = payload
        cdef const uint8_t* end = at + len(payload)
        cdef Field field
        cdef SeriesTable table = SeriesTable(self.key)
        self.table = table
        self.now = now_ns
        self.families = {}
        self.bounds = {}
        self.knows_bounds = False
        self.le = table.intern_bytes(b"le")
        self.quantile = table.intern_bytes(b"quantile")
        self.external.count = 0
        for name, value in self.external_labels:
            add_attribute(&self.external, table.intern_bytes(name), table.intern_bytes(value))
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
        cdef const uint8_t* inside
        cdef Field field
        cdef Field inner
        self.resource.count = 0
        self.newest = 0
        while at < end:
            next_field(at, end, &field)
            at = field.after
            if field.number == 1 and field.wire == BYTES:
                inside = field.body
                while inside < field.after:
                    next_field(inside, field.after, &inner)
                    inside = inner.after
                    if inner.number == 1 and inner.wire == BYTES:
                        self.read_label(&self.resource, inner.body, inner.after)
        sort_attributes(self.table, &self.resource)
        self.identify()
        at = begin
        while at < end:
            next_field(at, end, &field)
            at = field.after
            if field.number == 2 and field.wire == BYTES:
                self.on_scope(field.body, field.after)
        if self.newest and self.target_name:
            self.add_target()
        return 0

    cdef int read_label(self, Attributes* list, const uint8_t* at, const uint8_t* end) except -1:
        """Add one attribute, name sanitised, value as text."""
        cdef Text[2] key
        cdef Attribute* attribute
        cdef uint32_t value
        if read_attribute(self.table, &self.scratch, self.render, at, end, self.utf8, key):
            value = self.table.intern(key[1].begin, key[1].size)
        else:
            value = self.table.intern(self.scratch.data, self.scratch.used)
        attribute = add_attribute(
            list, label_name(self.table, &self.scratch, key[0].begin, key[0].size, self.utf8), value
        )
        attribute.key = key[0].begin
        attribute.size = <uint32_t>key[0].size
        return 0

    cdef Attribute* attribute(self, Attributes* list, bytes key) noexcept:
        cdef size_t at, size = len(key)
        for at in range(list.count):
            if list.items[at].size == size and memcmp(list.items[at].key, <const char*>key, size) == 0:
                return list.items + at
        return NULL

    cdef int identify(self) except -1:
        """`job` and `instance`, the first labels of `fixed`."""
        cdef Attribute* name = self.attribute(&self.resource, b"service.name")
        cdef Attribute* space = self.attribute(&self.resource, b"service.namespace")
        cdef Attribute* instance = self.attribute(&self.resource, b"service.instance.id")
        cdef uint32_t job = 0
        self.fixed.count = 0
        if name != NULL and name.value:
            job = name.value
            if space != NULL and space.value:
                self.joined.used = 0
                self.join(space.value)
                put(&self.joined, <const char*>"/", 1)
                self.join(name.value)
                job = self.table.intern(self.joined.data, self.joined.used)
            add_attribute(&self.fixed, self.table.intern_bytes(b"job"), job)
        if instance != NULL and instance.value:
            add_attribute(&self.fixed, self.table.intern_bytes(b"instance"), instance.value)
        return 0

    cdef int join(self, uint32_t symbol) except -1:
        return put(
            &self.joined, self.table.text.data + self.table.symbols[symbol].offset, self.table.symbols[symbol].length
        )

    cdef int on_scope(self, const uint8_t* begin, const uint8_t* end) except -1:
        cdef const uint8_t* at = begin
        cdef const uint8_t* inside
        cdef Field field
        cdef Field inner
        cdef uint32_t name = 0, version = 0, schema = 0
        self.scope.count = 0
        if self.scope_labels:
            while at < end:
                next_field(at, end, &field)
                at = field.after
                if field.number == 3 and field.wire == BYTES:
                    schema = self.table.intern(field.body, field.after - field.body)
                if field.number != 1 or field.wire != BYTES:
                    continue
                inside = field.body
                while inside < field.after:
                    next_field(inside, field.after, &inner)
                    inside = inner.after
                    if inner.wire != BYTES:
                        continue
                    if inner.number == 1:
                        name = self.table.intern(inner.body, inner.after - inner.body)
                    elif inner.number == 2:
                        version = self.table.intern(inner.body, inner.after - inner.body)
                    elif inner.number == 3:
                        self.read_label(&self.scope, inner.body, inner.after)
            self.prefix_scope()
            self.add_scope(b"otel_scope_name", name)
            self.add_scope(b"otel_scope_version", version)
            self.add_scope(b"otel_scope_schema_url", schema)
        sort_attributes(self.table, &self.fixed)
        at = begin
        while at < end:
            next_field(at, end, &field)
            at = field.after
            if field.number == 2 and field.wire == BYTES:
                self.on_metric(field.body, field.after)
        return self.identify()   # without the scope's labels

    cdef int prefix_scope(self) except -1:
        """Attributes of the scope as labels; the scope's own name, version and URL win against them."""
        cdef size_t at, first
        cdef uint32_t value
        cdef Attribute* attribute
        for at in range(self.scope.count):
            attribute = self.scope.items + at
            self.scratch.used = 0
            put(&self.scratch, <const char*>"otel_scope_", 11)
            if self.utf8:
                put(&self.scratch, attribute.key, attribute.size)
            else:
                append_name(&self.scratch, attribute.key, attribute.size)
            attribute.name = self.table.intern(self.scratch.data, self.scratch.used)
        sort_attributes(self.table, &self.scope)
        at = 0
        while at < self.scope.count:
            first = at
            at = self.alike(&self.scope, first)
            value = self.value_of(&self.scope, first, at)
            if value:
                add_attribute(&self.fixed, self.scope.items[first].name, value)
        return 0

    cdef int add_scope(self, bytes name, uint32_t value) except -1:
        """Set a label of the scope in `fixed`, unless it is empty."""
        cdef uint32_t symbol
        cdef size_t at
        if value == 0:
            return 0
        symbol = self.table.intern_bytes(name)
        for at in range(self.fixed.count):
            if self.fixed.items[at].name == symbol:
                self.fixed.items[at].value = value
                return 0
        add_attribute(&self.fixed, symbol, value)
        return 0

    # -- labels

    cdef size_t alike(self, Attributes* list, size_t first) noexcept:
        """The end of the attributes that have the name of the first."""
        cdef size_t at = first + 1
        while at < list.count and list.items[at].name == list.items[first].name:
            at += 1
        return at

    cdef uint32_t value_of(self, Attributes* list, size_t first, size_t end) except? 4294967295:
        """The values of attributes that share a name, joined by semicolons in the order of the original keys."""
        cdef size_t at
        if end == first + 1:
            return list.items[first].value
        self.joined.used = 0
        for at in range(first, end):
            if at > first:
                put(&self.joined, <const char*>";", 1)
            self.join(list.items[at].value)
        return self.table.intern(self.joined.data, self.joined.used)

    cdef int pair_room_for(self, size_t count) except -1:
        cdef Pair* moved
        if self.pair_room < count:
            moved = <Pair*>realloc(self.pairs, (count * 2 + 32) * sizeof(Pair))
            if moved == NULL:
                raise MemoryError
            self.pairs = moved
            self.pair_room = count * 2 + 32
        return 0

    cdef int merge_resource(self) except -1:
        """The point's attributes and the resource's in one sorted list; of one key the resource's counts."""
        cdef size_t at = 0, other = 0
        cdef int order
        self.merged.count = 0
        while at < self.own.count or other < self.resource.count:
            if at == self.own.count:
                order = 1
            elif other == self.resource.count:
                order = -1
            else:
                order = order_of(self.table, self.own.items + at, self.resource.items + other)
            if order < 0:
                add_attribute(&self.merged, 0, 0)[0] = self.own.items[at]
                at += 1
            else:
                add_attribute(&self.merged, 0, 0)[0] = self.resource.items[other]
                other += 1
                at += order == 0
        return 0

    cdef int finish_labels(self, Attributes* list, Labels* labels) except -1:
        """Labels of a sorted list, with the fixed ones above and the external ones below it."""
        cdef size_t at = 0, fixed = 0, external = 0, stop
        cdef uint32_t name, value, own
        self.pair_room_for(list.count + self.fixed.count + self.external.count)
        labels.pairs = self.pairs
        labels.count = 0
        while at < list.count or fixed < self.fixed.count or external < self.external.count:
            name = NONE
            if at < list.count:
                name = list.items[at].name
            if fixed < self.fixed.count and (
                name == NONE or self.table.compare(self.fixed.items[fixed].name, name) < 0
            ):
                name = self.fixed.items[fixed].name
            if external < self.external.count and (
                name == NONE or self.table.compare(self.external.items[external].name, name) < 0
            ):
                name = self.external.items[external].name
            value = 0
            if external < self.external.count and self.external.items[external].name == name:
                value = self.external.items[external].value
                external += 1
            if at < list.count and list.items[at].name == name:
                stop = self.alike(list, at)
                own = self.value_of(list, at, stop)
                if own:
                    value = own
                at = stop
            if fixed < self.fixed.count and self.fixed.items[fixed].name == name:
                value = self.fixed.items[fixed].value
                fixed += 1
            if value and name != self.table.name_label:
                labels.pairs[labels.count].name = name
                labels.pairs[labels.count].value = value
                labels.count += 1
        return self.table.measure(labels)

    cdef int read_labels(self, Labels* labels) except -1:
        """The labels of the current point, but for `__name__` and those of its kind."""
        cdef size_t at
        self.own.count = 0
        for at in range(self.point.attributes.count):
            self.read_label(&self.own, self.point.attributes.items[at].begin, self.point.attributes.items[at].end)
        sort_attributes(self.table, &self.own)
        if self.resource_labels:
            self.merge_resource()
            return self.finish_labels(&self.merged, labels)
        return self.finish_labels(&self.own, labels)

    cdef uint32_t place_of(self, Labels* labels, uint32_t name, bint* replaces) noexcept:
        """Where `name` belongs among the labels, and whether it is there already."""
        cdef uint32_t at = labels.name_at
        while at < labels.count and self.table.compare(labels.pairs[at].name, name) < 0:
            at += 1
        replaces[0] = at < labels.count and labels.pairs[at].name == name
        return at

    cdef int add_target(self) except -1:
        """`target_info`: the resource's attributes but for those that made `job` and `instance`."""
        cdef Labels labels
        cdef size_t at, all_of = self.resource.count, kept = 0, identity
        cdef int64_t time = <int64_t>(self.newest // NS_PER_MS), last
        cdef uint32_t series, name
        cdef Attribute attribute
        identity = self.fixed.count
        if identity == 0:
            return 0
        self.scratch_list.count = 0
        for at in range(all_of):
            attribute = self.resource.items[at]
            if not identifies(&attribute):
                add_attribute(&self.scratch_list, 0, 0)[0] = attribute
                kept += 1
        if kept == 0:
            return 0
        sort_attributes(self.table, &self.fixed)
        self.finish_labels(&self.scratch_list, &labels)
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
        cdef SeriesTable table = self.table
        cdef uint32_t kind
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
            self.metric.base = NONE
            return 0
        self.metric.family, self.metric.base, self.metric.bucket, self.metric.sum, self.metric.count = found
        return 0

    # -- points

    cdef int on_point(self, const uint8_t* begin, const uint8_t* end) except -1:
        cdef SeriesTable table = self.table
        cdef Labels labels
        cdef Point* point = &self.point
        cdef int64_t time, created = 0
        self.row = <uint32_t>table.row_count
        table.next_row()
        read_point(self.kind, begin, end, point)
        if self.metric.base == NONE:
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
        self.read_labels(&labels)
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
            return self.emit_number(&labels, time, created)
        if self.kind == HISTOGRAM:
            return self.emit_histogram(&labels, time, created)
        if self.kind == SUMMARY:
            return self.emit_summary(&labels, time, created)
        return self.emit_exponential(&labels, time, created)

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
        lo = labels.lo + mix(self.table.symbols[self.metric.base].lo, self.kind)
        hi = labels.hi + mix(self.table.symbols[self.metric.base].hi, self.kind)
        place = self.totals.place(lo, hi, <uint8_t>self.kind, point.start, point.time, self.now, &total)
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
            self.totals.commit(total, begin, point.time, self.now)
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

    cdef int emit(
        self, Labels* labels, uint32_t name, uint32_t extra, uint32_t value_symbol, uint32_t at, bint replaces,
        int64_t time, double value, int64_t created
    ) except -1:
        """One float sample; 1 where there is no room for its series."""
        cdef uint32_t series = self.table.series_of(
            labels, name, extra, value_symbol, at, replaces, self.metric.family
        )
        if series == NONE:
            self.table.refuse(self.row, TOO_LARGE)
            return 1
        if self.point.flags & NO_RECORDED_VALUE:
            value = from_bits(STALE)
        self.table.sample(series, time, value, created, self.row)
        return 0

    cdef int emit_number(self, Labels* labels, int64_t time, int64_t created) except -1:
        cdef size_t at
        if self.emit(labels, self.metric.base, NONE, 0, 0, False, time, plain(self.point.value), created):
            return 0
        for at in range(self.point.exemplars.count):
            self.add_exemplar(self.table.sample_count - 1, at)
        return 0

    cdef int emit_histogram(self, Labels* labels, int64_t time, int64_t created) except -1:
        cdef Point* point = &self.point
        cdef size_t at, bounds = point.bounds.count, exemplar
        cdef uint64_t total = 0
        cdef bint replaces = False
        cdef uint32_t place = self.place_of(labels, self.le, &replaces)
        if bounds and from_bits(point.bounds.items[bounds - 1]) == INFINITY:
            bounds -= 1          # what lies above it is none of the buckets' business: the last one holds all
        self.text_bounds(bounds)
        if point.exemplars.count:
            self.sort_exemplars(bounds)
        for at in range(bounds + 1):
            if at == bounds:
                total = point.count
            elif at < point.counts.count:  # the mark of a stale series may come without counts
                total += point.counts.items[at]
            if self.emit(
                labels, self.metric.bucket, self.le, self.known_texts[at], place, replaces, time, <double>total, created
            ):
                return 0
            if point.exemplars.count:
                exemplar = self.heads[at]
                while exemplar:
                    self.add_exemplar(self.table.sample_count - 1, exemplar - 1)
                    exemplar = self.heads[bounds + exemplar]
        if point.has_sum or point.flags & NO_RECORDED_VALUE:
            if self.emit(labels, self.metric.sum, NONE, 0, 0, False, time, plain(point.sum), created):
                return 0
        self.emit(labels, self.metric.count, NONE, 0, 0, False, time, <double>point.count, created)
        return 0

    cdef int text_bounds(self, size_t bounds) except -1:
        """`known_texts`: symbols of the upper bounds, +Inf after them. The last histogram's are remembered."""
        cdef size_t at
        cdef uint32_t* moved
        cdef uint64_t* items = self.point.bounds.items
        if self.knows_bounds and self.known_bounds.count == bounds and (
            bounds == 0 or memcmp(self.known_bounds.items, items, bounds * 8) == 0
        ):
            return 0
        self.knows_bounds = False
        if self.known_room < bounds + 1:
            moved = <uint32_t*>realloc(self.known_texts, (bounds + 1) * 2 * sizeof(uint32_t))
            if moved == NULL:
                raise MemoryError
            self.known_texts = moved
            self.known_room = (bounds + 1) * 2
        for at in range(bounds + 1):
            value = from_bits(items[at]) if at < bounds else INFINITY
            found = self.bounds.get(value)
            if found is None:
                found = self.bounds[value] = self.table.intern_bytes(self.bound(value))
            self.known_texts[at] = found
        fill(&self.known_bounds, items, bounds)
        self.knows_bounds = True
        return 0

    cdef int sort_exemplars(self, size_t bounds) except -1:
        """Lists of exemplars by bucket: `heads[bucket]`, then `heads[bounds + number]`. Numbers begin at 1."""
        cdef size_t at, low, high, middle, wanted = bounds + 1 + self.point.exemplars.count
        cdef uint32_t* moved
        cdef double value
        if self.heads_room < wanted:
            moved = <uint32_t*>realloc(self.heads, wanted * 2 * sizeof(uint32_t))
            if moved == NULL:
                raise MemoryError
            self.heads = moved
            self.heads_room = wanted * 2
        memset(self.heads, 0, (bounds + 1) * sizeof(uint32_t))
        at = self.point.exemplars.count
        while at:
            value = exemplar_value(self.point.exemplars.items[at - 1].begin, self.point.exemplars.items[at - 1].end)
            low, high = 0, bounds
            while low < high:
                middle = (low + high) // 2
                if value <= from_bits(self.point.bounds.items[middle]):
                    high = middle
                else:
                    low = middle + 1
            self.heads[bounds + at] = self.heads[low]
            self.heads[low] = <uint32_t>at
            at -= 1
        return 0

    cdef int emit_summary(self, Labels* labels, int64_t time, int64_t created) except -1:
        cdef Point* point = &self.point
        cdef size_t at
        cdef double level, value
        cdef bint replaces = False
        cdef uint32_t place = self.place_of(labels, self.quantile, &replaces)
        cdef const uint8_t* begin
        cdef Field field
        for at in range(point.quantiles.count):
            level = value = 0
            begin = point.quantiles.items[at].begin
            while begin < point.quantiles.items[at].end:
                next_field(begin, point.quantiles.items[at].end, &field)
                begin = field.after
                if field.wire == FIXED64 and field.number == 1:
                    level = load_double(field.body)
                elif field.wire == FIXED64 and field.number == 2:
                    value = load_double(field.body)
            found = self.bounds.get(level)
            if found is None or isnan(level):
                found = self.table.intern_bytes(self.bound(level))
                self.bounds[level] = found
            if self.emit(
                labels, self.metric.base, self.quantile, found, place, replaces, time, plain(value), created
            ):
                return 0
        if self.emit(labels, self.metric.sum, NONE, 0, 0, False, time, plain(point.sum), created):
            return 0
        self.emit(labels, self.metric.count, NONE, 0, 0, False, time, <double>point.count, created)
        return 0

    cdef int emit_exponential(self, Labels* labels, int64_t time, int64_t created) except -1:
        """A native histogram. Its bucket i ends where OTLP's bucket i begins, so the indices differ by one."""
        cdef Point* point = &self.point
        cdef SeriesTable table = self.table
        cdef Sample* sample
        cdef Buckets positive, negative
        cdef bint stale = (point.flags & NO_RECORDED_VALUE) != 0
        cdef size_t begin = table.blobs.used, at
        cdef uint32_t series = table.series_of(labels, self.metric.base, NONE, 0, 0, False, self.metric.family)
        if series == NONE:
            return table.refuse(self.row, TOO_LARGE)
        if begin >> 31:
            return table.refuse(self.row, TOO_LARGE)
        positive.offset, positive.counts, positive.count = point.positive_offset, point.counts.items, point.counts.count
        negative.offset, negative.counts, negative.count = (
            point.negative_offset, point.negatives.items, point.negatives.count
        )
        if point.scale > FINEST and not stale:
            shrink(&positive, <int>(point.scale - FINEST))
            shrink(&negative, <int>(point.scale - FINEST))
            point.scale = FINEST
        put_varint(&table.blobs, 8)
        put_varint(&table.blobs, 0 if stale else point.count)
        put_double(&table.blobs, 25, from_bits(STALE) if stale else (
            plain(point.sum) if point.has_sum else from_bits(ORDINARY_NAN)
        ))
        if not stale:
            put_varint(&table.blobs, 32)
            put_varint(&table.blobs, zigzag(point.scale))
            put_double(&table.blobs, 41, point.threshold or THRESHOLD)
            put_varint(&table.blobs, 48)
            put_varint(&table.blobs, point.zero)
            self.put_buckets(&negative, 66, 74)
            self.put_buckets(&positive, 90, 98)
        put_varint(&table.blobs, 120)
        put_varint(&table.blobs, <uint64_t>time)
        sample = table.sample(series, time, 0, created, self.row)
        sample.histogram = <uint32_t>begin
        sample.size = <uint32_t>(table.blobs.used - begin)
        for at in range(point.exemplars.count):
            self.add_exemplar(table.sample_count - 1, at)
        return 0

    cdef int put_buckets(self, Buckets* buckets, uint32_t spans, uint32_t deltas) except -1:
        """Spans and deltas. A gap of up to two empty buckets is cheaper than a new span."""
        cdef Buffer* out = &self.table.blobs
        cdef size_t at = 0, first, last, empty, place
        cdef int64_t end = 0     # the bucket after the last span
        cdef int64_t before = 0
        self.blob.used = 0
        trim(buckets)
        while at < buckets.count:
            first = at
            last = at
            while at < buckets.count:
                if buckets.counts[at]:
                    last = at
                elif at - last > 2:
                    break
                at += 1
            open_length(out, spans, &place)
            put_varint(out, 8)
            put_varint(out, zigzag(buckets.offset + 1 + <int64_t>first - end))
            put_varint(out, 16)
            put_varint(out, last - first + 1)
            close_length(out, place)
            end = buckets.offset + 1 + <int64_t>last + 1
            for empty in range(first, last + 1):
                put_varint(&self.blob, zigzag(<int64_t>buckets.counts[empty] - before))
                before = <int64_t>buckets.counts[empty]
            at = last + 1
            while at < buckets.count and buckets.counts[at] == 0:
                at += 1
        if self.blob.used:
            put_varint(out, deltas)
            put_varint(out, self.blob.used)
            put(out, self.blob.data, self.blob.used)
        return 0

    # -- exemplars

    cdef int add_exemplar(self, size_t sample, size_t number) except -1:
        """Attach an exemplar of the point to a sample: ids first, then the attributes that still fit."""
        cdef SeriesTable table = self.table
        cdef const uint8_t* begin = self.point.exemplars.items[number].begin
        cdef const uint8_t* end = self.point.exemplars.items[number].end
        cdef const uint8_t* at = begin
        cdef Field field
        cdef Text trace, span
        cdef uint64_t time = 0
        cdef double value = exemplar_value(begin, end)
        cdef size_t room = MOST_CHARACTERS, first, stop, size
        cdef uint32_t trace_name = table.intern_bytes(b"trace_id"), span_name = table.intern_bytes(b"span_id")
        cdef uint32_t name, text
        cdef Exemplar* moved
        cdef Exemplar* exemplar
        trace.size = span.size = 0
        self.scratch_list.count = 0
        self.own.count = 0
        while at < end:
            next_field(at, end, &field)
            at = field.after
            if field.wire == FIXED64 and field.number == 2:
                time = load64(field.body)
            elif field.wire == BYTES and field.number == 4:
                span.begin, span.size = field.body, field.after - field.body
            elif field.wire == BYTES and field.number == 5:
                trace.begin, trace.size = field.body, field.after - field.body
            elif field.wire == BYTES and field.number == 7:
                self.read_label(&self.own, field.body, field.after)
        sort_attributes(table, &self.own)
        if trace.size == 16 and any_bit(&trace):
            add_attribute(&self.scratch_list, trace_name, self.hex(&trace))
            room -= 8 + 32
        if span.size == 8 and any_bit(&span):
            add_attribute(&self.scratch_list, span_name, self.hex(&span))
            room -= 7 + 16
        first = 0
        while first < self.own.count:
            stop = self.alike(&self.own, first)
            name = self.own.items[first].name
            text = self.value_of(&self.own, first, stop)
            first = stop
            if text == 0 or name == table.name_label or (name == trace_name and room <= MOST_CHARACTERS - 40 and (
                trace.size == 16 and any_bit(&trace)
            )) or (name == span_name and span.size == 8 and any_bit(&span)):
                continue
            size = characters(table.text.data + table.symbols[name].offset, table.symbols[name].length)
            size += characters(table.text.data + table.symbols[text].offset, table.symbols[text].length)
            if size > room:
                table.exemplars_cut += 1
                continue
            room -= size
            add_attribute(&self.scratch_list, name, text)
        sort_attributes(table, &self.scratch_list)
        if table.pair_count + self.scratch_list.count > table.pair_room:
            moved_pairs = <Pair*>realloc(table.pairs, (table.pair_room * 2 + self.scratch_list.count) * sizeof(Pair))
            if moved_pairs == NULL:
                raise MemoryError
            table.pairs = moved_pairs
            table.pair_room = table.pair_room * 2 + self.scratch_list.count
        if table.exemplar_count == table.exemplar_room:
            moved = <Exemplar*>realloc(table.exemplars, (table.exemplar_room * 2 + 64) * sizeof(Exemplar))
            if moved == NULL:
                raise MemoryError
            table.exemplars = moved
            table.exemplar_room = table.exemplar_room * 2 + 64
        exemplar = table.exemplars + table.exemplar_count
        exemplar.time = <int64_t>(time // NS_PER_MS) if 0 < time < <uint64_t>1 << 63 else table.samples[sample].time
        exemplar.value = plain(value)
        exemplar.pairs = <uint32_t>table.pair_count
        exemplar.count = <uint32_t>self.scratch_list.count
        exemplar.before = table.samples[sample].exemplar
        for first in range(self.scratch_list.count):
            table.pairs[table.pair_count].name = self.scratch_list.items[first].name
            table.pairs[table.pair_count].value = self.scratch_list.items[first].value
            table.pair_count += 1
        table.samples[sample].exemplar = <uint32_t>table.exemplar_count
        table.exemplar_count += 1
        return 0

    cdef uint32_t hex(self, Text* identifier) except? 4294967295:
        cdef uint8_t[32] text
        cdef size_t at
        for at in range(identifier.size):
            text[2 * at] = HEX[identifier.begin[at] >> 4]
            text[2 * at + 1] = HEX[identifier.begin[at] & 15]
        return self.table.intern(text, 2 * identifier.size)


cdef bint any_bit(Text* identifier) noexcept nogil:
    cdef size_t at
    for at in range(identifier.size):
        if identifier.begin[at]:
            return True
    return False


cdef double exemplar_value(const uint8_t* at, const uint8_t* end) except? -1:
    cdef Field field
    cdef double value = 0
    while at < end:
        next_field(at, end, &field)
        at = field.after
        if field.wire == FIXED64 and field.number == 3:
            value = load_double(field.body)
        elif field.wire == FIXED64 and field.number == 6:
            value = <double><int64_t>load64(field.body)
    return value


cdef bint is_kind(uint32_t number) noexcept nogil:
    return number == GAUGE or number == SUM or number == HISTOGRAM or number == EXPONENTIAL or number == SUMMARY


cdef bint identifies(Attribute* attribute) noexcept nogil:
    """Whether the attribute made `job` or `instance`."""
    if attribute.size == 12:
        return memcmp(attribute.key, <const char*>"service.name", 12) == 0
    if attribute.size == 17:
        return memcmp(attribute.key, <const char*>"service.namespace", 17) == 0
    return attribute.size == 19 and memcmp(attribute.key, <const char*>"service.instance.id", 19) == 0


cdef bytes slice_of(Text* text):
    return (<const char*>text.begin)[:text.size] if text.size else b""


cdef int fill(Numbers* numbers, const uint64_t* items, size_t count) except -1:
    """Copy `count` numbers into an array of our own."""
    cdef uint64_t* moved
    if numbers.room < count + 1:
        moved = <uint64_t*>realloc(numbers.items, (count + 1) * 2 * 8)
        if moved == NULL:
            raise MemoryError
        numbers.items = moved
        numbers.room = (count + 1) * 2
    if count:
        memcpy(numbers.items, items, count * 8)
    numbers.count = count
    return 0
