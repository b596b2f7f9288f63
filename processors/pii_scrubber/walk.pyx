"""The walk over one `Export*ServiceRequest`, on its bytes and without the GIL: plans the edits that scrub it.

fields.py says where strings and bytes are. Keys are looked up, prefilters run; what only Python can settle (a hash that
isn't remembered, a value in which the prefilter suspects something) is left pending for scrubber.pyx.

Of a field or a value that occurs twice each occurrence is scrubbed, whichever one protobuf lets win: all are on the
wire. An action on a nested value reaches every value inside.
"""

from processors.pii_scrubber.actions import FAILURES, REDACTED, RULES
from processors.pii_scrubber.fields import (
    ATTRIBUTE, FIELDS, MESSAGES, NUMBERS as MANY, SPAN_ID, STATE, TEXT, TRACE_ID, VALUE,
)

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from processors.pii_scrubber.detect.addresses cimport mask_ipv4, mask_ipv6
from processors.pii_scrubber.detect.classes cimport fill_classes
from processors.pii_scrubber.detect.detectors cimport Found, ValueDetectors
from processors.pii_scrubber.detect.kinds cimport IPV4, IPV6
from processors.pii_scrubber.detect.wide_look cimport WIDTH, lowest_bit, pii_same, surely_nothing, surely_shape
from processors.wire.edits cimport PLAIN, SIZED, Edit, Frame, Shape, add_edit, enter, free_edits, new_bytes
from processors.pii_scrubber.key_table cimport (
    HEAD, KEY_TAG, KeySlot, KeyTable, SUSPECT, UNKNOWN_KEY, VALUE_TAG, add_key, find_key, free_keys, matches_glob,
)
from processors.pii_scrubber.recent cimport Digest, free_recent, known_clean, known_digest
from processors.pii_scrubber.text cimport characters, ipv4_prefix, is_shape, is_utf8, same_text, word_at
from processors.wire.fields cimport BYTES, FIXED64, GROUP, VARINT, Field, read_field, write_varint

cdef enum:
    NUMBERS = 16             # field numbers at or above this one are of no interest
    MOST_MESSAGES = 64
    UNKNOWN = 0              # what a field holds: nobody knows,
    A_TEXT = 1
    A_STATE = 2
    AN_ATTRIBUTE = 3
    A_VALUE = 4
    MANY_NUMBERS = 5
    A_TRACE_ID = 6
    A_SPAN_ID = 7
    A_MESSAGE = 8            # and above: the message of that number, less this
    DEEPEST = 32             # values in one another
    DEEPEST_UNKNOWN = 8      # what may be messages in an unknown field
    LONGEST_KEY = 512
    NOWHERE = 0
    HERE = 1
    EVERYWHERE = 2
    REMOVE = 1               # the action that deletes
    STRING_TAG = 0x0A        # of an `AnyValue`
    BOOL_TAG = 0x10
    INT_TAG = 0x18
    DOUBLE_TAG = 0x21
    KEY_INDEX = 3            # numbers of the profiles' string tables, in a `KeyValue`
    STRING_INDEX = 8         # and in an `AnyValue`
    LONGEST_ADDRESS = 64
    LARGEST_LENGTH = 0x7FFFFFFF
    ALL_BITS = 0xFFFFFFFF
    AHEAD = 80               # no more is read behind the beginning of an attribute at once: 2 + HEAD + 3 + WIDTH

cdef uint8_t[MOST_MESSAGES][NUMBERS] content
cdef uint8_t[MOST_MESSAGES] attribute_tag    # 0 where a message has none
cdef int SPAN = MESSAGES.index("trace.v1.Span")
cdef const uint8_t* REDACTED_FIELD = b"\x0a\x0a[redacted]"
cdef const uint8_t* HEX = b"0123456789abcdef"
_KINDS = {
    TEXT: A_TEXT, STATE: A_STATE, ATTRIBUTE: AN_ATTRIBUTE, VALUE: A_VALUE, MANY: MANY_NUMBERS, TRACE_ID: A_TRACE_ID,
    SPAN_ID: A_SPAN_ID,
}


cdef int fill_table() except -1:
    if len(MESSAGES) > MOST_MESSAGES or REDACTED_FIELD[2:12] != REDACTED or len(RULES + FAILURES) != COUNTS:
        raise ValueError("fields.py or actions.py is not what the walk was written for")
    for message, name in enumerate(MESSAGES):
        for number, kind in FIELDS[name].items():
            content[message][number] = _KINDS[kind] if kind in _KINDS else A_MESSAGE + MESSAGES.index(kind)
            if kind == ATTRIBUTE:
                attribute_tag[message] = number << 3 | BYTES
    return 0


