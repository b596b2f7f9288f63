"""Single log records for Python; as view.pyx for spans."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint8_t, uint32_t

from collector.wire.any_value cimport DEEPEST, decode_value, encode_field, encode_value, encode_varint
from collector.wire.fields cimport BYTES, FIXED32, FIXED64, VARINT, Field
from collector.wire.item_view cimport ItemView, Request, next_field, views_of

cdef enum:                   # of LogRecord
    TIME = 1
    SEVERITY_NUMBER = 2
    SEVERITY_TEXT = 3
    BODY = 5
    ATTRIBUTES = 6
    RECORD_FLAGS = 8
    TRACE_ID = 9
    SPAN_ID = 10
    OBSERVED = 11
    EVENT_NAME = 12


@cython.final
cdef class LogView(ItemView):
    @property
    def trace_id(self):
        return self.blob(TRACE_ID)

    @property
    def span_id(self):
        return self.blob(SPAN_ID)

    @property
    def time_unix_nano(self):
        return self.number(TIME, FIXED64)

    @property
    def observed_time_unix_nano(self):
        return self.number(OBSERVED, FIXED64)

    @property
    def flags(self):
        return <uint32_t>self.number(RECORD_FLAGS, FIXED32)

    @property
    def event_name(self):
        return self.text(EVENT_NAME)

    @property
    def severity_number(self):
        edited = self.edited("severity_number")
        return <int32_t>self.number(SEVERITY_NUMBER, VARINT) if edited is None else edited

    @severity_number.setter
    def severity_number(self, value):
        self.edit_enum("severity_number", value)

    @property
    def severity_text(self):
        edited = self.edited("severity_text")
        return self.text(SEVERITY_TEXT) if edited is None else edited

    @severity_text.setter
    def severity_text(self, value):
        self.edit_text("severity_text", value)

    @property
    def body(self):
        cdef const uint8_t* at = self.at
        cdef Field field
        cdef bytes joined = self.edited("body")
        cdef list parts = []
        if joined is None:
            while at < self.end:
                next_field(&at, self.end, &field)
                if field.number == BODY and field.wire == BYTES:
                    parts.append(PyBytes_FromStringAndSize(<const char*>field.body, field.value))
            joined = b"".join(parts)             # which parses as their merger
        at = <const uint8_t*>PyBytes_AS_STRING(joined)
        return decode_value(at, at + PyBytes_GET_SIZE(joined), DEEPEST)

    @body.setter
    def body(self, value):
        self.edit("body", encode_value(value, DEEPEST))

    cdef dict new_fields(self):
        cdef dict fields = {}
        if self.edits is None:
            return fields
        for name, value in self.edits.items():
            if name == "body":
                fields[BODY << 3 | BYTES] = encode_field(BODY << 3 | BYTES, value) if value else b""
            elif name == "severity_text":
                fields[SEVERITY_TEXT << 3 | BYTES] = (
                    encode_field(SEVERITY_TEXT << 3 | BYTES, value.encode()) if value else b"")
            else:
                fields[SEVERITY_NUMBER << 3] = b"\x10" + encode_varint(value) if value else b""
        return fields


cdef ItemView make_view():
    cdef LogView view = LogView.__new__(LogView)
    view.attributes_number = ATTRIBUTES
    return view


def log_views(bytes payload not None, index, mask=None):
    return views_of(Request(), payload, index, mask, make_view)
