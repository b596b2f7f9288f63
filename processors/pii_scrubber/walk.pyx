"""The walk over one `Export*ServiceRequest`, on its bytes and without the GIL: plans the edits that scrub it.

fields.py says where strings and bytes are. Keys are looked up, prefilters run; what only Python can settle (a hash that
isn't remembered, a value in which the prefilter suspects something) is left pending for scrubber.pyx.

Of a field or a value that occurs twice each occurrence is scrubbed, whichever one protobuf lets win: all are on the
wire. An action on a nested value reaches every value inside.
"""

from processors.pii_scrubber.actions import FAILURES, REDACTED, RULES
from processors.pii_scrubber.fields import ATTRIBUTE, FIELDS, MESSAGES, STATE, TEXT, VALUE

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from processors.pii_scrubber.edits cimport PLAIN, SIZED, Edit, Frame, Shape, add_edit, enter, free_edits, new_bytes
from processors.pii_scrubber.key_table cimport (
    SUSPECT, UNKNOWN_KEY, add_key, find_key, free_keys, matches_glob,
)
from processors.pii_scrubber.recent cimport Digest, free_recent, known_clean, known_digest
from processors.pii_scrubber.text cimport characters, ipv4_prefix, is_shape, is_utf8
from processors.pii_scrubber.wire cimport BYTES, FIXED64, VARINT, Field, read_field, write_varint

cdef enum:
    NUMBERS = 16             # field numbers at or above this one are of no interest
    MOST_MESSAGES = 64
    OTHER = 0                # what a field holds: nothing to look at,
    A_TEXT = 1
    A_STATE = 2
    AN_ATTRIBUTE = 3
    A_VALUE = 4
    A_MESSAGE = 8            # and above: the message of that number, less this
    DEEPEST = 32             # values in one another
    LONGEST_KEY = 512
    NOWHERE = 0
    HERE = 1
    EVERYWHERE = 2
    REMOVE = 1               # the action that deletes
    LARGEST_LENGTH = 0x7FFFFFFF

cdef uint8_t[MOST_MESSAGES][NUMBERS] content
cdef const uint8_t* REDACTED_FIELD = b"\x0a\x0a[redacted]"
cdef const uint8_t* HEX = b"0123456789abcdef"
_KINDS = {TEXT: A_TEXT, STATE: A_STATE, ATTRIBUTE: AN_ATTRIBUTE, VALUE: A_VALUE}


cdef int fill_table() except -1:
    if len(MESSAGES) > MOST_MESSAGES or REDACTED_FIELD[2:12] != REDACTED or len(RULES + FAILURES) != COUNTS:
        raise ValueError("fields.py or actions.py is not what the walk was written for")
    for message, name in enumerate(MESSAGES):
        for number, kind in FIELDS[name].items():
            content[message][number] = _KINDS[kind] if kind in _KINDS else A_MESSAGE + MESSAGES.index(kind)
    return 0


fill_table()