fill_table()
fill_classes()               # every module has tables of its own


cdef class Walk:
    def __dealloc__(self):
        free_keys(&self.keys)
        free_recent(&self.recent)
        free_edits(&self.edits)
        free(self.strangers)
        free(self.found)


cdef bint may_be_addresses(const uint8_t* at, size_t size) noexcept nogil:
    """Whether a text that is no IPv4 address may be an IPv6 one, one with a port, or several."""
    cdef size_t i
    for i in range(size):
        if at[i] == c':' or at[i] == c',' or at[i] == c'/' or at[i] == c' ' or at[i] == c'[':
            return True
    return False


cdef int walk_message(Walk walk, int message, const uint8_t* at, const uint8_t* end, Frame* frame) noexcept nogil:
    """All fields of a message that is no value. `frame` is NULL for the request itself."""
    cdef Field field
    cdef Frame inner
    cdef int problem = OK
    cdef uint8_t kind, attribute = attribute_tag[message] if walk.quick else 0
    if message == SPAN:
        at = skip_ids(at, end)
    while at < end:
        if at[0] == attribute and attribute:
            at = skip_harmless(walk, at, end)
            if at == end:
                break
        if at[0] & 0x87 == BYTES and end - at >= 2 and at[1] < 0x80 and at[1] <= end - at - 2 and at[0] >= 8:
            field.number = at[0] >> 3        # as most fields are: one byte of tag, one of length
            field.wire = BYTES
            field.start = at
            field.sized = at + 1
            field.body = at + 2
            field.after = at + 2 + at[1]
        elif (
            at[0] & 0x87 == BYTES and end - at >= 3 and at[1] >= 0x80 and at[2] < 0x80 and at[0] >= 8
            and (at[1] & 0x7F) + 128 * at[2] <= end - at - 3
        ):
            field.number = at[0] >> 3        # or two of length, as a span
            field.wire = BYTES
            field.start = at
            field.sized = at + 1
            field.body = at + 3
            field.after = at + 3 + (at[1] & 0x7F) + 128 * at[2]
        elif at[0] & 0x87 == FIXED64 and end - at >= 9 and at[0] >= 8:
            at += 9
            continue
        elif at[0] & 0x87 == VARINT and end - at >= 2 and at[1] < 0x80 and at[0] >= 8:
            at += 2
            continue
        elif at[0] == 0x85 and end - at >= 6 and at[1] == 1:
            at += 6                          # the flags of a span
            continue
        elif read_field(at, end, &field) < 0:
            return MALFORMED
        elif field.wire != BYTES and field.wire != GROUP:
            at = field.after
            continue
        at = field.after
        kind = content[message][field.number] if field.number < NUMBERS and field.wire == BYTES else UNKNOWN
        if kind == AN_ATTRIBUTE:
            if is_harmless(walk, &field):
                continue
            problem = walk_attribute(walk, frame, &field, 0, 0, HERE)
        elif kind == A_TEXT:
            if is_clean(walk, field.body, field.after - field.body):
                continue
            problem = look_at(walk, frame, &field, LOOK)
        elif kind == A_STATE:
            problem = look_at(walk, frame, &field, LOOK_AT_STATE)
        elif kind == A_TRACE_ID or kind == A_SPAN_ID:
            if field.after - field.body != (16 if kind == A_TRACE_ID else 8) and field.after != field.body:
                problem = empty_id(walk, frame, &field)
        elif kind == MANY_NUMBERS:
            continue
        elif kind == UNKNOWN:
            problem = look_inside(walk, frame, &field, False)
        else:
            enter(&inner, frame, field.sized, field.body, field.after)
            if kind == A_VALUE:
                problem = walk_value(walk, &inner, field.body, field.after, 0, 0, EVERYWHERE)
            else:
                problem = walk_message(walk, kind - A_MESSAGE, field.body, field.after, &inner)
        if problem != OK:
            return problem
    return OK


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


cdef int empty_id(Walk walk, Frame* frame, const Field* field) noexcept nogil:
    """What stands in the place of an id and isn't one. It is emptied and not dropped: with it gone, an earlier
    occurrence of the field would be the id."""
    cdef Edit* edit = add_edit(&walk.edits, frame, field.sized, field.after, SIZED)
    if edit == NULL:
        return OUT_OF_MEMORY
    walk.counts[BAD_ID] += 1
    edit.out = field.body
    edit.out_size = 0
    return OK


