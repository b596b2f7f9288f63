"""Whether a point's series is within the limits: of all series, of its metric, and of each label's values; and if it
isn't, which limit it is over and which of its attributes are the cause.
"""

from collector.api import Malformed

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from processors.cardinality_limiter.known cimport (
    BY_LABEL, BY_METRIC, BY_SERIES, DROP, DROP_LABEL, OVERFLOW, Group, Label, put_in,
)
from processors.cardinality_limiter.out cimport out_free, put, put_byte, put_varint
from processors.cardinality_limiter.point cimport EXPONENTIAL, HISTOGRAM
from processors.cardinality_limiter.saved cimport Saved
from processors.cardinality_limiter.siphash cimport Hash, add_hash, both, siphash
from processors.cardinality_limiter.table cimport (
    ADMITTED, LABEL, VALUE, Entry, table_add, table_at, table_find,
)
from processors.wire.fields cimport BYTES, Field, read_field

cdef enum:
    LONGEST_LABEL = 256
    MOST_LABELS = 65536
    MOST_NOTED = 16          # labels of one point that may become offenders: each is looked for among all of them


cdef class Admission(Saved):
    def __dealloc__(self):
        out_free(&self.scratch)

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
