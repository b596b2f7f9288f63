"""Splits `Export*ServiceRequest` bytes by partition by copying slices. The contract is in partition.pyi.

Traces, metrics and logs share one shape: a request holds resources, they hold scopes, and those hold the leaves (spans,
metrics, log records). A first walk counts. A second one notes where each leaf is and to which partition it goes, and
for every resource and scope which bytes stand beside its children: its header, that each part with a leaf of it gets.
A stable counting sort by partition follows, then the sizes of the parts. They are written from their ends to their
beginnings, so that a message's length is known by the time it is written. All of it without the GIL.
"""

from collector.wire.scan import MAX_PAYLOAD, Malformed

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from collector.wire.fields cimport BYTES, FIXED64, Field, read_field, varint_size, write_varint
from collector.wire.murmur3 cimport mix32, murmur3

MAX_PARTITIONS = 10_000

cdef enum:
    RESOURCE_TAG = 0x0A      # Export*ServiceRequest.resource_spans, .resource_metrics, .resource_logs
    CHILD_TAG = 0x12         # Resource*.scope_*, and in a scope the leaves
    TRACE_ID_OF_SPAN = 1
    TRACE_ID_OF_LOG = 9
    NO_TRACE_ID = 0
    LONGEST_PREFIXES = 12    # tags and lengths of one resource and one scope
    GROWTH = 4               # all parts: at most this many times the payload more than the payload,
    GROWTH_BASE = 4 << 20    # and this many bytes

cdef enum Problem:
    OK = 0
    MALFORMED = -1
    NO_MEMORY = -2
    TOO_MUCH = -3


cdef struct Counts:
    uint64_t resources
    uint64_t scopes
    uint64_t leaves


cdef struct Leaf:
    uint32_t offset          # of its tag
    uint32_t size            # tag and length included
    uint32_t scope
    uint32_t partition


cdef struct Group:           # a resource or a scope with leaves; or the request itself
    const uint8_t* header    # the fields beside its children
    size_t size
    uint32_t resource        # the one that holds this scope


cdef struct Part:
    uint32_t partition
    uint32_t first           # in `order`
    uint32_t end
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
    uint64_t length
    uint64_t max_bytes
    uint32_t partitions
    uint32_t id_field        # the leaves' trace id, or NO_TRACE_ID
    bint always_by_id        # even where it isn't a valid one
    # the resource that is being walked
    const uint8_t* at
    const uint8_t* end
    int64_t home             # partition of its leaves that go by resource; -1: not computed yet
    # what was found
    Leaf* leaves
    Group* resources
    Group* scopes
    uint32_t leaf_count
    uint32_t resource_count
    uint32_t scope_count
    Group request
    uint8_t* scratch         # headers that aren't contiguous in the payload; as large as the payload
    size_t scratch_used
    # the answer
    uint32_t* ends           # by partition: first the number of its leaves, then where they end in `order`
    uint32_t* order          # the leaves by partition
    Part* parts
    size_t part_count
    size_t part_room
    uint64_t total


cdef int count(const uint8_t* at, const uint8_t* end, int level, Counts* counts) noexcept nogil:
    """What a request (level 0), a resource (1) or a scope (2) holds."""
    cdef Field field
    while at < end:
        if read_field(at, end, &field) < 0:
            return MALFORMED
        at = field.after
        if field.wire != BYTES or field.number != <uint32_t>(2 if level else 1):
            continue
        if level == 2:
            counts.leaves += 1
            continue
        if level == 1:
            counts.scopes += 1
        else:
            counts.resources += 1
        if count(field.body, field.after, level + 1, counts) < 0:
            return MALFORMED
    return OK


cdef int read_header(
    Job* job, const uint8_t* at, const uint8_t* end, uint32_t children, Group* group
) noexcept nogil:
    """Everything but the fields number `children`, in order: a slice of the payload where it is in one piece."""
    cdef Field field
    cdef bint copied = False
    group.header = NULL
    group.size = 0
    while at < end:
        if read_field(at, end, &field) < 0:
            return MALFORMED
        at = field.after
        if field.number == children and field.wire == BYTES:
            continue
        if group.size == 0:
            group.header = field.start
        elif not copied and group.header + group.size != field.start:
            memcpy(job.scratch + job.scratch_used, group.header, group.size)
            group.header = job.scratch + job.scratch_used
            job.scratch_used += group.size
            copied = True
        if copied:
            memcpy(job.scratch + job.scratch_used, field.start, field.after - field.start)
            job.scratch_used += field.after - field.start
        group.size += field.after - field.start
    return OK


