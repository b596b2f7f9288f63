"""Splits `Export*ServiceRequest` bytes by partition by copying slices. The contract is in partition.pyi.

Traces, metrics and logs share one shape: a request holds resources, they hold scopes, and those hold the leaves (spans,
metrics, log records). One walk notes where each leaf is and to which partition it goes, and for every resource and
scope which bytes stand beside its children: its header, which each part with a leaf of it gets. Then regroup.pxd makes
the parts. All of it without the GIL.
"""

from collector.wire.malformed import MAX_PAYLOAD, Malformed

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from collector.wire.fields cimport BYTES, Field, read_field
from collector.wire.last_field cimport ROOM, Search, find_last
from collector.wire.metric cimport count_points
from collector.wire.murmur3 cimport mix32, murmur3
from collector.wire.regroup cimport (
    MALFORMED, NO_MEMORY, OK, TOO_MUCH, Group, Job, Leaf, header_of, make_room, plan, sort_leaves, write_part,
)
from collector.wire.schema cimport SOUND
from collector.wire.walk cimport Count, count_leaves

MAX_PARTITIONS = 10_000

cdef enum:
    TRACE_ID_OF_SPAN = 1
    TRACE_ID_OF_LOG = 9
    NO_TRACE_ID = 0


cdef void extend(Job* job, Group* group, const Field* field) noexcept nogil:
    """Add a field to a header: a slice of the payload while it is in one piece, a copy from then on."""
    cdef uint32_t size = <uint32_t>(field.after - field.start)
    if group.size == 0:
        group.header = <uint32_t>(field.start - job.base)
    elif group.copied or job.base + group.header + group.size != field.start:
        if not group.copied:
            memcpy(job.scratch + job.scratch_used, job.base + group.header, group.size)
            group.header = job.scratch_used
            group.copied = True
            job.scratch_used += group.size
        memcpy(job.scratch + job.scratch_used, field.start, size)
        job.scratch_used += size
    group.size += size


cdef int read_header(
    Job* job, const uint8_t* at, const uint8_t* end, uint32_t children, Group* group
) noexcept nogil:
    """Everything but the fields number `children`, in order. One header at a time, so that copies stay in one piece."""
    cdef Field field
    memset(group, 0, sizeof(Group))
    while at < end:
        if read_field(at, end, &field) < 0:
            return MALFORMED
        at = field.after
        if field.number != children or field.wire != BYTES:
            extend(job, group, &field)
    return OK


cdef inline Search search_of(const Job* job, const Leaf* leaf) noexcept nogil:
    cdef const uint8_t* body = job.base + leaf.body
    return Search(body, body + leaf.size, body + leaf.size <= job.roomy, <uint8_t>(job.id_field << 3 | BYTES), NULL, 0)


cdef int find_home(const Job* job, Group* resource) noexcept nogil:
    """The partition of a resource's leaves that have no other, from its attributes in whatever order."""
    cdef const uint8_t* at = header_of(job, resource)
    cdef const uint8_t* end = at + resource.size
    cdef const uint8_t* inner
    cdef Field field, attribute
    cdef uint32_t mixed = 0
    while at < end:
        if read_field(at, end, &field) < 0:
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
    resource.home = <int32_t>(mix32(mixed) % job.partitions)
    return OK


cdef inline bint is_zero(const uint8_t* at, size_t size) noexcept nogil:
    cdef size_t i
    for i in range(size):
        if at[i]:
            return False
    return True


cdef inline int place(Job* job, Leaf* leaf, const Search* search) noexcept nogil:
    cdef Group* resource
    if job.always_by_id or (search.size == 16 and not is_zero(search.found, 16)):
        leaf.partition = murmur3(search.found, search.size) % job.partitions
    else:
        resource = &job.resources[job.scopes[leaf.scope].resource]
        if resource.home < 0 and find_home(job, resource) < 0:
            return MALFORMED
        leaf.partition = <uint32_t>resource.home
    job.ends[leaf.partition] += 1
    return OK


cdef inline int place_pending(Job* job) noexcept nogil:
    """Give the one or two leaves that haven't one yet their partitions."""
    cdef Leaf* leaf
    cdef Search one, two
    cdef bint pair = job.leaf_count - job.placed == 2
    memset(&one, 0, sizeof(Search))
    two = one
    leaf = &job.leaves[job.placed]
    if job.id_field != NO_TRACE_ID:
        one = search_of(job, leaf)
        two = search_of(job, leaf + pair)
        if not pair:
            two.at = two.end     # no second leaf to look into
        if find_last(&one, &two) < 0:
            return MALFORMED
    if place(job, leaf, &one) < 0:
        return MALFORMED
    if pair and place(job, leaf + 1, &two) < 0:
        return MALFORMED
    job.placed = job.leaf_count
    return OK


