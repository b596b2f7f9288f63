"""The walk over one `ExportMetricsServiceRequest`, on its bytes: each point's series is looked up by a keyed hash, and
where one is over a limit its point is taken out, and folded into another or not.

What is untouched stays as it is byte by byte, and a request with nothing to change is the same object.
"""

from collector.api import Malformed

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from processors.cardinality_limiter.admission cimport Attribute
from processors.cardinality_limiter.aggregate cimport Aggregate
from processors.cardinality_limiter.aggregate_point cimport encode_point
from processors.cardinality_limiter.folding cimport KEEP, REMOVE, Folding
from processors.cardinality_limiter.known cimport BY_METRICS, BY_NONE, BY_SERIES, DROP, DROP_LABEL, OVERFLOW, Group
from processors.cardinality_limiter.out cimport Out, out_free
from processors.cardinality_limiter.point cimport CUMULATIVE, EXPONENTIAL, GAUGE, HISTOGRAM, SUM, SUMMARY
from processors.cardinality_limiter.siphash cimport Hash, add_hash, both, siphash
from processors.cardinality_limiter.table cimport ADMITTED, MEMBER, NUMBER_MASK, Entry, table_at, table_find
from processors.wire.edits cimport (
    PLAIN, Edit, Edits, Frame, add_edit, add_up, copy_edited, enter, free_edits, new_bytes,
)
from processors.wire.fields cimport BYTES, VARINT, Field, read_field

cdef extern from *:
    void prefetch "__builtin_prefetch"(const void *) noexcept nogil

cdef enum:
    AT_ONCE = 32             # points that are looked up together, so that memory is waited for once
    LONGEST_NAME = 1024      # of a metric that is kept as its key

cdef struct Waiting:
    Field field
    Hash hash


