"""What becomes of one string, some bytes or a number: it stays, its edit is planned, or it is left pending for what
only Python can settle (a hash that isn't remembered, a value in which the prefilter suspects something).
"""

from processors.pii_scrubber.actions import REDACTED

from libc.stdint cimport uint8_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy

from processors.pii_scrubber.detect.addresses cimport mask_ipv4, mask_ipv6
from processors.pii_scrubber.detect.classes cimport fill_classes
from processors.pii_scrubber.detect.detectors cimport Found
from processors.pii_scrubber.detect.kinds cimport IPV4, IPV6
from processors.pii_scrubber.harmless cimport is_masked
from processors.pii_scrubber.recent cimport Digest, known_clean, known_digest
from processors.pii_scrubber.text cimport characters, ipv4_prefix, is_shape, is_utf8, same_text
from processors.pii_scrubber.walk_state cimport (
    ADDRESS, ADDRESS_OR_LOOK, BAD_ID, BAD_UTF8, BY_HASH, BY_LENGTH, BY_MASK, BY_REDACT, BY_RULE, DETECT, DIGEST, Doing,
    HASH, KEEP_SHAPE, LENGTH_OF, LOOK, LOOK_AT_STATE, LOOK_INSIDE, MASK, MASK_IP, OF_BYTES, OF_NUMBER, OK,
    OUT_OF_MEMORY, TOO_LONG, UNKNOWN_FIELD, Walk,
)
from processors.wire.edits cimport PLAIN, SIZED, Edit, Frame, Shape, add_edit, new_bytes
from processors.wire.fields cimport BYTES, GROUP, Field, read_field, write_varint

cdef enum:
    DEEPEST_UNKNOWN = 8      # what may be messages in an unknown field
    LONGEST_ADDRESS = 64
    LARGEST_LENGTH = 0x7FFFFFFF

cdef const uint8_t* REDACTED_FIELD = b"\x0a\x0a[redacted]"
cdef const uint8_t* HEX = b"0123456789abcdef"

if REDACTED_FIELD[2:12] != REDACTED:
    raise ValueError("actions.py is not what this was written for")
fill_classes()               # every module has tables of its own


cdef bint may_be_addresses(const uint8_t* at, size_t size) noexcept nogil:
    """Whether a text that is no IPv4 address may be an IPv6 one, one with a port, or several."""
    cdef size_t i
    for i in range(size):
        if at[i] == c':' or at[i] == c',' or at[i] == c'/' or at[i] == c' ' or at[i] == c'[':
            return True
    return False


cdef inline bint is_address(int kind) noexcept nogil:
    return kind == IPV4 or kind == IPV6


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
