"""The walk over one `ExportMetricsServiceRequest`, on its bytes: each point's series is looked up by a keyed hash, and
where one is over a limit its point is taken out, and folded into another or not.

What is untouched stays as it is byte by byte, and a request with nothing to change is the same object.
"""

import os

from collector.api import Malformed
from processors.cardinality_limiter.rules import ACTIONS

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from processors.cardinality_limiter.aggregate cimport (
    MOST_EXEMPLARS, NEW, SAME, Aggregate, Member, member_size, read_aggregate, read_member,
)
from processors.cardinality_limiter.offenders cimport Offenders
from processors.cardinality_limiter.out cimport (
    In, Out, out_free, put, put_byte, put_bytes, put_u32, put_u64, put_varint, take_byte, take_bytes, take_u32,
    take_u64,
)
from processors.cardinality_limiter.point cimport (
    CUMULATIVE, EXPONENTIAL, GAUGE, HISTOGRAM, SUM, SUMMARY, Point, is_sound, point_free, read_point,
)
from processors.cardinality_limiter.siphash cimport Hash, add_hash, both, siphash, take_hash
from processors.cardinality_limiter.table cimport (
    ADMITTED, AGGREGATE, FREE, LABEL, MEMBER, NUMBER_MASK, VALUE, Entry, Table, table_add, table_at, table_bytes,
    table_find, table_free, table_init, table_remove,
)
from processors.wire.edits cimport (
    PLAIN, Edit, Edits, Frame, add_edit, add_up, copy_edited, enter, free_edits, new_bytes,
)
from processors.wire.fields cimport BYTES, VARINT, Field, read_field

cdef extern from *:
    void prefetch "__builtin_prefetch"(const void *) noexcept nogil

cdef enum:
    AT_ONCE = 32             # points that are looked up together, so that memory is waited for once
    MOST_ATTRIBUTES = 128    # of one point that can be removed one by one
    LONGEST_NAME = 1024      # of a metric that is kept as its key
    LONGEST_LABEL = 256
    MOST_ATTRIBUTE_BYTES = 8192    # of a series that re-aggregation makes
    MOST_LABELS = 65536
    MOST_NOTED = 16          # labels of one point that may become offenders: each is looked for among all of them
    EPOCHS = 16              # in a window
    MEMBER_WINDOWS = 4       # a cumulative member is remembered for longer, so that it isn't counted twice
    FEWEST_SWEPT = 4096      # entries at a tick
    SWEEPS = 64              # ticks in which all entries are swept
    OVERFLOW = 0             # `rules.ACTIONS`
    DROP_LABEL = 1
    DROP = 2
    KEEP = 0                 # what becomes of a point
    FOLD = 1
    REMOVE = 2
    BY_SERIES = 0            # `LIMITS`
    BY_METRIC = 1
    BY_LABEL = 2
    BY_METRICS = 3
    BY_AGGREGATES = 4
    BY_STATE = 5
    BY_NONE = 6
    LIMIT_COUNT = 7
    LAYOUT = 1

LIMITS = (
    "max_series", "max_series_per_metric", "max_values_per_label", "max_metrics", "max_aggregated_series",
    "max_state_size", "sender",
)
"""What a point was refused by; the last is an overflow that the sender itself made."""

cdef const uint8_t *OVERFLOW_ATTRIBUTE = b"\x0a\x14otel.metric.overflow\x12\x02\x10\x01"
cdef enum:
    OVERFLOW_SIZE = 26

cdef struct Attribute:
    Hash hash
    const uint8_t *start     # of the field
    const uint8_t *after
    const uint8_t *key
    size_t key_size
    bint offending

cdef struct Waiting:
    Field field
    Hash hash


