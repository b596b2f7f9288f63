"""What the views of spans, data points and log records share: attributes, edits, and how these are spliced in."""

from collections.abc import MutableMapping

from collector.wire.malformed import Malformed

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport INT32_MAX, INT32_MIN, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from collector.wire.any_value cimport (
    DEEPEST, KeyValue, decode_text, decode_value, encode_field, encode_value, read_key_value, value_of,
)
from collector.wire.fields cimport BYTES, Field, read_field

import numpy as np

cdef enum:
    RESOURCE_ATTRIBUTES = 1  # of Resource

_ABSENT = object()


cdef int next_field(const uint8_t** at, const uint8_t* end, Field* field) except -1:
    if read_field(at[0], end, field) < 0:
        raise Malformed("not an OTLP item")
    at[0] = field.after
    return 0


cdef bint find_last(const uint8_t* at, const uint8_t* end, uint32_t number, uint32_t wire, Field* found) except -1:
    """The last field of this number and wire type, which is the one that counts."""
    cdef Field field
    cdef bint any_found = False
    while at < end:
        next_field(&at, end, &field)
        if field.number == number and field.wire == wire:
            found[0] = field
            any_found = True
    return any_found


cdef class RawAttributes:
    """The `KeyValue`s with field number `number` in the message at `at`, under the edits made to them."""

    cdef object find(self, str key):
        """The decoded value, or `_ABSENT`."""
        cdef const uint8_t* at = self.at
        cdef const char* wanted
        cdef Py_ssize_t size
        cdef Field field
        cdef KeyValue entry, found
        cdef const uint8_t* start = NULL
        cdef const uint8_t* end = NULL
        if self.edits is not None and key in self.edits:
            return self.decoded_edit(self.edits[key])
        try:
            wanted = PyUnicode_AsUTF8AndSize(key, &size)
        except UnicodeEncodeError:
            return _ABSENT
        while at < self.end:
            next_field(&at, self.end, &field)
            if field.number == self.number and field.wire == BYTES:
                read_key_value(field.body, field.after, &entry)
                if entry.key_size == size and (size == 0 or memcmp(entry.key, wanted, size) == 0):
                    found = entry
                    start = field.body
                    end = field.after
        return value_of(&found, start, end, DEEPEST) if start != NULL else _ABSENT

    cdef object decoded_edit(self, bytes edit):
        if edit is None:
            return _ABSENT
        return decode_value(
            <const uint8_t*>PyBytes_AS_STRING(edit), <const uint8_t*>PyBytes_AS_STRING(edit) + PyBytes_GET_SIZE(edit),
            DEEPEST)

    cdef dict keys_in_order(self):
        cdef const uint8_t* at = self.at
        cdef Field field
        cdef KeyValue entry
        cdef dict keys = {}
        while at < self.end:
            next_field(&at, self.end, &field)
            if field.number == self.number and field.wire == BYTES:
                read_key_value(field.body, field.after, &entry)
                keys[decode_text(entry.key, entry.key_size)] = None
        if self.edits is not None:
            for key, edit in self.edits.items():
                if edit is None:
                    keys.pop(key, None)
                else:
                    keys[key] = None
        return keys

    cdef record(self, str key, bytes edit):
        if self.frozen:
            raise TypeError("the attributes of a resource are read-only: all its items share them")
        key.encode()         # a key that is not UTF-8 must not be recorded
        if self.edits is None:
            self.edits = {}
        self.edits[key] = edit

    def __getitem__(self, key):
        value = self.find(key) if isinstance(key, str) else _ABSENT
        if value is _ABSENT:
            raise KeyError(key)
        return value

    def get(self, key, default=None):
        value = self.find(key) if isinstance(key, str) else _ABSENT
        return default if value is _ABSENT else value

    def __contains__(self, key):
        return isinstance(key, str) and self.find(key) is not _ABSENT

    def __setitem__(self, key, value):
        if not isinstance(key, str):
            raise TypeError("the keys of attributes are strings")
        self.record(key, encode_value(value, DEEPEST))

    def __delitem__(self, key):
        if key not in self:
            raise KeyError(key)
        self.record(key, None)

    def __iter__(self):
        return iter(self.keys_in_order())

    def __len__(self):
        return len(self.keys_in_order())

    def __repr__(self):
        return f"<Attributes of {len(self)} keys>"


class Attributes(RawAttributes, MutableMapping):
    __slots__ = ()


cdef attributes_of(bytes payload, const uint8_t* at, const uint8_t* end, uint32_t number, bint frozen):
    cdef RawAttributes attributes = Attributes()
    attributes.payload = payload
    attributes.at = at
    attributes.end = end
    attributes.number = number
    attributes.frozen = frozen
    return attributes


cdef class Request:
    """What the views of one payload share."""

    cdef object attributes_of_resource(self, Py_ssize_t row):
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(self.payload)
        cdef const uint8_t* end = at + PyBytes_GET_SIZE(self.payload)
        cdef Field field
        if self.resources is None:
            resources = []
            while at < end:
                next_field(&at, end, &field)
                if field.number == 1 and field.wire == BYTES:
                    resources.append(self.merged_resource(field.body, field.after))
            self.resources = resources
        if self.resource[row] >= <size_t>len(self.resources):
            raise ValueError("the index is not this payload's")
        return self.resources[self.resource[row]]

    cdef object merged_resource(self, const uint8_t* at, const uint8_t* end):
        cdef Field field
        cdef list bodies = []
        cdef bytes body
        while at < end:
            next_field(&at, end, &field)
            if field.number == 1 and field.wire == BYTES:
                bodies.append(PyBytes_FromStringAndSize(<const char*>field.body, field.value))
        body = b"".join(bodies)
        at = <const uint8_t*>PyBytes_AS_STRING(body)
        return attributes_of(body, at, at + PyBytes_GET_SIZE(body), RESOURCE_ATTRIBUTES, True)


