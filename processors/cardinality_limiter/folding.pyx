"""What becomes of a point whose series is over a limit: it goes, or it is folded into the series without the attributes
that are the cause, or into its metric's overflow series.
"""

from collector.api import Malformed

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from processors.cardinality_limiter.admission cimport Admission
from processors.cardinality_limiter.aggregate cimport NEW, SAME, Aggregate
from processors.cardinality_limiter.known cimport (
    BY_AGGREGATES, BY_LABEL, BY_STATE, DROP, DROP_LABEL, OVERFLOW, OVERFLOW_ATTRIBUTE, OVERFLOW_SIZE, put_in,
)
from processors.cardinality_limiter.members cimport Member, add_member, member_at, member_size
from processors.cardinality_limiter.out cimport put
from processors.cardinality_limiter.point cimport (
    EXPONENTIAL, GAUGE, HISTOGRAM, SUMMARY, is_sound, point_free, read_point,
)
from processors.cardinality_limiter.siphash cimport Hash, both, take_hash
from processors.cardinality_limiter.table cimport (
    ADMITTED, AGGREGATE, MEMBER, Entry, table_add, table_at, table_find, table_remove,
)
from processors.wire.fields cimport BYTES, Field, read_field

cdef enum:
    MOST_ATTRIBUTE_BYTES = 8192    # of a series that re-aggregation makes


cdef class Folding(Admission):
    def __cinit__(self):
        self.touched = []

    def __dealloc__(self):
        point_free(&self.point)

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

    cdef int fold_member(self, const Field *message, Entry *entry, uint32_t number) except -1:
        """A point of a series that is folded already; it may pass again where it begins anew and there is room."""
        cdef Member *member = member_at(&self.members, entry.link)
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
        cdef Member *member = NULL
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
                member = add_member(&self.members, &entry.link)
                if member == NULL:
                    table_remove(&self.series, at)
                    self.count_refused(BY_STATE, DROP)
                    return REMOVE
                entry.kind = MEMBER
                entry.owner = self.group_number
                entry.cause = self.limit
                member.aggregate = number
                aggregate.members += 1
                self.state += member_size(member)
            else:
                member = member_at(&self.members, entry.link)
            entry.epoch = self.epoch
        return self.fold_into(message, aggregate, member)

    cdef int read(self, const Field *message) except -1:
        cdef int problem = read_point(&self.point, self.kind, message.body, message.after)
        if problem == -1:
            raise Malformed("not an OTLP request")
        if problem:
            raise MemoryError
        return 0

    cdef int fold_into(self, const Field *message, Aggregate aggregate, Member *member) except -1:
        cdef uint64_t before
        self.count_refused(self.limit, self.action)
        if not is_sound(&self.point, self.kind):
            return FOLD
        before = aggregate.size() + (member_size(member) if member != NULL else 0)
        if not aggregate.touched:
            self.touched.append(aggregate)
        if aggregate.fold(member, &self.point):
            self.take_exemplars(message, aggregate)
        self.state += aggregate.size() + (member_size(member) if member != NULL else 0) - before
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
