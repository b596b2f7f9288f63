"""OTLP on the wire: compiled readers and writers of `Export*ServiceRequest` bytes. No protobuf object anywhere.

`scan` and `validate` index a request, `Probes` are conditions that a scan evaluates on the way, `rewrite` selects and
patches spans by copying slices, `partition` splits requests for a partitioned log, `view` shows single spans to Python,
`otlp_json` translates to and from OTLP/JSON.
"""

from collector.wire.otlp_json import from_json, to_json, write_json
from collector.wire.partition import partition_logs, partition_metrics, partition_of, partition_spans
from collector.wire.rewrite import UNKNOWN_THRESHOLD, sample, select
from collector.wire.scan import Malformed, Probes, SpanIndex, scan, validate

__all__ = [
    "UNKNOWN_THRESHOLD",
    "Malformed",
    "Probes",
    "SpanIndex",
    "from_json",
    "partition_logs",
    "partition_metrics",
    "partition_of",
    "partition_spans",
    "sample",
    "scan",
    "select",
    "to_json",
    "validate",
    "write_json",
]
