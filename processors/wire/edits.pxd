"""Edits of a protobuf message as slices: planned in the order of its bytes, then the answer is made in one copy.

An edit replaces a range of the payload. The length of every message around an edit is an edit too, made when the first
edit inside of it is planned, so that what doesn't change costs nothing. What a range is replaced by may be settled
later than that it is: sizes are added up at the end.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from processors.wire.fields cimport varint_size, write_varint

cdef enum:
    ROOT = -1
    NO_MEMORY = -2
    CHUNK = 16384

cdef enum Shape:
    NOTHING                  # stays as it is
    LENGTH                   # of a message around edits
    SIZED                    # a length and `out`
    PLAIN                    # `out`


cdef struct Edit:
    const uint8_t* at        # what is replaced
    const uint8_t* end
    const uint8_t* out       # what stands there then; where `pending`, the text that is looked at
    size_t out_size
    int64_t change           # of the size of what is inside of a message
    Py_ssize_t parent        # the LENGTH around it, or ROOT
    Shape shape
    uint8_t action
    uint8_t pending          # how `out` comes about, or 0 when it is settled


cdef struct Chunk:
    Chunk* older
    size_t used
    size_t room              # this many bytes follow


cdef struct Edits:
    Edit* list
    Py_ssize_t count
    Py_ssize_t room
    Chunk* chunks


cdef struct Frame:
    Frame* around            # NULL: the request itself
    const uint8_t* sized     # where the message's length is
    const uint8_t* body
    const uint8_t* end
    Py_ssize_t edit          # its LENGTH, or ROOT as long as there is none


cdef inline void enter(
    Frame* frame, Frame* around, const uint8_t* sized, const uint8_t* body, const uint8_t* end
) noexcept nogil:
    frame.around = around
    frame.sized = sized
    frame.body = body
    frame.end = end
    frame.edit = ROOT


cdef inline Edit* new_edit(Edits* edits) noexcept nogil:
    cdef Edit* grown
    if edits.count == edits.room:
        grown = <Edit*>realloc(edits.list, 2 * (edits.room + 32) * sizeof(Edit))
        if grown == NULL:
            return NULL
        edits.list = grown
        edits.room = 2 * (edits.room + 32)
    edits.count += 1
    return &edits.list[edits.count - 1]


cdef inline Py_ssize_t around(Edits* edits, Frame* frame) noexcept nogil:
    """The LENGTH of the message, which is planned if it isn't, or ROOT, or NO_MEMORY."""
    cdef Py_ssize_t parent
    cdef Edit* edit
    if frame == NULL:
        return ROOT
    if frame.edit == ROOT:
        parent = around(edits, frame.around)
        if parent == NO_MEMORY:
            return NO_MEMORY
        edit = new_edit(edits)
        if edit == NULL:
            return NO_MEMORY
        edit.at = frame.sized
        edit.end = frame.body
        edit.out = NULL
        edit.out_size = frame.end - frame.body
        edit.change = 0
        edit.parent = parent
        edit.shape = LENGTH
        edit.action = 0
        edit.pending = 0
        frame.edit = edits.count - 1
    return frame.edit


cdef inline Edit* add_edit(
    Edits* edits, Frame* frame, const uint8_t* at, const uint8_t* end, Shape shape
) noexcept nogil:
    """An edit in the message of `frame`, by which the range is emptied until something else is settled."""
    cdef Py_ssize_t parent = around(edits, frame)
    cdef Edit* edit
    if parent == NO_MEMORY:
        return NULL
    edit = new_edit(edits)
    if edit == NULL:
        return NULL
    edit.at = at
    edit.end = end
    edit.out = NULL
    edit.out_size = 0
    edit.change = 0
    edit.parent = parent
    edit.shape = shape
    edit.action = 0
    edit.pending = 0
    return edit


cdef inline uint8_t* new_bytes(Edits* edits, size_t size) noexcept nogil:
    """Room for `size` bytes that stay where they are until the edits are freed, or NULL."""
    cdef Chunk* chunk = edits.chunks
    cdef size_t room
    if chunk == NULL or chunk.room - chunk.used < size:
        room = size if size > CHUNK else CHUNK
        chunk = <Chunk*>malloc(sizeof(Chunk) + room)
        if chunk == NULL:
            return NULL
        chunk.older = edits.chunks
        chunk.used = 0
        chunk.room = room
        edits.chunks = chunk
    chunk.used += size
    return <uint8_t*>(chunk + 1) + chunk.used - size


cdef inline void free_edits(Edits* edits) noexcept nogil:
    cdef Chunk* chunk
    free(edits.list)
    edits.list = NULL
    edits.count = edits.room = 0
    while edits.chunks != NULL:
        chunk = edits.chunks.older
        free(edits.chunks)
        edits.chunks = chunk


cdef inline bint add_up(Edits* edits, uint64_t* size) noexcept nogil:
    """Settle every LENGTH; `size`, the request's, becomes that of the answer. Whether anything changes."""
    cdef Py_ssize_t i
    cdef Edit* edit
    cdef int64_t change
    cdef bint changed = False
    for i in range(edits.count - 1, -1, -1):     # a message's LENGTH stands before all that is inside
        edit = &edits.list[i]
        if edit.shape == NOTHING:
            continue
        if edit.shape == LENGTH:
            if edit.change == 0:
                edit.shape = NOTHING
                continue
            edit.out_size += edit.change
            change = edit.change + <int64_t>varint_size(edit.out_size) - (edit.end - edit.at)
        else:
            changed = True
            change = <int64_t>edit.out_size - (edit.end - edit.at)
            if edit.shape == SIZED:
                change += varint_size(edit.out_size)
        if edit.parent == ROOT:
            size[0] += change
        else:
            edits.list[edit.parent].change += change
    return changed


cdef inline void copy_edited(const Edits* edits, const uint8_t* at, const uint8_t* end, uint8_t* out) noexcept nogil:
    """The bytes from `at` to `end`, edited, after `add_up`."""
    cdef Py_ssize_t i
    cdef const Edit* edit
    for i in range(edits.count):
        edit = &edits.list[i]
        if edit.shape == NOTHING:
            continue
        memcpy(out, at, edit.at - at)
        out += edit.at - at
        if edit.shape != PLAIN:
            out = write_varint(out, edit.out_size)
        if edit.shape != LENGTH and edit.out_size:
            memcpy(out, edit.out, edit.out_size)
            out += edit.out_size
        at = edit.end
    memcpy(out, at, end - at)
