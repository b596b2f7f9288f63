"""The quick look: past what a closer one would leave as it is, which is nearly everything. Nothing here changes
anything, and whatever isn't as most attributes are is left to the closer look.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from processors.pii_scrubber.detect.detectors cimport ValueDetectors
from processors.pii_scrubber.detect.wide_look cimport WIDTH, lowest_bit, pii_same, surely_nothing, surely_shape
from processors.pii_scrubber.key_table cimport HEAD, KEY_TAG, KeySlot, KeyTable, SUSPECT, VALUE_TAG, find_key
from processors.pii_scrubber.text cimport ipv4_prefix, is_utf8, word_at
from processors.pii_scrubber.walk_state cimport DETECT, IGNORE, KEEP_SHAPE, MASK_IP, Walk
from processors.wire.fields cimport Field

cdef enum:
    STRING_TAG = 0x0A        # of an `AnyValue`
    BOOL_TAG = 0x10
    INT_TAG = 0x18
    DOUBLE_TAG = 0x21
    ALL_BITS = 0xFFFFFFFF
    AHEAD = 80               # no more is read behind the beginning of an attribute at once: 2 + HEAD + 3 + WIDTH


cdef inline const uint8_t* skip_ids(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Past the ids of a span, as every SDK begins one. Known distances keep the processor from waiting for each length
    before the next tag."""
    if end - at >= 46 and at[0] == 0x0A and at[1] == 16 and at[18] == 0x12 and at[19] == 8:
        at += 28
        if at[0] == 0x22 and at[1] == 8:
            at += 10
    return at


cdef inline bint is_clean(Walk walk, const uint8_t* at, size_t size) noexcept nogil:
    """Whether a wide look at a text finds that nothing is in it. False says nothing."""
    return walk.quick and size <= WIDTH and walk.limit - at >= WIDTH and holds_nothing(walk.detectors, at, size)


cdef inline bint holds_nothing(ValueDetectors detectors, const uint8_t* at, size_t size) noexcept nogil:
    return surely_nothing(at, size, detectors.first, detectors.second)


cdef inline bint is_harmless(Walk walk, const Field* field) noexcept nogil:
    """Whether a `KeyValue` is as most are, one key and one string or number in one-byte lengths, and nothing of it
    changes. False says nothing."""
    cdef const uint8_t* at = field.body
    cdef size_t size = field.after - field.body, key, value
    cdef int action
    if size < 4 or at[0] != KEY_TAG or at[1] >= 0x80:
        return False
    key = at[1]
    if key + 4 > size or at[key + 2] != VALUE_TAG or at[key + 3] >= 0x80 or key + 4 + at[key + 3] != size:
        return False
    action = find_key(&walk.keys, at + 2, key)
    if action < 0 or action & SUSPECT or walk.doings[action].what > IGNORE:
        return False
    if walk.doings[action].what == IGNORE:
        return True
    value = size - key - 4
    at += key + 4
    if value < 2:
        return False
    if at[0] == STRING_TAG:
        return (
            at[1] == value - 2 and is_utf8(at + 2, value - 2) and not walk.detectors.may_hold(at + 2, value - 2)
        )
    if walk.numbers:
        return False
    return is_number(at, value)


cdef inline bint is_number(const uint8_t* at, size_t size) noexcept nogil:
    """Whether these 2 bytes or more are a bool, an integer or a double of an `AnyValue`, and nothing else."""
    cdef size_t i
    if at[0] == DOUBLE_TAG:
        return size == 9
    if (at[0] != BOOL_TAG and at[0] != INT_TAG) or size > 11:
        return False
    for i in range(1, size - 1):
        if at[i] < 0x80:
            return False
    return at[size - 1] < 0x80


cdef inline bint is_short_number(const uint8_t* at, size_t size) noexcept nogil:
    """The same for a bool or an integer of up to 7 bytes, of which 8 can be read. False says nothing."""
    cdef uint64_t more = (word_at(at) >> 8 & <uint64_t>0x0080808080808080) ^ <uint64_t>0x0080808080808080
    # the last byte is the first without the bit that says that there are more
    return (at[0] == INT_TAG or at[0] == BOOL_TAG) and more != 0 and lowest_bit(more) == <int>(8 * size - 9)


cdef inline bint is_masked(const uint8_t* at, size_t size) noexcept nogil:
    """Whether the text is an IPv4 address cut to its network."""
    cdef size_t network = ipv4_prefix(at, size)
    return network and size == network + 3 and at[network] == c'0' and at[network + 2] == c'0'


cdef inline const uint8_t* skip_harmless(Walk walk, const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Past the attributes that follow one another at `at` of which nothing changes: those that are as most are, one
    key and one string or number in one-byte lengths.

    How an attribute begins is compared at once with how the one began that came after the last one before. Stops at
    the first that must be looked at closely, and short of the end of the request.
    """
    cdef KeyTable* table = &walk.keys
    cdef const KeySlot* slots = table.slots
    cdef const KeySlot* last
    cdef const KeySlot* slot
    cdef const uint8_t* body
    cdef const uint8_t* value
    cdef const uint8_t* stop = end if walk.limit - end >= AHEAD else walk.limit - AHEAD
    cdef uint8_t tag = at[0], what
    cdef size_t size, head
    if slots == NULL:
        return at
    last = slots + table.last
    while at < stop and at[0] == tag:
        size = at[1]
        body = at + 2
        if size >= 0x80 or <Py_ssize_t>size > end - body:
            break
        slot = slots + last.next
        head = slot.head_size
        if head == 0 or (pii_same(body, slot.head) | slot.no_head) != ALL_BITS:
            head = body[1] + 3
            if size < head + 1 or body[0] != KEY_TAG or body[1] >= 0x80 or body[head - 1] != VALUE_TAG:
                break
            table.last = <uint32_t>(last - slots)
            if find_key(table, body + 2, body[1]) < 0:
                break
            slot = slots + table.last
        last = slot
        value = body + head + 1
        size -= head + 1                     # of the value
        if <Py_ssize_t>size < 2 or body[head] != size:
            break
        what = walk.easy[slot.action]
        if what == DETECT:
            if value[0] == STRING_TAG:
                if value[1] != size - 2:
                    break
                if size - 2 > WIDTH or head > HEAD or not holds_nothing(walk.detectors, value + 2, size - 2):
                    if not is_utf8(value + 2, size - 2) or walk.detectors.may_hold(value + 2, size - 2):
                        break
            elif walk.numbers or not (head <= HEAD and is_short_number(value, size) or is_number(value, size)):
                break
        elif what != IGNORE:
            if value[0] != STRING_TAG or value[1] != size - 2 or walk.allowing or size - 2 > WIDTH or head > HEAD:
                break
            if what == KEEP_SHAPE:
                if not surely_shape(value + 2, size - 2):
                    break
            elif what != MASK_IP or not is_masked(value + 2, size - 2):
                break
        at = value + size
    table.last = <uint32_t>(last - slots)
    return at