cdef inline int find_id(
    const uint8_t* at, const uint8_t* end, uint32_t number, const uint8_t** found, size_t* size
) noexcept nogil:
    """The last occurrence of the bytes field `number`, which is below 16; none: no bytes."""
    cdef uint8_t tag = <uint8_t>(number << 3 | BYTES)
    cdef Field field
    found[0] = NULL
    size[0] = 0
    while at < end:
        # Nearly all fields have one byte of tag and one of length, or are fixed64.
        if end - at > 1 and at[0] & 0x87 == BYTES and at[0] > 7 and at[1] < 0x80:
            if at[1] > end - at - 2:
                return MALFORMED
            if at[0] == tag:
                found[0] = at + 2
                size[0] = at[1]
            at += 2 + at[1]
            continue
        if end - at > 8 and at[0] & 0x87 == FIXED64 and at[0] > 7:
            at += 9
            continue
        if read_field(at, end, &field) < 0:
            return MALFORMED
        at = field.after
        if field.number == number and field.wire == BYTES:
            found[0] = field.body
            size[0] = field.value
    return OK


cdef int find_home(Job* job) noexcept nogil:
    """The partition of the resource that is being walked, from its attributes in whatever order."""
    cdef const uint8_t* at = job.at
    cdef const uint8_t* inner
    cdef Field field, attribute
    cdef uint32_t mixed = 0
    while at < job.end:
        if read_field(at, job.end, &field) < 0:
            return MALFORMED
        at = field.after
        if field.number != 1 or field.wire != BYTES:
            continue
        inner = field.body
        while inner < field.after:
            if read_field(inner, field.after, &attribute) < 0:
                return MALFORMED
            inner = attribute.after
            if attribute.number == 1 and attribute.wire == BYTES:
                mixed += murmur3(attribute.body, attribute.value)
    job.home = mix32(mixed) % job.partitions
    return OK


cdef inline bint is_zero(const uint8_t* at, size_t size) noexcept nogil:
    cdef size_t i
    for i in range(size):
        if at[i]:
            return False
    return True


cdef int add_leaf(Job* job, const Field* field) noexcept nogil:
    cdef Leaf* leaf = &job.leaves[job.leaf_count]
    cdef const uint8_t* trace = NULL
    cdef size_t size = 0
    if job.id_field != NO_TRACE_ID and find_id(field.body, field.after, job.id_field, &trace, &size) < 0:
        return MALFORMED
    if job.always_by_id or (size == 16 and not is_zero(trace, size)):
        leaf.partition = murmur3(trace, size) % job.partitions
    else:
        if job.home < 0 and find_home(job) < 0:
            return MALFORMED
        leaf.partition = <uint32_t>job.home
    leaf.offset = <uint32_t>(field.start - job.base)
    leaf.size = <uint32_t>(field.after - field.start)
    leaf.scope = job.scope_count
    job.ends[leaf.partition] += 1
    job.leaf_count += 1
    return OK


cdef int add_scope(Job* job, const uint8_t* at, const uint8_t* end) noexcept nogil:
    cdef uint32_t before = job.leaf_count
    cdef Group* scope = &job.scopes[job.scope_count]
    cdef Field field
    if read_header(job, at, end, 2, scope) < 0:
        return MALFORMED
    while at < end:
        if read_field(at, end, &field) < 0:
            return MALFORMED
        at = field.after
        if field.number == 2 and field.wire == BYTES and add_leaf(job, &field) < 0:
            return MALFORMED
    if job.leaf_count != before:
        scope.resource = job.resource_count
        job.scope_count += 1
    return OK