cdef bint may_hold_inside(Walk walk, const uint8_t* at, const uint8_t* end, int depth) noexcept nogil:
    """Whether detectors must look at the content of an unknown field, or that of a field in it, if it is a message."""
    cdef Field field
    if walk.detectors.may_hold(at, end - at) or depth == DEEPEST_UNKNOWN:
        return True
    while at < end:
        if read_field(at, end, &field) < 0:
            return False
        at = field.after
        if (field.wire == BYTES or field.wire == GROUP) and may_hold_inside(walk, field.body, field.after, depth + 1):
            return True
    return False


cdef int look_inside(Walk walk, Frame* frame, const Field* field, bint whatever) noexcept nogil:
    """A field that protobuf doesn't know: it stays when detectors find nothing in it; with `whatever` it goes."""
    cdef Edit* edit
    if whatever:
        edit = add_edit(&walk.edits, frame, field.start, field.after, PLAIN)
        walk.counts[UNKNOWN_FIELD] += 1
        return OK if edit != NULL else OUT_OF_MEMORY
    if field.wire != BYTES and field.wire != GROUP:
        return OK
    if not may_hold_inside(walk, field.body, field.after, 0):
        return OK
    return OK if wait(walk, frame, field, PLAIN, 0, LOOK_INSIDE) != NULL else OUT_OF_MEMORY


cdef int look_at(Walk walk, Frame* frame, const Field* field, int pending) noexcept nogil:
    """A string field, or the bytes of a value, in which detectors look."""
    cdef size_t size = field.after - field.body
    cdef Edit* edit
    cdef int failure
    if size == 0:
        return OK
    if not pending & OF_BYTES and not is_utf8(field.body, size):
        failure = BAD_UTF8
    elif not walk.detectors.may_hold(field.body, size):
        return OK
    elif size > walk.longest:
        failure = TOO_LONG
    elif walk.plain and not pending & LOOK_AT_STATE:
        return replace_found(walk, frame, field)
    elif known_clean(&walk.recent, field.body, size):
        return OK
    else:
        return OK if wait(walk, frame, field, SIZED, 0, pending) != NULL else OUT_OF_MEMORY
    walk.counts[failure] += 1
    edit = add_edit(&walk.edits, frame, field.sized, field.after, SIZED)
    if edit == NULL:
        return OUT_OF_MEMORY
    edit.out = REDACTED_FIELD + 2
    edit.out_size = 10
    return OK


cdef int replace_found(Walk walk, Frame* frame, const Field* field) noexcept nogil:
    """A text in which there is something, with a mark in the place of each finding, or an address's network."""
    cdef size_t size = field.after - field.body, count = 0, room = size, i
    cdef Py_ssize_t at = 0
    cdef Found* found
    cdef uint8_t* out
    cdef uint8_t* made
    cdef Edit* edit
    while True:
        if count == walk.found_room:
            found = <Found*>realloc(walk.found, (walk.found_room * 2 + 16) * sizeof(Found))
            if found == NULL:
                return OUT_OF_MEMORY
            walk.found = found
            walk.found_room = walk.found_room * 2 + 16
        found = &walk.found[count]
        if not walk.detectors.next_found(field.body, size, at, at, found):
            break
        at = found.end
        room += LONGEST_ADDRESS if is_address(found.kind) else walk.marks[found.kind].size
        count += 1
    made = out = new_bytes(&walk.edits, room)
    if made == NULL:
        return OUT_OF_MEMORY
    at = 0
    for i in range(count):
        found = &walk.found[i]
        memcpy(out, field.body + at, found.start - at)
        out += found.start - at
        if found.kind == IPV4:
            out += mask_ipv4(field.body + found.start, found.end - found.start, out)
        elif found.kind == IPV6:
            out += mask_ipv6(field.body + found.start, found.end - found.start, out)
        else:
            memcpy(out, walk.marks[found.kind].at, walk.marks[found.kind].size)
            out += walk.marks[found.kind].size
        at = found.end
    memcpy(out, field.body + at, size - at)
    out += size - at
    if <size_t>(out - made) == size and same_text(made, field.body, size):
        return OK
    edit = add_edit(&walk.edits, frame, field.sized, field.after, SIZED)
    if edit == NULL:
        return OUT_OF_MEMORY
    edit.out = made
    edit.out_size = out - made
    for i in range(count):
        walk.kinds[walk.found[i].kind] += 1
    return OK


