"""What is known of every active series: whether it passes or is part of another, its metric, its labels' values; and
how all of it is forgotten once it isn't active any more.
"""

import os

from processors.cardinality_limiter.rules import ACTIONS

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from processors.cardinality_limiter.aggregate cimport MOST_EXEMPLARS, Aggregate
from processors.cardinality_limiter.members cimport (
    Member, member_at, member_size, members_free, members_init, remove_member,
)
from processors.cardinality_limiter.offenders cimport Offenders
from processors.cardinality_limiter.siphash cimport Hash, siphash
from processors.cardinality_limiter.table cimport (
    ADMITTED, FREE, MEMBER, VALUE, Entry, table_at, table_bytes, table_free, table_init, table_remove,
)

cdef enum:
    MEMBER_WINDOWS = 4       # a cumulative member is remembered for longer, so that it isn't counted twice
    FEWEST_SWEPT = 4096      # entries at a tick
    SWEEPS = 64              # ticks in which all entries are swept

LIMITS = (
    "max_series", "max_series_per_metric", "max_values_per_label", "max_metrics", "max_aggregated_series",
    "max_state_size", "sender",
)
"""What a point was refused by; the last is an overflow that the sender itself made."""

OVERFLOW_ATTRIBUTE = b"\x0a\x14otel.metric.overflow\x12\x02\x10\x01"


