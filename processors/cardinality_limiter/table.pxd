"""An open-addressing hash table of 32-byte entries under 128-bit keyed hashes: what is active, and since when.

Entries lie in chunks and never move, so a number names one for as long as it lives; 32-bit slots, a number and 8 bits
of the hash each, find them. About 40 bytes an entry. No key is kept: its hash can't be aimed at.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from processors.cardinality_limiter.siphash cimport Hash

cdef enum:
    CHUNK_BITS = 12
    CHUNK = 4096
    MOST_ENTRIES = 0xFFF000
    NUMBER_MASK = 0xFFFFFF
    FEWEST_SLOTS = 1024

cdef enum Kind:
    FREE = 0
    ADMITTED = 1             # a series that passes as it is
    MEMBER = 2               # a cumulative series that is folded: `link` is its member
    AGGREGATE = 3            # a series that re-aggregation makes: `link` is its aggregate
    LABEL = 4                # a label of a metric: `link` is the label
    VALUE = 5                # a value of a label: `owner` is the label

cdef struct Entry:
    uint64_t hi
    uint64_t lo
    uint32_t owner           # a series' group, a label's group, a value's label
    uint32_t link            # by kind; of a free entry, the next free one
    uint32_t epoch           # of its last point
    uint8_t kind
    uint8_t cause            # of a member or an aggregate: the limit that made it

cdef struct Table:
    Entry **chunks
    uint32_t chunk_count
    uint32_t chunk_room
    uint32_t used            # entries that ever were
    uint32_t live
    uint32_t vacant          # first free entry, or NUMBER_MASK
    uint32_t *slots
    uint64_t capacity        # slots, a power of two


cdef inline bint table_init(Table *table) noexcept nogil:
    """False when memory is out; `table_free` is due either way."""
    memset(table, 0, sizeof(Table))
    table.vacant = NUMBER_MASK
    return table_index(table, FEWEST_SLOTS)


cdef inline void table_free(Table *table) noexcept nogil:
    cdef uint32_t i
    for i in range(table.chunk_count):
        free(table.chunks[i])
    free(table.chunks)
    free(table.slots)
    memset(table, 0, sizeof(Table))


cdef inline uint64_t table_bytes(const Table *table) noexcept nogil:
    return (
        <uint64_t>table.chunk_count * CHUNK * sizeof(Entry) + table.chunk_room * sizeof(Entry *)
        + table.capacity * sizeof(uint32_t)
    )


cdef inline Entry *table_at(const Table *table, uint32_t number) noexcept nogil:
    return &table.chunks[number >> CHUNK_BITS][number & (CHUNK - 1)]


cdef inline uint32_t slot_of(Hash hash, uint32_t number) noexcept nogil:
    cdef uint32_t tag = <uint32_t>(hash.hi >> 56)
    return ((254 if tag == 255 else tag) << 24) | number    # 255 is for the empty slot


cdef inline bint table_index(Table *table, uint64_t capacity) noexcept nogil:
    """Index every entry anew over `capacity` slots. False, and nothing changed, when memory is out."""
    cdef uint32_t number
    cdef uint64_t i, mask = capacity - 1
    cdef Entry *entry
    cdef uint32_t *slots = <uint32_t *>malloc(capacity * sizeof(uint32_t))
    if slots == NULL:
        return False
    memset(slots, 0xFF, capacity * sizeof(uint32_t))
    for number in range(table.used):
        entry = table_at(table, number)
        if entry.kind != FREE:
            i = entry.lo & mask
            while slots[i] != <uint32_t>0xFFFFFFFF:
                i = (i + 1) & mask
            slots[i] = slot_of(Hash(entry.hi, entry.lo), number)
    free(table.slots)
    table.slots = slots
    table.capacity = capacity
    return True


cdef inline Entry *table_find(const Table *table, Hash hash, uint32_t *number) noexcept nogil:
    """The entry of a hash, and its number, or NULL."""
    cdef uint64_t mask = table.capacity - 1
    cdef uint64_t i = hash.lo & mask
    cdef uint32_t slot, tag = slot_of(hash, 0) >> 24
    cdef Entry *entry
    while True:
        slot = table.slots[i]
        if slot == <uint32_t>0xFFFFFFFF:
            return NULL
        if slot >> 24 == tag:
            number[0] = slot & NUMBER_MASK
            entry = table_at(table, number[0])
            if entry.hi == hash.hi and entry.lo == hash.lo:
                return entry
        i = (i + 1) & mask


cdef inline Entry *table_add(Table *table, Hash hash, uint32_t *number) noexcept nogil:
    """A new zeroed entry, which must not be in the table; its kind is the caller's to set, at once. NULL when full."""
    cdef Entry **chunks
    cdef Entry *chunk
    cdef Entry *entry
    cdef uint32_t room
    cdef uint64_t i
    if (<uint64_t>table.live + 1) * 5 > table.capacity * 4 and not table_index(table, table.capacity * 2):
        return NULL
    if table.vacant != NUMBER_MASK:
        number[0] = table.vacant
        entry = table_at(table, number[0])
        table.vacant = entry.link
    else:
        if table.used >= MOST_ENTRIES:
            return NULL
        if table.used == table.chunk_count * CHUNK:
            if table.chunk_count == table.chunk_room:
                room = table.chunk_room * 2 if table.chunk_room else 8
                chunks = <Entry **>realloc(table.chunks, room * sizeof(Entry *))
                if chunks == NULL:
                    return NULL
                table.chunks = chunks
                table.chunk_room = room
            chunk = <Entry *>malloc(CHUNK * sizeof(Entry))
            if chunk == NULL:
                return NULL
            table.chunks[table.chunk_count] = chunk
            table.chunk_count += 1
        number[0] = table.used
        entry = table_at(table, number[0])
        table.used += 1
    memset(entry, 0, sizeof(Entry))
    entry.hi = hash.hi
    entry.lo = hash.lo
    i = hash.lo & (table.capacity - 1)
    while table.slots[i] != <uint32_t>0xFFFFFFFF:
        i = (i + 1) & (table.capacity - 1)
    table.slots[i] = slot_of(hash, number[0])
    table.live += 1
    return entry


cdef inline void table_remove(Table *table, uint32_t number) noexcept nogil:
    cdef Entry *entry = table_at(table, number)
    cdef uint64_t mask = table.capacity - 1
    cdef uint64_t hole = entry.lo & mask, i, home
    cdef uint32_t *slots = table.slots
    while slots[hole] == <uint32_t>0xFFFFFFFF or slots[hole] & NUMBER_MASK != number:
        hole = (hole + 1) & mask
    i = hole
    while True:                  # shift the rest of the cluster back, so that no probe ends too early
        i = (i + 1) & mask
        if slots[i] == <uint32_t>0xFFFFFFFF:
            break
        home = table_at(table, slots[i] & NUMBER_MASK).lo & mask
        if ((i - home) & mask) >= ((i - hole) & mask):
            slots[hole] = slots[i]
            hole = i
    slots[hole] = <uint32_t>0xFFFFFFFF
    entry.kind = FREE
    entry.link = table.vacant
    table.vacant = number
    table.live -= 1