@cython.freelist(256)       # its subclasses are as large
cdef class ItemView:
    """A message of `payload` from `at` to `end`, whose attributes have the number `attributes_number`."""

    def __init__(self):
        raise TypeError("views are made of a batch")

    def __repr__(self):
        return f"<{type(self).__name__} row={self.row}>"

    cdef str text(self, uint32_t number):
        cdef Field field
        if not find_last(self.at, self.end, number, BYTES, &field):
            return ""
        return decode_text(field.body, field.value)

    cdef bytes blob(self, uint32_t number):
        cdef Field field
        if not find_last(self.at, self.end, number, BYTES, &field):
            return b""
        return PyBytes_FromStringAndSize(<const char*>field.body, field.value)

    cdef uint64_t number(self, uint32_t number, uint32_t wire) except? 0:
        cdef Field field
        return field.value if find_last(self.at, self.end, number, wire, &field) else 0

    cdef edit(self, str name, value):
        if self.edits is None:
            self.edits = {}
        self.edits[name] = value

    cdef object edited(self, str name):
        return None if self.edits is None else self.edits.get(name)

    cdef edit_text(self, str name, value):
        if not isinstance(value, str):
            raise TypeError(f"{name} is a string")
        value.encode()
        self.edit(name, value)

    cdef edit_enum(self, str name, value):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} is an integer")
        if not INT32_MIN <= value <= INT32_MAX:
            raise ValueError(f"{name} has 32 bits")
        self.edit(name, int(value))

    @property
    def changed(self):
        return bool(self.edits) or (self.raw_attributes is not None and bool(self.raw_attributes.edits))

    @property
    def attributes(self):
        if self.raw_attributes is None:
            self.raw_attributes = attributes_of(self.request.payload, self.at, self.end, self.attributes_number, False)
        return self.raw_attributes

    @property
    def resource(self):
        return self.request.attributes_of_resource(self.row)

    cdef dict new_fields(self):
        """What the fields become that were changed, by their tags; empty where the new value is the default."""
        return {}

    def to_bytes(self):
        cdef const uint8_t* at = self.at
        cdef const uint8_t* run = self.at      # the first byte that is not copied yet
        cdef Field field
        cdef KeyValue entry
        cdef list parts = []
        cdef dict singles = self.new_fields()
        cdef dict keys = {}
        cdef set done = set()
        if self.raw_attributes is not None and self.raw_attributes.edits:
            keys = self.raw_attributes.edits
        if not singles and not keys:
            return PyBytes_FromStringAndSize(<const char*>self.at, self.end - self.at)
        while at < self.end:
            next_field(&at, self.end, &field)
            name = None
            if field.number == self.attributes_number and field.wire == BYTES and keys:
                read_key_value(field.body, field.after, &entry)
                name = decode_text(entry.key, entry.key_size)
                if name not in keys:
                    continue
                new = None if keys[name] is None else self.encode_attribute(name, keys[name])
            elif (field.number << 3 | field.wire) in singles:
                name = field.number << 3 | field.wire
                new = singles[name]
            else:
                continue
            parts.append(PyBytes_FromStringAndSize(<const char*>run, field.start - run))
            run = field.after
            if new is not None and name not in done:
                parts.append(new)              # in the place of the first; repetitions go
            done.add(name)
        parts.append(PyBytes_FromStringAndSize(<const char*>run, self.end - run))
        parts.extend([new for tag, new in singles.items() if tag not in done])
        parts.extend([
            self.encode_attribute(key, value) for key, value in keys.items() if value is not None and key not in done
        ])
        return b"".join(parts)

    cdef bytes encode_attribute(self, str key, bytes value):
        return encode_field(
            self.attributes_number << 3 | BYTES, encode_field(0x0A, key.encode()) + encode_field(0x12, value))


cdef list views_of(Request request, bytes payload, index, mask, Make make):
    """A view of each row of `index` where `mask` holds, if given. `request` is a new one, which it fills."""
    cdef const uint32_t[::1] offsets = index.offset
    cdef const uint32_t[::1] lengths = index.length
    cdef const uint8_t[::1] flags = None
    cdef const uint8_t* base = <const uint8_t*>PyBytes_AS_STRING(payload)
    cdef uint64_t size = PyBytes_GET_SIZE(payload)
    cdef Py_ssize_t row, rows = offsets.shape[0]
    cdef ItemView view
    cdef list made = []
    request.payload = payload
    request.resource = index.resource
    if lengths.shape[0] != rows or request.resource.shape[0] != rows:
        raise ValueError("the index is not this payload's")
    if mask is not None:
        flags = np.ascontiguousarray(mask, np.bool_).view(np.uint8)
        if flags.shape[0] != rows:
            raise ValueError("the mask has one bool per row of the index")
    for row in range(rows):
        if mask is not None and not flags[row]:
            continue
        if <uint64_t>offsets[row] + lengths[row] > size:
            raise ValueError("the index is not this payload's")
        view = make()
        view.request = request
        view.row = row
        view.at = base + offsets[row]
        view.end = view.at + lengths[row]
        made.append(view)
    return made
