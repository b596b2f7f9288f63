"""What was seen lately, by 128-bit seeded fingerprints, one place each: hashes made, and texts found clean.

The texts themselves are not kept. A newcomer takes the place of who was there.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from processors.pii_scrubber.text cimport text_hash

cdef enum:
    DIGESTS = 8192
    CLEAN = 8192
    LONGEST_DIGEST = 64


cdef struct Fingerprint:
    uint64_t first
    uint64_t second


cdef struct Digest:
    Fingerprint of
    uint8_t size             # 0: empty
    uint8_t[LONGEST_DIGEST] digest


cdef struct Recent:
    uint64_t seed
    uint64_t other_seed
    Digest* digests
    Fingerprint* clean


cdef inline int make_recent(Recent* recent, uint64_t seed, uint64_t other_seed) noexcept:
    recent.seed = seed
    recent.other_seed = other_seed
    recent.digests = <Digest*>calloc(DIGESTS, sizeof(Digest))
    recent.clean = <Fingerprint*>calloc(CLEAN, sizeof(Fingerprint))
    return 0 if recent.digests != NULL and recent.clean != NULL else -1


cdef inline void free_recent(Recent* recent) noexcept:
    free(recent.digests)
    free(recent.clean)


cdef inline Fingerprint fingerprint(const Recent* recent, const uint8_t* text, size_t size) noexcept nogil:
    cdef Fingerprint made
    made.first = text_hash(text, size, recent.seed) | 1      # all zero is nobody's
    made.second = text_hash(text, size, recent.other_seed)
    return made


cdef inline bint same(const Fingerprint* a, const Fingerprint* b) noexcept nogil:
    return a.first == b.first and a.second == b.second


cdef inline const Digest* known_digest(const Recent* recent, const uint8_t* text, size_t size) noexcept nogil:
    """The digest of the text, or NULL when it isn't remembered."""
    cdef Fingerprint wanted = fingerprint(recent, text, size)
    cdef const Digest* place = &recent.digests[(wanted.first >> 20) & (DIGESTS - 1)]
    return place if place.size and same(&place.of, &wanted) else NULL


cdef inline void remember_digest(
    Recent* recent, const uint8_t* text, size_t size, const uint8_t* digest, size_t digest_size
) noexcept nogil:
    cdef Fingerprint new = fingerprint(recent, text, size)
    cdef Digest* place = &recent.digests[(new.first >> 20) & (DIGESTS - 1)]
    if digest_size > LONGEST_DIGEST:
        return
    place.of = new
    place.size = <uint8_t>digest_size
    memcpy(place.digest, digest, digest_size)


cdef inline bint known_clean(const Recent* recent, const uint8_t* text, size_t size) noexcept nogil:
    cdef Fingerprint wanted = fingerprint(recent, text, size)
    return same(&recent.clean[(wanted.first >> 20) & (CLEAN - 1)], &wanted)


cdef inline void remember_clean(Recent* recent, const uint8_t* text, size_t size) noexcept nogil:
    cdef Fingerprint new = fingerprint(recent, text, size)
    recent.clean[(new.first >> 20) & (CLEAN - 1)] = new
