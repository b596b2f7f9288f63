"""Split `Export*ServiceRequest` bytes by partition, so that a trace, or a resource's series, always meet in one.

Partitions are stable: every process, now and later, computes the same ones, and so may others. With `mmh3(b)` for
MurmurHash3 x86_32 of seed 0 as an unsigned number:

- a span goes to `mmh3(trace_id) % partitions`; of a repeated trace id the last counts, as in protobuf, and one that
  hasn't 16 bytes is hashed as it is (none: no bytes, partition 0);
- a log record goes by its trace id likewise when that has 16 bytes that aren't all zero;
- a metric, or any other log record, goes by its resource: `fmix32(sum of mmh3(attribute) modulo 2**32) % partitions`
  over the encoded `KeyValue` messages of all `Resource.attributes`, where `fmix32` is MurmurHash3's finaliser. The order
  of the attributes doesn't matter; a resource without any goes to partition 0.
"""

MAX_PARTITIONS: int

def partition_of(trace_id: bytes, partitions: int) -> int:
    """Where the spans of this trace go. `ValueError` unless there are 1 to `MAX_PARTITIONS` partitions."""

def partition_spans(payload: bytes, partitions: int, max_bytes: int) -> list[tuple[int, bytes, int]]:
    """The request as (partition, request, number of items), ordered by partition.

    Leaves are spans, `Metric` messages or log records, by the function's name; items are the same, but data points for
    metrics. Leaves keep their bytes, their order within a partition, and their resource and scope, with all that these
    hold (schema URLs, unknown fields, repeated singular messages) and that is copied to each part with leaves of theirs.
    Resources and scopes without leaves disappear; fields of the request itself that OTLP doesn't know go into the first
    part, unless they would make it too large.

    A partition has several parts only where one would exceed `max_bytes`: in order, each as full as it gets. A leaf
    that doesn't fit with its resource and scope is a part of its own, larger than `max_bytes`. When all leaves are of one
    partition and `payload` fits, the only part is `payload` itself, untouched. No leaves: no parts.

    Memory: the parts, a copy of the payload at most, and up to 100 bytes a leaf (40 where many share a scope) while it
    runs. `Malformed` when the bytes are no such request as far as they are read; and when the parts together would exceed five times the payload plus
    4 MiB, because large resources and scopes with few leaves have to go to many partitions (a resource of 4 KiB passes
    for 1,000 partitions whatever the request). `ValueError` when `partitions` is out of bounds or `max_bytes` isn't
    positive.
    """

def partition_logs(payload: bytes, partitions: int, max_bytes: int) -> list[tuple[int, bytes, int]]:
    """As `partition_spans`, for an `ExportLogsServiceRequest`."""

def partition_metrics(payload: bytes, partitions: int, max_bytes: int) -> list[tuple[int, bytes, int]]:
    """As `partition_spans`, for an `ExportMetricsServiceRequest`."""
