"""The line of an entry: the body, or the record as one JSON object, no longer than Loki takes."""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free

from exporters.loki.any_value cimport ABSENT, STRING, Span, Value, put_value, read_value
from exporters.loki.records cimport SPAN_ROLE, TRACE_ROLE, Attribute, Named, Record
from exporters.loki.text cimport put_json_inner, put_json_string, short_escape, utf8_cut, write_hex, write_time
from exporters.wire.buffer cimport Buffer, put, put_byte, reserve


cdef class Lines(Metadata):
    def __cinit__(self, plan, *_):
        self.cut_lines = plan.limits.truncate_lines
        self.max_line = plan.limits.max_line_size

    def __dealloc__(self):
        free(self.line.data)

    cdef Span _body_line(self, Record* record, bint* cut) except *:
        """The body as text; `at` is NULL where it is too long."""
        cdef Span line = record.value.text
        if record.value.kind != STRING:
            self.line.used = 0
            reserve(&self.line, 1)
            put_value(&self.line, &record.value, False, self.keep, 0)
            line.at = self.line.data
            line.size = self.line.used
        if line.size > self.max_line:
            cut[0] = True
            line.size = utf8_cut(line.at, line.size, self.max_line)
            if not self.cut_lines:
                line.at = NULL
        return line

    cdef Span _json_line(self, Record* record, uint64_t time, int level, bint* cut) except *:
        """The record as one JSON object; `at` is NULL where it is too long."""
        cdef Buffer* out = &self.line
        cdef Value value
        cdef Span line
        cdef Named* component = &self.in_roles[2]
        cdef size_t begin, end, i
        cdef bint first = True
        cdef Attribute* one
        out.used = 0
        put(out, <const char*>b'{"timestamp":"', 14)
        reserve(out, 24)
        write_time(out.data + out.used, time)
        out.used += 24
        put(out, <const char*>b'","level":"', 11)
        put(out, self.levels[level].at, self.levels[level].size)
        put(out, <const char*>b'","message":', 12)
        begin = out.used
        if record.value.kind == ABSENT:
            put(out, <const char*>b'""', 2)
        else:
            put_value(out, &record.value, True, self.keep, 0)
        end = out.used
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
        if out.used > self.max_line:
            cut[0] = True
            if not self.cut_lines or not self._cut_message(record, begin, end):
                line.at = NULL
                return line
        line.at = out.data
        line.size = out.used
        return line

    cdef bint _cut_message(self, Record* record, size_t begin, size_t end) except *:
        """Shorten the message, which lies there in the line, so that the line is short enough; one that isn't text is
        cut as the JSON that it is. False where that can't help."""
        cdef size_t rest = self.line.used - (end - begin) + 2
        cdef bytes message, tail
        cdef Span text = record.value.text
        if rest > self.max_line:
            return False
        tail = self.line.data[end:self.line.used]
        message = self.line.data[begin:end]
        if record.value.kind != STRING:
            text.at = <const uint8_t*>PyBytes_AS_STRING(message)
            text.size = len(message)
        self.line.used = begin
        put_byte(&self.line, c'"')
        put_json_inner(&self.line, text.at, json_cut(text, self.max_line - rest))
        put_byte(&self.line, c'"')
        put(&self.line, PyBytes_AS_STRING(tail), len(tail))
        return True


cdef int put_hex(Buffer* out, Span identity) except -1:
    reserve(out, 2 * identity.size)
    write_hex(out.data + out.used, identity.at, identity.size)
    out.used += 2 * identity.size
    return 0


cdef int put_member(Buffer* out, const char* name, size_t size, Span text) except -1:
    if text.size:
        put(out, name, size)
        put_json_string(out, text.at, text.size)
    return 0


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