cdef int add_resource(Job* job, const uint8_t* at, const uint8_t* end) noexcept nogil:
    cdef uint32_t before = job.leaf_count
    cdef Field field
    if read_header(job, at, end, 2, &job.resources[job.resource_count]) < 0:
        return MALFORMED
    job.at = at
    job.end = end
    job.home = -1
    while at < end:
        if read_field(at, end, &field) < 0:
            return MALFORMED
        at = field.after
        if field.number == 2 and field.wire == BYTES and add_scope(job, field.body, field.after) < 0:
            return MALFORMED
    job.resource_count += job.leaf_count != before
    return OK


cdef int add_request(Job* job) noexcept nogil:
    cdef const uint8_t* at = job.base
    cdef const uint8_t* end = job.base + job.length
    cdef Field field
    if read_header(job, at, end, 1, &job.request) < 0:
        return MALFORMED
    while at < end:
        if read_field(at, end, &field) < 0:
            return MALFORMED
        at = field.after
        if field.number == 1 and field.wire == BYTES and add_resource(job, field.body, field.after) < 0:
            return MALFORMED
    return OK


cdef void sort_leaves(Job* job) noexcept nogil:
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
    sizes.scope += leaf.size


cdef int add_part(Job* job, uint32_t partition, uint32_t first, uint32_t end, uint64_t size) noexcept nogil:
    cdef Part* parts = job.parts
    job.total += size
    if job.total > (1 + GROWTH) * job.length + GROWTH_BASE:
        return TOO_MUCH
    if job.part_count == job.part_room:
        parts = <Part*>realloc(parts, 2 * (job.part_room + 16) * sizeof(Part))
        if parts == NULL:
            return NO_MEMORY
        job.parts = parts
        job.part_room = 2 * (job.part_room + 16)
    parts[job.part_count] = Part(partition, first, end, size, NULL)
    job.part_count += 1
    return OK


cdef int plan_partition(Job* job, uint32_t partition, uint32_t first, uint32_t end) noexcept nogil:
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


cdef int plan(Job* job) noexcept nogil:
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


cdef inline uint8_t* begin_before(uint8_t* out, const uint8_t* end, const Group* group, uint8_t tag) noexcept nogil:
    """The header of a message whose children lie from `out` to `end`, its length and its tag."""
    cdef uint64_t size
    out = put_before(out, group.header, group.size)
    size = end - out
    out -= varint_size(size)
    write_varint(out, size)
    out -= 1
    out[0] = tag
    return out


cdef void write_part(const Job* job, const Part* part) noexcept nogil:
    """Fill `part.out`, from its end."""
    cdef uint8_t* out = part.out + part.size
    cdef uint8_t* scope_end = out
    cdef uint8_t* resource_end = out
    cdef const Leaf* leaf
    cdef uint32_t i = part.end - 1, scope, next_scope, resource
    scope = job.leaves[job.order[i]].scope
    while True:
        leaf = &job.leaves[job.order[i]]
        out = put_before(out, job.base + leaf.offset, leaf.size)
        if i > part.first:
            i -= 1
            next_scope = job.leaves[job.order[i]].scope
            if next_scope == scope:
                continue
            resource = job.scopes[next_scope].resource
        else:
            next_scope = resource = <uint32_t>-1
        out = begin_before(out, scope_end, &job.scopes[scope], CHILD_TAG)
        scope_end = out
        if resource != job.scopes[scope].resource:
            out = begin_before(out, resource_end, &job.resources[job.scopes[scope].resource], RESOURCE_TAG)
            resource_end = scope_end = out
        if next_scope == <uint32_t>-1:
            break
        scope = next_scope
    if part == &job.parts[0]:
        put_before(out, job.request.header, job.request.size)


cdef int allocate(Job* job, const Counts* counts) noexcept nogil:
    """Groups without leaves take no row, but the last row is always there to be tried."""
    cdef uint64_t leaves = counts.leaves
    job.leaves = <Leaf*>malloc(leaves * sizeof(Leaf))
    job.order = <uint32_t*>malloc(leaves * sizeof(uint32_t))
    job.scopes = <Group*>malloc((min(counts.scopes, leaves) + 1) * sizeof(Group))
    job.resources = <Group*>malloc((min(counts.resources, leaves) + 1) * sizeof(Group))
    job.scratch = <uint8_t*>malloc(job.length)
    job.ends = <uint32_t*>calloc(job.partitions, sizeof(uint32_t))
    if (
        job.leaves == NULL or job.order == NULL or job.scopes == NULL or job.resources == NULL
        or job.scratch == NULL or job.ends == NULL
    ):
        return NO_MEMORY
    return OK