cdef int find_leaves(Job* job, const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Of a scope."""
    cdef uint32_t before = job.leaf_count
    cdef Group* scope
    cdef Leaf* leaf
    cdef Field field
    cdef uint64_t items
    if make_room(<void**>&job.scopes, job.scope_count, &job.scope_room, sizeof(Group)) < 0:
        return NO_MEMORY
    scope = &job.scopes[job.scope_count]
    memset(scope, 0, sizeof(Group))
    scope.resource = job.resource_count
    while at < end:
        if read_field(at, end, &field) < 0:
            return MALFORMED
        at = field.after
        if field.number != 2 or field.wire != BYTES:
            extend(job, scope, &field)
            continue
        items = 1
        if job.metrics:
            items = 0
            if count_points(field.body, field.after, &items) != SOUND:
                return MALFORMED
        if make_room(<void**>&job.leaves, job.leaf_count, &job.leaf_room, sizeof(Leaf)) < 0:
            return NO_MEMORY
        leaf = &job.leaves[job.leaf_count]
        leaf.start = <uint32_t>(field.start - job.base)
        leaf.body = <uint32_t>(field.body - job.base)
        leaf.size = <uint32_t>field.value
        leaf.scope = job.scope_count
        leaf.items = <uint32_t>items
        job.items += items
        job.leaf_count += 1
        if job.leaf_count - job.placed == 2 and place_pending(job) < 0:
            return MALFORMED
    job.scope_count += job.leaf_count != before
    return OK


cdef int find_scopes(Job* job, const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Of a resource."""
    cdef uint32_t before = job.leaf_count
    cdef Group* resource
    cdef Field field
    cdef int problem
    if make_room(<void**>&job.resources, job.resource_count, &job.resource_room, sizeof(Group)) < 0:
        return NO_MEMORY
    resource = &job.resources[job.resource_count]
    if read_header(job, at, end, 2, resource) < 0:
        return MALFORMED
    resource.home = -1
    while at < end:
        if read_field(at, end, &field) < 0:
            return MALFORMED
        at = field.after
        if field.number == 2 and field.wire == BYTES:
            problem = find_leaves(job, field.body, field.after)
            if problem < 0:
                return problem
    job.resource_count += job.leaf_count != before
    return OK


cdef int find_resources(Job* job) noexcept nogil:
    cdef const uint8_t* at = job.base
    cdef const uint8_t* end = job.base + job.length
    cdef Field field
    cdef int problem
    if read_header(job, at, end, 1, &job.request) < 0:
        return MALFORMED
    while at < end:
        if read_field(at, end, &field) < 0:
            return MALFORMED
        at = field.after
        if field.number == 1 and field.wire == BYTES:
            problem = find_scopes(job, field.body, field.after)
            if problem < 0:
                return problem
    return OK


cdef int split(Job* job, bint* whole) noexcept nogil:
    """Everything up to the sizes of the parts; `whole`: one partition gets the payload as it is."""
    cdef int problem
    job.scratch = <uint8_t*>malloc(job.length)
    job.ends = <uint32_t*>calloc(job.partitions, sizeof(uint32_t))
    if job.scratch == NULL or job.ends == NULL:
        return NO_MEMORY
    problem = find_resources(job)
    if problem == OK and job.placed != job.leaf_count:
        problem = place_pending(job)
    if problem < 0 or job.leaf_count == 0:
        return problem
    if job.length <= job.max_bytes and job.ends[job.leaves[0].partition] == job.leaf_count:
        whole[0] = True
        return OK
    job.order = <uint32_t*>malloc(job.leaf_count * sizeof(uint32_t))
    if job.order == NULL:
        return NO_MEMORY
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
    cdef uint64_t leaves = 0, points = 0
    cdef Count inside = NULL
    cdef bint whole = False
    cdef int problem
    cdef uint32_t i
    cdef bytes out
    cdef list answer = []
    check_partitions(partitions)
    if max_bytes < 1:
        raise ValueError("max_bytes is at least 1")
    if PyBytes_GET_SIZE(payload) > <Py_ssize_t>MAX_PAYLOAD:
        raise Malformed("larger than the largest request that is split")
    memset(&job, 0, sizeof(Job))
    job.base = <const uint8_t*>PyBytes_AS_STRING(payload)
    job.length = PyBytes_GET_SIZE(payload)
    job.roomy = job.base + job.length - ROOM if job.length > ROOM else job.base
    job.partitions = <uint32_t>partitions
    job.max_bytes = max_bytes
    job.id_field = id_field
    job.always_by_id = always_by_id
    job.metrics = id_field == NO_TRACE_ID
    if job.length == 0:
        return answer
    if job.metrics:
        inside = count_points
    if partitions == 1 and job.length <= job.max_bytes:
        with nogil:
            problem = count_leaves(job.base, job.base + job.length, 0, &leaves, inside, &points)
        check(OK if problem == SOUND else MALFORMED)
        return [(0, payload, points if job.metrics else leaves)] if leaves else answer
    try:
        with nogil:
            problem = split(&job, &whole)
        check(problem)
        if whole:
            return [(job.leaves[0].partition, payload, job.items)]
        for i in range(job.part_count):
            out = PyBytes_FromStringAndSize(NULL, job.parts[i].size)
            job.parts[i].out = <uint8_t*>PyBytes_AS_STRING(out)
            answer.append((job.parts[i].partition, out, job.parts[i].items))
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
