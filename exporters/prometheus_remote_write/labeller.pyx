"""Attributes of points, scopes and resources as the labels of series."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp

from exporters.prometheus_remote_write.labels cimport (
    Attribute,
    Attributes,
    Text,
    add_attribute,
    append_name,
    label_name,
    next_field,
    order_of,
    read_attribute,
    sort_attributes,
)
from exporters.prometheus_remote_write.points cimport Spans
from exporters.prometheus_remote_write.series cimport Labels, Pair, SeriesTable
from exporters.prometheus_remote_write.symbols cimport NONE
from exporters.wire.buffer cimport put
from exporters.wire.fields cimport BYTES, FIXED64, Field
from exporters.wire.numbers cimport load64

cdef enum:
    MOST_CHARACTERS = 128    # of all labels of an exemplar

cdef const char* HEX = "0123456789abcdef"


cdef size_t characters(const uint8_t* text, size_t size) noexcept nogil:
    cdef size_t at, count = 0
    for at in range(size):
        count += text[at] & 0xc0 != 0x80
    return count


cdef class Labeller:
    """Makes labels for one table after the other. `render` gives the text of values that are none of string, bool, int;
    `external` are (name, value) of labels for every series.
    """

    def __init__(self, render, external, bint resource_labels, bint scope_labels, bint utf8):
        self.render = render
        self.external_labels = sorted(external)
        self.resource_labels, self.scope_labels, self.utf8 = resource_labels, scope_labels, utf8

    def __dealloc__(self):
        free(self.scratch.data)
        free(self.joined.data)
        free(self.own.items)
        free(self.resource.items)
        free(self.scope.items)
        free(self.merged.items)
        free(self.fixed.items)
        free(self.external.items)
        free(self.chosen.items)
        free(self.pairs)

    cdef int begin(self, SeriesTable table) except -1:
        """Make labels for `table` from now on."""
        self.table = table
        self.trace_id = table.intern_bytes(b"trace_id")
        self.span_id = table.intern_bytes(b"span_id")
        self.external.count = 0
        for name, value in self.external_labels:
            add_attribute(&self.external, table.intern_bytes(name), table.intern_bytes(value))
        return 0

    cdef int begin_resource(self, const uint8_t* at, const uint8_t* end) except -1:
        """Read the Resources of a ResourceMetrics, which protobuf merges."""
        cdef const uint8_t* inside
        cdef Field field
        cdef Field inner
        self.resource.count = 0
        while at < end:
            next_field(at, end, &field)
            at = field.after
            if field.number == 1 and field.wire == BYTES:
                inside = field.body
                while inside < field.after:
                    next_field(inside, field.after, &inner)
                    inside = inner.after
                    if inner.number == 1 and inner.wire == BYTES:
                        self.read_label(&self.resource, inner.body, inner.after)
        sort_attributes(self.table, &self.resource)
        return self.end_scope()

    cdef int read_label(self, Attributes* list, const uint8_t* at, const uint8_t* end) except -1:
        """Add one attribute, name sanitised, value as text."""
        cdef Text[2] key
        cdef Attribute* attribute
        cdef uint32_t value
        if read_attribute(self.table, &self.scratch, self.render, at, end, self.utf8, key):
            value = self.table.intern(key[1].begin, key[1].size)
        else:
            value = self.table.intern(self.scratch.data, self.scratch.used)
        attribute = add_attribute(
            list, label_name(self.table, &self.scratch, key[0].begin, key[0].size, self.utf8), value
        )
        attribute.key = key[0].begin
        attribute.size = <uint32_t>key[0].size
        return 0

    cdef Attribute* attribute(self, Attributes* list, bytes key) noexcept:
        cdef size_t at, size = len(key)
        for at in range(list.count):
            if list.items[at].size == size and memcmp(list.items[at].key, <const char*>key, size) == 0:
                return list.items + at
        return NULL

    cdef int end_scope(self) except -1:
        """`fixed` without the scope's labels: `job` and `instance`."""
        cdef Attribute* name = self.attribute(&self.resource, b"service.name")
        cdef Attribute* space = self.attribute(&self.resource, b"service.namespace")
        cdef Attribute* instance = self.attribute(&self.resource, b"service.instance.id")
        cdef uint32_t job = 0
        self.fixed.count = 0
        if name != NULL and name.value:
            job = name.value
            if space != NULL and space.value:
                self.joined.used = 0
                self.join(space.value)
                put(&self.joined, <const char*>"/", 1)
                self.join(name.value)
                job = self.table.intern(self.joined.data, self.joined.used)
            add_attribute(&self.fixed, self.table.intern_bytes(b"job"), job)
        if instance != NULL and instance.value:
            add_attribute(&self.fixed, self.table.intern_bytes(b"instance"), instance.value)
        return 0

    cdef int join(self, uint32_t symbol) except -1:
        return put(
            &self.joined, self.table.text.data + self.table.symbols[symbol].offset, self.table.symbols[symbol].length
        )

    cdef int begin_scope(self, const uint8_t* at, const uint8_t* end) except -1:
        """Read the scopes of a ScopeMetrics, which protobuf merges, into `fixed`."""
        cdef const uint8_t* inside
        cdef Field field
        cdef Field inner
        cdef uint32_t name = 0, version = 0, schema = 0
        self.scope.count = 0
        if self.scope_labels:
            while at < end:
                next_field(at, end, &field)
                at = field.after
                if field.number == 3 and field.wire == BYTES:
                    schema = self.table.intern(field.body, field.after - field.body)
                if field.number != 1 or field.wire != BYTES:
                    continue
                inside = field.body
                while inside < field.after:
                    next_field(inside, field.after, &inner)
                    inside = inner.after
                    if inner.wire != BYTES:
                        continue
                    if inner.number == 1:
                        name = self.table.intern(inner.body, inner.after - inner.body)
                    elif inner.number == 2:
                        version = self.table.intern(inner.body, inner.after - inner.body)
                    elif inner.number == 3:
                        self.read_label(&self.scope, inner.body, inner.after)
            self.prefix_scope()
            self.add_scope(b"otel_scope_name", name)
            self.add_scope(b"otel_scope_version", version)
            self.add_scope(b"otel_scope_schema_url", schema)
        return sort_attributes(self.table, &self.fixed)

    cdef int prefix_scope(self) except -1:
        """Attributes of the scope as labels; the scope's own name, version and URL win against them."""
        cdef size_t at, first
        cdef uint32_t value
        cdef Attribute* attribute
        for at in range(self.scope.count):
            attribute = self.scope.items + at
            self.scratch.used = 0
            put(&self.scratch, <const char*>"otel_scope_", 11)
            if self.utf8:
                put(&self.scratch, attribute.key, attribute.size)
            else:
                append_name(&self.scratch, attribute.key, attribute.size)
            attribute.name = self.table.intern(self.scratch.data, self.scratch.used)
        sort_attributes(self.table, &self.scope)
        at = 0
        while at < self.scope.count:
            first = at
            at = self.alike(&self.scope, first)
            value = self.value_of(&self.scope, first, at)
            if value:
                add_attribute(&self.fixed, self.scope.items[first].name, value)
        return 0

    cdef int add_scope(self, bytes name, uint32_t value) except -1:
        """Set a label of the scope in `fixed`, unless it is empty."""
        cdef uint32_t symbol
        cdef size_t at
        if value == 0:
            return 0
        symbol = self.table.intern_bytes(name)
        for at in range(self.fixed.count):
            if self.fixed.items[at].name == symbol:
                self.fixed.items[at].value = value
                return 0
        add_attribute(&self.fixed, symbol, value)
        return 0

    # -- labels

    cdef size_t alike(self, Attributes* list, size_t first) noexcept:
        """The end of the attributes that have the name of the first."""
        cdef size_t at = first + 1
        while at < list.count and list.items[at].name == list.items[first].name:
            at += 1
        return at

    cdef uint32_t value_of(self, Attributes* list, size_t first, size_t end) except? 4294967295:
        """The values of attributes that share a name, joined by semicolons in the order of the original keys."""
        cdef size_t at
        if end == first + 1:
            return list.items[first].value
        self.joined.used = 0
        for at in range(first, end):
            if at > first:
                put(&self.joined, <const char*>";", 1)
            self.join(list.items[at].value)
        return self.table.intern(self.joined.data, self.joined.used)

    cdef int pair_room_for(self, size_t count) except -1:
        cdef Pair* moved
        if self.pair_room < count:
            moved = <Pair*>realloc(self.pairs, (count * 2 + 32) * sizeof(Pair))
            if moved == NULL:
                raise MemoryError
            self.pairs = moved
            self.pair_room = count * 2 + 32
        return 0

    cdef int merge_resource(self) except -1:
        """The point's attributes and the resource's in one sorted list; of one key the resource's counts."""
        cdef size_t at = 0, other = 0
        cdef int order
        self.merged.count = 0
        while at < self.own.count or other < self.resource.count:
            if at == self.own.count:
                order = 1
            elif other == self.resource.count:
                order = -1
            else:
                order = order_of(self.table, self.own.items + at, self.resource.items + other)
            if order < 0:
                add_attribute(&self.merged, 0, 0)[0] = self.own.items[at]
                at += 1
            else:
                add_attribute(&self.merged, 0, 0)[0] = self.resource.items[other]
                other += 1
                at += order == 0
        return 0

    cdef int finish_labels(self, Attributes* list, Labels* labels) except -1:
        """Labels of a sorted list, with the fixed ones above and the external ones below it."""
        cdef size_t at = 0, fixed = 0, external = 0, stop
        cdef uint32_t name, value, own
        self.pair_room_for(list.count + self.fixed.count + self.external.count)
        labels.pairs = self.pairs
        labels.count = 0
        while at < list.count or fixed < self.fixed.count or external < self.external.count:
            name = NONE
            if at < list.count:
                name = list.items[at].name
            if fixed < self.fixed.count and (
                name == NONE or self.table.compare(self.fixed.items[fixed].name, name) < 0
            ):
                name = self.fixed.items[fixed].name
            if external < self.external.count and (
                name == NONE or self.table.compare(self.external.items[external].name, name) < 0
            ):
                name = self.external.items[external].name
            value = 0
            if external < self.external.count and self.external.items[external].name == name:
                value = self.external.items[external].value
                external += 1
            if at < list.count and list.items[at].name == name:
                stop = self.alike(list, at)
                own = self.value_of(list, at, stop)
                if own:
                    value = own
                at = stop
            if fixed < self.fixed.count and self.fixed.items[fixed].name == name:
                value = self.fixed.items[fixed].value
                fixed += 1
            if value and name != self.table.name_label:
                labels.pairs[labels.count].name = name
                labels.pairs[labels.count].value = value
                labels.count += 1
        self.table.measure(labels)
        return 0

    cdef int of_point(self, Spans* attributes, Labels* labels) except -1:
        """The labels of a point, but for `__name__` and those of its kind."""
        cdef size_t at
        self.own.count = 0
        for at in range(attributes.count):
            self.read_label(&self.own, attributes.items[at].begin, attributes.items[at].end)
        sort_attributes(self.table, &self.own)
        if self.resource_labels:
            self.merge_resource()
            return self.finish_labels(&self.merged, labels)
        return self.finish_labels(&self.own, labels)

    cdef uint32_t place_of(self, Labels* labels, uint32_t name, bint* replaces) noexcept:
        """Where `name` belongs among the labels, and whether it is there already."""
        cdef uint32_t at = labels.name_at
        while at < labels.count and self.table.compare(labels.pairs[at].name, name) < 0:
            at += 1
        replaces[0] = at < labels.count and labels.pairs[at].name == name
        return at

    cdef bint of_target(self, Labels* labels) except -1:
        """The labels of `target_info`: the resource's attributes but for those that made `job` and `instance`.

        False where there are no others, or neither of these two.
        """
        cdef size_t at
        self.chosen.count = 0
        for at in range(self.resource.count):
            if not identifies(self.resource.items + at):
                add_attribute(&self.chosen, 0, 0)[0] = self.resource.items[at]
        if self.fixed.count == 0 or self.chosen.count == 0:
            return False
        sort_attributes(self.table, &self.fixed)
        self.finish_labels(&self.chosen, labels)
        return True

    cdef uint64_t of_exemplar(self, const uint8_t* at, const uint8_t* end, int* cut) except? 18446744073709551615:
        """The labels of an exemplar in `chosen`, ids first, then the attributes that still fit; its time in ns.

        `cut` counts those that don't.
        """
        cdef SeriesTable table = self.table
        cdef Field field
        cdef Text trace, span
        cdef uint64_t time = 0
        cdef size_t room = MOST_CHARACTERS, first = 0, stop, size
        cdef uint32_t name, text
        cdef bint traced, spanned
        trace.size = span.size = 0
        self.chosen.count = 0
        self.own.count = 0
        while at < end:
            next_field(at, end, &field)
            at = field.after
            if field.wire == FIXED64 and field.number == 2:
                time = load64(field.body)
            elif field.wire == BYTES and field.number == 4:
                span.begin, span.size = field.body, field.after - field.body
            elif field.wire == BYTES and field.number == 5:
                trace.begin, trace.size = field.body, field.after - field.body
            elif field.wire == BYTES and field.number == 7:
                self.read_label(&self.own, field.body, field.after)
        sort_attributes(table, &self.own)
        traced = trace.size == 16 and any_bit(&trace)
        spanned = span.size == 8 and any_bit(&span)
        if traced:
            add_attribute(&self.chosen, self.trace_id, self.hex(&trace))
            room -= 8 + 32
        if spanned:
            add_attribute(&self.chosen, self.span_id, self.hex(&span))
            room -= 7 + 16
        while first < self.own.count:
            stop = self.alike(&self.own, first)
            name = self.own.items[first].name
            text = self.value_of(&self.own, first, stop)
            first = stop
            if text == 0 or name == table.name_label:
                continue
            if (traced and name == self.trace_id) or (spanned and name == self.span_id):
                continue
            size = characters(table.text.data + table.symbols[name].offset, table.symbols[name].length)
            size += characters(table.text.data + table.symbols[text].offset, table.symbols[text].length)
            if size > room:
                cut[0] += 1
                continue
            room -= size
            add_attribute(&self.chosen, name, text)
        sort_attributes(table, &self.chosen)
        return time

    cdef uint32_t hex(self, Text* identifier) except? 4294967295:
        cdef uint8_t[32] text
        cdef size_t at
        for at in range(identifier.size):
            text[2 * at] = HEX[identifier.begin[at] >> 4]
            text[2 * at + 1] = HEX[identifier.begin[at] & 15]
        return self.table.intern(text, 2 * identifier.size)


cdef bint any_bit(Text* identifier) noexcept nogil:
    cdef size_t at
    for at in range(identifier.size):
        if identifier.begin[at]:
            return True
    return False


cdef bint identifies(Attribute* attribute) noexcept nogil:
    """Whether the attribute made `job` or `instance`."""
    if attribute.size == 12:
        return memcmp(attribute.key, <const char*>"service.name", 12) == 0
    if attribute.size == 17:
        return memcmp(attribute.key, <const char*>"service.namespace", 17) == 0
    return attribute.size == 19 and memcmp(attribute.key, <const char*>"service.instance.id", 19) == 0
