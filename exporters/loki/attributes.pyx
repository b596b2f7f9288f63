"""Attributes as they are read: what their keys mean, by what names they go, who plays which role."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from exporters.loki.any_value cimport STRING, Span, Value, malformed, put_value, read_pair, read_value
from exporters.loki.interner cimport forget, intern, release
from exporters.loki.records cimport (
    Attribute,
    BLOCK,
    DUPLICATE,
    Key,
    MOST_LABELS,
    Name,
    Named,
    VALUE_TRUNCATED,
)
from exporters.loki.text cimport utf8_cut
from exporters.wire.fields cimport BYTES, Field, read_field

import random

from exporters.loki.plan import BUILT_IN_NAMES, LEVEL, label_name


cdef class Attributes:
    def __cinit__(self, plan, *_):
        self.keys.seed = random.SystemRandom().getrandbits(64)
        self.names.seed = random.SystemRandom().getrandbits(64)
        self.listed = plan.metadata
        self.everything = plan.metadata is None
        self.max_value = plan.limits.max_label_value_length
        attributes = [each for each in plan.labels if each != LEVEL]
        if len(attributes) > MOST_LABELS:
            raise ValueError("too many labels")
        self.slots = {each.encode(): slot for slot, each in enumerate(attributes)}
        self.slot_names = [label_name(each).encode() for each in attributes]
        self.roles = {}
        for role, keys in enumerate(plan.roles):
            self.roles |= {key.encode(): (role, rank) for rank, key in enumerate(keys)}
        self.label_names = {name.encode() for name, _ in plan.static_labels} | set(self.slot_names)
        if LEVEL in plan.labels:
            self.label_names.add(b"level")
        self._begin_anew()

    def __dealloc__(self):
        release(&self.keys)
        release(&self.names)
        free(self.key_info)
        free(self.name_info)
        free(self.attributes)
        free(self.scratch.data)

    cdef int _begin_anew(self) except -1:
        forget(&self.keys)
        forget(&self.names)
        for name in BUILT_IN_NAMES:
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

    cdef Span _text(self, Span message, bint stays) except *:
        """An AnyValue as text. Unless it `stays`, it may be overwritten by the next one."""
        cdef Value value
        cdef Span text
        read_value(message, &value)
        if value.kind == STRING:
            return value.text
        self.scratch.used = 0
        put_value(&self.scratch, &value, False, self.keep, 0)
        text.at = self.scratch.data
        text.size = self.scratch.used
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
