"""The conditions that a scan evaluates on its way: `Probes` builds the tables, the `match_*` functions read them."""

import math
import os

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from collector.wire.probes cimport (
    BOOL, CONDITIONS, EQUALS, EXISTS, IN_EVENT, IN_RESOURCE, IN_SPAN, NONE, NUMBER, PATTERN, PLACES, Condition,
    Key, KeySet, NumberTest, Place, Plan, StateTest, Text, Texts, may_match,
)
from collector.wire.remembered cimport UNKNOWN, forget, learn, recall, remember
from collector.wire.varint cimport MAX_LEVELS, load_le64, read_size, read_tag, read_varint, skip_value

cdef enum:
    MATCHED = 0
    BROKEN = 1          # the same as the scanner's CORRUPT

cdef enum Type:
    ABSENT
    STRING
    BOOLEAN
    INTEGER
    DOUBLE
    OTHER

cdef struct Value:      # an AnyValue: the last member of the oneof that the bytes hold
    Type type
    Text text
    uint64_t number

_PLACES = {"resource": IN_RESOURCE, "span": IN_SPAN, "event": IN_EVENT}


cdef int ask(void* matches, const uint8_t* p, uint64_t size) except -1 with gil:
    return bool((<object><PyObject*>matches)(PyUnicode_DecodeUTF8(<const char*>p, size, "replace")))


cdef int matches_pattern(const Condition* condition, Text text) except -1 nogil:
    cdef int answer = recall(condition.remembered, text.data, text.size)
    if answer == UNKNOWN:
        answer = ask(condition.matches, text.data, text.size)
        learn(condition.remembered, text.data, text.size, answer)
    return answer


cdef bint equals(const Text* a, Text b) noexcept nogil:
    return a.size == b.size and (a.size == 0 or memcmp(a.data, b.data, a.size) == 0)


cdef bint has_text(const Texts* texts, Text text) noexcept nogil:
    cdef int i
    cdef const Text* part
    if texts.value_sizes >> (text.size if text.size < 63 else 63) & 1:
        for i in range(texts.value_count):
            if equals(&texts.values[i], text):
                return True
    for i in range(texts.prefix_count):
        part = &texts.prefixes[i]
        if part.size <= text.size and (part.size == 0 or memcmp(part.data, text.data, part.size) == 0):
            return True
    for i in range(texts.suffix_count):
        part = &texts.suffixes[i]
        if part.size <= text.size and (
            part.size == 0 or memcmp(part.data, text.data + text.size - part.size, part.size) == 0
        ):
            return True
    return False


cdef const uint8_t* read_value(const uint8_t* p, const uint8_t* end, Value* value) noexcept nogil:
    """One occurrence of an AnyValue, merged into `value`; NULL where it is malformed."""
    cdef uint32_t tag = 0
    cdef uint64_t size = 0
    while p < end:
        p = read_tag(p, end, &tag)
        if p == NULL:
            return NULL
        if tag == 0x0a:
            p = read_size(p, end, &size)
            if p == NULL:
                return NULL
            value.type = STRING
            value.text = Text(p, size)
            p += size
        elif tag == 0x10 or tag == 0x18:
            p = read_varint(p, end, &value.number)
            if p == NULL:
                return NULL
            value.type = BOOLEAN if tag == 0x10 else INTEGER
        elif tag == 0x21:
            if end - p < 8:
                return NULL
            value.type = DOUBLE
            value.number = load_le64(p)
            p += 8
        else:
            p = skip_value(p, end, tag, MAX_LEVELS)
            if p == NULL:
                return NULL
            # array_value, kvlist_value, bytes_value, string_value_strindex
            if tag == 0x2a or tag == 0x32 or tag == 0x3a or tag == 0x40:
                value.type = OTHER
    return p


cdef bint read_key_value(const uint8_t* p, const uint8_t* end, Text* key, Value* value) noexcept nogil:
    cdef uint32_t tag = 0
    cdef uint64_t size = 0
    while p < end:
        p = read_tag(p, end, &tag)
        if p == NULL:
            return False
        if tag == 0x0a or tag == 0x12:
            p = read_size(p, end, &size)
            if p == NULL:
                return False
            if tag == 0x0a:
                key[0] = Text(p, size)
            elif read_value(p, p + size, value) == NULL:
                return False
            p += size
        else:
            p = skip_value(p, end, tag, MAX_LEVELS)
            if p == NULL:
                return False
    return True


