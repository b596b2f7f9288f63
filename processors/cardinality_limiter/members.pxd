"""What is remembered of cumulative series that are folded: the newest point of each, 32 bytes in chunks that never
move, so that a number names one for as long as it lives.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc

from processors.cardinality_limiter.buckets cimport Buckets, buckets_free

cdef enum:
    MEMBER_CHUNK_BITS = 10
    MEMBER_CHUNK = 1024
    NO_MEMBER = 0xFFFFFFFF

cdef struct Distribution:
    uint64_t count
    uint64_t zero_count
    double sum
    int32_t scale
    uint32_t generation      # which of the aggregate's bounds the buckets have
    Buckets positive
    Buckets negative

cdef union Value:
    int64_t integer
    double real
    Distribution *distribution

cdef struct Member:
    uint64_t start
    uint64_t time
    Value value
    uint32_t aggregate       # of a free one, the next free one
    uint8_t is_int
    uint8_t has_distribution
    uint8_t fresh            # nothing of it was folded yet

cdef struct Members:
    Member **chunks
    uint32_t chunk_count
    uint32_t used            # members that ever were
    uint32_t live
    uint32_t vacant          # first free one, or NO_MEMBER


cdef inline void members_init(Members *members) noexcept nogil:
    members.chunks = NULL
    members.chunk_count = members.used = members.live = 0
    members.vacant = NO_MEMBER


cdef inline Member *member_at(const Members *members, uint32_t number) noexcept nogil:
    return &members.chunks[number >> MEMBER_CHUNK_BITS][number & (MEMBER_CHUNK - 1)]


cdef inline Member *add_member(Members *members, uint32_t *number) noexcept nogil:
    """A fresh member and its number, or NULL when memory is out."""
    cdef Member **chunks
    cdef Member *made
    if members.vacant != NO_MEMBER:
        number[0] = members.vacant
        made = member_at(members, number[0])
        members.vacant = made.aggregate
    else:
        if members.used == members.chunk_count << MEMBER_CHUNK_BITS:
            chunks = <Member **>realloc(members.chunks, (members.chunk_count + 1) * sizeof(Member *))
            if chunks == NULL:
                return NULL
            members.chunks = chunks
            chunks[members.chunk_count] = <Member *>malloc(MEMBER_CHUNK * sizeof(Member))
            if chunks[members.chunk_count] == NULL:
                return NULL
            members.chunk_count += 1
        number[0] = members.used
        made = member_at(members, number[0])
        members.used += 1
    members.live += 1
    made.start = made.time = 0
    made.value.integer = 0
    made.aggregate = 0
    made.is_int = made.has_distribution = False
    made.fresh = True
    return made


cdef inline Distribution *member_distribution(Member *member) noexcept nogil:
    """Its distribution, which it gets if it has none; NULL when memory is out."""
    cdef Distribution *made
    if not member.has_distribution:
        made = <Distribution *>calloc(1, sizeof(Distribution))
        if made == NULL:
            return NULL
        member.value.distribution = made
        member.has_distribution = True
    return member.value.distribution


cdef inline void empty_member(Member *member) noexcept nogil:
    if member.has_distribution:
        buckets_free(&member.value.distribution.positive)
        buckets_free(&member.value.distribution.negative)
        free(member.value.distribution)
        member.has_distribution = False


cdef inline void remove_member(Members *members, uint32_t number) noexcept nogil:
    cdef Member *member = member_at(members, number)
    empty_member(member)
    member.aggregate = members.vacant
    members.vacant = number
    members.live -= 1


cdef inline void members_free(Members *members) noexcept nogil:
    """All of them: a free one has no distribution."""
    cdef uint32_t number
    for number in range(members.used):
        empty_member(member_at(members, number))
    for number in range(members.chunk_count):
        free(members.chunks[number])
    free(members.chunks)


cdef inline uint64_t member_size(const Member *member) noexcept nogil:
    """Bytes of memory, about."""
    cdef uint64_t size = sizeof(Member)
    if member.has_distribution:
        size += sizeof(Distribution) + 48 + 8 * (
            member.value.distribution.positive.room + member.value.distribution.negative.room
        )
    return size