def keyed_hash(bytes key not None, bytes data not None):
    """The hash that series are looked up by: SipHash-1-3 of 128 bits, as two numbers."""
    cdef Hash secret
    secret.hi = int.from_bytes(key[:8], "little")
    secret.lo = int.from_bytes(key[8:16], "little")
    hashed = siphash(secret, <const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    return hashed.hi, hashed.lo


cdef class Label:
    """A label of a metric whose values are counted."""
    cdef bytes name
    cdef uint32_t active
    cdef uint32_t limit
    cdef uint8_t action


cdef class Group:
    """A metric, by its name: what its limits are and how many series it has."""
    cdef bytes key
    cdef bytes name
    cdef Hash hash
    cdef object rule
    cdef uint32_t limit
    cdef uint8_t action
    cdef bint counts_labels
    cdef bint chooses
    cdef uint32_t active
    cdef uint32_t reduced            # series that removing labels made
    cdef uint32_t aggregates         # all that were made
    cdef uint32_t labels             # whose values are counted
    cdef uint32_t epoch
    cdef uint64_t refused
    cdef bint has_chosen
    cdef Hash chosen                 # the label that is removed


cdef class Limiter:
    cdef Hash key
    cdef Table series
    cdef Table values
    cdef list groups
    cdef list vacant_groups
    cdef dict group_numbers
    cdef list labels
    cdef list vacant_labels
    cdef list members
    cdef list vacant_members
    cdef list aggregates
    cdef list vacant_aggregates
    cdef object rules
    cdef readonly Offenders offenders
    cdef readonly uint32_t active            # series that pass as they are
    cdef uint32_t max_series
    cdef uint32_t max_metrics
    cdef uint32_t max_aggregates
    cdef uint32_t max_exemplars
    cdef uint64_t max_state
    cdef uint64_t state                      # bytes of members and aggregates
    cdef int64_t epoch_ns
    cdef int64_t clock_ns
    cdef uint32_t epoch
    cdef uint32_t swept
    cdef uint32_t swept_values
    cdef uint32_t swept_groups
    cdef Hash overflow                       # of the attribute
    cdef uint64_t[LIMIT_COUNT][3] counts
    cdef uint32_t placed                     # aggregates that were read and have their entry
    # of the request that is walked:
    cdef Edits edits
    cdef Point point
    cdef Out scratch
    cdef Out made
    cdef list touched
    cdef readonly uint64_t removed
    cdef readonly uint64_t dropped
    cdef readonly uint64_t sent
    cdef Hash tenant
    cdef bytes tenant_key
    cdef Hash resource
    cdef Hash scope
    # of the metric:
    cdef Group group
    cdef uint32_t group_number
    cdef Hash stream
    cdef int kind
    cdef int temporality
    cdef bint monotonic
    # of the point:
    cdef Attribute[MOST_ATTRIBUTES] attributes
    cdef uint32_t attribute_count
    cdef uint32_t attributes_read            # of an earlier point of the request
    cdef Waiting[AT_ONCE] waiting
    cdef bint crowded                        # there are more
    cdef bint overflowed                     # by its sender
    cdef Hash sum
    cdef int limit
    cdef int action

    def __cinit__(self):
        if not (table_init(&self.series) and table_init(&self.values)):
            raise MemoryError

    def __init__(
        self,
        rules,
        *,
        int64_t window_ns,
        uint32_t max_series,
        uint32_t max_metrics,
        uint32_t max_aggregates,
        uint64_t max_state,
        uint32_t max_exemplars=8,
        uint32_t max_offenders=512,
        key=None,
    ):
        if window_ns < EPOCHS:
            raise ValueError("the window is too short")
        secret = os.urandom(16) if key is None else key
        if len(secret) != 16:
            raise ValueError("a key has 16 bytes")
        self.key.hi = int.from_bytes(secret[:8], "little")
        self.key.lo = int.from_bytes(secret[8:16], "little")
        self.groups, self.vacant_groups, self.group_numbers = [], [], {}
        self.labels, self.vacant_labels = [], []
        self.members, self.vacant_members = [], []
        self.aggregates, self.vacant_aggregates = [], []
        self.touched = []
        self.rules = rules
        self.offenders = Offenders(max_offenders)
        self.max_series = max_series
        self.max_metrics = max_metrics
        self.max_aggregates = max_aggregates
        self.max_exemplars = min(max_exemplars, <uint32_t>MOST_EXEMPLARS)
        self.max_state = max_state
        self.epoch_ns = window_ns // EPOCHS
        self.new_key()

    cdef int new_key(self) except -1:
        self.overflow = siphash(self.key, OVERFLOW_ATTRIBUTE, OVERFLOW_SIZE)
        return 0

    def __dealloc__(self):
        table_free(&self.series)
        table_free(&self.values)
        free_edits(&self.edits)
        point_free(&self.point)
        out_free(&self.scratch)
        out_free(&self.made)

    @property
    def memory(self):
        return table_bytes(&self.series) + table_bytes(&self.values) + self.state + self.offenders.memory

    @property
    def metrics(self):
        return len(self.group_numbers)

    @property
    def folded(self):
        return len(self.members) - len(self.vacant_members)

    @property
    def aggregated(self):
        return len(self.aggregates) - len(self.vacant_aggregates)

    @property
    def state_bytes(self):
        return self.state

    def take_counts(self):
        counts = {
            (limit, action): self.counts[i][j]
            for i, limit in enumerate(LIMITS) for j, action in enumerate(ACTIONS) if self.counts[i][j]
        }
        memset(self.counts, 0, sizeof(self.counts))
        return counts

    # -- one request

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

    cdef int read_attribute(self, const Field *field, Attribute *attribute) except -1:
        """A `KeyValue`: where its key is, and a hash over key and value, however they are encoded around."""
        cdef const uint8_t *at = field.body
        cdef size_t size = field.after - at, key, value
        attribute.start = field.start
        attribute.after = field.after
        attribute.offending = False
        if size >= 4 and at[0] == 0x0A and at[1] < 0x80:
            key = at[1]
            if key + 4 <= size and at[key + 2] == 0x12:
                value = at[key + 3]
                if value < 0x80:
                    value += key + 4
                elif key + 5 <= size and 0 < at[key + 4] < 0x80:
                    value = (value & 0x7F | <size_t>at[key + 4] << 7) + key + 5
                else:
                    value = 0
                if value == size:
                    attribute.key = at + 2
                    attribute.key_size = key
                    attribute.hash = siphash(self.key, at, size)
                    return 0
        return self.read_odd_attribute(field, attribute)

    cdef int read_odd_attribute(self, const Field *message, Attribute *attribute) except -1:
        """One that isn't a key and a value in this order and as short as may be: it is written so, and hashed."""
        cdef const uint8_t *at = message.body
        cdef Field field
        cdef size_t size = 0
        attribute.key = at
        attribute.key_size = 0
        while at < message.after:
            if read_field(at, message.after, &field) < 0:
                raise Malformed("not an OTLP request")
            at = field.after
            if field.wire == BYTES and field.number == 1:
                attribute.key = field.body
                attribute.key_size = field.after - field.body
            elif field.wire == BYTES and field.number == 2:
                size += field.after - field.body
        self.scratch.used = 0
        put_byte(&self.scratch, 0x0A)
        put_varint(&self.scratch, attribute.key_size)
        put(&self.scratch, attribute.key, attribute.key_size)
        put_byte(&self.scratch, 0x12)
        put_varint(&self.scratch, size)
        at = message.body
        while at < message.after:
            read_field(at, message.after, &field)
            at = field.after
            if field.wire == BYTES and field.number == 2:
                put(&self.scratch, field.body, field.after - field.body)
        if self.scratch.failed:
            raise MemoryError
        attribute.hash = siphash(self.key, self.scratch.at, self.scratch.used)
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

    cdef uint32_t add_group(self, bytes key, bytes name, Hash hashed) except? 0xFFFFFFFF:
        cdef Group group = Group()
        rule = self.rules.metric(name)
        group.key, group.name, group.hash, group.rule = key, name, hashed, rule
        group.limit = min(rule.limit, 0xFFFFFFFF)
        group.action = rule.action
        group.counts_labels = rule.counts_labels
        group.chooses = rule.chooses
        number = put_in(self.groups, self.vacant_groups, group)
        self.group_numbers[key] = number
        return number

    # -- one point

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

    cdef int read_attributes(self, const Field *message) except -1:
        cdef const uint8_t *at = message.body
        cdef const uint8_t *end = message.after
        cdef uint32_t number = 9 if self.kind == HISTOGRAM else 1 if self.kind == EXPONENTIAL else 7
        cdef Field field
        cdef Attribute spare
        cdef Attribute *attribute
        self.attribute_count = 0
        self.crowded = self.overflowed = False
        self.sum.hi = self.sum.lo = 0
        while at < end:
            if read_field(at, end, &field) < 0:
                raise Malformed("not an OTLP request")
            at = field.after
            if field.number != number or field.wire != BYTES:
                continue
            if self.attribute_count < MOST_ATTRIBUTES:
                attribute = &self.attributes[self.attribute_count]
                self.attribute_count += 1
                if self.attribute_count > self.attributes_read or not is_again(attribute, &field):
                    self.read_attribute(&field, attribute)
            else:
                self.crowded = True
                attribute = &spare
                self.read_attribute(&field, attribute)
            add_hash(&self.sum, attribute.hash)
            if attribute.hash.hi == self.overflow.hi and attribute.hash.lo == self.overflow.lo:
                self.overflowed = True
        if self.attribute_count > self.attributes_read:
            self.attributes_read = self.attribute_count
        return 0

    cdef bint may_pass(self) except -1:
        """Whether a new series is within all limits. If not, `limit` and `action` say why not and what follows, and the
        offending attributes are marked."""
        cdef Group group = self.group
        cdef Label label
        cdef Attribute *attribute
        cdef uint32_t i, number = 0
        cdef Hash hashed
        cdef bint offends = False
        if group.counts_labels:
            for i in range(self.attribute_count):
                attribute = &self.attributes[i]
                attribute.offending = False
                label = self.find_label(attribute, &hashed)
                if label is None or label.limit == 0 or label.active < label.limit:
                    continue
                if table_find(&self.values, both(self.key, hashed, attribute.hash), &number) != NULL:
                    continue
                attribute.offending = True
                if not offends or label.action == DROP or (label.action == OVERFLOW and self.action == DROP_LABEL):
                    self.action = label.action
                offends = True
            if offends:
                self.limit = BY_LABEL
                return False
        if group.limit and group.active >= group.limit:
            self.limit = BY_METRIC
        elif self.active >= self.max_series:
            self.limit = BY_SERIES
        else:
            return True
        self.action = group.action
        return False

    cdef Label find_label(self, const Attribute *attribute, Hash *hashed):
        """The label of an attribute, which begins to be counted if it isn't, and its hash; None where there are too
        many or where it has no limit."""
        cdef uint32_t number = 0
        cdef Entry *entry
        cdef Label label
        hashed[0] = both(self.key, self.group.hash, siphash(self.key, attribute.key, attribute.key_size))
        entry = table_find(&self.values, hashed[0], &number)
        if entry != NULL:
            entry.epoch = self.epoch
            return <Label>self.labels[entry.link]
        if attribute.key_size > LONGEST_LABEL or len(self.labels) - len(self.vacant_labels) >= MOST_LABELS:
            return None
        name = attribute.key[:attribute.key_size]
        limit, action = self.group.rule.label(name)
        if not limit and not self.group.chooses:
            return None
        label = Label()
        label.name, label.limit, label.action = name, min(limit, 0xFFFFFFFF), action
        entry = table_add(&self.values, hashed[0], &number)
        if entry == NULL:
            return None
        entry.kind = LABEL
        entry.owner = self.group_number
        entry.epoch = self.epoch
        entry.link = put_in(self.labels, self.vacant_labels, label)
        self.group.labels += 1
        return label

    cdef int see_labels(self) except -1:
        """The values of an admitted series are active."""
        cdef uint32_t i, number = 0
        cdef Hash hashed, value
        cdef Entry *entry
        cdef Label label
        for i in range(self.attribute_count):
            label = self.find_label(&self.attributes[i], &hashed)
            if label is None:
                continue
            value = both(self.key, hashed, self.attributes[i].hash)
            entry = table_find(&self.values, value, &number)
            if entry == NULL:
                if self.values.live >= 2 * <uint64_t>self.max_series + MOST_LABELS:
                    continue
                table_find(&self.values, hashed, &number)
                label_number = table_at(&self.values, number).link
                entry = table_add(&self.values, value, &number)
                if entry == NULL:
                    continue
                entry.kind = VALUE
                entry.owner = label_number
                label.active += 1
            entry.epoch = self.epoch
        return 0

    cdef bint admit(self, Hash hashed) except -1:
        cdef uint32_t number = 0
        cdef Entry *entry = table_add(&self.series, hashed, &number)
        if entry == NULL:
            return False
        entry.kind = ADMITTED
        entry.owner = self.group_number
        entry.epoch = self.epoch
        self.group.active += 1
        self.active += 1
        if self.group.counts_labels:
            self.see_labels()
        return True

    cdef int refuse(self, const Field *message, Hash hashed) except -1:
        """Do what `action` says with a series that isn't known: FOLD or REMOVE."""
        cdef uint32_t number
        if self.action == DROP:
            self.count_refused(self.limit, DROP)
            return REMOVE
        if self.action == DROP_LABEL:
            if self.limit != BY_LABEL:
                self.mark_labels()
            number = self.reduced_aggregate()
            if number != <uint32_t>0xFFFFFFFF:
                return self.fold(message, number, hashed)
            self.action = OVERFLOW
        number = self.overflow_aggregate()
        if number == <uint32_t>0xFFFFFFFF:
            self.count_refused(BY_AGGREGATES, DROP)
            return REMOVE
        if self.overflowed:          # its key may be the aggregate's own
            hashed = both(self.key, hashed, hashed)
        return self.fold(message, number, hashed)

    cdef int mark_labels(self) except -1:
        """At a limit of series: which labels are removed."""
        cdef uint32_t i
        cdef Group group = self.group
        cdef Hash hashed, best
        cdef Label label
        cdef int64_t most = 1
        cdef Attribute *attribute
        if group.chooses and not group.has_chosen:
            for i in range(self.attribute_count):
                label = self.find_label(&self.attributes[i], &hashed)
                if label is not None and label.active > most:
                    most = label.active
                    group.chosen = hashed
                    group.has_chosen = True
        for i in range(self.attribute_count):
            attribute = &self.attributes[i]
            if group.chooses:
                best = both(self.key, group.hash, siphash(self.key, attribute.key, attribute.key_size))
                attribute.offending = group.has_chosen and best.hi == group.chosen.hi and best.lo == group.chosen.lo
            else:
                attribute.offending = (
                    attribute.key_size <= LONGEST_LABEL
                    and attribute.key[:attribute.key_size] in group.rule.drop_labels
                )
        return 0

    cdef uint32_t reduced_aggregate(self) except? 0xFFFFFFFE:
        """The aggregate without the offending attributes, which may have to be made, or 0xFFFFFFFF."""
        cdef Hash sum = self.sum, hashed
        cdef uint32_t i, number = 0, found = 0
        cdef size_t size = 0
        cdef Entry *entry
        if self.crowded:
            return 0xFFFFFFFF
        for i in range(self.attribute_count):
            if self.attributes[i].offending:
                take_hash(&sum, self.attributes[i].hash)
                found += 1
            else:
                size += self.attributes[i].after - self.attributes[i].start
        if found == 0 or size > MOST_ATTRIBUTE_BYTES:
            return 0xFFFFFFFF
        hashed = both(self.key, self.stream, sum)
        entry = table_find(&self.series, hashed, &number)
        if entry != NULL:
            # One that passes as it is can't be added to, and a member must not be two things.
            return entry.link if entry.kind == AGGREGATE else 0xFFFFFFFF
        if self.group.limit and self.group.reduced >= self.group.limit:
            return 0xFFFFFFFF
        self.scratch.used = 0
        for i in range(self.attribute_count):
            if not self.attributes[i].offending:
                put(
                    &self.scratch, self.attributes[i].start, self.attributes[i].after - self.attributes[i].start
                )
        if self.scratch.failed:
            raise MemoryError
        return self.add_aggregate(hashed, self.scratch.at[:self.scratch.used] if self.scratch.used else b"", True)

    cdef uint32_t overflow_aggregate(self) except? 0xFFFFFFFE:
        cdef uint32_t number = 0
        cdef Hash hashed = both(self.key, self.stream, self.overflow)
        cdef Entry *entry = table_find(&self.series, hashed, &number)
        cdef int field = 9 if self.kind == HISTOGRAM else 1 if self.kind == EXPONENTIAL else 7
        if entry != NULL:
            return entry.link if entry.kind == AGGREGATE else 0xFFFFFFFF
        return self.add_aggregate(
            hashed, bytes([field << 3 | 2, OVERFLOW_SIZE]) + OVERFLOW_ATTRIBUTE[:OVERFLOW_SIZE], False
        )

    cdef uint32_t add_aggregate(self, Hash hashed, bytes attributes, bint reduced) except? 0xFFFFFFFE:
        cdef Aggregate made
        cdef uint32_t number = 0
        cdef Entry *entry
        if self.aggregated >= self.max_aggregates or self.state >= self.max_state:
            return 0xFFFFFFFF
        entry = table_add(&self.series, hashed, &number)
        if entry == NULL:
            return 0xFFFFFFFF
        entry.kind = AGGREGATE
        entry.owner = self.group_number
        entry.epoch = self.epoch
        entry.cause = self.limit
        made = Aggregate()
        made.hash = hashed
        made.group = self.group_number
        made.number = number
        made.epoch = self.epoch
        made.kind = self.kind
        made.temporality = self.temporality
        made.monotonic = self.monotonic
        made.reduced = reduced
        made.attributes = attributes
        self.group.aggregates += 1
        self.group.reduced += reduced
        self.state += made.size()
        entry.link = put_in(self.aggregates, self.vacant_aggregates, made)
        return entry.link

    # -- folding

    cdef int fold_member(self, const Field *message, Entry *entry, uint32_t number) except -1:
        """A point of a series that is folded already; it may pass again where it begins anew and there is room."""
        cdef Member member = <Member>self.members[entry.link]
        cdef Aggregate aggregate = <Aggregate>self.aggregates[member.aggregate]
        cdef int relation
        self.read(message)
        relation = aggregate.relation(member, &self.point)
        self.limit = entry.cause
        self.action = DROP_LABEL if aggregate.reduced else OVERFLOW
        if relation == NEW or (relation == SAME and not aggregate.monotonic):
            if self.may_pass():
                self.release(entry.link)
                if not aggregate.monotonic and aggregate.members:
                    if not aggregate.touched:
                        aggregate.begin()
                        self.touched.append(aggregate)
                    aggregate.changed = True
                    aggregate.time = max(aggregate.time, self.point.time)
                entry.kind = ADMITTED
                entry.link = 0
                entry.epoch = self.epoch
                self.group.active += 1
                self.active += 1
                if self.group.counts_labels:
                    self.see_labels()
                return KEEP
            self.limit = entry.cause
            self.action = DROP_LABEL if aggregate.reduced else OVERFLOW
        entry.epoch = self.epoch
        return self.fold_into(message, aggregate, member)

    cdef int fold(self, const Field *message, uint32_t number, Hash hashed) except -1:
        """Fold a point into an aggregate; `hashed` is its member, if it needs one."""
        cdef Aggregate aggregate = <Aggregate>self.aggregates[number]
        cdef Member member = None
        cdef Entry *entry
        cdef uint32_t at = 0
        self.read(message)
        if self.kind != GAUGE and self.temporality != 1:
            entry = table_find(&self.series, hashed, &at)
            if entry == NULL:
                if self.state >= self.max_state:
                    self.count_refused(BY_STATE, DROP)
                    return REMOVE
                if not is_sound(&self.point, self.kind):
                    self.count_refused(self.limit, self.action)
                    return FOLD
                entry = table_add(&self.series, hashed, &at)
                if entry == NULL:
                    self.count_refused(BY_STATE, DROP)
                    return REMOVE
                entry.kind = MEMBER
                entry.owner = self.group_number
                entry.cause = self.limit
                member = Member()
                member.aggregate = number
                member.fresh = True
                aggregate.members += 1
                self.state += member_size(member)
                entry.link = put_in(self.members, self.vacant_members, member)
            else:
                member = <Member>self.members[entry.link]
            entry.epoch = self.epoch
        return self.fold_into(message, aggregate, member)

    cdef int read(self, const Field *message) except -1:
        cdef int problem = read_point(&self.point, self.kind, message.body, message.after)
        if problem == -1:
            raise Malformed("not an OTLP request")
        if problem:
            raise MemoryError
        return 0

    cdef int fold_into(self, const Field *message, Aggregate aggregate, Member member) except -1:
        cdef uint64_t before
        self.count_refused(self.limit, self.action)
        if not is_sound(&self.point, self.kind):
            return FOLD
        before = aggregate.size() + (member_size(member) if member is not None else 0)
        if not aggregate.touched:
            self.touched.append(aggregate)
        if aggregate.fold(member, &self.point):
            self.take_exemplars(message, aggregate)
        self.state += aggregate.size() + (member_size(member) if member is not None else 0) - before
        if aggregate.epoch != self.epoch:
            aggregate.epoch = self.epoch
            table_at(&self.series, aggregate.number).epoch = self.epoch
        return FOLD

    cdef int take_exemplars(self, const Field *message, Aggregate aggregate) except -1:
        cdef const uint8_t *at = message.body
        cdef uint32_t number = 8 if self.kind == HISTOGRAM else 11 if self.kind == EXPONENTIAL else 5
        cdef Field field
        if self.kind == SUMMARY:
            return 0
        while at < message.after and aggregate.exemplar_count < self.max_exemplars:
            read_field(at, message.after, &field)
            at = field.after
            if field.number == number and field.wire == BYTES:
                aggregate.exemplars[aggregate.exemplar_count].at = field.start
                aggregate.exemplars[aggregate.exemplar_count].size = field.after - field.start
                aggregate.exemplar_count += 1
        return 0

    cdef int send(self, Frame *data, const uint8_t *end) except -1:
        """Put the points of what was touched at the end of the metric; returns how many."""
        cdef Aggregate aggregate
        cdef Edit *edit
        cdef uint8_t *out
        cdef int count = 0
        self.made.used = 0
        for aggregate in self.touched:
            count += aggregate.encode(&self.made)
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

    cdef int count_refused(self, int limit, int action) except -1:
        self.counts[limit][action] += 1
        if self.group is not None:
            self.group.refused += 1
        return 0

    cdef int note_offence(self, Hash hashed) except -1:
        """For the report: the metric, and the values of its labels, or of the offending one."""
        cdef uint32_t i
        cdef Attribute *attribute
        cdef Hash label
        self.offenders.note(self.group.hash, self.group.name, NULL, 0, self.action, hashed.lo)
        for i in range(min(self.attribute_count, <uint32_t>MOST_NOTED)):
            attribute = &self.attributes[i]
            if self.limit == BY_LABEL and not attribute.offending:
                continue
            label = both(self.key, self.group.hash, siphash(self.key, attribute.key, attribute.key_size))
            self.offenders.note(
                label, self.group.name, attribute.key, attribute.key_size, self.action, attribute.hash.lo
            )
        return 0

    # -- time

    def pass_time(self, int64_t elapsed_ns):
        cdef uint32_t count
        self.clock_ns += min(max(elapsed_ns, 0), self.epoch_ns)
        self.epoch = <uint32_t>(self.clock_ns // self.epoch_ns)
        for _ in range(max(<uint32_t>FEWEST_SWEPT, self.series.used // SWEEPS)):
            if self.swept >= self.series.used:
                self.swept = 0
                break
            self.sweep(self.swept)
            self.swept += 1
        for _ in range(max(<uint32_t>FEWEST_SWEPT, self.values.used // SWEEPS)):
            if self.swept_values >= self.values.used:
                self.swept_values = 0
                break
            self.sweep_value(self.swept_values)
            self.swept_values += 1
        count = len(self.groups)
        for _ in range(max(64, count // SWEEPS)):
            if self.swept_groups >= count:
                self.swept_groups = 0
                break
            self.sweep_group(self.swept_groups)
            self.swept_groups += 1

    cdef int sweep(self, uint32_t number) except -1:
        cdef Entry *entry = table_at(&self.series, number)
        cdef uint32_t age = self.epoch - entry.epoch
        cdef Aggregate aggregate
        cdef Group group
        if entry.kind == FREE or age <= EPOCHS:
            return 0
        group = <Group>self.groups[entry.owner]
        if entry.kind == ADMITTED:
            group.active -= 1
            self.active -= 1
        elif entry.kind == MEMBER:
            aggregate = <Aggregate>self.aggregates[(<Member>self.members[entry.link]).aggregate]
            if age <= MEMBER_WINDOWS * EPOCHS and aggregate.monotonic:
                return 0
            self.release(entry.link)
        else:
            aggregate = <Aggregate>self.aggregates[entry.link]
            if age <= MEMBER_WINDOWS * EPOCHS or aggregate.members:
                return 0
            self.state -= min(self.state, aggregate.size())
            group.aggregates -= 1
            group.reduced -= aggregate.reduced
            take_out(self.aggregates, self.vacant_aggregates, entry.link)
        table_remove(&self.series, number)
        return 0

    cdef int release(self, uint32_t number) except -1:
        """A member ends; its entry is the caller's affair."""
        cdef Member member = <Member>self.members[number]
        (<Aggregate>self.aggregates[member.aggregate]).forget(member)
        self.state -= min(self.state, member_size(member))
        take_out(self.members, self.vacant_members, number)
        return 0

    cdef int sweep_value(self, uint32_t number) except -1:
        cdef Entry *entry = table_at(&self.values, number)
        cdef Label label
        if entry.kind == FREE or <uint32_t>(self.epoch - entry.epoch) <= EPOCHS:
            return 0
        if entry.kind == VALUE:
            label = <Label>self.labels[entry.owner]
            label.active -= 1
        else:
            label = <Label>self.labels[entry.link]
            if label.active:
                return 0
            take_out(self.labels, self.vacant_labels, entry.link)
            (<Group>self.groups[entry.owner]).labels -= 1
        table_remove(&self.values, number)
        return 0

    cdef int sweep_group(self, uint32_t number) except -1:
        cdef Group group = self.groups[number]
        if group is None or group.active or group.aggregates or group.labels:
            return 0
        if <uint32_t>(self.epoch - group.epoch) <= EPOCHS:
            return 0
        del self.group_numbers[group.key]
        take_out(self.groups, self.vacant_groups, number)
        return 0

    # -- for people

    def metric_rows(self):
        cdef Group group
        return [
            (group.name, group.active, group.reduced, group.aggregates, group.limit, group.refused)
            for group in self.groups if group is not None
        ]

    # -- over a restart

    def state_blob(self):
        cdef Out out
        cdef Group group
        cdef Label label
        cdef Aggregate aggregate
        memset(&out, 0, sizeof(Out))
        try:
            put_u32(&out, LAYOUT)
            put_u64(&out, self.key.hi)
            put_u64(&out, self.key.lo)
            put_u64(&out, <uint64_t>self.clock_ns)
            put_u64(&out, <uint64_t>self.epoch_ns)
            put_u32(&out, len(self.groups))
            for group in self.groups:
                put_byte(&out, group is not None)
                if group is None:
                    continue
                put_bytes(&out, <const char *>group.key, len(group.key))
                put_bytes(&out, <const char *>group.name, len(group.name))
                put_u64(&out, group.hash.hi)
                put_u64(&out, group.hash.lo)
                put_u32(&out, group.epoch)
                put_byte(&out, group.has_chosen)
                put_u64(&out, group.chosen.hi)
                put_u64(&out, group.chosen.lo)
            put_u32(&out, len(self.labels))
            for label in self.labels:
                put_byte(&out, label is not None)
                if label is not None:
                    put_bytes(&out, <const char *>label.name, len(label.name))
            put_u32(&out, len(self.aggregates))
            for aggregate in self.aggregates:
                put_byte(&out, aggregate is not None)
                if aggregate is not None:
                    aggregate.write(&out)
            for table in range(2):
                self.write_entries(&self.values if table else &self.series, &out)
            if out.failed:
                raise MemoryError
            return out.at[:out.used]
        finally:
            out_free(&out)

    cdef int write_entries(self, const Table *table, Out *out) except -1:
        cdef uint32_t number
        cdef Entry *entry
        cdef Member member
        put_u32(out, table.live)
        for number in range(table.used):
            entry = table_at(table, number)
            if entry.kind == FREE:
                continue
            put_byte(out, entry.kind)
            put_u64(out, entry.hi)
            put_u64(out, entry.lo)
            put_u32(out, entry.owner)
            put_u32(out, entry.epoch)
            if entry.kind == MEMBER:
                member = <Member>self.members[entry.link]
                put_byte(out, entry.cause)
                put_u32(out, member.aggregate)
                (<Aggregate>self.aggregates[member.aggregate]).write_member(member, out)
            elif entry.kind == AGGREGATE or entry.kind == LABEL:
                put_byte(out, entry.cause)
                put_u32(out, entry.link)
        return 0

    def load_state(self, bytes blob not None):
        cdef In source
        source.at = <const uint8_t *>PyBytes_AS_STRING(blob)
        source.end = source.at + PyBytes_GET_SIZE(blob)
        source.failed = False
        if self.series.used or self.groups:
            raise ValueError("the limiter is in use")
        if take_u32(&source) != LAYOUT:
            raise ValueError("another release wrote it")
        self.key.hi = take_u64(&source)
        self.key.lo = take_u64(&source)
        self.new_key()
        self.clock_ns = <int64_t>take_u64(&source)
        former_ns = <int64_t>take_u64(&source)
        self.epoch = <uint32_t>(self.clock_ns // self.epoch_ns)
        self.read_groups(&source, former_ns)
        self.read_parts(&source)
        for table in range(2):
            self.read_entries(&self.values if table else &self.series, &source, former_ns)
        if source.failed or source.at != source.end or self.placed != self.aggregated:
            raise ValueError("it is cut short or damaged")

    cdef uint32_t epoch_of(self, uint32_t epoch, int64_t former_ns) noexcept:
        """An epoch of an earlier life, whose window may have been another one."""
        return epoch if former_ns == self.epoch_ns else <uint32_t>(epoch * former_ns // self.epoch_ns)

    cdef int read_groups(self, In *source, int64_t former_ns) except -1:
        cdef Group group
        cdef uint32_t i
        cdef Hash hashed
        for i in range(take_u32(source)):
            if source.failed:
                raise ValueError("it is cut short or damaged")
            if not take_byte(source):
                self.groups.append(None)
                self.vacant_groups.append(i)
                continue
            key, name = take_bytes(source), take_bytes(source)
            hashed.hi = take_u64(source)
            hashed.lo = take_u64(source)
            if key in self.group_numbers:
                raise ValueError("it is damaged")
            self.append_group(key, name, hashed)
            group = <Group>self.groups[i]
            group.epoch = self.epoch_of(take_u32(source), former_ns)
            group.has_chosen = take_byte(source) and group.chooses
            group.chosen.hi = take_u64(source)
            group.chosen.lo = take_u64(source)
        return 0

    cdef int append_group(self, bytes key, bytes name, Hash hashed) except -1:
        vacant, self.vacant_groups = self.vacant_groups, []
        self.add_group(key, name, hashed)
        self.vacant_groups = vacant
        return 0

    cdef int read_parts(self, In *source) except -1:
        cdef Label label
        cdef Aggregate aggregate
        cdef Group group
        cdef uint32_t i
        for i in range(take_u32(source)):
            if source.failed:
                raise ValueError("it is cut short or damaged")
            if take_byte(source):
                label = Label()
                label.name = take_bytes(source)
                self.labels.append(label)
            else:
                self.labels.append(None)
                self.vacant_labels.append(i)
        for i in range(take_u32(source)):
            if take_byte(source):
                aggregate = read_aggregate(source)
                if source.failed or aggregate.group >= len(self.groups) or self.groups[aggregate.group] is None:
                    raise ValueError("it is cut short or damaged")
                group = <Group>self.groups[aggregate.group]
                group.aggregates += 1
                group.reduced += aggregate.reduced
                self.state += aggregate.size()
                self.aggregates.append(aggregate)
            else:
                self.aggregates.append(None)
                self.vacant_aggregates.append(i)
            if source.failed:
                raise ValueError("it is cut short or damaged")
        return 0

    cdef int read_entries(self, Table *table, In *source, int64_t former_ns) except -1:
        cdef uint32_t number = 0, owner, epoch, link
        cdef uint8_t kind, cause
        cdef Entry *entry
        cdef Hash hashed
        for _ in range(take_u32(source)):
            kind = take_byte(source)
            hashed.hi = take_u64(source)
            hashed.lo = take_u64(source)
            owner = take_u32(source)
            epoch = take_u32(source)
            if source.failed or table_find(table, hashed, &number) != NULL:
                raise ValueError("it is cut short or damaged")
            link = cause = 0
            if kind in (MEMBER, AGGREGATE, LABEL):
                cause = min(take_byte(source), <uint8_t>BY_NONE)
                link = take_u32(source)
            self.check_entry(kind, owner, link)
            entry = table_add(table, hashed, &number)
            if entry == NULL:
                raise MemoryError
            entry.kind = kind
            entry.owner = owner
            entry.epoch = self.epoch_of(epoch, former_ns)
            entry.cause = cause
            entry.link = link
            self.link_entry(entry, number, source)
        return 0

    cdef int check_entry(self, uint8_t kind, uint32_t owner, uint32_t link) except -1:
        if kind not in (ADMITTED, MEMBER, AGGREGATE, LABEL, VALUE):
            raise ValueError("it is damaged")
        if kind != VALUE and (owner >= len(self.groups) or self.groups[owner] is None):
            raise ValueError("it is damaged")
        if kind == ADMITTED:
            return 0
        parts = self.labels if kind in (LABEL, VALUE) else self.aggregates
        number = owner if kind == VALUE else link
        if number >= len(parts) or parts[number] is None:
            raise ValueError("it is damaged")
        return 0

    cdef int link_entry(self, Entry *entry, uint32_t number, In *source) except -1:
        cdef Member member
        cdef Aggregate aggregate
        cdef Label label
        cdef Group group
        if entry.kind == ADMITTED:
            group = <Group>self.groups[entry.owner]
            group.active += 1
            self.active += 1
        elif entry.kind == MEMBER:
            aggregate = <Aggregate>self.aggregates[entry.link]
            member = read_member(source)
            if source.failed or not aggregate.may_be_member(member):
                raise ValueError("it is damaged")
            member.aggregate = entry.link
            aggregate.members += 1
            self.state += member_size(member)
            entry.link = put_in(self.members, self.vacant_members, member)
        elif entry.kind == AGGREGATE:
            (<Aggregate>self.aggregates[entry.link]).number = number
            self.placed += 1
        elif entry.kind == VALUE:
            label = <Label>self.labels[entry.owner]
            label.active += 1
        else:
            label = <Label>self.labels[entry.link]
            group = <Group>self.groups[entry.owner]
            group.labels += 1
            limit, action = group.rule.label(label.name)
            label.limit, label.action = min(limit, 0xFFFFFFFF), action
        return 0


cdef inline bint is_again(Attribute *attribute, const Field *field) noexcept:
    """Whether a point has the attribute that another had in the same place, as neighbours often have: then it needs no
    hash of its own."""
    cdef size_t size = field.after - field.start
    if size != <size_t>(attribute.after - attribute.start) or memcmp(attribute.start, field.start, size):
        return False
    attribute.key = field.start + (attribute.key - attribute.start)
    attribute.start = field.start
    attribute.after = field.after
    attribute.offending = False
    return True


cdef uint32_t put_in(list parts, list vacant, object part) except? 0xFFFFFFFE:
    """Where `part` is now."""
    if vacant:
        number = vacant.pop()
        parts[number] = part
        return number
    parts.append(part)
    return <uint32_t>(len(parts) - 1)


cdef int take_out(list parts, list vacant, uint32_t number) except -1:
    parts[number] = None
    vacant.append(number)
    return 0
