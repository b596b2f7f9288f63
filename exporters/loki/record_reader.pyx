"""A record and what is around it, read: what may become labels, metadata or the line of an entry."""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from exporters.loki.any_value cimport KVLIST, STRING, Span, Value, joined, malformed, read_pair, read_value
from exporters.loki.json_members cimport next_member, open_object
from exporters.loki.lines cimport Lines
from exporters.loki.metadata cimport clear_segment
from exporters.loki.records cimport (
    IN_BODY, IN_RESOURCE, MALFORMED_ID, NO_RANK, ROLES, SCOPE_NAME, SCOPE_VERSION, SPAN_ROLE, TRACE_ROLE,
    Attribute, Key, Named, Record,
)
from exporters.wire.fields cimport BYTES, FIXED32, FIXED64, VARINT, Field, read_field

from exporters.loki.plan import LEVELS

_WORDS = {word.encode(): number for number, word in enumerate(LEVELS)} | {
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


cdef class RecordReader(Lines):
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


cdef void clear_role(Named* role) noexcept:
    role.text.size = 0
    role.rank = NO_RANK
    role.attribute = IN_RESOURCE


cdef int level_of(Record* record) except -1:
    """The severity as one of seven: by its number, else by the usual words in its text."""
    if 0 < record.severity <= 24:
        return (record.severity + 3) // 4
    if 0 < record.severity_text.size <= 12:
        return _WORDS.get(record.severity_text.at[:record.severity_text.size].lower(), 0)
    return 0
