"""What a resource and a scope give to all of their points: `job`, `instance` and the labels `otel_scope_*`."""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memcmp

from exporters.prometheus_remote_write.label_reader cimport LabelReader
from exporters.prometheus_remote_write.labels cimport (
    Attribute,
    Attributes,
    add_attribute,
    alike,
    append_name,
    sort_attributes,
)
from exporters.prometheus_remote_write.request cimport next_field
from exporters.wire.buffer cimport put
from exporters.wire.fields cimport BYTES, Field


cdef class SharedLabels(LabelReader):
    """Reads one resource after the other, and in each one scope after the other."""

    def __init__(self, render, bint utf8, bint scope_labels):
        super().__init__(render, utf8)
        self.scope_labels = scope_labels

    def __dealloc__(self):
        free(self.resource.items)
        free(self.scope.items)
        free(self.fixed.items)

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
            at = alike(&self.scope, first)
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


cdef bint identifies(Attribute* attribute) noexcept nogil:
    """Whether the attribute made `job` or `instance`."""
    if attribute.size == 12:
        return memcmp(attribute.key, <const char*>"service.name", 12) == 0
    if attribute.size == 17:
        return memcmp(attribute.key, <const char*>"service.namespace", 17) == 0
    return attribute.size == 19 and memcmp(attribute.key, <const char*>"service.instance.id", 19) == 0