cdef inline bint is_address(int kind) noexcept nogil:
    return kind == IPV4 or kind == IPV6


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


cdef const uint8_t* skip_harmless(Walk walk, const uint8_t* at, const uint8_t* end) noexcept nogil:
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


cdef inline bint is_masked(const uint8_t* at, size_t size) noexcept nogil:
    """Whether the text is an IPv4 address cut to its network."""
    cdef size_t network = ipv4_prefix(at, size)
    return network and size == network + 3 and at[network] == c'0' and at[network + 2] == c'0'


cdef int walk_attribute(
    Walk walk, Frame* frame, const Field* field, uint8_t inherited, int depth, int listed
) noexcept nogil:
    """A `KeyValue`. `inherited` is the action of the value around it; `listed` says if attributes whose key isn't
    allowed are removed: NOWHERE, HERE, or EVERYWHERE, which is further inside too."""
    cdef const uint8_t* at = field.body
    cdef Field inner, key, value
    cdef Frame holder, frame_of_value
    cdef int action, keys = 0, values = 0
    cdef bint suspect, removing, strange = False
    key.body = key.after = at
    while at < field.after:
        if read_field(at, field.after, &inner) < 0:
            return MALFORMED
        at = inner.after
        if inner.wire == BYTES:
            if inner.number == 1:
                key = inner
                keys += 1
            elif inner.number == 2:
                value = inner
                values += 1
            else:
                strange = True
        elif inner.number != KEY_INDEX or inner.wire != VARINT:
            strange = True
    action = action_of(walk, key.body, key.after - key.body)
    if action < 0:
        return OUT_OF_MEMORY
    suspect = action & SUSPECT != 0 or keys > 1
    action &= ~SUSPECT
    removing = listed != NOWHERE
    if listed == HERE:
        listed = NOWHERE         # for what is inside
    if walk.doings[inherited].what != DETECT:
        action = inherited
    elif walk.doings[action].what == UNLISTED:
        action = REMOVE if removing else 0
    if walk.doings[action].what == IGNORE:
        return OK
    if walk.doings[action].what == DELETE:
        walk.counts[LONG_KEY if key.after - key.body > LONGEST_KEY else BY_DELETE] += 1
        return OK if add_edit(&walk.edits, frame, field.start, field.after, PLAIN) != NULL else OUT_OF_MEMORY
    enter(&holder, frame, field.sized, field.body, field.after)
    if not suspect and values == 1 and not strange:
        enter(&frame_of_value, &holder, value.sized, value.body, value.after)
        return walk_value(walk, &frame_of_value, value.body, value.after, <uint8_t>action, depth, listed)
    return walk_parts(walk, &holder, <uint8_t>action, suspect, depth, listed)


cdef int walk_parts(Walk walk, Frame* holder, uint8_t action, bint suspect, int depth, int listed) noexcept nogil:
    """The keys, where they are suspect, and the values of a `KeyValue`, in the order of the wire."""
    cdef const uint8_t* at = holder.body
    cdef Field field
    cdef Frame inner
    cdef int problem
    while at < holder.end:
        if read_field(at, holder.end, &field) < 0:
            return MALFORMED
        at = field.after
        problem = OK
        if field.wire == BYTES and field.number == 1 and suspect:
            problem = look_at(walk, holder, &field, LOOK)
        elif field.wire == BYTES and field.number == 2:
            enter(&inner, holder, field.sized, field.body, field.after)
            problem = walk_value(walk, &inner, field.body, field.after, action, depth, listed)
        elif field.wire == VARINT and field.number == KEY_INDEX:
            continue
        elif field.wire != BYTES or field.number != 1:
            problem = look_inside(walk, holder, &field, not looks_only(walk, action))
        if problem != OK:
            return problem
    return OK


cdef inline bint looks_only(Walk walk, uint8_t action) noexcept nogil:
    """Whether an action leaves what detectors find nothing in. Another may mean just what is in an unknown field."""
    cdef int what = walk.doings[action].what
    return what == DETECT or what == MASK_IP or what == KEEP_SHAPE or what == UNLISTED


