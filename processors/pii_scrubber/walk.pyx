"""The walk over one `Export*ServiceRequest`, on its bytes and without the GIL: plans the edits that scrub it.

fields.py says where strings and bytes are, and keys are looked up; what becomes of a value is leaves.pyx's.

Of a field or a value that occurs twice each occurrence is scrubbed, whichever one protobuf lets win: all are on the
wire. An action on a nested value reaches every value inside.
"""

from processors.pii_scrubber.actions import FAILURES, RULES
from processors.pii_scrubber.fields import (
    ATTRIBUTE, FIELDS, MESSAGES, NUMBERS as MANY, SPAN_ID, STATE, TEXT, TRACE_ID, VALUE,
)

from libc.stdint cimport uint8_t
from libc.stdlib cimport realloc

from processors.pii_scrubber.detect.classes cimport fill_classes
from processors.pii_scrubber.harmless cimport is_clean, is_harmless, skip_harmless, skip_ids
from processors.pii_scrubber.key_table cimport SUSPECT, UNKNOWN_KEY, add_key, find_key, matches_glob
from processors.pii_scrubber.leaves cimport empty_id, look_at, look_inside, redact_fields, scrub_leaf, scrub_number
from processors.pii_scrubber.text cimport is_utf8
from processors.pii_scrubber.walk_state cimport (
    BY_DELETE, BY_REDACT, COUNTS, DELETE, DETECT, IGNORE, KEEP_SHAPE, LONG_KEY, LOOK, LOOK_AT_STATE, MALFORMED, MASK_IP,
    OK, OUT_OF_MEMORY, REDACT, TOO_DEEP, Text, UNLISTED, Walk,
)
from processors.wire.edits cimport PLAIN, Frame, add_edit, enter
from processors.wire.fields cimport BYTES, FIXED64, GROUP, VARINT, Field, read_field

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
    LONGEST_KEY = 512
    NOWHERE = 0
    HERE = 1
    EVERYWHERE = 2
    REMOVE = 1               # the action that deletes
    KEY_INDEX = 3            # numbers of the profiles' string tables, in a `KeyValue`
    STRING_INDEX = 8         # and in an `AnyValue`

cdef uint8_t[MOST_MESSAGES][NUMBERS] content
cdef uint8_t[MOST_MESSAGES] attribute_tag    # 0 where a message has none
cdef int SPAN = MESSAGES.index("trace.v1.Span")
_KINDS = {
    TEXT: A_TEXT, STATE: A_STATE, ATTRIBUTE: AN_ATTRIBUTE, VALUE: A_VALUE, MANY: MANY_NUMBERS, TRACE_ID: A_TRACE_ID,
    SPAN_ID: A_SPAN_ID,
}


cdef int fill_table() except -1:
    if len(MESSAGES) > MOST_MESSAGES or len(RULES + FAILURES) != COUNTS:
        raise ValueError("fields.py or actions.py is not what the walk was written for")
    for message, name in enumerate(MESSAGES):
        for number, kind in FIELDS[name].items():
            content[message][number] = _KINDS[kind] if kind in _KINDS else A_MESSAGE + MESSAGES.index(kind)
            if kind == ATTRIBUTE:
                attribute_tag[message] = number << 3 | BYTES
    return 0


fill_table()
fill_classes()               # every module has tables of its own


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
