"""Structured metadata: pairs of name and value, within Loki's limits, each name once."""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy

from exporters.loki.any_value cimport Span
from exporters.loki.records cimport (
    Attribute,
    COMPONENT,
    CUT,
    DROPPED,
    DUPLICATE,
    EVENT_NAME,
    FLAGS,
    IN_RESOURCE,
    Key,
    LEVEL_NAME,
    METADATA_DROPPED,
    NODE_ID,
    Name,
    OBSERVED,
    Pair,
    REQUEST_ID,
    Record,
    SEVERITY_NUMBER,
    SEVERITY_TEXT,
    SPAN_ID,
    SPAN_ROLE,
    Segment,
    TRACE_ID,
    TRACE_ROLE,
)
from exporters.loki.text cimport put_signed, put_unsigned, write_hex
from exporters.wire.buffer cimport Buffer, put, reserve
from exporters.wire.fields cimport varint_size, write_varint

from exporters.loki.plan import BUILT_IN_NAMES, LEVEL, LEVELS as LEVEL_WORDS


cdef class Metadata(Attributes):
    def __cinit__(self, plan, *_):
        self.max_metadata = plan.limits.max_structured_metadata_size
        self.max_pairs = plan.limits.max_structured_metadata_entries_count
        self.by_level = LEVEL in plan.labels
        self.slot_count = len(self.slots)
        self.owned = []
        for i, word in enumerate(LEVEL_WORDS):
            self.levels[i] = self._own(word.encode())
        for i, word in enumerate(BUILT_IN_NAMES):
            self.wanted[i] = self.everything or word in self.listed
        self.wanted[TRACE_ID] = self.wanted[SPAN_ID] = self.wanted[REQUEST_ID] = self.wanted[NODE_ID] = True
        self.wanted[CUT] = True

    def __dealloc__(self):
        free(self.metadata.data)
        free(self.resource.content.data)
        free(self.resource.pairs)
        free(self.scope.content.data)
        free(self.scope.pairs)

    cdef Span _own(self, bytes text):
        cdef Span span
        self.owned.append(text)
        span.at = <const uint8_t*>PyBytes_AS_STRING(text)
        span.size = len(text)
        return span

    cdef int _structured_metadata(
        self, Record* record, uint64_t time, int level, bint collapsed, bint cut, bint in_line
    ) except -1:
        cdef uint8_t[32] digits
        cdef Span text
        cdef Attribute* one
        cdef Key* key
        cdef bint taken = False
        cdef int i
        cdef size_t n
        self.metadata.used = self.pair_count = self.pair_text = 0
        text.at = digits
        write_hex(digits, record.trace_id.at, record.trace_id.size)
        text.size = 2 * record.trace_id.size
        taken |= self._pair(TRACE_ID, text if text.size else self.in_roles[TRACE_ROLE].text)
        text.at = digits
        write_hex(digits, record.span_id.at, record.span_id.size)
        text.size = 2 * record.span_id.size
        taken |= self._pair(SPAN_ID, text if text.size else self.in_roles[SPAN_ROLE].text)
        taken |= self._pair(REQUEST_ID, self.in_roles[0].text)
        taken |= self._pair(NODE_ID, self.in_roles[1].text)
        if self.wanted[COMPONENT] and not (self.everything and in_line):
            taken |= self._pair(COMPONENT, self.in_roles[2].text)
        if collapsed:
            for i in range(self.slot_count):
                taken |= self._pair(self._name(self.slot_names[i]), self.values[i])
        if not (self.everything and in_line):
            for n in range(self.attribute_count):
                one = &self.attributes[n]
                key = &self.key_info[one.number]
                if key.listed and not one.is_label and not one.in_role:
                    taken |= self._pair(key.name, self._text(one.message, False))
        for i in range(TRACE_ROLE):
            text = self.resource_roles[i].text
            if text.size and self.in_roles[i].attribute != IN_RESOURCE and not same_text(self.in_roles[i].text, text):
                key = &self.key_info[self._key(self.resource_roles[i].key)]
                if key.listed and key.slot < 0:
                    taken |= self._pair(key.name, text)
        if self.wanted[LEVEL_NAME] and not (self.everything and (in_line or self.by_level)):
            taken |= self._pair(LEVEL_NAME, self.levels[level])
        if self.wanted[SEVERITY_TEXT] and not same_word(record.severity_text, self.levels[level]):
            taken |= self._pair(SEVERITY_TEXT, record.severity_text)
        if record.severity and (record.severity != 4 * level - 3 or not level):
            taken |= self._number(SEVERITY_NUMBER, record.severity)
        if record.observed and record.observed != time:
            taken |= self._number(OBSERVED, record.observed)
        if self.wanted[EVENT_NAME]:
            taken |= self._pair(EVENT_NAME, record.event_name)
        if record.flags:
            taken |= self._number(FLAGS, record.flags)
        if record.dropped:
            taken |= self._number(DROPPED, record.dropped)
        if cut:
            text.at = <const uint8_t*>b"true"
            text.size = 4
            taken |= self._pair(CUT, text)
        taken |= self.resource.hidden
        self._segment(&self.scope, taken)
        return self._segment(&self.resource, taken)

    cdef bint _number(self, uint32_t name, uint64_t value) except *:
        cdef Span text
        if not self.wanted[name]:
            return False
        self.scratch.used = 0
        if name == SEVERITY_NUMBER:
            put_signed(&self.scratch, <int64_t>value)
        else:
            put_unsigned(&self.scratch, value)
        text.at = self.scratch.data
        text.size = self.scratch.used
        return self._pair(name, text)

    cdef bint _pair(self, uint32_t name, Span value) except *:
        """Add a pair, unless it is empty, its name is taken or there is no room. Whether a shared one has that name."""
        cdef Name* info = &self.name_info[name]
        cdef size_t size = self.names.known[name].size
        if not value.size:
            return False
        if info.seen == self.owner:
            self.adjusted[DUPLICATE] += 1
            return False
        info.seen = self.owner
        if self._admit(1, size + value.size):
            put_pair(&self.metadata, self.names.text.data + self.names.known[name].offset, size, value)
        return info.resource == self.resource_owner or info.scope == self.scope_owner

    cdef bint _admit(self, size_t pairs, size_t text) noexcept:
        if self.pair_count + pairs > self.max_pairs or self.pair_text + text > self.max_metadata:
            self.adjusted[METADATA_DROPPED] += pairs
            return False
        self.pair_count += pairs
        self.pair_text += text
        return True

    cdef int _segment(self, Segment* segment, bint taken) except -1:
        """Add what many records share, pair by pair where not all of it can stay."""
        cdef size_t i
        cdef Pair* pair
        if not taken and (
            self.pair_count + segment.count <= self.max_pairs and self.pair_text + segment.text <= self.max_metadata
        ):
            self.pair_count += segment.count
            self.pair_text += segment.text
            return put(&self.metadata, segment.content.data, segment.content.used)
        for i in range(segment.count):
            pair = &segment.pairs[i]
            if self.name_info[pair.name].seen == self.owner:
                self.adjusted[DUPLICATE] += 1
                continue
            self.name_info[pair.name].seen = self.owner
            if self._admit(1, pair.text):
                put(&self.metadata, segment.content.data + pair.offset, pair.size)
        return 0

    cdef int _share(self, Segment* segment, uint64_t owner, uint32_t name, Span value) except -1:
        """Add a pair to what all records of the resource or scope `owner` have."""
        cdef Name* info = &self.name_info[name]
        cdef size_t size = self.names.known[name].size
        cdef Pair* pair
        if not value.size:
            return 0
        if info.resource == owner or info.scope == owner:
            self.adjusted[DUPLICATE] += 1
            return 0
        if owner == self.resource_owner:
            info.resource = owner
        else:
            info.scope = owner
            self.resource.hidden |= info.resource == self.resource_owner
        if segment.count == segment.room:
            pair = <Pair*>realloc(segment.pairs, (2 * segment.room + 16) * sizeof(Pair))
            if pair == NULL:
                raise MemoryError
            segment.pairs = pair
            segment.room = 2 * segment.room + 16
        pair = &segment.pairs[segment.count]
        segment.count += 1
        pair.offset = segment.content.used
        put_pair(&segment.content, self.names.text.data + self.names.known[name].offset, size, value)
        pair.size = segment.content.used - pair.offset
        pair.name = name
        pair.text = <uint32_t>(size + value.size)
        segment.text += pair.text
        return 0


cdef int put_pair(Buffer* out, const uint8_t* name, size_t size, Span value) except -1:
    """A field `structuredMetadata` of logproto.EntryAdapter."""
    cdef size_t inner = 2 + varint_size(size) + size + varint_size(value.size) + value.size
    cdef uint8_t* to
    reserve(out, inner + 32)
    to = out.data + out.used
    to[0] = 0x1A
    to = write_varint(to + 1, inner)
    to[0] = 0x0A
    to = write_varint(to + 1, size)
    memcpy(to, name, size)
    to += size
    to[0] = 0x12
    to = write_varint(to + 1, value.size)
    memcpy(to, value.at, value.size)
    out.used = to + value.size - out.data
    return 0


cdef void clear_segment(Segment* segment) noexcept:
    segment.content.used = segment.count = segment.text = 0
    segment.hidden = False


cdef bint same_text(Span one, Span other) noexcept:
    return one.size == other.size and memcmp(one.at, other.at, one.size) == 0


cdef bint same_word(Span text, Span word) noexcept:
    """Whether they are equal but for the case of ASCII letters."""
    cdef size_t i
    if text.size != word.size:
        return False
    for i in range(text.size):
        if text.at[i] | 0x20 != word.at[i]:
            return False
    return True