cdef int walk_value(
    Walk walk, Frame* frame, const uint8_t* at, const uint8_t* end, uint8_t action, int depth, int listed
) noexcept nogil:
    """An `AnyValue`, under an action that is neither IGNORE nor DELETE."""
    cdef Field field, item
    cdef Frame nested, inner
    cdef const uint8_t* place
    cdef int problem
    if walk.doings[action].what == REDACT and not walk.allowing:
        if at == end:
            return OK
        walk.counts[BY_REDACT] += 1
        return redact_fields(walk, frame, at, end)
    while at < end:
        if read_field(at, end, &field) < 0:
            return MALFORMED
        at = field.after
        problem = OK
        if field.wire == BYTES:
            if field.number == 1 or field.number == 7:
                problem = scrub_leaf(walk, frame, &field, action)
            elif field.number == 5 or field.number == 6:
                if depth + 1 >= DEEPEST:
                    walk.counts[TOO_DEEP] += 1
                    problem = redact_fields(walk, frame, field.start, field.after)
                    place = field.after
                else:
                    enter(&nested, frame, field.sized, field.body, field.after)
                    place = field.body
                while place < field.after and problem == OK:
                    if read_field(place, field.after, &item) < 0:
                        return MALFORMED
                    place = item.after
                    if item.number != 1 or item.wire != BYTES:
                        problem = look_inside(walk, &nested, &item, not looks_only(walk, action))
                    elif field.number == 6:
                        problem = walk_attribute(walk, &nested, &item, action, depth + 1, listed)
                    else:
                        enter(&inner, &nested, item.sized, item.body, item.after)
                        problem = walk_value(walk, &inner, item.body, item.after, action, depth + 1, listed)
            else:
                problem = look_inside(walk, frame, &field, not looks_only(walk, action))
        elif 2 <= field.number <= 4 and field.wire == (FIXED64 if field.number == 4 else VARINT):
            problem = scrub_number(walk, frame, &field, action)
        elif field.number != STRING_INDEX or field.wire != VARINT:
            problem = look_inside(walk, frame, &field, not looks_only(walk, action))
        if problem != OK:
            return problem
    return OK


cdef int scrub_leaf(Walk walk, Frame* frame, const Field* field, uint8_t action) noexcept nogil:
    """A string or bytes value."""
    cdef size_t size = field.after - field.body, network
    cdef const Doing* doing = &walk.doings[action]
    cdef const Digest* known
    cdef uint8_t* made
    cdef Edit* edit
    cdef int pending = OF_BYTES if field.number == 7 else 0
    if size == 0:
        return OK
    if doing.what == DETECT or (not pending and not is_utf8(field.body, size)):
        return look_at(walk, frame, field, LOOK | pending)
    if walk.allowing:
        return OK if wait(walk, frame, field, SIZED, action, BY_RULE | pending) != NULL else OUT_OF_MEMORY
    if doing.what == KEEP_SHAPE:
        return OK if is_shape(field.body, size) else look_at(walk, frame, field, LOOK | pending)
    if doing.what == HASH:
        known = known_digest(&walk.recent, field.body, size)
        if known == NULL:
            return OK if wait(walk, frame, field, SIZED, action, DIGEST | pending) != NULL else OUT_OF_MEMORY
        edit = add_edit(&walk.edits, frame, field.sized, field.after, SIZED)
        walk.counts[BY_HASH] += 1
        return OK if edit != NULL and put_hash(walk, edit, known.digest, known.size) else OUT_OF_MEMORY
    if doing.what == LENGTH_OF:
        made = new_bytes(&walk.edits, 11)
        edit = add_edit(&walk.edits, frame, field.start, field.after, PLAIN)
        if made == NULL or edit == NULL:
            return OUT_OF_MEMORY
        made[0] = 0x18       # AnyValue.int_value
        edit.out = made
        edit.out_size = write_varint(made + 1, size if pending else characters(field.body, size)) - made
        walk.counts[BY_LENGTH] += 1
        return OK
    if doing.what == MASK and doing.mask_size:
        edit = add_edit(&walk.edits, frame, field.sized, field.after, SIZED)
        walk.counts[BY_MASK] += 1
        return OK if edit != NULL and put(walk, edit, doing.mask, doing.mask_size) else OUT_OF_MEMORY
    if is_masked(field.body, size):
        return OK
    network = ipv4_prefix(field.body, size)
    if network:
        made = new_bytes(&walk.edits, network + 3)
        edit = add_edit(&walk.edits, frame, field.sized, field.after, SIZED)
        if made == NULL or edit == NULL:
            return OUT_OF_MEMORY
        memcpy(made, field.body, network)
        memcpy(made + network, b"0.0", 3)
        edit.out = made
        edit.out_size = network + 3
        walk.counts[BY_MASK] += 1
        return OK
    if doing.what == MASK_IP and not may_be_addresses(field.body, size):
        return look_at(walk, frame, field, LOOK | pending)
    pending |= ADDRESS if doing.what == MASK else ADDRESS_OR_LOOK
    return OK if wait(walk, frame, field, SIZED, action, pending) != NULL else OUT_OF_MEMORY


