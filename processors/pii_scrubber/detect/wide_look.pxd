"""The look at a whole value of up to 32 bytes at once, in two registers of 16: most attributes need no other.

It says that surely nothing is in a value, or nothing at all. Where the machine has no SSE2 it isn't taken (WIDE is 0).
32 bytes are read whatever the size is, so the caller knows that they are there.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from processors.pii_scrubber.detect.classes cimport ALNUM, HEX, pii_class
from processors.pii_scrubber.detect.first_look cimport SHORT

cdef extern from *:
    """
    typedef struct { uint32_t plain, digits, letters; } pii_wide;    /* a bit for each byte */
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #define PII_WIDE 1
    #define PII_BOTH(low, high) ((uint32_t)_mm_movemask_epi8(low) | (uint32_t)_mm_movemask_epi8(high) << 16)

    static inline __m128i pii_load(const uint8_t *at) { return _mm_loadu_si128((const __m128i *)at); }
    static inline __m128i pii_is(__m128i bytes, char byte) { return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte)); }
    static inline __m128i pii_between(__m128i bytes, char first, char last) {
        __m128i above = _mm_sub_epi8(bytes, _mm_set1_epi8(first));
        return _mm_cmpeq_epi8(_mm_min_epu8(above, _mm_set1_epi8((char)(last - first))), above);
    }

    /* A bit for each of 32 bytes that is the same in both. */
    static inline uint32_t pii_same(const uint8_t *a, const uint8_t *b) {
        return PII_BOTH(_mm_cmpeq_epi8(pii_load(a), pii_load(b)), _mm_cmpeq_epi8(pii_load(a + 16), pii_load(b + 16)));
    }
    /* What is in words and numbers: letters, digits, '-', '.', '/', '_'. */
    static inline __m128i pii_plain(__m128i bytes, __m128i letters) {
        return _mm_or_si128(_mm_or_si128(letters, pii_is(bytes, '_')), pii_between(bytes, '-', '9'));
    }
    static inline __m128i pii_letters(__m128i bytes) {
        return pii_between(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), 'a', 'z');
    }
    static inline pii_wide pii_classify(const uint8_t *at, size_t size) {
        __m128i low = pii_load(at), high, low_letters = pii_letters(low), high_letters;
        pii_wide bits;
        if (size <= 16) {
            bits.plain = (uint32_t)_mm_movemask_epi8(pii_plain(low, low_letters));
            bits.digits = (uint32_t)_mm_movemask_epi8(pii_between(low, '0', '9'));
            bits.letters = (uint32_t)_mm_movemask_epi8(low_letters);
            return bits;
        }
        high = pii_load(at + 16);
        high_letters = pii_letters(high);
        bits.plain = PII_BOTH(pii_plain(low, low_letters), pii_plain(high, high_letters));
        bits.digits = PII_BOTH(pii_between(low, '0', '9'), pii_between(high, '0', '9'));
        bits.letters = PII_BOTH(low_letters, high_letters);
        return bits;
    }
    static inline uint32_t pii_dots(const uint8_t *at) {
        return PII_BOTH(pii_is(pii_load(at), '.'), pii_is(pii_load(at + 16), '.'));
    }
    /* A bit for each of 32 bytes that may stand between the numbers of a tensor's shape. */
    static inline __m128i pii_of_shape(__m128i bytes) {
        return _mm_or_si128(
            _mm_or_si128(
                _mm_or_si128(pii_between(bytes, '(', '*'), pii_is(bytes, ',')),
                _mm_or_si128(pii_is(bytes, '['), pii_is(bytes, ']'))),
            _mm_or_si128(_mm_or_si128(pii_is(bytes, ' '), pii_is(bytes, 'x')), pii_is(bytes, '?')));
    }
    static inline uint32_t pii_shapely(const uint8_t *at, uint32_t *digits) {
        __m128i low = pii_load(at), high = pii_load(at + 16);
        *digits = PII_BOTH(pii_between(low, '0', '9'), pii_between(high, '0', '9'));
        return PII_BOTH(pii_of_shape(low), pii_of_shape(high));
    }
    #else
    #define PII_WIDE 0
    static inline uint32_t pii_same(const uint8_t *a, const uint8_t *b) { return 0; }
    static inline pii_wide pii_classify(const uint8_t *at, size_t size) { pii_wide none = {0, 0, 0}; return none; }
    static inline uint32_t pii_dots(const uint8_t *at) { return 0; }
    static inline uint32_t pii_shapely(const uint8_t *at, uint32_t *digits) { *digits = 0; return 0; }
    #endif
    static inline int lowest_bit(uint64_t bits) { return __builtin_ctzll(bits); }    /* of one that isn't 0 */
    """
    ctypedef struct pii_wide:
        uint32_t plain
        uint32_t digits
        uint32_t letters
    const bint WIDE "PII_WIDE"
    uint32_t pii_same(const uint8_t *a, const uint8_t *b) noexcept nogil
    pii_wide pii_classify(const uint8_t *at, size_t size) noexcept nogil
    uint32_t pii_dots(const uint8_t *at) noexcept nogil
    uint32_t pii_shapely(const uint8_t *at, uint32_t *digits) noexcept nogil
    int lowest_bit(uint64_t bits) noexcept nogil

cdef enum:
    WIDTH = 32
    SHORTEST_IBAN = 15
    SHORTEST_TOKEN = 20      # no vendor's is shorter (tokens.pxd), nor any other that needs no `:`, `=` or blank
    DIGITS_OF_PHONE = 7      # and a card has more


cdef inline uint32_t low_bits(size_t count) noexcept nogil:
    """So many bits, 32 at most."""
    return <uint32_t>((<uint64_t>1 << count) - 1)


cdef inline uint32_t count_bits(uint32_t bits) noexcept nogil:
    bits -= bits >> 1 & 0x55555555
    bits = (bits & 0x33333333) + (bits >> 2 & 0x33333333)
    return ((bits + (bits >> 4)) & 0x0F0F0F0F) * <uint32_t>0x01010101 >> 24


cdef inline bint joins_names(const uint8_t *text, uint32_t others) noexcept nogil:
    """Whether all of these are the colons of `::` behind a letter that is no hexadecimal digit: `request::poll`."""
    cdef int at
    while others:
        at = lowest_bit(others)
        if at == 0 or text[at] != c":" or not others >> at & 2 or text[at + 1] != c":" or others >> at & 4:
            return False
        if not pii_class[text[at - 1]] & ALNUM or pii_class[text[at - 1]] & HEX:
            return False
        others &= others - 1
        others &= others - 1
    return True


cdef inline bint surely_nothing(
    const uint8_t *text, size_t size, const uint32_t *first, const uint32_t *second
) noexcept nogil:
    """Whether no built-in detector finds anything in these bytes, up to 32 of them, and they are ASCII.

    All that begins with `@`, `%`, `=`, a blank, a bracket, an escape or a single colon is left to others. What remains:
    an IBAN begins with two letters and two digits; an address has three dots; the digits of a phone number or a card
    are in groups behind no letter; a token begins a word, with two letters that have a bit in common in `first` and
    `second` of the detectors.
    """
    cdef pii_wide bits = pii_classify(text, size)
    cdef uint32_t inside = low_bits(size), digits, letters, words, heads, dots
    cdef int at
    heads = inside & ~bits.plain
    if heads and not joins_names(text, heads):
        return False
    digits = bits.digits & inside
    if digits == 0 and size < SHORTEST_TOKEN:
        return True
    letters = bits.letters & inside
    words = ~((digits | letters) << 1)       # bits of bytes behind none of these: there a word may begin
    if digits:
        if size >= SHORTEST_IBAN and words & letters & letters >> 1 & digits >> 2 & digits >> 3:
            return False
        # a group behind a letter goes, for its lowest bit, added, carries over all of them
        if count_bits(digits & (digits + (digits & letters << 1))) >= DIGITS_OF_PHONE:
            return False
        dots = pii_dots(text) & inside
        dots &= dots - 1
        if dots & (dots - 1):
            return False
    if size >= SHORTEST_TOKEN:
        heads = words & letters & low_bits(size - SHORTEST_TOKEN + 1)
        while heads:
            at = lowest_bit(heads)
            if first[text[at]] & second[text[at + 1]]:
                return False
            heads &= heads - 1
    return True


cdef inline bint surely_shape(const uint8_t *text, size_t size) noexcept nogil:
    """Whether a text of up to 32 bytes is the shape of a tensor, as `is_shape` of text.pxd has it."""
    cdef uint32_t inside = low_bits(size), digits = 0, others = pii_shapely(text, &digits)
    if inside & ~(others | digits):
        return False
    digits &= inside
    digits &= digits >> 1
    digits &= digits >> 2
    digits &= digits >> 4
    return digits == 0       # no eight in a row