cdef int split(Job* job, const Counts* counts, bint* whole) noexcept nogil:
    """Everything up to the sizes of the parts; `whole`: one partition gets the payload as it is."""
    cdef int problem = allocate(job, counts)
    if problem == OK:
        problem = add_request(job)
    if problem < 0:
        return problem
    if job.length <= job.max_bytes and job.ends[job.leaves[0].partition] == job.leaf_count:
        whole[0] = True
        return OK
    sort_leaves(job)
    return plan(job)


cdef check(int problem):
    if problem == MALFORMED:
        raise Malformed("not an OTLP request")
    if problem == TOO_MUCH:
        raise Malformed("too much in resources and scopes to repeat it in every partition of their items")
    if problem == NO_MEMORY:
        raise MemoryError


cdef list run(bytes payload, int64_t partitions, int64_t max_bytes, uint32_t id_field, bint always_by_id):
    cdef Job job
    cdef Counts counts
    cdef bint whole = False
    cdef int problem
    cdef size_t i
    cdef bytes out
    cdef list answer = []
    check_partitions(partitions)
    if max_bytes < 1:
        raise ValueError("max_bytes is at least 1")
    if PyBytes_GET_SIZE(payload) > <Py_ssize_t>MAX_PAYLOAD:
        raise Malformed("larger than the largest request that is split")
    memset(&job, 0, sizeof(Job))
    memset(&counts, 0, sizeof(Counts))
    job.base = <const uint8_t*>PyBytes_AS_STRING(payload)
    job.length = PyBytes_GET_SIZE(payload)
    job.partitions = <uint32_t>partitions
    job.max_bytes = max_bytes
    job.id_field = id_field
    job.always_by_id = always_by_id
    with nogil:
        problem = count(job.base, job.base + job.length, 0, &counts)
    check(problem)
    if counts.leaves == 0:
        return answer
    if partitions == 1 and job.length <= job.max_bytes:
        return [(0, payload, counts.leaves)]
    try:
        with nogil:
            problem = split(&job, &counts, &whole)
        check(problem)
        if whole:
            return [(job.leaves[0].partition, payload, counts.leaves)]
        for i in range(job.part_count):
            out = PyBytes_FromStringAndSize(NULL, job.parts[i].size)
            job.parts[i].out = <uint8_t*>PyBytes_AS_STRING(out)
            answer.append((job.parts[i].partition, out, job.parts[i].end - job.parts[i].first))
        with nogil:
            for i in range(job.part_count):
                write_part(&job, &job.parts[i])
        return answer
    finally:
        free(job.leaves)
        free(job.order)
        free(job.scopes)
        free(job.resources)
        free(job.scratch)
        free(job.ends)
        free(job.parts)


cdef check_partitions(int64_t partitions):
    if partitions < 1 or partitions > MAX_PARTITIONS:
        raise ValueError(f"there are 1 to {MAX_PARTITIONS} partitions")


def partition_of(bytes trace_id not None, int64_t partitions):
    check_partitions(partitions)
    return murmur3(<const uint8_t*>PyBytes_AS_STRING(trace_id), PyBytes_GET_SIZE(trace_id)) % <uint32_t>partitions


def partition_spans(bytes payload not None, int64_t partitions, int64_t max_bytes):
    return run(payload, partitions, max_bytes, TRACE_ID_OF_SPAN, True)


def partition_logs(bytes payload not None, int64_t partitions, int64_t max_bytes):
    return run(payload, partitions, max_bytes, TRACE_ID_OF_LOG, False)


def partition_metrics(bytes payload not None, int64_t partitions, int64_t max_bytes):
    return run(payload, partitions, max_bytes, NO_TRACE_ID, False)