cdef int scrub_number(Walk walk, Frame* frame, const Field* field, uint8_t action) noexcept nogil:
    """A number or a bool. What is not left as it is becomes text."""
    cdef const Doing* doing = &walk.doings[action]
    cdef int pending = LOOK
    if doing.what == DETECT:
        if not walk.numbers or field.number == 2:
            return OK
    elif doing.what == KEEP_SHAPE or (doing.what == LENGTH_OF and field.number == 2):
        return OK
    elif doing.what == LENGTH_OF:
        if field.number == 3 and field.value <= LARGEST_LENGTH:      # may be a length already
            return OK
        walk.counts[BY_REDACT] += 1
        return redact_fields(walk, frame, field.start, field.after)
    elif walk.allowing:
        pending = BY_RULE
    else:
        pending = DIGEST if doing.what == HASH else ADDRESS
    return OK if wait(walk, frame, field, PLAIN, action, pending | OF_NUMBER) != NULL else OUT_OF_MEMORY


cdef int redact_fields(Walk walk, Frame* frame, const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Put `[redacted]` in the place of these fields of an `AnyValue`."""
    cdef Edit* edit = add_edit(&walk.edits, frame, at, end, PLAIN)
    if edit == NULL:
        return OUT_OF_MEMORY
    edit.out = REDACTED_FIELD
    edit.out_size = 12
    return OK


cdef int action_of(Walk walk, const uint8_t* key, size_t size) noexcept nogil:
    """The action of a key, SUSPECT where detectors must look at the key; -1 when there is no memory."""
    cdef int action, i
    cdef Text* grown
    if size > LONGEST_KEY:
        return REMOVE
    action = find_key(&walk.keys, key, size)
    if action != UNKNOWN_KEY:
        return action
    if walk.asking:
        if walk.stranger_count == walk.stranger_room:
            grown = <Text*>realloc(walk.strangers, (walk.stranger_room * 2 + 64) * sizeof(Text))
            if grown == NULL:
                return -1
            walk.strangers = grown
            walk.stranger_room = walk.stranger_room * 2 + 64
        walk.strangers[walk.stranger_count].at = key
        walk.strangers[walk.stranger_count].size = size
        walk.stranger_count += 1
        return 0
    action = walk.otherwise
    for i in range(walk.glob_count):
        if matches_glob(walk.globs[i].text, walk.globs[i].size, key, size):
            action = walk.globs[i].action
            break
    if walk.detectors.may_hold(key, size) or not is_utf8(key, size):
        action |= SUSPECT
    return action if add_key(&walk.keys, key, size, <uint8_t>action) == 0 else -1


cdef Edit* wait(
    Walk walk, Frame* frame, const Field* field, Shape shape, uint8_t action, int pending
) noexcept nogil:
    """An edit that is settled later. PLAIN takes the place of the field, SIZED of what is in it."""
    cdef Edit* edit = add_edit(
        &walk.edits, frame, field.start if shape == PLAIN else field.sized, field.after, shape
    )
    if edit != NULL:
        edit.out = field.start if shape == PLAIN else field.body
        edit.out_size = field.after - edit.out
        edit.action = action
        edit.pending = <uint8_t>pending
    return edit


cdef bint put(Walk walk, Edit* edit, const uint8_t* text, size_t size) noexcept nogil:
    """Settle a SIZED edit by a copy of `text`."""
    cdef uint8_t* made = new_bytes(&walk.edits, size)
    if made == NULL:
        return False
    memcpy(made, text, size)
    edit.out = made
    edit.out_size = size
    edit.pending = 0
    return True


cdef bint put_hash(Walk walk, Edit* edit, const uint8_t* digest, size_t size) noexcept nogil:
    """Settle a SIZED edit by the prefix and the digest in hex."""
    cdef uint8_t* made = new_bytes(&walk.edits, walk.prefix_size + 2 * size)
    cdef size_t i
    if made == NULL:
        return False
    memcpy(made, walk.prefix, walk.prefix_size)
    edit.out = made
    edit.out_size = walk.prefix_size + 2 * size
    edit.pending = 0
    made += walk.prefix_size
    for i in range(size):
        made[2 * i] = HEX[digest[i] >> 4]
        made[2 * i + 1] = HEX[digest[i] & 0xF]
    return True
