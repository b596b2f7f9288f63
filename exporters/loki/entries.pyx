"""The entries that one request became, by stream and time, and the push requests that are made of them."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcpy

from exporters.wire.fields cimport varint_size, write_varint

import numpy as np


cdef int by_time(const void* a, const void* b) noexcept nogil:
    cdef const Entry* one = <const Entry*>a
    cdef const Entry* other = <const Entry*>b
    if one.time != other.time:
        return -1 if one.time < other.time else 1
    return -1 if one.row < other.row else 1


cdef class Entries:
    """Made by `Encoder.encode`. Positions count entries in the order of (labels, time, row)."""

    def __dealloc__(self):
        free(self.content.data)
        free(self.entries)

    def __len__(self):
        return self.count

    @property
    def rows(self):
        rows = np.empty(self.count, np.uint32)
        cdef uint32_t[::1] to = rows
        cdef size_t i
        for i in range(self.count):
            to[i] = self.entries[i].row
        return rows

    @property
    def times(self):
        times = np.empty(self.count, np.uint64)
        cdef uint64_t[::1] to = times
        cdef size_t i
        for i in range(self.count):
            to[i] = self.entries[i].time
        return times

    @property
    def sizes(self):
        sizes = np.empty(self.count, np.uint32)
        cdef uint32_t[::1] to = sizes
        cdef size_t i
        for i in range(self.count):
            to[i] = self.entries[i].size
        return sizes

    def push(self, const uint32_t[::1] positions not None):
        cdef size_t total = 0, n = positions.shape[0], first = 0, after, size, inner
        cdef bytes labels, request
        cdef uint8_t* to
        cdef Entry* entry
        for after in range(n):
            if positions[after] >= self.count:
                raise IndexError("there is no such entry")
        while first < n:
            size = self._run(positions, first, &after)
            total += 1 + varint_size(size) + size
            first = after
        request = PyBytes_FromStringAndSize(NULL, total)
        to = <uint8_t*>PyBytes_AS_STRING(request)
        first = 0
        while first < n:
            size = self._run(positions, first, &after)
            labels = self.labels[self.entries[positions[first]].stream]
            to[0] = 0x0A  # streams
            to = write_varint(to + 1, size)
            to[0] = 0x0A  # labels
            inner = len(labels)
            to = write_varint(to + 1, inner)
            memcpy(to, PyBytes_AS_STRING(labels), inner)
            to += inner
            while first < after:
                entry = &self.entries[positions[first]]
                memcpy(to, self.content.data + entry.offset, entry.size)
                to += entry.size
                first += 1
        return request

    cdef size_t _run(self, const uint32_t[::1] positions, size_t first, size_t* after):
        """Bytes of the stream that begins at `first`, and where it ends."""
        cdef uint32_t stream = self.entries[positions[first]].stream
        cdef size_t at = first, n = positions.shape[0], labels = len(<bytes>self.labels[stream]), size
        size = 1 + varint_size(labels) + labels
        while at < n and self.entries[positions[at]].stream == stream:
            size += self.entries[positions[at]].size
            at += 1
        after[0] = at
        return size

    cdef Entry* add(self) except NULL:
        """A new entry, with nothing in it."""
        cdef Entry* moved
        if self.count == self.room:
            moved = <Entry*>realloc(self.entries, (2 * self.room + 64) * sizeof(Entry))
            if moved == NULL:
                raise MemoryError
            self.entries = moved
            self.room = 2 * self.room + 64
        self.count += 1
        return &self.entries[self.count - 1]

    cdef int sort(self) except -1:
        """Bring everything into its order: streams by their labels, entries by time and row."""
        cdef list order = sorted(range(len(self.labels)), key=self.labels.__getitem__)
        cdef size_t streams = len(order), i, start
        cdef uint32_t[::1] rank
        cdef size_t[::1] ends
        cdef Entry* sorted_entries
        if not self.count:
            return 0
        rank = np.empty(streams, np.uint32)
        for i in range(streams):
            rank[<size_t>order[i]] = <uint32_t>i
        self.labels = [self.labels[i] for i in order]
        ends = np.zeros(streams + 1, np.uintp)
        for i in range(self.count):
            self.entries[i].stream = rank[self.entries[i].stream]
            ends[self.entries[i].stream + 1] += 1
        for i in range(streams):
            ends[i + 1] += ends[i]
        sorted_entries = <Entry*>malloc(self.count * sizeof(Entry))
        if sorted_entries == NULL:
            raise MemoryError
        for i in range(self.count):
            start = ends[self.entries[i].stream]
            ends[self.entries[i].stream] += 1
            sorted_entries[start] = self.entries[i]
        free(self.entries)
        self.entries = sorted_entries
        self.room = self.count
        start = 0
        for i in range(1, self.count + 1):
            if i == self.count or sorted_entries[i].stream != sorted_entries[start].stream:
                sort_run(sorted_entries + start, i - start)
                start = i
        return 0


cdef void sort_run(Entry* run, size_t count) noexcept nogil:
    cdef size_t i
    for i in range(1, count):
        if run[i].time < run[i - 1].time:
            qsort(run, count, sizeof(Entry), by_time)
            return