cdef int holds(const Condition* condition, const Value* value) except -1 nogil:
    cdef double number
    cdef int64_t integer
    if condition.kind == EXISTS:
        return True
    if value.type == STRING:
        if condition.kind == EQUALS:
            return has_text(&condition.texts, value.text)
        if condition.kind == PATTERN:
            return matches_pattern(condition, value.text)
    elif value.type == INTEGER:
        if condition.kind == NUMBER:
            integer = <int64_t>value.number
            return condition.least <= integer <= condition.most
    elif value.type == DOUBLE:
        if condition.kind == NUMBER:
            memcpy(&number, &value.number, sizeof(number))
            return condition.minimum <= number <= condition.maximum
    elif value.type == BOOLEAN:
        if condition.kind == BOOL:
            return (value.number != 0) == condition.wanted
    return False


cdef int match_attribute(
    const Plan* plan, Place place, const uint8_t* p, const uint8_t* end, uint64_t* bits
) except -1 nogil:
    """Adds to `bits` what holds for one KeyValue. BROKEN where its bytes are."""
    cdef Text key = Text(p, 0)
    cdef Value value
    cdef const Condition* condition
    cdef int i, link
    value.type = ABSENT
    value.number = 0
    if not read_key_value(p, end, &key, &value):
        return BROKEN
    i = plan.places[<int>place].first[key.size if key.size < 63 else 63]
    while i != NONE:
        if equals(&plan.keys[i].text, key):
            link = plan.keys[i].links
            while link != NONE:
                condition = &plan.conditions[plan.links[link].condition]
                if bits[0] & condition.bit == 0 and holds(condition, &value):
                    bits[0] |= condition.bit
                link = plan.links[link].next
            break
        i = plan.keys[i].next
    return MATCHED


cdef int match_event(const Plan* plan, const uint8_t* p, const uint8_t* end, uint64_t* bits) except -1 nogil:
    """Adds to `bits` what holds for one event. BROKEN where its bytes are."""
    cdef uint32_t tag = 0
    cdef uint64_t size = 0
    cdef Text name = Text(p, 0)
    cdef int i
    while p < end:
        p = read_tag(p, end, &tag)
        if p == NULL:
            return BROKEN
        if tag == 0x12 or tag == 0x1a:
            p = read_size(p, end, &size)
            if p == NULL:
                return BROKEN
            if tag == 0x12:
                name = Text(p, size)
            elif may_match(plan, IN_EVENT, p, p + size):
                if match_attribute(plan, IN_EVENT, p, p + size, bits) != MATCHED:
                    return BROKEN
            p += size
        else:
            p = skip_value(p, end, tag, MAX_LEVELS)
            if p == NULL:
                return BROKEN
    for i in range(plan.event_name_count):
        if has_text(&plan.event_names[i].texts, name):
            bits[0] |= plan.event_names[i].bit
    return MATCHED


cdef bint is_blank(uint8_t byte) noexcept nogil:
    return byte == 0x20 or byte == 0x09


cdef bint match_state(const StateTest* test, Text state) noexcept nogil:
    """W3C trace context: members between commas, optional blanks around each, `key=value`."""
    cdef const uint8_t* p = state.data
    cdef const uint8_t* end = p + state.size
    cdef const uint8_t* stop
    cdef const uint8_t* first
    cdef const uint8_t* last
    while p < end:
        stop = p
        while stop < end and stop[0] != 0x2c:
            stop += 1
        first = p
        last = stop
        while first < last and is_blank(first[0]):
            first += 1
        while last > first and is_blank((last - 1)[0]):
            last -= 1
        if <uint64_t>(last - first) > test.key.size and first[test.key.size] == 0x3d:
            if equals(&test.key, Text(first, test.key.size)):
                first += test.key.size + 1
                if has_text(&test.texts, Text(first, last - first)):
                    return True
        p = stop + 1
    return False


cdef uint64_t match_span(
    const Plan* plan, Text name, Text trace_state, uint32_t status, uint32_t flags, uint64_t bits
) noexcept nogil:
    """`bits` and all that holds for the span itself, then the conjunctions."""
    cdef int i
    for i in range(plan.status_count):
        if plan.statuses[i].operand == status:
            bits |= plan.statuses[i].bit
    for i in range(plan.flag_count):
        if plan.flags[i].operand & flags:
            bits |= plan.flags[i].bit
    for i in range(plan.name_count):
        if has_text(&plan.names[i].texts, name):
            bits |= plan.names[i].bit
    for i in range(plan.state_count):
        if match_state(&plan.states[i], trace_state):
            bits |= plan.states[i].bit
    for i in range(plan.conjunction_count):
        if plan.conjunctions[i].operands & ~bits == 0:
            bits |= plan.conjunctions[i].bit
    return bits


