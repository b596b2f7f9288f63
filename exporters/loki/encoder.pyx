"""OTLP log records to Loki's entries, from wire bytes to wire bytes."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset

from exporters.loki.any_value cimport (
    ABSENT,
    KVLIST,
    STRING,
    Span,
    Value,
    joined,
    malformed,
    put_value,
    read_pair,
    read_value,
)
from exporters.loki.entries cimport Entries, Entry
from exporters.loki.interner cimport Interner, forget, intern, release
from exporters.loki.json_members cimport next_member, open_object
from exporters.loki.out cimport Out, make_room, put, put_byte, varint_size, write_varint
from exporters.loki.text cimport (
    put_json_inner,
    put_json_string,
    put_label_value,
    put_signed,
    put_unsigned,
    short_escape,
    utf8_cut,
    write_hex,
    write_time,
)
from exporters.loki.wire cimport BYTES, FIXED32, FIXED64, VARINT, Field, read_field

import random

import numpy as np

from exporters.loki.plan import LEVEL, OVERFLOW, label_name

REFUSALS = ("", "too_old", "too_far_ahead", "line_too_long")
ADJUSTMENTS = (
    "stream_collapsed",
    "label_value_truncated",
    "line_truncated",
    "metadata_dropped",
    "duplicate_name",
    "malformed_id",
    "without_time",
)
_LEVELS = ("unknown", "trace", "debug", "info", "warn", "error", "fatal")
_WORDS = {word.encode(): number for number, word in enumerate(_LEVELS)} | {
    b"information": 3,
    b"notice": 3,
    b"warning": 4,
    b"err": 5,
    b"critical": 6,
    b"crit": 6,
    b"alert": 6,
    b"emergency": 6,
    b"panic": 6,
}
_BUILT_IN = (
    "trace_id", "span_id", "request_id", "node_id", "component", "level", "severity_text", "severity_number",
    "observed_timestamp", "event_name", "flags", "dropped_attributes_count", "scope_name", "scope_version",
    "line_truncated",
)

cdef enum:
    MOST_LABELS = 64
    MOST_KEYS = 10000        # remembered from one request to the next
    LEVELS = 7
    TOO_OLD = 1
    TOO_FAR_AHEAD = 2
    LINE_TOO_LONG = 3
    COLLAPSES = -2
    NO_RANK = 1 << 20
    BLOCK = 1 << 16

cdef enum:                   # the order of ADJUSTMENTS
    COLLAPSED
    VALUE_TRUNCATED
    LINE_TRUNCATED
    METADATA_DROPPED
    DUPLICATE
    MALFORMED_ID
    WITHOUT_TIME
    ADJUSTED

cdef enum:                   # the order of _BUILT_IN
    TRACE_ID
    SPAN_ID
    REQUEST_ID
    NODE_ID
    COMPONENT
    LEVEL_NAME
    SEVERITY_TEXT
    SEVERITY_NUMBER
    OBSERVED
    EVENT_NAME
    FLAGS
    DROPPED
    SCOPE_NAME
    SCOPE_VERSION
    CUT
    BUILT_IN
    ROLES = 5                # request_id, node_id, component, trace_id, span_id
    TRACE_ROLE = 3
    SPAN_ROLE = 4
    IN_RESOURCE = -1
    IN_BODY = -2

cdef enum:                   # what a part of the labels is
    STATIC
    BY_LEVEL
    BY_VALUE


cdef struct Part:
    int kind
    int slot
    Span name
    Span value


cdef struct Key:             # an attribute's key
    uint32_t name            # its number among the names
    int32_t slot             # the label that it is, or -1
    int32_t role             # which of ROLES it gives, or -1
    int32_t rank             # among the keys of that role; the lowest wins
    bint listed              # whether it belongs into structured metadata
    uint64_t seen            # the owner of attributes that had it last


cdef struct Name:            # of structured metadata
    uint64_t seen            # the record that has it
    uint64_t resource        # the newest resource that has it
    uint64_t scope           # the newest scope that has it


cdef struct Attribute:
    Span key
    Span message             # its AnyValue
    uint32_t number          # of its key
    bint is_label
    bint in_role


cdef struct Pair:            # of a segment: an encoded LabelPair, its whole field
    size_t offset
    size_t size
    uint32_t name
    uint32_t text            # bytes of name and value


cdef struct Segment:         # structured metadata that many records share
    Out content
    Pair* pairs
    size_t count
    size_t room
    size_t text
    bint hidden              # some pair's name is taken by the scope


cdef struct Named:           # what plays a role
    Span text
    Span key
    int32_t rank
    int64_t attribute        # its place in the record's list, IN_RESOURCE or IN_BODY


cdef struct Record:
    uint64_t time
    uint64_t observed
    uint64_t dropped
    int32_t severity
    uint32_t flags
    Span severity_text
    Span body
    Value value              # of the body
    bint is_line             # the body is a line of Butterfly's already
    Span trace_id
    Span span_id
    Span event_name


cdef class Encoder:
    cdef object admission, listed
    cdef dict slots, roles
    cdef set label_names
    cdef Part* parts         # of the labels, by name
    cdef Part* fallback
    cdef size_t part_count, fallback_count
    cdef list owned          # what the parts point to
    cdef Span[LEVELS] levels
    cdef bint[BUILT_IN] wanted
    cdef bint by_level, everything, json, cut_lines
    cdef uint64_t max_age, max_ahead, max_line, max_value, max_metadata, max_pairs
    cdef int slot_count
    cdef Interner keys, names, streams
    cdef Key* key_info
    cdef Name* name_info
    cdef size_t key_room, name_room
    cdef list slot_names
    cdef Out line, metadata, labels, scratch, refused
    cdef bytes block         # texts that outlive `scratch`; full ones are in `keep`
    cdef size_t block_used
    cdef Attribute* attributes
    cdef size_t attribute_count, attribute_room
    cdef Segment resource, scope
    cdef uint64_t owner      # number of the resource, scope or record whose attributes are read
    cdef uint64_t resource_owner, scope_owner
    cdef Span[MOST_LABELS] resource_values, values
    cdef Named[ROLES] resource_roles, in_roles
    cdef int64_t[LEVELS] level_streams
    cdef Span scope_name
    cdef size_t pair_count, pair_text
    cdef uint64_t[ADJUSTED] adjusted
    cdef list stream_of      # by number of its labels: the stream, or None where it collapses
    cdef list keep

    def __cinit__(self):
        memset(&self.keys, 0, sizeof(Interner))
        memset(&self.names, 0, sizeof(Interner))
        memset(&self.streams, 0, sizeof(Interner))
        memset(&self.resource, 0, sizeof(Segment))
        memset(&self.scope, 0, sizeof(Segment))
        self.keys.seed = random.SystemRandom().getrandbits(64)
        self.names.seed = random.SystemRandom().getrandbits(64)
        self.streams.seed = random.SystemRandom().getrandbits(64)

    def __init__(self, plan, admission):
        limits = plan.limits
        self.admission = admission
        self.listed = plan.metadata
        self.everything = plan.metadata is None
        self.json = plan.json_line
        self.cut_lines = limits.truncate_lines
        self.max_line = limits.max_line_size
        self.max_value = limits.max_label_value_length
        self.max_metadata = limits.max_structured_metadata_size
        self.max_pairs = limits.max_structured_metadata_entries_count
        self.max_age = limits.max_age
        self.max_ahead = limits.max_ahead
        self.by_level = LEVEL in plan.labels
        attributes = [each for each in plan.labels if each != LEVEL]
        if len(attributes) > MOST_LABELS:
            raise ValueError("too many labels")
        self.slot_count = len(attributes)
        self.slots = {each.encode(): slot for slot, each in enumerate(attributes)}
        self.slot_names = [label_name(each).encode() for each in attributes]
        self.roles = {}
        for role, keys in enumerate(plan.roles):
            self.roles |= {key.encode(): (role, rank) for rank, key in enumerate(keys)}
        self.label_names = {name.encode() for name, _ in plan.static_labels} | set(self.slot_names)
        parts = [(name.encode(), STATIC, value.encode(), 0) for name, value in plan.static_labels]
        if self.by_level:
            parts.append((b"level", BY_LEVEL, b"", 0))
            self.label_names.add(b"level")
        self.owned = []
        fallback = [*parts, (OVERFLOW.encode(), STATIC, b"true", 0)]
        parts += [(name, BY_VALUE, b"", slot) for slot, name in enumerate(self.slot_names)]
        self.parts = self._make_parts(sorted(parts), &self.part_count)
        self.fallback = self._make_parts(sorted(fallback), &self.fallback_count)
        for i, word in enumerate(_LEVELS):
            self.levels[i] = self._own(word.encode())
        for i, word in enumerate(_BUILT_IN):
            self.wanted[i] = self.everything or word in self.listed
        self.wanted[TRACE_ID] = self.wanted[SPAN_ID] = self.wanted[REQUEST_ID] = self.wanted[NODE_ID] = True
        self.wanted[CUT] = True
        self._begin_anew()

    cdef Span _own(self, bytes text):
        cdef Span span
        self.owned.append(text)
        span.at = <const uint8_t*>PyBytes_AS_STRING(text)
        span.size = len(text)
        return span

    cdef Part* _make_parts(self, list described, size_t* count) except NULL:
        cdef Part* parts = <Part*>realloc(NULL, (len(described) + 1) * sizeof(Part))
        if parts == NULL:
            raise MemoryError
        count[0] = len(described)
        for i, (name, kind, value, slot) in enumerate(described):
            parts[<size_t>i].kind = kind
            parts[<size_t>i].slot = slot
            parts[<size_t>i].name = self._own(name)
            parts[<size_t>i].value = self._own(value)
        return parts

    def __dealloc__(self):
        release(&self.keys)
        release(&self.names)
        release(&self.streams)
        free(self.key_info)
        free(self.name_info)
        free(self.line.data)
        free(self.metadata.data)
        free(self.labels.data)
        free(self.refused.data)
        free(self.parts)
        free(self.fallback)
        free(self.scratch.data)
        free(self.attributes)
        free(self.resource.content.data)
        free(self.resource.pairs)
        free(self.scope.content.data)
        free(self.scope.pairs)

    def encode(self, bytes payload not None, uint64_t now):
        cdef Entries entries = Entries.__new__(Entries)
        cdef Span request
        cdef Field field
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(payload)
        cdef const uint8_t* end = at + len(payload)
        if self.keys.count > MOST_KEYS:
            self._begin_anew()
        forget(&self.streams)
        self.stream_of = []
        self.keep = []
        self.block = b""
        self.block_used = 0
        self.refused.size = 0
        memset(self.adjusted, 0, sizeof(self.adjusted))
        entries.labels = []
        while at < end:
            if read_field(at, end, &field) < 0:
                malformed()
            at = field.after
            if field.number == 1 and field.wire == BYTES:
                request.at = field.body
                request.size = field.after - field.body
                self._resource_logs(request, now, entries)
        self.keep = None
        entries.sort()
        entries.refused = np.frombuffer(self.refused.data[:self.refused.size], np.uint8)
        entries.adjusted = tuple([self.adjusted[i] for i in range(ADJUSTED)])
        return entries

    # -- what is known of keys and names

    cdef int _begin_anew(self) except -1:
        forget(&self.keys)
        forget(&self.names)
        for name in _BUILT_IN:
            self._name(name.encode())
        return 0

    cdef uint32_t _name(self, bytes text) except? 0xFFFFFFFF:
        cdef int64_t number = intern(&self.names, <const uint8_t*>PyBytes_AS_STRING(text), len(text))
        cdef Name* moved
        if <size_t>number >= self.name_room:
            moved = <Name*>realloc(self.name_info, (2 * self.name_room + 64) * sizeof(Name))
            if moved == NULL:
                raise MemoryError
            memset(moved + self.name_room, 0, (self.name_room + 64) * sizeof(Name))
            self.name_info = moved
            self.name_room = 2 * self.name_room + 64
        return <uint32_t>number

    cdef uint32_t _key(self, Span key) except? 0xFFFFFFFF:
        """The number of an attribute's key, about which everything is known then."""
        cdef uint32_t before = self.keys.count
        cdef int64_t number = intern(&self.keys, key.at, key.size)
        if number == before:
            self._learn(number, PyBytes_FromStringAndSize(<const char*>key.at, key.size))
        return <uint32_t>number

    cdef int _learn(self, size_t number, bytes key) except -1:
        cdef Key* moved
        cdef Key* one
        name = label_name(key.decode("utf-8", "replace")).encode()
        if name in self.label_names:
            name += b"_extracted"
        if number >= self.key_room:
            moved = <Key*>realloc(self.key_info, (2 * self.key_room + 64) * sizeof(Key))
            if moved == NULL:
                raise MemoryError
            self.key_info = moved
            self.key_room = 2 * self.key_room + 64
        one = &self.key_info[number]
        one.name = self._name(name)
        one.slot = self.slots.get(key, -1)
        one.role, one.rank = self.roles.get(key, (-1, 0))
        one.listed = self.everything or key.decode("utf-8", "replace") in self.listed
        one.seen = 0
        return 0

    # -- the request's nesting

    cdef int _resource_logs(self, Span message, uint64_t now, Entries entries) except -1:
        cdef const uint8_t* at = message.at
        cdef const uint8_t* end = at + message.size
        cdef Field field
        cdef Span inner
        cdef int i
        self.owner += 1
        self.resource_owner = self.owner
        self.attribute_count = 0
        while at < end:
            if read_field(at, end, &field) < 0:
                malformed()
            at = field.after
            if field.number == 1 and field.wire == BYTES:
                inner.at = field.body
                inner.size = field.after - field.body
                self._attributes_of(inner, 1)
        clear_segment(&self.resource)
        for i in range(self.slot_count):
            self.resource_values[i].size = 0
        for i in range(ROLES):
            clear_role(&self.resource_roles[i])
        for i in range(LEVELS):
            self.level_streams[i] = -1
        self._resource_attributes()
        at = message.at
        while at < end:
            if read_field(at, end, &field) < 0:
                malformed()
            at = field.after
            if field.number == 2 and field.wire == BYTES:
                inner.at = field.body
                inner.size = field.after - field.body
                self._scope_logs(inner, now, entries)
        return 0

    cdef int _attributes_of(self, Span message, uint32_t number) except -1:
        """Append every field `number` of the message, a `KeyValue`, to the list of attributes."""
        cdef const uint8_t* at = message.at
        cdef const uint8_t* end = at + message.size
        cdef Field field
        while at < end:
            if read_field(at, end, &field) < 0:
                malformed()
            at = field.after
            if field.number == number and field.wire == BYTES:
                self._attribute(&field)
        return 0

    cdef int _attribute(self, Field* field) except -1:
        cdef Attribute* moved
        cdef Attribute* one
        cdef Span pair
        cdef Key* key
        if self.attribute_count == self.attribute_room:
            moved = <Attribute*>realloc(self.attributes, (2 * self.attribute_room + 32) * sizeof(Attribute))
            if moved == NULL:
                raise MemoryError
            self.attributes = moved
            self.attribute_room = 2 * self.attribute_room + 32
        one = &self.attributes[self.attribute_count]
        pair.at = field.body
        pair.size = field.after - field.body
        read_pair(pair, &one.key, &one.message, self.keep)
        one.number = self._key(one.key)
        one.is_label = one.in_role = False
        key = &self.key_info[one.number]
        if key.seen == self.owner:
            self.adjusted[DUPLICATE] += 1
            return 0
        key.seen = self.owner
        self.attribute_count += 1
        return 0

    cdef int _resource_attributes(self) except -1:
        cdef size_t i
        cdef Attribute* one
        cdef Key* key
        for i in range(self.attribute_count):
            one = &self.attributes[i]
            key = &self.key_info[one.number]
            if 0 <= key.role < TRACE_ROLE:
                self._take_role(self.resource_roles, one, IN_RESOURCE)
            if key.slot >= 0:
                self.resource_values[key.slot] = self._short(self._text(one.message, True))
        for i in range(self.attribute_count):
            one = &self.attributes[i]
            key = &self.key_info[one.number]
            if key.listed and key.slot < 0 and not self._plays(self.resource_roles, one):
                self._share(&self.resource, self.resource_owner, key.name, self._text(one.message, False))
        return 0

    cdef bint _plays(self, Named* roles, Attribute* one) noexcept:
        cdef int32_t role = self.key_info[one.number].role
        return role >= 0 and roles[role].text.size and roles[role].key.at == one.key.at

    cdef int _take_role(self, Named* roles, Attribute* one, int64_t place) except -1:
        cdef Key* key = &self.key_info[one.number]
        cdef Span text
        if key.rank < roles[key.role].rank:
            text = self._text(one.message, True)
            if text.size:
                roles[key.role].text = text
                roles[key.role].key = one.key
                roles[key.role].rank = key.rank
                roles[key.role].attribute = place
        return 0

    cdef int _scope_logs(self, Span message, uint64_t now, Entries entries) except -1:
        cdef const uint8_t* at = message.at
        cdef const uint8_t* end = at + message.size
        cdef Field field
        cdef Span inner
        self._read_scope(message)
        while at < end:
            if read_field(at, end, &field) < 0:
                malformed()
            at = field.after
            if field.number == 2 and field.wire == BYTES:
                inner.at = field.body
                inner.size = field.after - field.body
                put_byte(&self.refused, <uint8_t>self._record(inner, now, entries))
        return 0

    cdef int _read_scope(self, Span message) except -1:
        cdef const uint8_t* at = message.at
        cdef const uint8_t* end = at + message.size
        cdef const uint8_t* inner
        cdef Field field, one
        cdef Span version
        cdef size_t i
        cdef Key* key
        self.owner += 1
        self.scope_owner = self.owner
        self.attribute_count = 0
        self.scope_name.size = version.size = 0
        clear_segment(&self.scope)
        self.resource.hidden = False
        while at < end:
            if read_field(at, end, &field) < 0:
                malformed()
            at = field.after
            if field.number != 1 or field.wire != BYTES:
                continue
            inner = field.body
            while inner < field.after:
                if read_field(inner, field.after, &one) < 0:
                    malformed()
                inner = one.after
                if one.wire != BYTES:
                    continue
                if one.number == 1:
                    self.scope_name.at = one.body
                    self.scope_name.size = one.after - one.body
                elif one.number == 2:
                    version.at = one.body
                    version.size = one.after - one.body
                elif one.number == 3:
                    self._attribute(&one)
        if self.everything:
            self._share(&self.scope, self.scope_owner, SCOPE_NAME, self.scope_name)
            self._share(&self.scope, self.scope_owner, SCOPE_VERSION, version)
        for i in range(self.attribute_count):
            key = &self.key_info[self.attributes[i].number]
            if key.listed:
                self._share(&self.scope, self.scope_owner, key.name, self._text(self.attributes[i].message, False))
        return 0

    # -- one record

    cdef int _record(self, Span message, uint64_t now, Entries entries) except -1:
        """0, or why it is refused."""
        cdef Record record
        cdef int level
        cdef size_t i
        cdef Attribute* one
        cdef Key* key
        cdef uint64_t time
        cdef int64_t stream
        cdef bint own_label = False, collapsed = False, cut = False, in_line
        cdef size_t used = self.block_used, size, stamp
        cdef bytes block = self.block
        cdef Span line
        cdef Entry* entry
        cdef uint8_t* to
        self._read_record(message, &record)
        time = record.time or record.observed
        if not time:
            time = now
            self.adjusted[WITHOUT_TIME] += 1
        elif self.max_age and time < now and now - time > self.max_age:
            return TOO_OLD
        elif self.max_ahead and time > now and time - now > self.max_ahead:
            return TOO_FAR_AHEAD
        level = level_of(&record)
        memcpy(self.in_roles, self.resource_roles, sizeof(self.in_roles))
        memcpy(self.values, self.resource_values, self.slot_count * sizeof(Span))
        for i in range(ROLES):
            self.in_roles[i].rank = NO_RANK
        for i in range(self.attribute_count):
            one = &self.attributes[i]
            key = &self.key_info[one.number]
            if 0 <= key.role < TRACE_ROLE or key.role == TRACE_ROLE and not record.trace_id.size or (
                key.role == SPAN_ROLE and not record.span_id.size
            ):
                self._take_role(self.in_roles, one, i)
            if key.slot >= 0 and not self.resource_values[key.slot].size:
                self.values[key.slot] = self._short(self._text(one.message, True))
                if self.values[key.slot].size:
                    own_label = one.is_label = True
        for i in range(ROLES):
            if self.in_roles[i].attribute >= 0:
                self.attributes[self.in_roles[i].attribute].in_role = True
        self._look_into_body(&record)
        stream = -1 if own_label else self.level_streams[level]
        if stream < 0:
            stream = self._stream(level, entries, False)
            if stream == COLLAPSES:
                collapsed = True
                stream = self._stream(level, entries, True)
            elif not own_label:
                self.level_streams[level] = stream
        in_line = self.json and not record.is_line
        if in_line:
            line = self._json_line(&record, time, level, &cut)
        else:
            line = self._body_line(&record, &cut)
        if line.at == NULL:
            return LINE_TOO_LONG
        if collapsed:
            self.adjusted[COLLAPSED] += 1
        self.adjusted[LINE_TRUNCATED] += cut
        self._structured_metadata(&record, time, level, collapsed, cut, in_line)
        if self.block is block:
            self.block_used = used
        stamp = 2 + varint_size(time // 1000000000) + varint_size(time % 1000000000)
        size = 2 + stamp + 1 + varint_size(line.size) + line.size + self.metadata.size
        entry = entries.add()
        entry.time = time
        entry.row = <uint32_t>self.refused.size
        entry.stream = <uint32_t>stream
        entry.offset = entries.content.size
        make_room(&entries.content, 12 + size)
        to = entries.content.data + entries.content.size
        to[0] = 0x12  # entries
        to = write_varint(to + 1, size)
        to[0] = 0x0A  # timestamp
        to[1] = <uint8_t>stamp
        to[2] = 0x08
        to = write_varint(to + 3, time // 1000000000)
        to[0] = 0x10
        to = write_varint(to + 1, time % 1000000000)
        to[0] = 0x12  # line
        to = write_varint(to + 1, line.size)
        memcpy(to, line.at, line.size)
        to += line.size
        memcpy(to, self.metadata.data, self.metadata.size)
        to += self.metadata.size
        entries.content.size = to - entries.content.data
        entry.size = <uint32_t>(entries.content.size - entry.offset)
        return 0

    cdef int _read_record(self, Span message, Record* record) except -1:
        cdef const uint8_t* at = message.at
        cdef const uint8_t* end = at + message.size
        cdef Field field
        cdef Span text
        memset(record, 0, sizeof(Record))
        self.owner += 1
        self.attribute_count = 0
        while at < end:
            if read_field(at, end, &field) < 0:
                malformed()
            at = field.after
            if field.wire == BYTES:
                text.at = field.body
                text.size = field.after - field.body
                if field.number == 6:
                    self._attribute(&field)
                elif field.number == 5:
                    record.body = text if record.body.at == NULL else joined(record.body, text, self.keep)
                elif field.number == 9:
                    record.trace_id = text
                elif field.number == 10:
                    record.span_id = text
                elif field.number == 3:
                    record.severity_text = text
                elif field.number == 12:
                    record.event_name = text
            elif field.wire == FIXED64:
                if field.number == 1:
                    memcpy(&record.time, field.body, 8)
                elif field.number == 11:
                    memcpy(&record.observed, field.body, 8)
            elif field.wire == VARINT:
                if field.number == 2:
                    record.severity = <int32_t>field.value
                elif field.number == 7:
                    record.dropped = <uint32_t>field.value
            elif field.wire == FIXED32 and field.number == 8:
                memcpy(&record.flags, field.body, 4)
        read_value(record.body, &record.value)
        if not self._well_formed(&record.trace_id, 16):
            record.trace_id.size = 0
        if not self._well_formed(&record.span_id, 8):
            record.span_id.size = 0
        return 0

    cdef int _look_into_body(self, Record* record) except -1:
        """Find what a structured body says of the roles, and whether it is a line: an object with a message."""
        cdef const uint8_t* at
        cdef const uint8_t* end
        cdef const uint8_t* inner
        cdef Field field, one
        cdef Span message, key, text
        cdef Value value
        cdef bint last = False
        cdef Named[ROLES] before
        if record.value.kind == STRING:
            memcpy(before, self.in_roles, sizeof(before))
            end = record.value.text.at + record.value.text.size
            at = open_object(record.value.text)
            while at != NULL and not last:
                at = next_member(at, end, &key, &text, &last)
                if at != NULL:
                    record.is_line |= self._body_member(record, key, text)
            if at == NULL:
                record.is_line = False
                memcpy(self.in_roles, before, sizeof(before))
        elif record.value.kind == KVLIST:
            at = record.value.run.at
            end = at + record.value.run.size
            while at < end:
                if read_field(at, end, &field) < 0:
                    malformed()
                at = field.after
                if field.number != KVLIST or field.wire != BYTES:
                    continue
                inner = field.body
                while inner < field.after:
                    if read_field(inner, field.after, &one) < 0:
                        malformed()
                    inner = one.after
                    if one.number == 1 and one.wire == BYTES:
                        message.at = one.body
                        message.size = one.after - one.body
                        read_pair(message, &key, &message, self.keep)
                        read_value(message, &value)
                        if value.kind != STRING:
                            value.text.size = 0
                        record.is_line |= self._body_member(record, key, value.text)
        return 0

    cdef bint _body_member(self, Record* record, Span key, Span text) except *:
        """Whether this member makes the body a line."""
        cdef Key* known = &self.key_info[self._key(key)]
        cdef Named* named
        if known.role >= 0 and text.size:
            named = &self.in_roles[known.role]
            if known.role == TRACE_ROLE and record.trace_id.size or known.role == SPAN_ROLE and record.span_id.size:
                return False
            if named.attribute == IN_RESOURCE or named.attribute == IN_BODY and known.rank < named.rank:
                named.text = text
                named.rank = known.rank
                named.attribute = IN_BODY
        return key.size == 7 and memcmp(key.at, b"message", 7) == 0

    cdef bint _well_formed(self, Span* identity, size_t size) noexcept:
        """An id that is there; one of zeros isn't, and one of another length is counted."""
        cdef size_t i
        for i in range(identity.size):
            if identity.at[i]:
                self.adjusted[MALFORMED_ID] += identity.size != size
                return identity.size == size
        return False

    cdef Span _text(self, Span message, bint stays) except *:
        """An AnyValue as text. Unless it `stays`, it may be overwritten by the next one."""
        cdef Value value
        cdef Span text
        read_value(message, &value)
        if value.kind == STRING:
            return value.text
        self.scratch.size = 0
        put_value(&self.scratch, &value, False, self.keep, 0)
        text.at = self.scratch.data
        text.size = self.scratch.size
        if not stays or not text.size:
            return text
        if self.block_used + text.size > <size_t>len(self.block):
            self.keep.append(self.block)
            self.block = PyBytes_FromStringAndSize(NULL, max(<size_t>BLOCK, text.size))
            self.block_used = 0
        memcpy(PyBytes_AS_STRING(self.block) + self.block_used, text.at, text.size)
        text.at = <const uint8_t*>PyBytes_AS_STRING(self.block) + self.block_used
        self.block_used += text.size
        return text

    cdef Span _short(self, Span text) noexcept:
        """A value of a label."""
        if text.size > self.max_value:
            self.adjusted[VALUE_TRUNCATED] += 1
            text.size = utf8_cut(text.at, text.size, self.max_value)
        return text

    # -- labels

    cdef int64_t _stream(self, int level, Entries entries, bint fallback) except? -1:
        """The stream of the current values, or COLLAPSES; with `fallback`, the one of those that do."""
        cdef Part* parts = self.fallback if fallback else self.parts
        cdef size_t count = self.fallback_count if fallback else self.part_count, i
        cdef Span value
        cdef int64_t number
        cdef uint32_t before = self.streams.count
        self.labels.size = 0
        for i in range(count):
            value = parts[i].value
            if parts[i].kind == BY_LEVEL:
                value = self.levels[level]
            elif parts[i].kind == BY_VALUE:
                value = self.values[parts[i].slot]
            if value.size:
                if self.labels.size:
                    put(&self.labels, <const char*>b", ", 2)
                else:
                    put_byte(&self.labels, c"{")
                put(&self.labels, parts[i].name.at, parts[i].name.size)
                put_byte(&self.labels, c"=")
                put_label_value(&self.labels, value.at, value.size)
        if not self.labels.size:
            put(&self.labels, <const char*>b'{butterfly_unlabelled="true"', 28)
        put_byte(&self.labels, c"}")
        number = intern(&self.streams, self.labels.data, self.labels.size)
        if number == before:
            labels = self.labels.data[:self.labels.size]
            if fallback or self.admission.admit(labels):
                self.stream_of.append(len(entries.labels))
                entries.labels.append(labels)
            else:
                self.stream_of.append(COLLAPSES)
        return self.stream_of[number]

    # -- the line

    cdef Span _body_line(self, Record* record, bint* cut) except *:
        """The body as text; `at` is NULL where it is too long."""
        cdef Span line = record.value.text
        if record.value.kind != STRING:
            self.line.size = 0
            make_room(&self.line, 1)
            put_value(&self.line, &record.value, False, self.keep, 0)
            line.at = self.line.data
            line.size = self.line.size
        if line.size > self.max_line:
            cut[0] = True
            line.size = utf8_cut(line.at, line.size, self.max_line)
            if not self.cut_lines:
                line.at = NULL
        return line

    cdef Span _json_line(self, Record* record, uint64_t time, int level, bint* cut) except *:
        """The record as one JSON object; `at` is NULL where it is too long."""
        cdef Out* out = &self.line
        cdef Value value
        cdef Span line
        cdef Named* component = &self.in_roles[2]
        cdef size_t begin, end, i
        cdef bint first = True
        cdef Attribute* one
        out.size = 0
        put(out, <const char*>b'{"timestamp":"', 14)
        make_room(out, 24)
        write_time(out.data + out.size, time)
        out.size += 24
        put(out, <const char*>b'","level":"', 11)
        put(out, self.levels[level].at, self.levels[level].size)
        put(out, <const char*>b'","message":', 12)
        begin = out.size
        if record.value.kind == ABSENT:
            put(out, <const char*>b'""', 2)
        else:
            put_value(out, &record.value, True, self.keep, 0)
        end = out.size
        if record.trace_id.size:
            put(out, <const char*>b',"trace_id":"', 13)
            put_hex(out, record.trace_id)
            put_byte(out, c'"')
        else:
            put_member(out, <const char*>b',"trace_id":', 12, self.in_roles[TRACE_ROLE].text)
        if record.span_id.size:
            put(out, <const char*>b',"span_id":"', 12)
            put_hex(out, record.span_id)
            put_byte(out, c'"')
        else:
            put_member(out, <const char*>b',"span_id":', 11, self.in_roles[SPAN_ROLE].text)
        put_member(out, <const char*>b',"request_id":', 14, self.in_roles[0].text)
        put_member(out, <const char*>b',"node_id":', 11, self.in_roles[1].text)
        put_member(out, <const char*>b',"component":', 13, component.text if component.text.size else self.scope_name)
        put(out, <const char*>b',"fields":{', 11)
        for i in range(self.attribute_count):
            one = &self.attributes[i]
            if one.in_role:
                continue
            if not first:
                put_byte(out, c",")
            first = False
            put_json_string(out, one.key.at, one.key.size)
            put_byte(out, c":")
            read_value(one.message, &value)
            put_value(out, &value, True, self.keep, 0)
        put(out, <const char*>b"}}", 2)
        if out.size > self.max_line:
            cut[0] = True
            if not self.cut_lines or not self._cut_message(record, begin, end):
                line.at = NULL
                return line
        line.at = out.data
        line.size = out.size
        return line

    cdef bint _cut_message(self, Record* record, size_t begin, size_t end) except *:
        """Shorten the message, which lies there in the line, so that the line is short enough; one that isn't text is
        cut as the JSON that it is. False where that can't help."""
        cdef size_t rest = self.line.size - (end - begin) + 2
        cdef bytes message, tail
        cdef Span text = record.value.text
        if rest > self.max_line:
            return False
        tail = self.line.data[end:self.line.size]
        message = self.line.data[begin:end]
        if record.value.kind != STRING:
            text.at = <const uint8_t*>PyBytes_AS_STRING(message)
            text.size = len(message)
        self.line.size = begin
        put_byte(&self.line, c'"')
        put_json_inner(&self.line, text.at, json_cut(text, self.max_line - rest))
        put_byte(&self.line, c'"')
        put(&self.line, PyBytes_AS_STRING(tail), len(tail))
        return True

    # -- structured metadata

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
        self.metadata.size = self.pair_count = self.pair_text = 0
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
        self.scratch.size = 0
        if name == SEVERITY_NUMBER:
            put_signed(&self.scratch, <int64_t>value)
        else:
            put_unsigned(&self.scratch, value)
        text.at = self.scratch.data
        text.size = self.scratch.size
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
            return put(&self.metadata, segment.content.data, segment.content.size)
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
        pair.offset = segment.content.size
        put_pair(&segment.content, self.names.text.data + self.names.known[name].offset, size, value)
        pair.size = segment.content.size - pair.offset
        pair.name = name
        pair.text = <uint32_t>(size + value.size)
        segment.text += pair.text
        return 0


cdef int put_pair(Out* out, const uint8_t* name, size_t size, Span value) except -1:
    """A field `structuredMetadata` of logproto.EntryAdapter."""
    cdef size_t inner = 2 + varint_size(size) + size + varint_size(value.size) + value.size
    cdef uint8_t* to
    make_room(out, inner + 32)
    to = out.data + out.size
    to[0] = 0x1A
    to = write_varint(to + 1, inner)
    to[0] = 0x0A
    to = write_varint(to + 1, size)
    memcpy(to, name, size)
    to += size
    to[0] = 0x12
    to = write_varint(to + 1, value.size)
    memcpy(to, value.at, value.size)
    out.size = to + value.size - out.data
    return 0


cdef int put_hex(Out* out, Span identity) except -1:
    make_room(out, 2 * identity.size)
    write_hex(out.data + out.size, identity.at, identity.size)
    out.size += 2 * identity.size
    return 0


cdef int put_member(Out* out, const char* name, size_t size, Span text) except -1:
    if text.size:
        put(out, name, size)
        put_json_string(out, text.at, text.size)
    return 0


cdef void clear_segment(Segment* segment) noexcept:
    segment.content.size = segment.count = segment.text = 0
    segment.hidden = False


cdef void clear_role(Named* role) noexcept:
    role.text.size = 0
    role.rank = NO_RANK
    role.attribute = IN_RESOURCE


cdef size_t json_cut(Span text, size_t room) noexcept:
    """How many bytes of UTF-8, whole characters, take at most `room` bytes in a JSON string."""
    cdef size_t i = 0, size, cost
    while i < text.size:
        size = 1
        while i + size < text.size and text.at[i + size] & 0xC0 == 0x80:
            size += 1
        cost = size
        if text.at[i] < 0x20:
            cost = 2 if short_escape(text.at[i]) else 6
        elif text.at[i] == 0x22 or text.at[i] == 0x5C:
            cost = 2
        if cost > room:
            break
        room -= cost
        i += size
    return i


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


cdef int level_of(Record* record) except -1:
    """The severity as one of seven: by its number, else by the usual words in its text."""
    if 0 < record.severity <= 24:
        return (record.severity + 3) // 4
    if 0 < record.severity_text.size <= 12:
        return _WORDS.get(record.severity_text.at[:record.severity_text.size].lower(), 0)
    return 0
