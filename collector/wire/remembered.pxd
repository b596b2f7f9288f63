"""Answers of a slow question about a text, for the last `capacity` distinct texts that were asked about.

Read and written without the GIL by any number of scans at once: one lock each, never held while Python runs.
"""

from cpython.pythread cimport (
    PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_release_lock, PyThread_type_lock,
    NOWAIT_LOCK, WAIT_LOCK,
)
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

cdef enum:
    LONGEST = 1024      # longer texts are asked about each time, so that the memory is bounded
    UNKNOWN = -1

cdef struct Entry:
    uint64_t hash
    uint64_t size
    uint8_t* data
    int next            # in the same bucket, or -1
    bint answer

cdef struct Remembered:
    PyThread_type_lock lock
    Entry* entries
    int* buckets
    uint64_t mask
    uint64_t seed
    int capacity
    int used
    int oldest


cdef inline void forget(Remembered* memory) noexcept:
    cdef int i
    if memory == NULL:
        return
    if memory.entries != NULL:
        for i in range(memory.used):
            free(memory.entries[i].data)
    free(memory.entries)
    free(memory.buckets)
    if memory.lock != NULL:
        PyThread_free_lock(memory.lock)
    free(memory)


cdef inline Remembered* remember(int capacity, uint64_t seed) noexcept:
    """NULL where memory is short. `seed` keeps senders from aiming at one bucket."""
    cdef Remembered* memory = <Remembered*>calloc(1, sizeof(Remembered))
    cdef uint64_t buckets = 1, i
    if memory == NULL:
        return NULL
    while buckets < <uint64_t>capacity:
        buckets *= 2
    memory.capacity = capacity
    memory.seed = seed
    memory.mask = buckets - 1
    memory.lock = PyThread_allocate_lock()
    memory.entries = <Entry*>calloc(capacity, sizeof(Entry))
    memory.buckets = <int*>malloc(buckets * sizeof(int))
    if memory.lock == NULL or memory.entries == NULL or memory.buckets == NULL:
        forget(memory)
        return NULL
    for i in range(buckets):
        memory.buckets[i] = -1
    return memory


cdef inline uint64_t hash_text(uint64_t seed, const uint8_t* p, uint64_t size) noexcept nogil:
    cdef uint64_t hash = seed ^ size, word, i
    for i in range(size >> 3):
        memcpy(&word, p + 8 * i, 8)
        hash = (hash ^ word) * <uint64_t>0x9e3779b97f4a7c15
        hash ^= hash >> 29
    word = 0
    memcpy(&word, p + (size & ~<uint64_t>7), size & 7)
    hash = (hash ^ word) * <uint64_t>0xbf58476d1ce4e5b9
    return hash ^ hash >> 32


cdef inline int find_entry(const Remembered* memory, uint64_t hash, const uint8_t* p, uint64_t size) noexcept nogil:
    cdef int i = memory.buckets[hash & memory.mask]
    cdef const Entry* entry
    while i >= 0:
        entry = &memory.entries[i]
        if entry.hash == hash and entry.size == size and memcmp(entry.data, p, size) == 0:
            return i
        i = entry.next
    return -1


cdef inline void take(Remembered* memory) noexcept nogil:
    """The lock. Trying first saves the look at the clock that waiting begins with."""
    if not PyThread_acquire_lock(memory.lock, NOWAIT_LOCK):
        PyThread_acquire_lock(memory.lock, WAIT_LOCK)


cdef inline int recall(Remembered* memory, const uint8_t* p, uint64_t size) noexcept nogil:
    """The answer, or UNKNOWN."""
    cdef int i
    cdef int answer = UNKNOWN
    if size > LONGEST:
        return UNKNOWN
    take(memory)
    i = find_entry(memory, hash_text(memory.seed, p, size), p, size)
    if i >= 0:
        answer = memory.entries[i].answer
    PyThread_release_lock(memory.lock)
    return answer


cdef inline void drop_oldest(Remembered* memory) noexcept nogil:
    cdef Entry* entry = &memory.entries[memory.oldest]
    cdef int* link = &memory.buckets[entry.hash & memory.mask]
    while link[0] != memory.oldest:
        link = &memory.entries[link[0]].next
    link[0] = entry.next
    free(entry.data)
    entry.data = NULL


cdef inline void learn(Remembered* memory, const uint8_t* p, uint64_t size, bint answer) noexcept nogil:
    """Takes the place of the oldest text. Where memory is short, nothing is learnt."""
    cdef uint64_t hash
    cdef uint8_t* copy
    cdef Entry* entry
    cdef int i
    if size > LONGEST:
        return
    copy = <uint8_t*>malloc(size + 1)
    if copy == NULL:
        return
    memcpy(copy, p, size)
    take(memory)
    hash = hash_text(memory.seed, p, size)
    if find_entry(memory, hash, p, size) >= 0:      # another scan was faster
        PyThread_release_lock(memory.lock)
        free(copy)
        return
    if memory.used < memory.capacity:
        i = memory.used
        memory.used += 1
    else:
        i = memory.oldest
        drop_oldest(memory)
        memory.oldest = (memory.oldest + 1) % memory.capacity
    entry = &memory.entries[i]
    entry.hash = hash
    entry.size = size
    entry.data = copy
    entry.answer = answer
    entry.next = memory.buckets[hash & memory.mask]
    memory.buckets[hash & memory.mask] = i
    PyThread_release_lock(memory.lock)
