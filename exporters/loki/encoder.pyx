"""OTLP log records to Loki's entries, from wire bytes to wire bytes."""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from exporters.loki.any_value cimport Span, malformed
from exporters.loki.entries cimport Entries, Entry
from exporters.loki.interner cimport Interner, forget, intern, release
from exporters.loki.metadata cimport clear_segment
from exporters.loki.record_reader cimport RecordReader, clear_role, level_of
from exporters.loki.records cimport (
    ADJUSTED,
    BY_LEVEL,
    BY_VALUE,
    COLLAPSED,
    COLLAPSES,
    LEVEL_COUNT,
    LINE_TOO_LONG,
    LINE_TRUNCATED,
    MOST_KEYS,
    NO_RANK,
    ROLES,
    SPAN_ROLE,
    STATIC,
    TOO_FAR_AHEAD,
    TOO_OLD,
    TRACE_ROLE,
    WITHOUT_TIME,
    Attribute,
    Key,
    Part,
    Record,
)
from exporters.loki.text cimport put_label_value
from exporters.wire.buffer cimport Buffer, put, put_byte, reserve
from exporters.wire.fields cimport BYTES, Field, read_field, varint_size, write_varint

import random

import numpy as np

from exporters.loki.plan import OVERFLOW

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


cdef class Encoder(RecordReader):
    cdef object admission
    cdef bint json
    cdef uint64_t max_age, max_ahead
    cdef Part* parts         # of the labels, by name
    cdef Part* fallback
    cdef size_t part_count, fallback_count
    cdef Interner streams
    cdef int64_t[LEVEL_COUNT] level_streams
    cdef list stream_of      # by number of its labels: the stream, or COLLAPSES
    cdef Buffer labels, refused

    def __init__(self, plan, admission):
        self.streams.seed = random.SystemRandom().getrandbits(64)
        self.admission = admission
        self.json = plan.json_line
        self.max_age = plan.limits.max_age
        self.max_ahead = plan.limits.max_ahead
        parts = [(name.encode(), STATIC, value.encode(), 0) for name, value in plan.static_labels]
        if self.by_level:
            parts.append((b"level", BY_LEVEL, b"", 0))
        fallback = [*parts, (OVERFLOW.encode(), STATIC, b"true", 0)]
        parts += [(name, BY_VALUE, b"", slot) for slot, name in enumerate(self.slot_names)]
        self.parts = self._make_parts(sorted(parts), &self.part_count)
        self.fallback = self._make_parts(sorted(fallback), &self.fallback_count)

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
        release(&self.streams)
        free(self.parts)
        free(self.fallback)
        free(self.labels.data)
        free(self.refused.data)

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
        self.refused.used = 0
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
        entries.refused = np.frombuffer(self.refused.data[:self.refused.used], np.uint8)
        entries.adjusted = tuple([self.adjusted[i] for i in range(ADJUSTED)])
        return entries

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
        for i in range(LEVEL_COUNT):
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
        size = 2 + stamp + 1 + varint_size(line.size) + line.size + self.metadata.used
        entry = entries.add()
        entry.time = time
        entry.row = <uint32_t>self.refused.used
        entry.stream = <uint32_t>stream
        entry.offset = entries.content.used
        reserve(&entries.content, 12 + size)
        to = entries.content.data + entries.content.used
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
        if self.metadata.used:
            memcpy(to, self.metadata.data, self.metadata.used)
        to += self.metadata.used
        entries.content.used = to - entries.content.data
        entry.size = <uint32_t>(entries.content.used - entry.offset)
        return 0

    # -- labels

    cdef int64_t _stream(self, int level, Entries entries, bint fallback) except? -1:
        """The stream of the current values, or COLLAPSES; with `fallback`, the one of those that do."""
        cdef Part* parts = self.fallback if fallback else self.parts
        cdef size_t count = self.fallback_count if fallback else self.part_count, i
        cdef Span value
        cdef int64_t number
        cdef uint32_t before = self.streams.count
        self.labels.used = 0
        for i in range(count):
            value = parts[i].value
            if parts[i].kind == BY_LEVEL:
                value = self.levels[level]
            elif parts[i].kind == BY_VALUE:
                value = self.values[parts[i].slot]
            if value.size:
                if self.labels.used:
                    put(&self.labels, <const char*>b", ", 2)
                else:
                    put_byte(&self.labels, c"{")
                put(&self.labels, parts[i].name.at, parts[i].name.size)
                put_byte(&self.labels, c"=")
                put_label_value(&self.labels, value.at, value.size)
        if not self.labels.used:
            put(&self.labels, <const char*>b'{butterfly_unlabelled="true"', 28)
        put_byte(&self.labels, c"}")
        number = intern(&self.streams, self.labels.data, self.labels.used)
        if number == before:
            labels = self.labels.data[:self.labels.used]
            if fallback or self.admission.admit(labels):
                self.stream_of.append(len(entries.labels))
                entries.labels.append(labels)
            else:
                self.stream_of.append(COLLAPSES)
        return self.stream_of[number]
