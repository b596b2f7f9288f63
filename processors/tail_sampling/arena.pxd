"""An insertion-ordered hash table of fixed-size entries keyed by trace id: what both tables are made of.

Entries lie in order of insertion in chunks that are freed from the front; an array of 32-bit slots finds them by
open addressing. Sequence numbers count insertions, so age order is sequence order. An entry begins with `Key`; an
all-zero key, which is no trace id, marks a dead entry. A slot holds the low 24 bits of the sequence number and 8 bits
of the hash, so the window between the oldest and the newest entry is bounded by WINDOW, dead ones included:
`arena_compact` closes gaps.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    static inline uint64_t tail_sampling_mix(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        uint64_t folded = (uint64_t)product ^ (uint64_t)(product >> 64);
        folded *= 0x9E3779B97F4A7C15ULL;
        return folded ^ (folded >> 32);
    }
    """
    uint64_t tail_sampling_mix(uint64_t a, uint64_t b) noexcept nogil

cdef enum:
    CHUNK_BITS = 12
    CHUNK = 4096
    SEQUENCE_MASK = 0xFFFFFF
    WINDOW = 0xFFF000
    FEWEST_SLOTS = 1024

cdef struct Key:
    uint64_t hi
    uint64_t lo

cdef struct Arena:
    size_t entry_size
    uint64_t seed_hi        # secret: ids come from the network
    uint64_t seed_lo
    char **chunks           # ring of `directory` pointers, a power of two
    uint64_t directory
    uint64_t front          # sequence number of the oldest entry kept
    uint64_t back           # sequence number of the next entry
    uint64_t live
    uint32_t *slots
    uint64_t capacity       # slots, a power of two


cdef inline uint32_t arena_empty() noexcept nogil:
    return 0xFFFFFFFF


cdef inline Key *arena_at(Arena *arena, uint64_t sequence) noexcept nogil:
    cdef char *chunk = arena.chunks[(sequence >> CHUNK_BITS) & (arena.directory - 1)]
    return <Key *>(chunk + (sequence & (CHUNK - 1)) * arena.entry_size)


cdef inline uint64_t arena_hash(Arena *arena, uint64_t hi, uint64_t lo) noexcept nogil:
    return tail_sampling_mix(hi ^ arena.seed_hi, lo ^ arena.seed_lo)


cdef inline uint32_t arena_tag(uint64_t hashed) noexcept nogil:
    cdef uint32_t tag = <uint32_t>(hashed >> 56)
    return 254 if tag == 255 else tag    # 255 is for the empty slot


cdef inline uint64_t arena_sequence(Arena *arena, uint32_t slot) noexcept nogil:
    return arena.front + ((<uint64_t>slot - arena.front) & SEQUENCE_MASK)


cdef inline bint arena_init(Arena *arena, size_t entry_size, uint64_t seed_hi, uint64_t seed_lo) noexcept nogil:
    """False when memory is out; `arena_free` is due either way."""
    memset(arena, 0, sizeof(Arena))
    arena.entry_size = entry_size
    arena.seed_hi = seed_hi
    arena.seed_lo = seed_lo
    arena.directory = 8
    arena.chunks = <char **>malloc(arena.directory * sizeof(char *))
    if arena.chunks == NULL:
        return False
    memset(arena.chunks, 0, arena.directory * sizeof(char *))
    return arena_rebuild(arena, FEWEST_SLOTS)


cdef inline void arena_free(Arena *arena) noexcept nogil:
    cdef uint64_t i
    if arena.chunks != NULL:
        for i in range(arena.directory):
            free(arena.chunks[i])
        free(arena.chunks)
    free(arena.slots)
    memset(arena, 0, sizeof(Arena))


cdef inline uint64_t arena_bytes(Arena *arena) noexcept nogil:
    """Memory held: chunks, directory and slots."""
    cdef uint64_t i, total = arena.directory * sizeof(char *) + arena.capacity * sizeof(uint32_t)
    for i in range(arena.directory):
        if arena.chunks[i] != NULL:
            total += CHUNK * arena.entry_size
    return total


cdef inline void arena_place(Arena *arena, uint64_t sequence) noexcept nogil:
    cdef Key *key = arena_at(arena, sequence)
    cdef uint64_t hashed = arena_hash(arena, key.hi, key.lo)
    cdef uint64_t mask = arena.capacity - 1
    cdef uint64_t i = hashed & mask
    while arena.slots[i] != arena_empty():
        i = (i + 1) & mask
    arena.slots[i] = (arena_tag(hashed) << 24) | <uint32_t>(sequence & SEQUENCE_MASK)


cdef inline bint arena_rebuild(Arena *arena, uint64_t capacity) noexcept nogil:
    """Index every live entry anew over `capacity` slots. False, and nothing changed, when memory is out."""
    cdef uint64_t sequence
    cdef Key *key
    cdef uint32_t *slots = <uint32_t *>malloc(capacity * sizeof(uint32_t))
    if slots == NULL:
        return False
    memset(slots, 0xFF, capacity * sizeof(uint32_t))
    free(arena.slots)
    arena.slots = slots
    arena.capacity = capacity
    for sequence in range(arena.front, arena.back):
        key = arena_at(arena, sequence)
        if key.hi | key.lo:
            arena_place(arena, sequence)
    return True


