"""Conditions on spans as plain C tables, read during a scan without the GIL."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from collector.wire.remembered cimport Remembered

cdef enum:
    CONDITIONS = 64
    KEYS = 3 * CONDITIONS       # a condition may look for its key in three places
    NONE = -1

cdef enum Place:
    IN_RESOURCE
    IN_SPAN
    IN_EVENT
    PLACES

cdef enum Kind:
    EXISTS
    EQUALS
    PATTERN
    NUMBER
    BOOL

cdef struct Text:
    const uint8_t* data
    uint64_t size

cdef struct Texts:
    Text* values
    Text* prefixes
    Text* suffixes
    int value_count
    int prefix_count
    int suffix_count
    uint64_t value_sizes        # bit min(size, 63) of every value

cdef struct Condition:
    uint64_t bit
    Kind kind
    Texts texts
    double minimum              # the doubles within the bounds
    double maximum
    int64_t least               # the integers within the bounds; none when least > most
    int64_t most
    bint wanted
    void* matches               # the Python callable, owned by the Probes
    Remembered* remembered      # its answers

cdef struct Link:               # a condition of a key
    int condition
    int next

cdef struct Key:
    Text text
    int links
    int next                    # another key with the same length bit

cdef struct KeySet:
    uint64_t sizes              # bit min(size, 63) of every key
    int[64] first               # by that bit: the first key, or NONE

cdef struct NameTest:
    uint64_t bit
    Texts texts

cdef struct StateTest:
    uint64_t bit
    Text key
    Texts texts

cdef struct NumberTest:
    uint64_t bit
    uint32_t operand

cdef struct AllOf:
    uint64_t bit
    uint64_t operands

cdef struct Plan:
    KeySet[PLACES] places
    Key[KEYS] keys
    Link[KEYS] links
    Condition[CONDITIONS] conditions
    NameTest[CONDITIONS] names
    NameTest[CONDITIONS] event_names
    StateTest[CONDITIONS] states
    NumberTest[CONDITIONS] statuses
    NumberTest[CONDITIONS] flags
    AllOf[CONDITIONS] conjunctions
    int key_count
    int link_count
    int condition_count
    int name_count
    int event_name_count
    int state_count
    int status_count
    int flag_count
    int conjunction_count
    bint events                 # some condition looks into events

cdef class Probes:
    cdef Plan plan
    cdef int count
    cdef int scans              # that are reading the plan now
    cdef list owned             # the Python objects that the plan points into

    cdef uint64_t next_bit(self) except 0
    cdef Text text(self, str value) except *
    cdef Text* array(self, list values) except NULL
    cdef int key_at(self, Place place, str key) except -1
    cdef int texts(self, Texts* texts, object values, object prefixes, object suffixes) except -1
    cdef int add_attribute(self, str key, object where, Condition* condition) except -1


cdef inline bint may_match(const Plan* plan, Place place, const uint8_t* p, const uint8_t* end) noexcept nogil:
    """Whether a KeyValue is worth a closer look: False only where its key is certainly none that is looked for.

    The form that every SDK writes (one key, one value, one-byte lengths) is settled by the key's size, first and last
    byte; all other forms need the closer look.
    """
    cdef const KeySet* keys = &plan.places[<int>place]
    cdef const Text* text
    cdef Py_ssize_t key, rest = end - p - 2
    cdef int i
    if rest < 0 or p[0] != 0x0a or p[1] > 0x7f:
        return True
    key = p[1]
    rest -= key
    if rest != 0 and (rest < 2 or rest > 129 or p[2 + key] != 0x12 or p[3 + key] != rest - 2):
        return True
    i = key if key < 63 else 63
    if not keys.sizes >> i & 1:
        return False
    i = keys.first[i]
    while i != NONE:
        text = &plan.keys[i].text
        if <Py_ssize_t>text.size == key and (
            key == 0 or (text.data[0] == p[2] and text.data[key - 1] == p[1 + key])
        ):
            return True
        i = plan.keys[i].next
    return False


cdef int match_attribute(
    const Plan* plan, Place place, const uint8_t* p, const uint8_t* end, uint64_t* bits
) except -1 nogil
cdef int match_event(const Plan* plan, const uint8_t* p, const uint8_t* end, uint64_t* bits) except -1 nogil
cdef uint64_t match_span(
    const Plan* plan, Text name, Text trace_state, uint32_t status, uint32_t flags, uint64_t bits
) noexcept nogil