cdef class Walk:
    def __dealloc__(self):
        free_keys(&self.keys)
        free_recent(&self.recent)
        free_edits(&self.edits)
        free(self.strangers)

    cdef int walk(self, int message, const uint8_t* at, const uint8_t* end, Frame* frame) noexcept nogil:
        """All fields of a message that is no value. `frame` is NULL for the request itself."""
        cdef Field field
        cdef Frame inner
        cdef int problem = OK
        cdef uint8_t kind
        while at < end:
            if read_field(at, end, &field) < 0:
                return MALFORMED
            at = field.after
            if field.wire != BYTES or field.number >= NUMBERS:
                continue
            kind = content[message][field.number]
            if kind == OTHER:
                continue
            if kind == AN_ATTRIBUTE:
                problem = self.attribute(frame, &field, 0, 0, HERE)
            elif kind == A_TEXT:
                problem = self.text(frame, &field, LOOK)
            elif kind == A_STATE:
                problem = self.text(frame, &field, LOOK_AT_STATE)
            else:
                enter(&inner, frame, field.sized, field.body, field.after)
                if kind == A_VALUE:
                    problem = self.value(&inner, field.body, field.after, 0, 0, EVERYWHERE)
                else:
                    problem = self.walk(kind - A_MESSAGE, field.body, field.after, &inner)
            if problem != OK:
                return problem
        return OK

    cdef int text(self, Frame* frame, const Field* field, int pending) noexcept nogil:
        """A string field, or the bytes of a value, in which detectors look."""
        cdef size_t size = field.after - field.body
        cdef Edit* edit
        cdef int failure
        if size == 0:
            return OK
        if not pending & OF_BYTES and not is_utf8(field.body, size):
            failure = BAD_UTF8
        elif not self.detectors.may_hold(field.body, size):
            return OK
        elif size > self.longest:
            failure = TOO_LONG
        elif known_clean(&self.recent, field.body, size):
            return OK
        else:
            return OK if self.wait(frame, field, SIZED, 0, pending) != NULL else OUT_OF_MEMORY
        self.counts[failure] += 1
        edit = add_edit(&self.edits, frame, field.sized, field.after, SIZED)
        if edit == NULL:
            return OUT_OF_MEMORY
        edit.out = REDACTED_FIELD + 2
        edit.out_size = 10
        return OK

    cdef int attribute(
        self, Frame* frame, const Field* field, uint8_t inherited, int depth, int listed
    ) noexcept nogil:
        """A `KeyValue`. `inherited` is the action of the value around it; `listed` says whether attributes whose key isn't
        allowed are removed: NOWHERE, HERE, or EVERYWHERE, which is further inside too."""
        cdef const uint8_t* at = field.body
        cdef Field inner, key, value
        cdef Frame holder, frame_of_value
        cdef int action, keys = 0, values = 0
        cdef bint suspect, removing
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
        action = self.action_of(key.body, key.after - key.body)
        if action < 0:
            return OUT_OF_MEMORY
        suspect = action & SUSPECT != 0 or keys > 1
        action &= ~SUSPECT
        removing = listed != NOWHERE
        if listed == HERE:
            listed = NOWHERE         # for what is inside
        if self.doings[inherited].what != DETECT:
            action = inherited
        elif self.doings[action].what == UNLISTED:
            action = REMOVE if removing else 0
        if self.doings[action].what == IGNORE:
            return OK
        if self.doings[action].what == DELETE:
            self.counts[LONG_KEY if key.after - key.body > LONGEST_KEY else BY_DELETE] += 1
            return OK if add_edit(&self.edits, frame, field.start, field.after, PLAIN) != NULL else OUT_OF_MEMORY
        enter(&holder, frame, field.sized, field.body, field.after)
        if not suspect and values == 1:
            enter(&frame_of_value, &holder, value.sized, value.body, value.after)
            return self.value(&frame_of_value, value.body, value.after, <uint8_t>action, depth, listed)
        return self.parts(&holder, <uint8_t>action, suspect, depth, listed)

    cdef int parts(self, Frame* holder, uint8_t action, bint suspect, int depth, int listed) noexcept nogil:
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
                problem = self.text(holder, &field, LOOK)
            elif field.wire == BYTES and field.number == 2:
                enter(&inner, holder, field.sized, field.body, field.after)
                problem = self.value(&inner, field.body, field.after, action, depth, listed)
            if problem != OK:
                return problem
        return OK

    cdef int value(
        self, Frame* frame, const uint8_t* at, const uint8_t* end, uint8_t action, int depth, int listed
    ) noexcept nogil:
        """An `AnyValue`, under an action that is neither IGNORE nor DELETE."""
        cdef Field field, item
        cdef Frame nested, inner
        cdef const uint8_t* place
        cdef int problem
        if self.doings[action].what == REDACT and not self.allowing:
            if at == end:
                return OK
            self.counts[BY_REDACT] += 1
            return self.redact(frame, at, end)
        while at < end:
            if read_field(at, end, &field) < 0:
                return MALFORMED
            at = field.after
            problem = OK
            if field.wire == BYTES:
                if field.number == 1 or field.number == 7:
                    problem = self.leaf(frame, &field, action)
                elif field.number == 5 or field.number == 6:
                    if depth + 1 >= DEEPEST:
                        self.counts[TOO_DEEP] += 1
                        problem = self.redact(frame, field.start, field.after)
                        place = field.after
                    else:
                        enter(&nested, frame, field.sized, field.body, field.after)
                        place = field.body
                    while place < field.after and problem == OK:
                        if read_field(place, field.after, &item) < 0:
                            return MALFORMED
                        place = item.after
                        if item.number != 1 or item.wire != BYTES:
                            continue
                        if field.number == 6:
                            problem = self.attribute(&nested, &item, action, depth + 1, listed)
                        else:
                            enter(&inner, &nested, item.sized, item.body, item.after)
                            problem = self.value(&inner, item.body, item.after, action, depth + 1, listed)
            elif 2 <= field.number <= 4:
                problem = self.number(frame, &field, action)
            if problem != OK:
                return problem
        return OK

    cdef int leaf(self, Frame* frame, const Field* field, uint8_t action) noexcept nogil:
        """A string or bytes value."""
        cdef size_t size = field.after - field.body, network
        cdef const Doing* doing = &self.doings[action]
        cdef const Digest* known
        cdef uint8_t* made
        cdef Edit* edit
        cdef int pending = OF_BYTES if field.number == 7 else 0
        if size == 0:
            return OK
        if doing.what == DETECT or (not pending and not is_utf8(field.body, size)):
            return self.text(frame, field, LOOK | pending)
        if self.allowing:
            return OK if self.wait(frame, field, SIZED, action, BY_RULE | pending) != NULL else OUT_OF_MEMORY
        if doing.what == KEEP_SHAPE:
            return OK if is_shape(field.body, size) else self.text(frame, field, LOOK | pending)
        if doing.what == HASH:
            known = known_digest(&self.recent, field.body, size)
            if known == NULL:
                return OK if self.wait(frame, field, SIZED, action, DIGEST | pending) != NULL else OUT_OF_MEMORY
            edit = add_edit(&self.edits, frame, field.sized, field.after, SIZED)
            self.counts[BY_HASH] += 1
            return OK if edit != NULL and self.put_hash(edit, known.digest, known.size) else OUT_OF_MEMORY
        if doing.what == LENGTH_OF:
            made = new_bytes(&self.edits, 11)
            edit = add_edit(&self.edits, frame, field.start, field.after, PLAIN)
            if made == NULL or edit == NULL:
                return OUT_OF_MEMORY
            made[0] = 0x18       # AnyValue.int_value
            edit.out = made
            edit.out_size = write_varint(made + 1, size if pending else characters(field.body, size)) - made
            self.counts[BY_LENGTH] += 1
            return OK
        if doing.what == MASK and doing.mask_size:
            edit = add_edit(&self.edits, frame, field.sized, field.after, SIZED)
            self.counts[BY_MASK] += 1
            return OK if edit != NULL and self.put(edit, doing.mask, doing.mask_size) else OUT_OF_MEMORY
        network = ipv4_prefix(field.body, size)
        if network:
            if size == network + 3 and field.body[network] == c'0' and field.body[network + 2] == c'0':
                return OK
            made = new_bytes(&self.edits, network + 3)
            edit = add_edit(&self.edits, frame, field.sized, field.after, SIZED)
            if made == NULL or edit == NULL:
                return OUT_OF_MEMORY
            memcpy(made, field.body, network)
            memcpy(made + network, b"0.0", 3)
            edit.out = made
            edit.out_size = network + 3
            self.counts[BY_MASK] += 1
            return OK
        if doing.what == MASK_IP and not may_be_addresses(field.body, size):
            return self.text(frame, field, LOOK | pending)
        pending |= ADDRESS if doing.what == MASK else ADDRESS_OR_LOOK
        return OK if self.wait(frame, field, SIZED, action, pending) != NULL else OUT_OF_MEMORY

    cdef int number(self, Frame* frame, const Field* field, uint8_t action) noexcept nogil:
        """A number or a bool. What is not left as it is becomes text."""
        cdef const Doing* doing = &self.doings[action]
        cdef int pending = LOOK
        if field.wire != (FIXED64 if field.number == 4 else VARINT):
            return OK
        if doing.what == DETECT:
            if not self.numbers or field.number == 2:
                return OK
        elif doing.what == KEEP_SHAPE or (doing.what == LENGTH_OF and field.number == 2):
            return OK
        elif doing.what == LENGTH_OF:
            if field.number == 3 and field.value <= LARGEST_LENGTH:      # may be a length already
                return OK
            self.counts[BY_REDACT] += 1
            return self.redact(frame, field.start, field.after)
        elif self.allowing:
            pending = BY_RULE
        else:
            pending = DIGEST if doing.what == HASH else ADDRESS
        return OK if self.wait(frame, field, PLAIN, action, pending | OF_NUMBER) != NULL else OUT_OF_MEMORY

    cdef int redact(self, Frame* frame, const uint8_t* at, const uint8_t* end) noexcept nogil:
        """Put `[redacted]` in the place of these fields of an `AnyValue`."""
        cdef Edit* edit = add_edit(&self.edits, frame, at, end, PLAIN)
        if edit == NULL:
            return OUT_OF_MEMORY
        edit.out = REDACTED_FIELD
        edit.out_size = 12
        return OK

    cdef int action_of(self, const uint8_t* key, size_t size) noexcept nogil:
        """The action of a key, SUSPECT where detectors must look at the key; -1 when there is no memory."""
        cdef int action, i
        cdef Text* grown
        if size > LONGEST_KEY:
            return REMOVE
        action = find_key(&self.keys, key, size)
        if action != UNKNOWN_KEY:
            return action
        if self.asking:
            if self.stranger_count == self.stranger_room:
                grown = <Text*>realloc(self.strangers, (self.stranger_room * 2 + 64) * sizeof(Text))
                if grown == NULL:
                    return -1
                self.strangers = grown
                self.stranger_room = self.stranger_room * 2 + 64
            self.strangers[self.stranger_count].at = key
            self.strangers[self.stranger_count].size = size
            self.stranger_count += 1
            return 0
        action = self.otherwise
        for i in range(self.glob_count):
            if matches_glob(self.globs[i].text, self.globs[i].size, key, size):
                action = self.globs[i].action
                break
        if self.detectors.may_hold(key, size) or not is_utf8(key, size):
            action |= SUSPECT
        return action if add_key(&self.keys, key, size, <uint8_t>action) == 0 else -1

    cdef Edit* wait(
        self, Frame* frame, const Field* field, Shape shape, uint8_t action, int pending
    ) noexcept nogil:
        """An edit that is settled later. PLAIN takes the place of the field, SIZED of what is in it."""
        cdef Edit* edit = add_edit(
            &self.edits, frame, field.start if shape == PLAIN else field.sized, field.after, shape
        )
        if edit != NULL:
            edit.out = field.start if shape == PLAIN else field.body
            edit.out_size = field.after - edit.out
            edit.action = action
            edit.pending = <uint8_t>pending
        return edit

    cdef bint put(self, Edit* edit, const uint8_t* text, size_t size) noexcept nogil:
        """Settle a SIZED edit by a copy of `text`."""
        cdef uint8_t* made = new_bytes(&self.edits, size)
        if made == NULL:
            return False
        memcpy(made, text, size)
        edit.out = made
        edit.out_size = size
        edit.pending = 0
        return True

    cdef bint put_hash(self, Edit* edit, const uint8_t* digest, size_t size) noexcept nogil:
        """Settle a SIZED edit by the prefix and the digest in hex."""
        cdef uint8_t* made = new_bytes(&self.edits, self.prefix_size + 2 * size)
        cdef size_t i
        if made == NULL:
            return False
        memcpy(made, self.prefix, self.prefix_size)
        edit.out = made
        edit.out_size = self.prefix_size + 2 * size
        edit.pending = 0
        made += self.prefix_size
        for i in range(size):
            made[2 * i] = HEX[digest[i] >> 4]
            made[2 * i + 1] = HEX[digest[i] & 0xF]
        return True


cdef bint may_be_addresses(const uint8_t* at, size_t size) noexcept nogil:
    """Whether a text that is no IPv4 address may be an IPv6 one, one with a port, or several."""
    cdef size_t i
    for i in range(size):
        if at[i] == c':' or at[i] == c',' or at[i] == c'/' or at[i] == c' ' or at[i] == c'[':
            return True
    return False