cdef inline Key *arena_find(Arena *arena, uint64_t hi, uint64_t lo, uint64_t *found) noexcept nogil:
    """The live entry of this id and its sequence number, or NULL."""
    cdef uint64_t hashed = arena_hash(arena, hi, lo)
    cdef uint64_t mask = arena.capacity - 1
    cdef uint64_t i = hashed & mask
    cdef uint32_t tag = arena_tag(hashed), slot
    cdef Key *key
    while True:
        slot = arena.slots[i]
        if slot == arena_empty():
            return NULL
        if slot >> 24 == tag:
            found[0] = arena_sequence(arena, slot)
            key = arena_at(arena, found[0])
            if key.hi == hi and key.lo == lo:
                return key
        i = (i + 1) & mask


cdef inline Key *arena_append(Arena *arena, uint64_t hi, uint64_t lo) noexcept nogil:
    """A new zeroed entry at the back; the id must not be in the arena. NULL when the window or the memory is full."""
    cdef uint64_t number, i
    cdef char **chunks
    cdef char *chunk
    cdef Key *key
    if arena.back - arena.front >= WINDOW:
        return NULL
    if (arena.live + 1) * 5 > arena.capacity * 4 and not arena_rebuild(arena, arena.capacity * 2):
        return NULL
    if arena.back & (CHUNK - 1) == 0 or arena.front == arena.back:
        number = arena.back >> CHUNK_BITS
        if number - (arena.front >> CHUNK_BITS) >= arena.directory:
            chunks = <char **>malloc(arena.directory * 2 * sizeof(char *))
            if chunks == NULL:
                return NULL
            memset(chunks, 0, arena.directory * 2 * sizeof(char *))
            for i in range(arena.front >> CHUNK_BITS, number):
                chunks[i & (arena.directory * 2 - 1)] = arena.chunks[i & (arena.directory - 1)]
            free(arena.chunks)
            arena.chunks = chunks
            arena.directory *= 2
        if arena.chunks[number & (arena.directory - 1)] == NULL:
            chunk = <char *>malloc(CHUNK * arena.entry_size)
            if chunk == NULL:
                return NULL
            arena.chunks[number & (arena.directory - 1)] = chunk
    key = arena_at(arena, arena.back)
    memset(key, 0, arena.entry_size)
    key.hi = hi
    key.lo = lo
    arena_place(arena, arena.back)
    arena.back += 1
    arena.live += 1
    return key


cdef inline void arena_kill(Arena *arena, uint64_t sequence) noexcept nogil:
    """Forget one live entry: its slot at once, its room when the front passes it."""
    cdef Key *key = arena_at(arena, sequence)
    cdef uint64_t mask = arena.capacity - 1
    cdef uint64_t hole = arena_hash(arena, key.hi, key.lo) & mask
    cdef uint64_t i, home
    cdef Key *other
    while arena_sequence(arena, arena.slots[hole]) != sequence:
        hole = (hole + 1) & mask
    i = hole
    while True:                 # shift the rest of the cluster back, so that no probe ends too early
        i = (i + 1) & mask
        if arena.slots[i] == arena_empty():
            break
        other = arena_at(arena, arena_sequence(arena, arena.slots[i]))
        home = arena_hash(arena, other.hi, other.lo) & mask
        if ((i - home) & mask) >= ((i - hole) & mask):
            arena.slots[hole] = arena.slots[i]
            hole = i
    arena.slots[hole] = arena_empty()
    key.hi = 0
    key.lo = 0
    arena.live -= 1


cdef inline void arena_drop_chunk(Arena *arena, uint64_t number) noexcept nogil:
    cdef uint64_t at = number & (arena.directory - 1)
    free(arena.chunks[at])
    arena.chunks[at] = NULL


cdef inline void arena_trim(Arena *arena) noexcept nogil:
    """Give back what dead entries at the front, or too many in between, hold. Amortised constant time a kill."""
    cdef Key *key
    while arena.front < arena.back:
        key = arena_at(arena, arena.front)
        if key.hi | key.lo:
            break
        arena.front += 1
        if arena.front & (CHUNK - 1) == 0:
            arena_drop_chunk(arena, (arena.front >> CHUNK_BITS) - 1)
    if arena.back - arena.front > 2 * arena.live + 2 * CHUNK:
        arena_compact(arena)
    elif arena.capacity > FEWEST_SLOTS and arena.live * 16 < arena.capacity:
        arena_rebuild(arena, arena_fewer_slots(arena))


cdef inline void arena_compact(Arena *arena) noexcept nogil:
    """Move the live entries together, in order, and index them anew."""
    cdef uint64_t source, number, target = arena.front, back = arena.back
    cdef Key *key
    for source in range(arena.front, back):
        key = arena_at(arena, source)
        if key.hi | key.lo:
            if source != target:
                memcpy(arena_at(arena, target), key, arena.entry_size)
            target += 1
    arena.back = target
    for number in range((target + CHUNK - 1) >> CHUNK_BITS, (back + CHUNK - 1) >> CHUNK_BITS):
        arena_drop_chunk(arena, number)
    if not arena_rebuild(arena, arena_fewer_slots(arena)):
        arena_reindex(arena)


cdef inline uint64_t arena_fewer_slots(Arena *arena) noexcept nogil:
    """As many slots as there are, or as few as leave them a quarter to a half full."""
    cdef uint64_t capacity = arena.capacity
    while capacity > FEWEST_SLOTS and arena.live * 4 < capacity:
        capacity //= 2
    return capacity


cdef inline void arena_reindex(Arena *arena) noexcept nogil:
    """`arena_rebuild` in the memory that is there."""
    cdef uint64_t sequence
    memset(arena.slots, 0xFF, arena.capacity * sizeof(uint32_t))
    for sequence in range(arena.front, arena.back):
        arena_place(arena, sequence)
