"""The parts of a request whose leaves have their partitions: which leaves make a part, how large it is, its bytes.

A stable counting sort of the leaves by partition, then the sizes of the parts. They are written from their ends to
their beginnings, so that a message's length is known by the time it is written. Nothing here needs the GIL.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memset

from collector.wire.fields cimport varint_size, write_varint

cdef enum:
    RESOURCE_TAG = 0x0A      # Export*ServiceRequest.resource_spans, .resource_metrics, .resource_logs
    CHILD_TAG = 0x12         # Resource*.scope_*, and in a scope the leaves
    LONGEST_PREFIXES = 12    # tags and lengths of one resource and one scope
    GROWTH = 4               # all parts: at most this many times the payload more than the payload,
    GROWTH_BASE = 4 << 20    # and this many bytes

cdef enum Problem:
    OK = 0
    MALFORMED = -1
    NO_MEMORY = -2
    TOO_MUCH = -3


cdef struct Leaf:
    uint32_t start           # offset of its tag
    uint32_t body            # offset of what follows its length
    uint32_t size            # of that
    uint32_t scope
    uint32_t partition
    uint32_t items           # 1, or of a metric its data points


cdef struct Group:           # a resource or a scope with leaves; or the request itself
    uint32_t header          # offset of the fields beside its children
    uint32_t size            # of those
    bint copied              # they are in the scratch, not in the payload
    uint32_t resource        # of a scope: the one that holds it
    int32_t home             # of a resource: partition of leaves that have no other; -1: not computed yet


cdef struct Part:
    uint32_t partition
    uint32_t first           # in `order`
    uint32_t end
    uint64_t items           # of its leaves
    uint64_t size
    uint8_t* out


cdef struct Sizes:           # of a part that is being filled
    uint64_t closed          # its finished resources
    uint64_t resource        # body of the open one, finished scopes included
    uint64_t scope           # body of the open one
    uint32_t resource_row
    uint32_t scope_row


cdef struct Job:
    const uint8_t* base
    const uint8_t* roomy     # up to here ROOM bytes follow
    uint64_t length
    uint64_t max_bytes
    uint32_t partitions
    uint32_t id_field        # the leaves' trace id, or NO_TRACE_ID
    bint always_by_id        # even where it isn't a valid one
    bint metrics             # the leaves are metrics, which hold the items
    # what was found
    Leaf* leaves
    uint32_t leaf_count
    uint32_t leaf_room
    uint32_t placed
    uint64_t items
    Group* scopes            # with leaves, as the resources
    uint32_t scope_count
    uint32_t scope_room
    Group* resources
    uint32_t resource_count
    uint32_t resource_room
    Group request
    uint8_t* scratch         # headers that aren't contiguous in the payload; as large as the payload
    uint32_t scratch_used
    # the answer
    uint32_t* ends           # by partition: first the number of its leaves, then where they end in `order`
    uint32_t* order          # the leaves by partition
    Part* parts
    uint32_t part_count
    uint32_t part_room
    uint64_t total


cdef inline int make_room(void** rows, uint32_t used, uint32_t* room, size_t row_size) noexcept nogil:
    """For one more row."""
    cdef void* grown
    if used < room[0]:
        return OK
    room[0] = used + used // 2 + 16
    grown = realloc(rows[0], room[0] * row_size)
    if grown == NULL:
        return NO_MEMORY
    rows[0] = grown
    return OK


cdef inline const uint8_t* header_of(const Job* job, const Group* group) noexcept nogil:
    if group.copied:
        return job.scratch + group.header
    return job.base + group.header


cdef inline void sort_leaves(Job* job) noexcept nogil:
    cdef uint32_t i, size, begin = 0
    for i in range(job.partitions):
        size = job.ends[i]
        job.ends[i] = begin
        begin += size
    for i in range(job.leaf_count):
        job.order[job.ends[job.leaves[i].partition]] = i
        job.ends[job.leaves[i].partition] += 1


cdef inline uint64_t field_size(uint64_t body) noexcept nogil:
    return 1 + varint_size(body) + body


cdef inline uint64_t part_size(const Sizes* sizes) noexcept nogil:
    return sizes.closed + field_size(sizes.resource + field_size(sizes.scope))


cdef inline void grow(const Job* job, Sizes* sizes, const Leaf* leaf, bint first) noexcept nogil:
    """Add a leaf to a part, the first one of it or one behind the others."""
    cdef const Group* scope = &job.scopes[leaf.scope]
    if first or leaf.scope != sizes.scope_row:
        if first:
            sizes.closed = 0
            sizes.resource = job.resources[scope.resource].size
        elif scope.resource == sizes.resource_row:
            sizes.resource += field_size(sizes.scope)
        else:
            sizes.closed = part_size(sizes)
            sizes.resource = job.resources[scope.resource].size
        sizes.scope = scope.size
        sizes.scope_row = leaf.scope
        sizes.resource_row = scope.resource
    sizes.scope += leaf.body - leaf.start + leaf.size


cdef inline int add_part(Job* job, uint32_t partition, uint32_t first, uint32_t end, uint64_t size) noexcept nogil:
    cdef uint64_t items = 0
    cdef uint32_t i
    job.total += size
    if job.total > (1 + GROWTH) * job.length + GROWTH_BASE:
        return TOO_MUCH
    if make_room(<void**>&job.parts, job.part_count, &job.part_room, sizeof(Part)) < 0:
        return NO_MEMORY
    for i in range(first, end):
        items += job.leaves[job.order[i]].items
    job.parts[job.part_count] = Part(partition, first, end, items, size, NULL)
    job.part_count += 1
    return OK


cdef inline int plan_partition(Job* job, uint32_t partition, uint32_t first, uint32_t end) noexcept nogil:
    """The parts of `order[first:end]`, each as long as `max_bytes` allows."""
    cdef uint32_t i
    cdef Sizes sizes, grown
    cdef const Leaf* leaf
    cdef int problem
    memset(&sizes, 0, sizeof(Sizes))
    grow(job, &sizes, &job.leaves[job.order[first]], True)
    if job.part_count == 0:
        if part_size(&sizes) + job.request.size > job.max_bytes:
            job.request.size = 0     # rather than to spoil a leaf
        sizes.closed = job.request.size
    for i in range(first + 1, end):
        leaf = &job.leaves[job.order[i]]
        grown = sizes
        grow(job, &grown, leaf, False)
        if grown.closed + grown.resource + grown.scope + LONGEST_PREFIXES > job.max_bytes:
            if part_size(&grown) > job.max_bytes:
                problem = add_part(job, partition, first, i, part_size(&sizes))
                if problem < 0:
                    return problem
                first = i
                grow(job, &grown, leaf, True)
        sizes = grown
    return add_part(job, partition, first, end, part_size(&sizes))


cdef inline int plan(Job* job) noexcept nogil:
    cdef uint32_t partition, begin = 0
    cdef int problem
    for partition in range(job.partitions):
        if job.ends[partition] != begin:
            problem = plan_partition(job, partition, begin, job.ends[partition])
            if problem < 0:
                return problem
            begin = job.ends[partition]
    return OK


cdef inline uint8_t* put_before(uint8_t* out, const uint8_t* at, size_t size) noexcept nogil:
    if size == 0:
        return out
    memcpy(out - size, at, size)
    return out - size


cdef inline uint8_t* begin_before(
    uint8_t* out, const uint8_t* end, const Job* job, const Group* group, uint8_t tag
) noexcept nogil:
    """The header of a message whose children lie from `out` to `end`, its length and its tag."""
    cdef uint64_t size
    out = put_before(out, header_of(job, group), group.size)
    size = end - out
    out -= varint_size(size)
    write_varint(out, size)
    out -= 1
    out[0] = tag
    return out


cdef inline void write_part(const Job* job, const Part* part) noexcept nogil:
    """Fill `part.out`, from its end."""
    cdef uint8_t* out = part.out + part.size
    cdef uint8_t* scope_end = out
    cdef uint8_t* resource_end = out
    cdef const Leaf* leaf
    cdef uint32_t i = part.end - 1, scope, next_scope, resource
    scope = job.leaves[job.order[i]].scope
    while True:
        leaf = &job.leaves[job.order[i]]
        out = put_before(out, job.base + leaf.start, leaf.body - leaf.start + leaf.size)
        if i > part.first:
            i -= 1
            next_scope = job.leaves[job.order[i]].scope
            if next_scope == scope:
                continue
            resource = job.scopes[next_scope].resource
        else:
            next_scope = resource = <uint32_t>-1
        out = begin_before(out, scope_end, job, &job.scopes[scope], CHILD_TAG)
        scope_end = out
        if resource != job.scopes[scope].resource:
            out = begin_before(out, resource_end, job, &job.resources[job.scopes[scope].resource], RESOURCE_TAG)
            resource_end = scope_end = out
        if next_scope == <uint32_t>-1:
            break
        scope = next_scope
    if part == &job.parts[0]:
        put_before(out, header_of(job, &job.request), job.request.size)
