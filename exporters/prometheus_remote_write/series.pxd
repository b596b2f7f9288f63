"""What one staged request holds: symbols, series, samples and exemplars, in arrays."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from exporters.wire.buffer cimport Buffer

cdef enum:
    NONE = 0xffffffff
    TARGET_EVERY = 60000     # ms between two samples of one target_info; queries look back for 300000

cdef enum Reason:
    # The order of the words in `reasons.py`.
    TAKEN
    FUTURE
    INVALID_TIME
    INVALID_NAME
    MALFORMED_HISTOGRAM
    UNSUPPORTED_SCALE
    INVALID_DELTA
    TEMPORALITY
    STREAM_LIMIT
    CONFLICT
    TOO_LARGE
    LATE


cdef struct Symbol:
    uint64_t lo, hi          # keyed hashes of the text
    uint32_t offset, length


cdef struct Pair:
    uint32_t name, value     # symbols


cdef struct Labels:
    Pair* pairs              # sorted by name, names unique, no value empty
    uint32_t count
    uint64_t lo, hi          # sums of the pairs' hashes
    uint32_t name_at         # where `__name__` belongs


cdef struct Series:
    uint64_t lo, hi
    uint32_t pairs           # offset
    uint32_t count
    uint32_t family
    uint32_t samples
    uint32_t size            # of the labels in version 1


cdef struct Sample:
    int64_t time             # ms
    int64_t created          # ms, 0 where it isn't known
    double value
    uint32_t series
    uint32_t row             # NONE where no data point stands behind it
    uint32_t histogram       # offset in `blobs`, NONE for a float
    uint32_t size            # of the blob
    uint32_t exemplar        # the last one, NONE without


cdef struct Exemplar:
    int64_t time
    double value
    uint32_t pairs, count
    uint32_t before          # the one before it in the same sample


cdef struct Family:
    uint32_t name, help, unit, type


cdef class SeriesTable:
    cdef uint64_t[4] key
    cdef Buffer text, blobs
    cdef Symbol* symbols
    cdef size_t symbol_count, symbol_room
    cdef uint32_t* symbol_slots
    cdef size_t symbol_mask
    cdef Pair* pairs
    cdef size_t pair_count, pair_room
    cdef Series* series
    cdef size_t series_count, series_room, label_bytes
    cdef uint32_t* series_slots
    cdef size_t series_mask
    cdef Sample* samples
    cdef size_t sample_count, sample_room
    cdef Exemplar* exemplars
    cdef size_t exemplar_count, exemplar_room
    cdef Family* families
    cdef size_t family_count, family_room
    cdef uint8_t* reasons
    cdef size_t row_count, row_room
    cdef uint32_t* order
    cdef size_t order_count
    cdef readonly list lanes
    cdef readonly int exemplars_cut
    cdef readonly int duplicates
    cdef uint32_t name_label

    cdef uint32_t intern(self, const uint8_t* text, size_t size) except? 4294967295
    cdef uint32_t intern_bytes(self, bytes text) except? 4294967295
    cdef uint32_t family(self, uint32_t name, uint32_t kind, uint32_t about, uint32_t unit) except? 4294967295
    cdef int measure(self, Labels* labels) except -1
    cdef uint32_t series_of(
        self, Labels* labels, uint32_t name, uint32_t extra, uint32_t value, uint32_t at, bint replaces, uint32_t family
    ) except? 4294967295
    cdef Sample* sample(
        self, uint32_t series, int64_t time, double value, int64_t created, uint32_t row
    ) except NULL
    cdef Exemplar* new_exemplar(self, size_t labels) except NULL
    cdef int pair_room_for(self, size_t more) except -1
    cdef int forget(self, size_t first) except -1
    cdef int next_row(self) except -1
    cdef int refuse(self, uint32_t row, uint8_t reason) except -1
    cdef int compare(self, uint32_t one, uint32_t other) noexcept
    cdef int arrange(self, uint32_t lanes) except -1
    cdef int settle(self, uint32_t count, uint32_t* kept) except -1


cdef uint64_t mix(uint64_t one, uint64_t other) noexcept nogil