cdef class Limiter(Folding):
    cdef Edits edits
    cdef Out made
    # of the request that is walked:
    cdef readonly uint64_t removed
    cdef readonly uint64_t dropped
    cdef readonly uint64_t sent
    cdef Hash tenant
    cdef bytes tenant_key
    cdef Hash resource
    cdef Hash scope
    cdef Waiting[AT_ONCE] waiting            # points of a metric

    def __dealloc__(self):
        free_edits(&self.edits)
        out_free(&self.made)

    def limit_request(self, bytes payload not None, bytes tenant=b""):
        cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(payload)
        cdef const uint8_t *end = at + PyBytes_GET_SIZE(payload)
        cdef Field field
        cdef const uint8_t *here = at
        cdef uint64_t size = end - at
        cdef bytes edited
        self.removed = self.dropped = self.sent = 0
        self.attributes_read = 0
        self.tenant_key = tenant
        self.tenant = siphash(self.key, <const uint8_t *>PyBytes_AS_STRING(tenant), PyBytes_GET_SIZE(tenant))
        try:
            while here < end:
                if read_field(here, end, &field) < 0:
                    raise Malformed("not an OTLP request")
                here = field.after
                if field.number == 1 and field.wire == BYTES:
                    self.walk_resource(&field)
            if self.edits.count == 0 or not add_up(&self.edits, &size):
                return None
            edited = PyBytes_FromStringAndSize(NULL, size)
            copy_edited(&self.edits, at, end, <uint8_t *>PyBytes_AS_STRING(edited))
            return edited
        finally:
            free_edits(&self.edits)
            if self.touched:
                self.abandon()

    cdef int abandon(self) except -1:
        """A request was malformed: what was folded stays in the aggregates and goes out with the next."""
        cdef Aggregate aggregate
        for aggregate in self.touched:
            aggregate.touched = False
        self.touched.clear()
        return 0

    cdef int walk_resource(self, Field *message) except -1:
        cdef const uint8_t *at = message.body
        cdef Field field
        cdef Frame frame
        self.resource = self.tenant
        while at < message.after:
            if read_field(at, message.after, &field) < 0:
                raise Malformed("not an OTLP request")
            at = field.after
            if field.number == 1 and field.wire == BYTES:
                self.add_attributes(&field, 1, &self.resource)
        enter(&frame, NULL, message.sized, message.body, message.after)
        at = message.body
        while at < message.after:
            read_field(at, message.after, &field)
            at = field.after
            if field.number == 2 and field.wire == BYTES:
                self.walk_scope(&frame, &field)
        return 0

    cdef int walk_scope(self, Frame *around, Field *message) except -1:
        cdef const uint8_t *at = message.body
        cdef Field field, inner, name, version
        cdef const uint8_t *here
        cdef Frame frame
        name.body = name.after = version.body = version.after = at
        self.scope.hi = self.scope.lo = 0
        while at < message.after:
            if read_field(at, message.after, &field) < 0:
                raise Malformed("not an OTLP request")
            at = field.after
            if field.number == 1 and field.wire == BYTES:
                here = field.body
                while here < field.after:
                    if read_field(here, field.after, &inner) < 0:
                        raise Malformed("not an OTLP request")
                    here = inner.after
                    if inner.wire == BYTES and inner.number == 1:
                        name = inner
                    elif inner.wire == BYTES and inner.number == 2:
                        version = inner
                self.add_attributes(&field, 3, &self.scope)
        self.scope = both(self.key, self.scope, siphash(self.key, name.body, name.after - name.body))
        self.scope = both(self.key, self.scope, siphash(self.key, version.body, version.after - version.body))
        self.scope = both(self.key, self.resource, self.scope)
        enter(&frame, around, message.sized, message.body, message.after)
        at = message.body
        while at < message.after:
            read_field(at, message.after, &field)
            at = field.after
            if field.number == 2 and field.wire == BYTES:
                self.walk_metric(&frame, &field)
        return 0

    cdef int add_attributes(self, Field *message, uint32_t number, Hash *sum) except -1:
        cdef const uint8_t *at = message.body
        cdef Field field
        cdef Attribute attribute
        while at < message.after:
            if read_field(at, message.after, &field) < 0:
                raise Malformed("not an OTLP request")
            at = field.after
            if field.number == number and field.wire == BYTES:
                self.read_attribute(&field, &attribute)
                add_hash(sum, attribute.hash)
        return 0

    cdef int walk_metric(self, Frame *around, Field *message) except -1:
        cdef const uint8_t *at = message.body
        cdef const uint8_t *here
        cdef Field field, inner, name, unit
        cdef Frame frame, data, outer = around[0], outermost = around.around[0]
        cdef const uint8_t *first = NULL
        cdef const uint8_t *last = NULL
        cdef Py_ssize_t before = self.edits.count
        cdef uint64_t kept = 0, removed_before = self.removed
        cdef int waiting
        name.body = name.after = unit.body = unit.after = at
        self.kind = 0
        while at < message.after:
            if read_field(at, message.after, &field) < 0:
                raise Malformed("not an OTLP request")
            at = field.after
            if field.wire != BYTES:
                continue
            if field.number == 1:
                name = field
            elif field.number == 3:
                unit = field
            elif field.number in (GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY):
                if field.number != <uint32_t>self.kind:
                    first = field.start      # a kind before it is lost, also if it comes again
                self.kind = field.number
                last = field.start
        if self.kind == 0:
            return 0
        self.temporality = CUMULATIVE if self.kind == SUMMARY else 0
        self.monotonic = self.kind != SUM
        at = message.body
        while at < message.after:
            read_field(at, message.after, &field)
            at = field.after
            here = field.body
            if field.number != <uint32_t>self.kind or field.wire != BYTES or field.start < first:
                continue
            if self.kind == GAUGE or self.kind == SUMMARY:
                break
            while here < field.after:
                if read_field(here, field.after, &inner) < 0:
                    raise Malformed("not an OTLP request")
                here = inner.after
                if inner.wire == VARINT and inner.number == 2:
                    self.temporality = <int>inner.value & 3
                elif inner.wire == VARINT and inner.number == 3 and self.kind == SUM:
                    self.monotonic = inner.value != 0
        self.enter_metric(&name, &unit)
        enter(&frame, around, message.sized, message.body, message.after)
        at = message.body
        while at < message.after:
            read_field(at, message.after, &field)
            at = field.after
            if field.number != <uint32_t>self.kind or field.wire != BYTES or field.start < first:
                continue
            enter(&data, &frame, field.sized, field.body, field.after)
            here = field.body
            waiting = 0
            while here < field.after:
                if read_field(here, field.after, &inner) < 0:
                    raise Malformed("not an OTLP request")
                here = inner.after
                if inner.number != 1 or inner.wire != BYTES:
                    continue
                self.read_attributes(&inner)
                self.waiting[waiting].field = inner
                self.waiting[waiting].hash = both(self.key, self.stream, self.sum)
                prefetch(&self.series.slots[self.waiting[waiting].hash.lo & (self.series.capacity - 1)])
                waiting += 1
                if waiting == AT_ONCE:
                    kept += self.judge_waiting(&data, waiting)
                    waiting = 0
            kept += self.judge_waiting(&data, waiting)
            if field.start == last and self.touched:
                kept += self.send(&data, field.after)
        if kept == 0 and self.removed != removed_before:
            # Nothing is left of the metric: instead of its points it goes itself.
            self.edits.count = before
            around.edit = outer.edit
            around.around.edit = outermost.edit
            if add_edit(&self.edits, around, message.start, message.after, PLAIN) == NULL:
                raise MemoryError
        return 0

    cdef int enter_metric(self, const Field *name, const Field *unit) except -1:
        cdef uint64_t[4] words
        cdef Hash hashed = siphash(self.key, name.body, name.after - name.body)
        cdef Hash other = siphash(self.key, unit.body, unit.after - unit.body)
        words[0] = self.kind
        words[1] = self.temporality
        words[2] = self.monotonic
        words[3] = 0
        other = both(self.key, other, siphash(self.key, <const uint8_t *>words, sizeof(words)))
        self.stream = both(self.key, self.scope, both(self.key, hashed, other))
        self.find_group(name, hashed)
        return 0

    cdef int find_group(self, const Field *name, Hash hashed) except -1:
        """The metric's group, or none where there are too many."""
        cdef bytes key
        cdef size_t size = name.after - name.body
        if size <= LONGEST_NAME:
            key = self.tenant_key + b"\0" + name.body[:size]
        else:
            key = self.tenant_key + b"\1" + (<const uint8_t *>&hashed)[:sizeof(Hash)]
        number = self.group_numbers.get(key)
        if number is None:
            if len(self.group_numbers) >= self.max_metrics:
                self.group = None
                return 0
            display = name.body[:min(size, <size_t>LONGEST_NAME)]
            number = self.add_group(key, display, both(self.key, self.tenant, hashed))
        self.group_number = number
        self.group = <Group>self.groups[number]
        self.group.epoch = self.epoch
        return 0

    cdef uint64_t judge_waiting(self, Frame *data, int count) except? 0xFFFFFFFF:
        """Judge the points that wait, in order; returns how many of them pass."""
        cdef uint64_t kept = 0
        cdef uint32_t slot, number = 0
        cdef int i, fate
        cdef Entry *entry
        cdef Waiting *each
        for i in range(count):
            slot = self.series.slots[self.waiting[i].hash.lo & (self.series.capacity - 1)]
            if slot != <uint32_t>0xFFFFFFFF:
                prefetch(table_at(&self.series, slot & NUMBER_MASK))
        for i in range(count):
            each = &self.waiting[i]
            if self.group is not None:
                entry = table_find(&self.series, each.hash, &number)
                if entry != NULL and entry.kind == ADMITTED and entry.epoch == self.epoch:
                    kept += 1
                    continue
            fate = self.judge_point(&each.field, each.hash)
            if fate == KEEP:
                kept += 1
                continue
            self.removed += 1
            self.dropped += fate == REMOVE
            if add_edit(&self.edits, data, each.field.start, each.field.after, PLAIN) == NULL:
                raise MemoryError
        return kept

    cdef int judge_point(self, const Field *message, Hash hashed) except -1:
        """KEEP, FOLD or REMOVE; what is folded has been."""
        cdef uint32_t number = 0
        cdef Entry *entry
        cdef int fate
        if self.group is None:
            self.count_refused(BY_METRICS, DROP)
            return REMOVE
        self.read_attributes(message)
        entry = table_find(&self.series, hashed, &number)
        if entry != NULL:
            if entry.kind == ADMITTED:
                if entry.epoch != self.epoch:
                    entry.epoch = self.epoch
                    if self.group.counts_labels:
                        self.see_labels()
                return KEEP
            if entry.kind == MEMBER:
                return self.fold_member(message, entry, number)
            # A series that has the very labels of one that re-aggregation makes becomes part of it.
            self.limit = BY_NONE if self.overflowed else entry.cause
            self.action = DROP_LABEL if (<Aggregate>self.aggregates[entry.link]).reduced else OVERFLOW
            return self.fold(message, entry.link, both(self.key, hashed, hashed))
        if self.overflowed:
            self.limit, self.action = BY_NONE, OVERFLOW
        elif self.may_pass():
            if self.admit(hashed):
                return KEEP
            self.limit, self.action = BY_SERIES, OVERFLOW        # there is no room in the table, or no memory
        fate = self.refuse(message, hashed)
        if not self.overflowed:
            self.note_offence(hashed)
        return fate

    cdef int send(self, Frame *data, const uint8_t *end) except -1:
        """Put the points of what was touched at the end of the metric; returns how many."""
        cdef Aggregate aggregate
        cdef Edit *edit
        cdef uint8_t *out
        cdef int count = 0
        self.made.used = 0
        for aggregate in self.touched:
            count += encode_point(aggregate, &self.made)
        self.touched.clear()
        if count == 0:
            return 0
        out = new_bytes(&self.edits, self.made.used)
        edit = add_edit(&self.edits, data, end, end, PLAIN)
        if out == NULL or edit == NULL:
            raise MemoryError
        memcpy(out, self.made.at, self.made.used)
        edit.out = out
        edit.out_size = self.made.used
        self.sent += count
        return count
