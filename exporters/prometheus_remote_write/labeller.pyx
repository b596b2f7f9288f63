"""Attributes of points and resources as the labels of series."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc

from exporters.prometheus_remote_write.labels cimport Attributes, add_attribute, alike, order_of, sort_attributes
from exporters.prometheus_remote_write.points cimport Spans
from exporters.prometheus_remote_write.series cimport Labels, Pair, SeriesTable
from exporters.prometheus_remote_write.shared_labels cimport SharedLabels, identifies
from exporters.prometheus_remote_write.symbols cimport NONE


cdef class Labeller(SharedLabels):
    """Makes labels for one table after the other. `render` gives the text of values that are none of string, bool, int;
    `external` are (name, value) of labels for every series.
    """

    def __init__(self, render, external, bint resource_labels, bint scope_labels, bint utf8):
        super().__init__(render, utf8, scope_labels)
        self.external_labels = sorted(external)
        self.resource_labels = resource_labels

    def __dealloc__(self):
        free(self.own.items)
        free(self.merged.items)
        free(self.external.items)
        free(self.chosen.items)
        free(self.pairs)

    cdef int begin(self, SeriesTable table) except -1:
        """Make labels for `table` from now on."""
        self.table = table
        self.external.count = 0
        for name, value in self.external_labels:
            add_attribute(&self.external, table.intern_bytes(name), table.intern_bytes(value))
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

    cdef uint32_t place_of(self, Labels* labels, uint32_t name, bint* replaces) noexcept:
        """Where `name` belongs among the labels, and whether it is there already."""
        cdef uint32_t at = labels.name_at
        while at < labels.count and self.table.compare(labels.pairs[at].name, name) < 0:
            at += 1
        replaces[0] = at < labels.count and labels.pairs[at].name == name
        return at

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
                stop = alike(list, at)
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

    cdef int pair_room_for(self, size_t count) except -1:
        cdef Pair* moved
        if self.pair_room < count:
            moved = <Pair*>realloc(self.pairs, (count * 2 + 32) * sizeof(Pair))
            if moved == NULL:
                raise MemoryError
            self.pairs = moved
            self.pair_room = count * 2 + 32
        return 0
