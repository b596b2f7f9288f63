"""What is known of the series, as bytes over a restart. What is read is checked: a damaged state is an error, and never
a wrong number.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from processors.cardinality_limiter.aggregate cimport Aggregate
from processors.cardinality_limiter.aggregate_state cimport read_aggregate, read_member, write_aggregate, write_member
from processors.cardinality_limiter.known cimport BY_NONE, Group, Known, Label
from processors.cardinality_limiter.members cimport Member, add_member, member_at, member_size
from processors.cardinality_limiter.out cimport (
    In, Out, out_free, put_byte, put_bytes, put_u32, put_u64, take_byte, take_bytes, take_u32, take_u64,
)
from processors.cardinality_limiter.siphash cimport Hash
from processors.cardinality_limiter.table cimport (
    ADMITTED, AGGREGATE, FREE, LABEL, MEMBER, VALUE, Entry, Table, table_add, table_at, table_find,
)

cdef enum:
    LAYOUT = 2
    PIECE = 131072


cdef inline int cut(list pieces, Out *out, size_t least) except -1:
    """What was written becomes a piece, if it is long enough."""
    if out.failed:
        raise MemoryError
    if out.used > least:
        pieces.append(out.at[:out.used])
        out.used = 0
    return 0


cdef class Saved(Known):
    def state_pieces(self):
        cdef Out out
        cdef list pieces = []
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
                cut(pieces, &out, PIECE)
            put_u32(&out, len(self.labels))
            for label in self.labels:
                cut(pieces, &out, PIECE)
                put_byte(&out, label is not None)
                if label is not None:
                    put_bytes(&out, <const char *>label.name, len(label.name))
            put_u32(&out, len(self.aggregates))
            for aggregate in self.aggregates:
                cut(pieces, &out, PIECE)
                put_byte(&out, aggregate is not None)
                if aggregate is not None:
                    write_aggregate(aggregate, &out)
            for table in range(2):
                self.write_entries(&self.values if table else &self.series, pieces, &out)
            cut(pieces, &out, 0)
            return pieces
        finally:
            out_free(&out)

    cdef int write_entries(self, const Table *table, list pieces, Out *out) except -1:
        cdef uint32_t number
        cdef Entry *entry
        cdef Member *member
        put_u32(out, table.live)
        for number in range(table.used):
            entry = table_at(table, number)
            if entry.kind == FREE:
                continue
            cut(pieces, out, PIECE)
            put_byte(out, entry.kind)
            put_u64(out, entry.hi)
            put_u64(out, entry.lo)
            put_u32(out, entry.owner)
            put_u32(out, entry.epoch)
            if entry.kind == MEMBER:
                member = member_at(&self.members, entry.link)
                put_byte(out, entry.cause)
                put_u32(out, member.aggregate)
                write_member(member, out)
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
        cdef Member *member
        cdef Aggregate aggregate
        cdef Label label
        cdef Group group
        cdef uint32_t link = 0
        if entry.kind == ADMITTED:
            group = <Group>self.groups[entry.owner]
            group.active += 1
            self.active += 1
        elif entry.kind == MEMBER:
            aggregate = <Aggregate>self.aggregates[entry.link]
            member = add_member(&self.members, &link)
            if member == NULL:
                raise MemoryError
            member.aggregate = entry.link
            entry.link = link
            read_member(aggregate, member, source)
            if source.failed:
                raise ValueError("it is damaged")
            aggregate.members += 1
            self.state += member_size(member)
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
