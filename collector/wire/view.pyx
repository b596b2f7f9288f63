"""Single spans for Python: fields are decoded as they are asked for, changes are recorded and spliced in on demand."""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, uint8_t

from collector.wire.any_value cimport decode_text, encode_field, encode_varint
from collector.wire.fields cimport BYTES, FIXED64, VARINT, Field
from collector.wire.item_view cimport ItemView, Request, find_last, next_field, views_of

from collector.wire.item_view import Attributes  # no-cython-lint: the contract has it

cdef enum:                   # of Span, unless said otherwise
    TRACE_ID = 1
    SPAN_ID = 2
    TRACE_STATE = 3
    PARENT_SPAN_ID = 4
    NAME = 5
    KIND = 6
    START = 7
    END = 8
    ATTRIBUTES = 9
    EVENTS = 11
    STATUS = 15
    STATUS_MESSAGE = 2       # of Status
    STATUS_CODE = 3


@cython.final
cdef class SpanView(ItemView):
    @property
    def trace_id(self):
        return self.blob(TRACE_ID)

    @property
    def span_id(self):
        return self.blob(SPAN_ID)

    @property
    def parent_span_id(self):
        return self.blob(PARENT_SPAN_ID)

    @property
    def start_time_unix_nano(self):
        return self.number(START, FIXED64)

    @property
    def end_time_unix_nano(self):
        return self.number(END, FIXED64)

    @property
    def name(self):
        edited = self.edited("name")
        return self.text(NAME) if edited is None else edited

    @name.setter
    def name(self, value):
        self.edit_text("name", value)

    @property
    def trace_state(self):
        edited = self.edited("trace_state")
        return self.text(TRACE_STATE) if edited is None else edited

    @trace_state.setter
    def trace_state(self, value):
        self.edit_text("trace_state", value)

    @property
    def kind(self):
        edited = self.edited("kind")
        return <int32_t>self.number(KIND, VARINT) if edited is None else edited

    @kind.setter
    def kind(self, value):
        self.edit_enum("kind", value)

    @property
    def status_code(self):
        cdef const uint8_t* at = self.at
        cdef Field status, field
        cdef int32_t code = 0
        edited = self.edited("status_code")
        if edited is not None:
            return edited
        while at < self.end:             # several messages merge
            next_field(&at, self.end, &status)
            if status.number == STATUS and status.wire == BYTES:
                if find_last(status.body, status.after, STATUS_CODE, VARINT, &field):
                    code = <int32_t>field.value
        return code

    @status_code.setter
    def status_code(self, value):
        self.edit_enum("status_code", value)

    @property
    def status_message(self):
        cdef const uint8_t* at = self.at
        cdef Field status, field
        edited = self.edited("status_message")
        if edited is not None:
            return edited
        message = ""
        while at < self.end:
            next_field(&at, self.end, &status)
            if status.number == STATUS and status.wire == BYTES:
                if find_last(status.body, status.after, STATUS_MESSAGE, BYTES, &field):
                    message = decode_text(field.body, field.value)
        return message

    @status_message.setter
    def status_message(self, value):
        self.edit_text("status_message", value)

    @property
    def event_names(self):
        cdef const uint8_t* at = self.at
        cdef Field event, field
        names = []
        while at < self.end:
            next_field(&at, self.end, &event)
            if event.number == EVENTS and event.wire == BYTES:
                if find_last(event.body, event.after, 2, BYTES, &field):
                    names.append(decode_text(field.body, field.value))
                else:
                    names.append("")
        return names

    cdef bytes edited_status(self):
        """All `Status` messages as one, without what was changed, and with what it was changed to."""
        cdef const uint8_t* at = self.at
        cdef const uint8_t* inner
        cdef Field status, field
        cdef list parts = []
        message = self.edited("status_message")
        code = self.edited("status_code")
        while at < self.end:
            next_field(&at, self.end, &status)
            if status.number != STATUS or status.wire != BYTES:
                continue
            inner = status.body
            while inner < status.after:
                next_field(&inner, status.after, &field)
                if field.number == STATUS_MESSAGE and field.wire == BYTES and message is not None:
                    continue
                if field.number == STATUS_CODE and field.wire == VARINT and code is not None:
                    continue
                parts.append(PyBytes_FromStringAndSize(<const char*>field.start, field.after - field.start))
        if message:
            parts.append(encode_field(STATUS_MESSAGE << 3 | BYTES, message.encode()))
        if code:
            parts.append(b"\x18" + encode_varint(code))
        return encode_field(STATUS << 3 | BYTES, b"".join(parts))

    cdef dict new_fields(self):
        cdef dict fields = {}
        if self.edits is None:
            return fields
        for name, value in self.edits.items():
            if name == "name":
                fields[NAME << 3 | BYTES] = encode_field(NAME << 3 | BYTES, value.encode()) if value else b""
            elif name == "trace_state":
                fields[TRACE_STATE << 3 | BYTES] = (
                    encode_field(TRACE_STATE << 3 | BYTES, value.encode()) if value else b"")
            elif name == "kind":
                fields[KIND << 3] = b"\x30" + encode_varint(value) if value else b""
            else:
                fields[STATUS << 3 | BYTES] = self.edited_status()
        return fields


cdef ItemView make_view():
    cdef SpanView view = SpanView.__new__(SpanView)
    view.attributes_number = ATTRIBUTES
    return view


def views(bytes payload not None, index, mask=None):
    return views_of(Request(), payload, index, mask, make_view)