def keyed_hash(bytes key not None, bytes data not None):
    """The hash that series are looked up by: SipHash-1-3 of 128 bits, as two numbers."""
    cdef Hash secret
    secret.hi = int.from_bytes(key[:8], "little")
    secret.lo = int.from_bytes(key[8:16], "little")
    hashed = siphash(secret, <const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    return hashed.hi, hashed.lo


cdef class Known:
    def __cinit__(self):
        members_init(&self.members)
        if not (table_init(&self.series) and table_init(&self.values)):
            raise MemoryError

    def __init__(
        self,
        rules,
        *,
        int64_t window_ns,
        uint32_t max_series,
        uint32_t max_metrics,
        uint32_t max_aggregates,
        uint64_t max_state,
        uint32_t max_exemplars=8,
        uint32_t max_offenders=512,
        key=None,
    ):
        if window_ns < EPOCHS:
            raise ValueError("the window is too short")
        secret = os.urandom(16) if key is None else key
        if len(secret) != 16:
            raise ValueError("a key has 16 bytes")
        self.key.hi = int.from_bytes(secret[:8], "little")
        self.key.lo = int.from_bytes(secret[8:16], "little")
        self.groups, self.vacant_groups, self.group_numbers = [], [], {}
        self.labels, self.vacant_labels = [], []
        self.aggregates, self.vacant_aggregates = [], []
        self.rules = rules
        self.offenders = Offenders(max_offenders)
        self.max_series = max_series
        self.max_metrics = max_metrics
        self.max_aggregates = max_aggregates
        self.max_exemplars = min(max_exemplars, <uint32_t>MOST_EXEMPLARS)
        self.max_state = max_state
        self.epoch_ns = window_ns // EPOCHS
        self.new_key()

    cdef int new_key(self) except -1:
        self.overflow = siphash(self.key, OVERFLOW_ATTRIBUTE, OVERFLOW_SIZE)
        return 0

    def __dealloc__(self):
        table_free(&self.series)
        table_free(&self.values)
        members_free(&self.members)

    @property
    def memory(self):
        return table_bytes(&self.series) + table_bytes(&self.values) + self.state + self.offenders.memory

    @property
    def metrics(self):
        return len(self.group_numbers)

    @property
    def folded(self):
        return self.members.live

    @property
    def aggregated(self):
        return len(self.aggregates) - len(self.vacant_aggregates)

    @property
    def state_bytes(self):
        return self.state

    def take_counts(self):
        counts = {
            (limit, action): self.counts[i][j]
            for i, limit in enumerate(LIMITS) for j, action in enumerate(ACTIONS) if self.counts[i][j]
        }
        memset(self.counts, 0, sizeof(self.counts))
        return counts

    def metric_rows(self):
        cdef Group group
        return [
            (group.name, group.active, group.reduced, group.aggregates, group.limit, group.refused)
            for group in self.groups if group is not None
        ]

    cdef uint32_t add_group(self, bytes key, bytes name, Hash hashed) except? 0xFFFFFFFF:
        cdef Group group = Group()
        rule = self.rules.metric(name)
        group.key, group.name, group.hash, group.rule = key, name, hashed, rule
        group.limit = min(rule.limit, 0xFFFFFFFF)
        group.action = rule.action
        group.counts_labels = rule.counts_labels
        group.chooses = rule.chooses
        number = put_in(self.groups, self.vacant_groups, group)
        self.group_numbers[key] = number
        return number

    # -- time

    def pass_time(self, int64_t elapsed_ns):
        cdef uint32_t count
        self.clock_ns += min(max(elapsed_ns, 0), self.epoch_ns)
        self.epoch = <uint32_t>(self.clock_ns // self.epoch_ns)
        for _ in range(max(<uint32_t>FEWEST_SWEPT, self.series.used // SWEEPS)):
            if self.swept >= self.series.used:
                self.swept = 0
                break
            self.sweep(self.swept)
            self.swept += 1
        for _ in range(max(<uint32_t>FEWEST_SWEPT, self.values.used // SWEEPS)):
            if self.swept_values >= self.values.used:
                self.swept_values = 0
                break
            self.sweep_value(self.swept_values)
            self.swept_values += 1
        count = len(self.groups)
        for _ in range(max(64, count // SWEEPS)):
            if self.swept_groups >= count:
                self.swept_groups = 0
                break
            self.sweep_group(self.swept_groups)
            self.swept_groups += 1

    cdef int sweep(self, uint32_t number) except -1:
        cdef Entry *entry = table_at(&self.series, number)
        cdef uint32_t age = self.epoch - entry.epoch
        cdef Aggregate aggregate
        cdef Group group
        if entry.kind == FREE or age <= EPOCHS:
            return 0
        group = <Group>self.groups[entry.owner]
        if entry.kind == ADMITTED:
            group.active -= 1
            self.active -= 1
        elif entry.kind == MEMBER:
            aggregate = <Aggregate>self.aggregates[member_at(&self.members, entry.link).aggregate]
            if age <= MEMBER_WINDOWS * EPOCHS and aggregate.monotonic:
                return 0
            self.release(entry.link)
        else:
            aggregate = <Aggregate>self.aggregates[entry.link]
            if age <= MEMBER_WINDOWS * EPOCHS or aggregate.members:
                return 0
            self.state -= min(self.state, aggregate.size())
            group.aggregates -= 1
            group.reduced -= aggregate.reduced
            take_out(self.aggregates, self.vacant_aggregates, entry.link)
        table_remove(&self.series, number)
        return 0

    cdef int release(self, uint32_t number) except -1:
        """A member ends; its entry is the caller's affair."""
        cdef Member *member = member_at(&self.members, number)
        (<Aggregate>self.aggregates[member.aggregate]).forget(member)
        self.state -= min(self.state, member_size(member))
        remove_member(&self.members, number)
        return 0

    cdef int sweep_value(self, uint32_t number) except -1:
        cdef Entry *entry = table_at(&self.values, number)
        cdef Label label
        if entry.kind == FREE or <uint32_t>(self.epoch - entry.epoch) <= EPOCHS:
            return 0
        if entry.kind == VALUE:
            label = <Label>self.labels[entry.owner]
            label.active -= 1
        else:
            label = <Label>self.labels[entry.link]
            if label.active:
                return 0
            take_out(self.labels, self.vacant_labels, entry.link)
            (<Group>self.groups[entry.owner]).labels -= 1
        table_remove(&self.values, number)
        return 0

    cdef int sweep_group(self, uint32_t number) except -1:
        cdef Group group = self.groups[number]
        if group is None or group.active or group.aggregates or group.labels:
            return 0
        if <uint32_t>(self.epoch - group.epoch) <= EPOCHS:
            return 0
        del self.group_numbers[group.key]
        take_out(self.groups, self.vacant_groups, number)
        return 0


cdef uint32_t put_in(list parts, list vacant, object part) except? 0xFFFFFFFE:
    """Where `part` is now."""
    if vacant:
        number = vacant.pop()
        parts[number] = part
        return number
    parts.append(part)
    return <uint32_t>(len(parts) - 1)


cdef int take_out(list parts, list vacant, uint32_t number) except -1:
    parts[number] = None
    vacant.append(number)
    return 0
