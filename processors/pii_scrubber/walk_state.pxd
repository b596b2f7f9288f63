from libc.stdint cimport uint8_t, uint64_t

from processors.pii_scrubber.detect.detectors cimport Found, ValueDetectors
from processors.wire.edits cimport Edit, Edits, Frame, Shape
from processors.pii_scrubber.key_table cimport KeyTable
from processors.pii_scrubber.recent cimport Recent
from processors.wire.fields cimport Field

cdef enum:                  # what the walk returns
    OK = 0
    MALFORMED = -1
    OUT_OF_MEMORY = -2

cdef enum:                  # what is done: `actions.What`
    DETECT = 0
    IGNORE = 1
    HASH = 2
    LENGTH_OF = 3
    MASK = 4
    REDACT = 5
    DELETE = 6
    MASK_IP = 7
    KEEP_SHAPE = 8
    UNLISTED = 9

cdef enum:                   # how an edit that isn't settled is to be settled
    LOOK = 1                 # detectors
    LOOK_AT_STATE = 2        # same, but for the member that the sampler needs
    DIGEST = 3
    ADDRESS = 4              # an address to its network, else the mask
    ADDRESS_OR_LOOK = 5
    BY_RULE = 6              # as the action says, unless the value is an allowed one
    LOOK_INSIDE = 7          # detectors, also in what it may hold as a message: gone when they find something
    MEANING = 0x0F
    OF_BYTES = 0x40          # flags: the value is not text,
    OF_NUMBER = 0x80         # or is a number's field, which becomes text

cdef enum:                   # places in `counts`: actions.RULES, then actions.FAILURES
    BY_HASH = 0
    BY_LENGTH = 1
    BY_MASK = 2
    BY_REDACT = 3
    BY_DELETE = 4
    BAD_UTF8 = 5
    TOO_DEEP = 6
    TOO_LONG = 7
    LONG_KEY = 8
    INTERNAL = 9
    BAD_ID = 10
    UNKNOWN_FIELD = 11
    COUNTS = 12
    KINDS = 16               # built-in kinds of findings are below

cdef struct Doing:
    int what
    const uint8_t* mask
    size_t mask_size

cdef struct Glob:
    const uint8_t* text
    size_t size
    uint8_t action

cdef struct Text:
    const uint8_t* at
    size_t size


cdef class Walk:
    """What the walk needs to know, and what it gathers in `edits`, `counts` and `strangers`."""
    cdef ValueDetectors detectors
    cdef KeyTable keys
    cdef Recent recent
    cdef Edits edits
    cdef uint64_t[COUNTS] counts
    cdef uint64_t[KINDS] kinds       # findings that were settled without Python
    cdef bint plain                  # whether all findings can be: no patterns, and a mark for each kind
    cdef Text[KINDS] marks           # what stands in for a finding, addresses apart
    cdef Found* found                # of one value
    cdef size_t found_room
    cdef Doing[128] doings
    cdef uint8_t[256] easy           # what is done for an action and its flag: UNLISTED is to be looked at closely
    cdef bint quick                  # whether the wide look is worth taking: no patterns of the user's
    cdef const uint8_t* limit        # end of the request
    cdef Glob[256] globs
    cdef int glob_count
    cdef uint8_t otherwise           # action of a key that no rule names
    cdef size_t longest              # bytes of a value that detectors look at
    cdef bint numbers                # whether detectors look at numbers too
    cdef bint allowing               # whether a value may be allowed whatever its key says
    cdef bint asking                 # whether a key that isn't in the table must be asked for
    cdef Text* strangers             # keys to ask for
    cdef size_t stranger_count
    cdef size_t stranger_room
    cdef uint8_t[64] prefix          # of a hash
    cdef size_t prefix_size