cdef double double_at_least(object bound):
    """The smallest double that is not below an int or float."""
    try:
        number = float(bound)
    except OverflowError:
        number = math.inf if bound > 0 else -math.inf
    return number if number >= bound else math.nextafter(number, math.inf)


cdef class Probes:
    """See scan.pyi. The tables have room for all 64 conditions, and none is added while a scan reads them."""

    def __cinit__(self):
        cdef int place, i
        memset(&self.plan, 0, sizeof(Plan))
        for place in range(PLACES):
            for i in range(64):
                self.plan.places[place].first[i] = NONE
        self.owned = []

    def __dealloc__(self):
        cdef int i
        for i in range(self.plan.condition_count):
            forget(self.plan.conditions[i].remembered)

    def __len__(self):
        return self.count

    cdef uint64_t next_bit(self) except 0:
        if self.scans:
            raise RuntimeError("conditions cannot be added while a scan uses them")
        if self.count == CONDITIONS:
            raise ValueError("more than 64 conditions")
        return <uint64_t>1 << self.count

    cdef Text text(self, str value) except *:
        cdef bytes encoded = value.encode()
        self.owned.append(encoded)
        return Text(<const uint8_t*>PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded))

    cdef Text* array(self, list values) except NULL:
        cdef bytearray block = bytearray((len(values) + 1) * sizeof(Text))
        cdef Text* texts = <Text*>PyByteArray_AS_STRING(block)
        cdef Py_ssize_t i
        for i in range(len(values)):
            texts[i] = self.text(values[i])
        self.owned.append(block)
        return texts

    cdef int texts(self, Texts* texts, object values, object prefixes, object suffixes) except -1:
        cdef int i
        cdef uint64_t size
        if isinstance(values, str) or isinstance(prefixes, str) or isinstance(suffixes, str):
            raise TypeError("a sequence of strings is needed, not one string")
        values, prefixes, suffixes = list(values), list(prefixes), list(suffixes)
        texts.values = self.array(values)
        texts.prefixes = self.array(prefixes)
        texts.suffixes = self.array(suffixes)
        texts.value_count = len(values)
        texts.prefix_count = len(prefixes)
        texts.suffix_count = len(suffixes)
        texts.value_sizes = 0
        for i in range(texts.value_count):
            size = texts.values[i].size
            texts.value_sizes |= <uint64_t>1 << (size if size < 63 else 63)
        return 0

    cdef int key_at(self, Place place, str key) except -1:
        """The number of a key of a place, a new one where it isn't there yet."""
        cdef KeySet* keys = &self.plan.places[<int>place]
        cdef Text text = self.text(key)
        cdef int slot = text.size if text.size < 63 else 63
        cdef int i = keys.first[slot]
        cdef Key* entry
        while i != NONE:
            if equals(&self.plan.keys[i].text, text):
                return i
            i = self.plan.keys[i].next
        i = self.plan.key_count
        self.plan.key_count += 1
        entry = &self.plan.keys[i]
        entry.text = text
        entry.links = NONE
        entry.next = keys.first[slot]
        keys.first[slot] = i
        keys.sizes |= <uint64_t>1 << slot
        return i

    cdef int add_attribute(self, str key, object where, Condition* condition) except -1:
        cdef int number = self.plan.condition_count
        cdef int link, at
        if isinstance(where, str) or not set(where) or not set(where) <= set(_PLACES):
            raise ValueError("`where` names one or more of resource, span, event")
        key.encode()            # raises before anything is changed
        self.plan.conditions[number] = condition[0]
        self.plan.condition_count += 1
        for place in sorted({_PLACES[name] for name in where}):
            at = self.key_at(place, key)
            link = self.plan.link_count
            self.plan.link_count += 1
            self.plan.links[link].condition = number
            self.plan.links[link].next = self.plan.keys[at].links
            self.plan.keys[at].links = link
            if place == IN_EVENT:
                self.plan.events = True
        self.count += 1
        return self.count - 1

    def status(self, int32_t code):
        cdef uint64_t bit = self.next_bit()
        self.plan.statuses[self.plan.status_count] = NumberTest(bit, <uint32_t>code)
        self.plan.status_count += 1
        self.count += 1
        return self.count - 1

    def flags(self, uint32_t mask):
        cdef uint64_t bit = self.next_bit()
        self.plan.flags[self.plan.flag_count] = NumberTest(bit, mask)
        self.plan.flag_count += 1
        self.count += 1
        return self.count - 1

    def name(self, values=(), *, prefixes=(), suffixes=()):
        cdef uint64_t bit = self.next_bit()
        self.texts(&self.plan.names[self.plan.name_count].texts, values, prefixes, suffixes)
        self.plan.names[self.plan.name_count].bit = bit
        self.plan.name_count += 1
        self.count += 1
        return self.count - 1

    def event_name(self, values=(), *, prefixes=()):
        cdef uint64_t bit = self.next_bit()
        self.texts(&self.plan.event_names[self.plan.event_name_count].texts, values, prefixes, ())
        self.plan.event_names[self.plan.event_name_count].bit = bit
        self.plan.event_name_count += 1
        self.plan.events = True
        self.count += 1
        return self.count - 1

    def trace_state(self, str key, values):
        cdef uint64_t bit = self.next_bit()
        cdef StateTest* test = &self.plan.states[self.plan.state_count]
        test.key = self.text(key)
        self.texts(&test.texts, values, (), ())
        test.bit = bit
        self.plan.state_count += 1
        self.count += 1
        return self.count - 1

    def attribute_exists(self, str key, *, where=("span", "resource")):
        cdef Condition condition
        memset(&condition, 0, sizeof(condition))
        condition.bit = self.next_bit()
        condition.kind = EXISTS
        return self.add_attribute(key, where, &condition)

    def attribute_string(self, str key, values, *, where=("span", "resource")):
        cdef Condition condition
        memset(&condition, 0, sizeof(condition))
        condition.bit = self.next_bit()
        condition.kind = EQUALS
        self.texts(&condition.texts, values, (), ())
        return self.add_attribute(key, where, &condition)

    def attribute_pattern(self, str key, matches, *, int cache_size=128, where=("span", "resource")):
        cdef Condition condition
        cdef int bit
        cdef uint64_t seed = int.from_bytes(os.urandom(8), "little")
        if not callable(matches) or cache_size < 1:
            raise ValueError("a callable and a cache of at least one value are needed")
        memset(&condition, 0, sizeof(condition))
        condition.bit = self.next_bit()
        condition.kind = PATTERN
        condition.matches = <void*>matches
        condition.remembered = remember(cache_size, seed)
        if condition.remembered == NULL:
            raise MemoryError
        try:
            bit = self.add_attribute(key, where, &condition)
        except BaseException:
            forget(condition.remembered)
            raise
        self.owned.append(matches)
        return bit

    def attribute_number(self, str key, minimum, maximum, *, where=("span", "resource")):
        cdef Condition condition
        memset(&condition, 0, sizeof(condition))
        condition.bit = self.next_bit()
        condition.kind = NUMBER
        minimum = -math.inf if minimum is None else minimum
        maximum = math.inf if maximum is None else maximum
        if minimum != minimum or maximum != maximum:
            raise ValueError("a bound is not a number")
        condition.minimum = double_at_least(minimum)
        condition.maximum = -double_at_least(-maximum)
        condition.least = 1             # no integer, until the bounds say which
        condition.most = 0
        if minimum <= INT64_MAX and maximum >= INT64_MIN:
            condition.least = INT64_MIN if minimum < INT64_MIN else math.ceil(minimum)
            condition.most = INT64_MAX if maximum > INT64_MAX else math.floor(maximum)
        return self.add_attribute(key, where, &condition)

    def attribute_bool(self, str key, bint value, *, where=("span", "resource")):
        cdef Condition condition
        memset(&condition, 0, sizeof(condition))
        condition.bit = self.next_bit()
        condition.kind = BOOL
        condition.wanted = value
        return self.add_attribute(key, where, &condition)

    def all_of(self, bits):
        cdef uint64_t bit = self.next_bit()
        cdef uint64_t operands = 0
        for number in bits:
            if not 0 <= number < self.count:
                raise ValueError("no such condition")
            operands |= <uint64_t>1 << <int>number
        if operands == 0:
            raise ValueError("a conjunction of nothing")
        self.plan.conjunctions[self.plan.conjunction_count].bit = bit
        self.plan.conjunctions[self.plan.conjunction_count].operands = operands
        self.plan.conjunction_count += 1
        self.count += 1
        return self.count - 1
