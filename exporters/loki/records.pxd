"""What the encoder knows of a record while it makes an entry of it."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from exporters.loki.any_value cimport Span, Value
from exporters.wire.buffer cimport Buffer

cdef enum:
    MOST_LABELS = 64
    MOST_KEYS = 10000        # remembered from one request to the next
    LEVEL_COUNT = 7
    TOO_OLD = 1
    TOO_FAR_AHEAD = 2
    LINE_TOO_LONG = 3
    COLLAPSES = -2
    NO_RANK = 1 << 20
    BLOCK = 1 << 16

cdef enum:                   # the order of ADJUSTMENTS
    COLLAPSED
    VALUE_TRUNCATED
    LINE_TRUNCATED
    METADATA_DROPPED
    DUPLICATE
    MALFORMED_ID
    WITHOUT_TIME
    ADJUSTED

cdef enum:                   # the order of _BUILT_IN
    TRACE_ID
    SPAN_ID
    REQUEST_ID
    NODE_ID
    COMPONENT
    LEVEL_NAME
    SEVERITY_TEXT
    SEVERITY_NUMBER
    OBSERVED
    EVENT_NAME
    FLAGS
    DROPPED
    SCOPE_NAME
    SCOPE_VERSION
    CUT
    BUILT_IN
    ROLES = 5                # request_id, node_id, component, trace_id, span_id
    TRACE_ROLE = 3
    SPAN_ROLE = 4
    IN_RESOURCE = -1
    IN_BODY = -2

cdef enum:                   # what a part of the labels is
    STATIC
    BY_LEVEL
    BY_VALUE


cdef struct Part:
    int kind
    int slot
    Span name
    Span value


cdef struct Key:             # an attribute's key
    uint32_t name            # its number among the names
    int32_t slot             # the label that it is, or -1
    int32_t role             # which of ROLES it gives, or -1
    int32_t rank             # among the keys of that role; the lowest wins
    bint listed              # whether it belongs into structured metadata
    uint64_t seen            # the owner of attributes that had it last


cdef struct Name:            # of structured metadata
    uint64_t seen            # the record that has it
    uint64_t resource        # the newest resource that has it
    uint64_t scope           # the newest scope that has it


cdef struct Attribute:
    Span key
    Span message             # its AnyValue
    uint32_t number          # of its key
    bint is_label
    bint in_role


cdef struct Pair:            # of a segment: an encoded LabelPair, its whole field
    size_t offset
    size_t size
    uint32_t name
    uint32_t text            # bytes of name and value


cdef struct Segment:         # structured metadata that many records share
    Buffer content
    Pair* pairs
    size_t count
    size_t room
    size_t text
    bint hidden              # some pair's name is taken by the scope


cdef struct Named:           # what plays a role
    Span text
    Span key
    int32_t rank
    int64_t attribute        # its place in the record's list, IN_RESOURCE or IN_BODY


cdef struct Record:
    uint64_t time
    uint64_t observed
    uint64_t dropped
    int32_t severity
    uint32_t flags
    Span severity_text
    Span body
    Value value              # of the body
    bint is_line             # the body is a line of Butterfly's already
    Span trace_id
    Span span_id
    Span event_name
