"""Attributes on their way to labels: names sanitised, values as text, collisions merged."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport realloc
from libc.string cimport memcmp

from exporters.prometheus_remote_write.request cimport Text, next_field
from exporters.prometheus_remote_write.symbols cimport SymbolTable
from exporters.wire.buffer cimport Buffer, put, reserve
from exporters.wire.fields cimport BYTES, FIXED64, VARINT, Field


cdef struct Attribute:
    uint32_t name, value     # symbols
    uint32_t size            # of the original key
    const uint8_t* key


cdef struct Attributes:
    Attribute* items         # freed by the owner
    size_t count, room


cdef inline bint is_word(uint8_t byte) noexcept nogil:
    return 97 <= byte <= 122 or 65 <= byte <= 90 or 48 <= byte <= 57


cdef inline int append_name(Buffer* out, const uint8_t* text, size_t size) except -1:
    """`text` with every run of what a label name can't hold, underscores included, as one underscore."""
    cdef size_t at
    cdef uint8_t* to
    reserve(out, size + 1)
    to = out.data + out.used
    for at in range(size):
        if is_word(text[at]):
            to[0] = text[at]
            to += 1
        elif to == out.data or (to - 1)[0] != 95:
            to[0] = 95
            to += 1
    out.used = to - out.data
    return 0


cdef inline uint32_t label_name(
    SymbolTable table, Buffer* scratch, const uint8_t* key, size_t size, bint utf8
) except? 4294967295:
    """The label name of an attribute: `[a-zA-Z][a-zA-Z0-9_]*`, or with `utf8` the key itself.

    Never empty. Names that begin with an underscore are kept for Prometheus itself.
    """
    cdef size_t begin
    if utf8 and size:
        return table.intern(key, size)
    scratch.used = 0
    put(scratch, <const char*>"key_", 4)
    append_name(scratch, key, size)
    begin = 4
    if size == 0 or 48 <= key[0] <= 57:
        begin = 0
    elif not is_word(key[0]):
        begin = 0            # the underscore of the prefix took its place
    return table.intern(scratch.data + begin, scratch.used - begin)


cdef inline int read_attribute(
    SymbolTable table, Buffer* scratch, object render, const uint8_t* at, const uint8_t* end, bint utf8, Text* key
) except -1:
    """Read the KeyValue between `at` and `end`: its key, and its value as text in `scratch` from the beginning.

    Returns 1 when the value is a string, which then stands in `key[1]`, and 0 when it is in `scratch`.
    """
    cdef Field field
    cdef Field inner
    cdef const uint8_t* inside
    cdef uint32_t kind = 0
    cdef uint64_t number = 0
    cdef Text value
    cdef int values = 0
    value.begin = NULL
    value.size = 0
    key[0].begin = NULL
    key[0].size = 0
    cdef const uint8_t* first = at
    while at < end:
        next_field(at, end, &field)
        at = field.after
        if field.wire != BYTES:
            continue
        if field.number == 1:
            key[0].begin = field.body
            key[0].size = field.after - field.body
        elif field.number == 2:
            values += 1
            inside = field.body
            while inside < field.after:
                next_field(inside, field.after, &inner)
                inside = inner.after
                if (inner.number == 2 or inner.number == 3) and inner.wire == VARINT:
                    kind = inner.number
                    number = inner.value
                elif inner.number == 4 and inner.wire == FIXED64:
                    kind = 4
                elif inner.wire == BYTES and (inner.number == 1 or 5 <= inner.number <= 7):
                    kind = inner.number
                    value.begin = inner.body
                    value.size = inner.after - inner.body
    scratch.used = 0
    if kind == 1:
        key[1] = value
        return 1
    if kind == 2:
        if number:
            put(scratch, <const char*>"true", 4)
        else:
            put(scratch, <const char*>"false", 5)
    elif kind == 3:
        reserve(scratch, 24)
        scratch.used = snprintf(<char*>scratch.data, 24, "%lld", <long long>number)
    elif kind:
        rendered = <bytes>render((<const char*>first)[:end - first])
        put(scratch, <const char*>rendered, len(<bytes>rendered))
    return 0


cdef inline Attribute* add_attribute(Attributes* list, uint32_t name, uint32_t value) except NULL:
    cdef Attribute* moved
    if list.count == list.room:
        moved = <Attribute*>realloc(list.items, (list.room * 2 + 16) * sizeof(Attribute))
        if moved == NULL:
            raise MemoryError
        list.items = moved
        list.room = list.room * 2 + 16
    list.items[list.count].name = name
    list.items[list.count].value = value
    list.items[list.count].key = NULL
    list.items[list.count].size = 0
    list.count += 1
    return list.items + list.count - 1


cdef inline int order_of(SymbolTable table, Attribute* one, Attribute* other) noexcept:
    """By name, then by original key."""
    cdef int found = table.compare(one.name, other.name)
    cdef size_t size
    if found:
        return found
    size = one.size if one.size < other.size else other.size
    found = memcmp(one.key, other.key, size) if size else 0
    if found:
        return found
    return (one.size > other.size) - (one.size < other.size)


cdef inline int sort_attributes(SymbolTable table, Attributes* list) except -1:
    """Sort by name and key; of one key the last attribute stays."""
    cdef size_t at, to, used
    cdef Attribute moved
    if list.count > 32:
        sort_many(table, list)
    else:
        for at in range(1, list.count):
            moved = list.items[at]
            to = at
            while to and order_of(table, list.items + to - 1, &moved) > 0:
                list.items[to] = list.items[to - 1]
                to -= 1
            list.items[to] = moved
    if list.count == 0:
        return 0
    used = 0
    for at in range(1, list.count):
        if order_of(table, list.items + used, list.items + at):
            used += 1
        list.items[used] = list.items[at]
    list.count = used + 1
    return 0


cdef inline int sort_many(SymbolTable table, Attributes* list) except -1:
    cdef size_t at
    cdef Attribute* item
    keys = []
    for at in range(list.count):
        item = list.items + at
        name = (<const char*>table.text.data)[
            table.symbols[item.name].offset : table.symbols[item.name].offset + table.symbols[item.name].length
        ]
        keys.append((name, (<const char*>item.key)[:item.size] if item.size else b"", at, item.value, <size_t>item.key))
    keys.sort()
    names = [list.items[entry[2]].name for entry in keys]
    for at in range(list.count):
        entry = keys[at]
        list.items[at].name = names[at]
        list.items[at].size = <uint32_t>len(entry[1])
        list.items[at].value = entry[3]
        list.items[at].key = <const uint8_t*><size_t>entry[4]
    return 0


cdef inline size_t alike(const Attributes* list, size_t first) noexcept nogil:
    """The end of the attributes that have the name of the first."""
    cdef size_t at = first + 1
    while at < list.count and list.items[at].name == list.items[first].name:
        at += 1
    return at
